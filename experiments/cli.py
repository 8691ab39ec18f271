"""The command ``inpatient``.

A command is a frozen dataclass with ``run() -> int`` in a module of its own under
``experiments/commands``, registered by one line in ``COMMANDS``. These modules import nothing heavy
at the top, so that ``--help`` answers at once.
"""

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Protocol, Union, runtime_checkable

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, subcommand

from experiments import __version__
from experiments.commands.account import Account
from experiments.commands.asynchrony import Asynchrony
from experiments.commands.attack import Attack
from experiments.commands.bench import Bench
from experiments.commands.claims import Claims
from experiments.commands.cohort import Cohort
from experiments.commands.correction import Correction
from experiments.commands.frontier import Demo, Frontier
from experiments.commands.ledger import Ledger
from experiments.commands.results import Results
from experiments.commands.tune import Tune
from experiments.door import enter
from privacy._foreign import printable
from privacy.errors import InpatientError

__all__ = ["COMMANDS", "main", "parsed"]


@runtime_checkable
class Command(Protocol):
    """What every command offers."""

    def run(self) -> int:
        """Do the work and return the exit status."""
        ...


COMMANDS: dict[str, type[Command]] = {
    "asynchrony": Asynchrony,
    "bench": Bench,
    "correction": Correction,
    "account": Account,
    "attack": Attack,
    "claims": Claims,
    "cohort": Cohort,
    "demo": Demo,
    "frontier": Frontier,
    "ledger": Ledger,
    "results": Results,
    "tune": Tune,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; what goes wrong is one paragraph on stderr, never a traceback.

    Exit status 2 for a mistake of the user's or a machine that can't go on (a full disk); 130 where
    it was interrupted, 141 where nobody reads what it prints. Only a fault of the program's own
    shows where it stands.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without Greek gets \\u03b5 for it
            stream.reconfigure(errors="backslashreplace")
    sys.exit(_status(arguments))


def _status(arguments: Sequence[str] | None) -> int:
    """Parse, check, run; everything that is caught is caught here."""
    try:
        try:
            command = parsed(arguments)
            enter(command)
            status = command.run()
        except SystemExit as left:  # help, and what can't be parsed
            if isinstance(left.__context__, BrokenPipeError):  # rich turns it into an exit
                raise left.__context__ from None
            status = left.code if isinstance(left.code, int) else 0
        sys.stdout.flush()
        return status
    except InpatientError as error:
        return _say(str(error))
    except KeyboardInterrupt:
        _say("interrupted; what was finished is kept, and the same command goes on from there.")
        return 130
    except BrokenPipeError:
        _silence()
        return 141
    except OSError as error:
        where = f" at {error.filename}" if error.filename else ""
        status = _say(
            f"the machine refuses{where}: {error.strerror or error}. Make room there, or choose "
            "another folder with --out."
        )
        _silence()
        return status
    except MemoryError:
        return _say("there is not enough memory. Ask for less at a time, or fewer --jobs.")


def parsed(arguments: Sequence[str] | None) -> Command:
    """Return the command that was typed; help and what is no command leave by ``SystemExit``."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if list(arguments) == ["--version"]:
        print(f"inpatient {__version__}")
        sys.exit(0)
    # A union made at run time: one subcommand a registered class.
    union: Any = Union[  # noqa: UP007
        tuple(Annotated[kind, subcommand(name)] for name, kind in COMMANDS.items())
    ]
    command: Command = tyro.cli(
        union,
        prog="inpatient",
        description="What a federation of hospitals gives away, and what it gains. "
        "`inpatient --version` prints the version.",
        args=arguments,
        config=(OmitArgPrefixes, OmitSubcommandPrefixes),
    )
    return command


def _say(sentence: str) -> int:
    with contextlib.suppress(OSError):  # nobody reads stderr either
        print(f"inpatient: {printable(sentence)}", file=sys.stderr, flush=True)
    return 2


def _silence() -> None:
    """Let nothing be written to stdout any more, so that Python's own end does not fail on it."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
