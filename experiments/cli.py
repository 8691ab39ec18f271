"""The command ``inpatient``.

A command is a frozen dataclass with ``run() -> int`` in a module of its own under
``experiments/commands``; it is registered by one line in ``COMMANDS``. Modules import nothing
heavy at the top, so that ``--help`` answers at once.
"""

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; a mistake of the user's is one paragraph and status 2."""
