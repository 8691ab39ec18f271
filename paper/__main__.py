"""``python -m paper``: the paper and the READMEs' tables from the committed records."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from paper.build import build
from privacy.errors import InvalidInputError
from privacy.terminal import exit_status

__all__ = ["Paper", "main"]


@dataclass(frozen=True)
class Paper:
    """Rebuild the paper's numbers, figures and PDF, and the READMEs' tables, from paper/records."""

    root: Path = Path()
    """The checkout, with its ``paper`` folder."""

    def run(self) -> int:
        """Build, and say where the PDF is.

        Raises:
          InvalidInputError: The folder is no checkout, or as ``build``.
        """
        if not (self.root / "paper" / "records").is_dir():
            raise InvalidInputError(
                f"No paper/records in {self.root.absolute()}. Run this in a checkout of the "
                "repository, or name one with --root."
            )
        print(f"Wrote {build(self.root)}.")
        return 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command, and exit with its status."""
    sys.exit(
        exit_status("paper", lambda: tyro.cli(Paper, prog="python -m paper", args=arguments).run())
    )


if __name__ == "__main__":
    main()
