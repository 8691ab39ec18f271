"""``python -m privacy.ledger verify FOLDER --trust KEYS``: for auditors, who need no more.

The same commands as ``inpatient ledger``; only ``privacy`` and its few requirements are imported
(``requirements-audit.lock``).
"""

import sys
from collections.abc import Sequence

import tyro

from privacy.ledger.commands import LedgerCommand
from privacy.terminal import exit_status

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command, and exit with its status (``privacy.terminal.exit_status``)."""
    sys.exit(
        exit_status(
            "ledger",
            lambda: tyro.cli(LedgerCommand, prog="python -m privacy.ledger", args=arguments).run(),
        )
    )


if __name__ == "__main__":
    main()
