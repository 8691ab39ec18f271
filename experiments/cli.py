"""The command ``inpatient``.

A command is a frozen dataclass with ``run() -> int`` in a module of its own under
``experiments/commands``, registered by one line in ``COMMANDS``. These modules import nothing heavy
at the top, so that ``--help`` answers at once.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol, Union, runtime_checkable

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, subcommand

from experiments import __version__
from experiments.commands.account import Account
from experiments.commands.asynchrony import Asynchrony
from experiments.commands.attack import AttackCommand
from experiments.commands.bench import Bench
from experiments.commands.claims import Claims
from experiments.commands.cohort_check import CohortCommand
from experiments.commands.correction import Correction
from experiments.commands.correlated_study import Correlated
from experiments.commands.deidentified import Deidentified
from experiments.commands.deploy import Deploy
from experiments.commands.export import ExportCommand
from experiments.commands.frontier import Demo, FrontierCommand
from experiments.commands.inference_study import Inference
from experiments.commands.joining import Joining
from experiments.commands.predict import Predict
from experiments.commands.reliability_study import ReliabilityStudy
from experiments.commands.results import Results
from experiments.commands.review import Review
from experiments.commands.run_site import SiteCommand
from experiments.commands.spread_study import Spread
from experiments.commands.train import Train
from experiments.commands.tune import Tune
from experiments.door import enter
from experiments.plugins import load, load_installed
from privacy.errors import InvalidInputError
from privacy.ledger.commands import LedgerCommand
from privacy.terminal import exit_status

__all__ = ["COMMANDS", "main", "parsed", "plugins_of"]


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
    "attack": AttackCommand,
    "claims": Claims,
    "cohort": CohortCommand,
    "deidentified": Deidentified,
    "demo": Demo,
    "deploy": Deploy,
    "export": ExportCommand,
    "frontier": FrontierCommand,
    "inference": Inference,
    "joining": Joining,
    "ledger": LedgerCommand,
    "predict": Predict,
    "reliability": ReliabilityStudy,
    "correlated": Correlated,
    "results": Results,
    "review": Review,
    "site": SiteCommand,
    "spread": Spread,
    "train": Train,
    "tune": Tune,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command, and exit with its status (``privacy.terminal.exit_status``)."""

    def work() -> int:
        plugins, rest = plugins_of(sys.argv[1:] if arguments is None else arguments)
        command = parsed(rest)
        load_installed()
        load(plugins)
        enter(command)
        return command.run()

    sys.exit(exit_status("inpatient", work))


def plugins_of(arguments: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Take ``--plugin FILE`` out of a command's arguments: it goes with every command."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--plugin", type=Path, action="append", default=[])
    try:
        taken, rest = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise InvalidInputError("--plugin needs a Python file behind it.") from error
    return taken.plugin, rest


def parsed(arguments: Sequence[str]) -> Command:
    """Return the command that was typed; help and what is no command leave by ``SystemExit``."""
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
        "`inpatient --version` prints the version; `--plugin FILE`, behind any command, runs a "
        "Python file first that adds attacks, rules, schemes, models or cohorts.",
        args=arguments,
        config=(OmitArgPrefixes, OmitSubcommandPrefixes),
    )
    return command


if __name__ == "__main__":
    main()
