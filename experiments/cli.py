"""The command ``inpatient``.

A command is a frozen dataclass with ``run() -> int`` in a module of its own under
``experiments/commands``, registered by one line in ``COMMANDS``. These modules import nothing heavy
at the top, so that ``--help`` answers at once.
"""

import sys
from collections.abc import Sequence
from typing import Annotated, Any, Protocol, Union

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, subcommand

from experiments.commands.account import Account
from experiments.commands.asynchrony import Asynchrony
from experiments.commands.attack import Attack
from experiments.commands.bench import Bench
from experiments.commands.claims import Claims
from experiments.commands.correction import Correction
from experiments.commands.frontier import Demo, Frontier
from experiments.commands.ledger import Ledger
from experiments.commands.paper import Paper
from experiments.commands.results import Results
from experiments.commands.tune import Tune
from privacy.errors import InpatientError

__all__ = ["COMMANDS", "main"]


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
    "demo": Demo,
    "frontier": Frontier,
    "ledger": Ledger,
    "paper": Paper,
    "results": Results,
    "tune": Tune,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; a mistake of the user's is one paragraph on stderr and status 2."""
    # A union made at run time: one subcommand a registered class.
    union: Any = Union[  # noqa: UP007
        tuple(Annotated[kind, subcommand(name)] for name, kind in COMMANDS.items())
    ]
    command: Command = tyro.cli(
        union,
        prog="inpatient",
        description="What a federation of hospitals gives away, and what it gains.",
        args=arguments,
        config=(OmitArgPrefixes, OmitSubcommandPrefixes),
    )
    try:
        status = command.run()
    except InpatientError as error:
        print(f"inpatient: {error}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print("inpatient: interrupted; what was finished is kept.", file=sys.stderr)
        status = 130
    sys.exit(status)


if __name__ == "__main__":
    main()
