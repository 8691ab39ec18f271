"""``python -m paper``: the paper and the READMEs' tables from the committed records."""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from paper.build import build
from privacy._foreign import printable
from privacy.errors import InpatientError, InvalidInputError

__all__ = ["Paper"]


@dataclass(frozen=True)
class Paper:
    """Rebuild the paper's numbers, figures and PDF, and the READMEs' tables, from paper/records."""

    root: Path = Path()
    """The checkout, with its ``paper`` folder."""

    def run(self) -> int:
        """Build, and say where the PDF is; what is wrong is one paragraph and exit status 2."""
        try:
            if not (self.root / "paper" / "records").is_dir():
                raise InvalidInputError(
                    f"No paper/records in {self.root.absolute()}. Run this in a checkout of the "
                    "repository, or name one with --root."
                )
            print(f"Wrote {build(self.root)}.")
        except InpatientError as error:
            print(f"paper: {printable(str(error))}", file=sys.stderr)
            return 2
        return 0


if __name__ == "__main__":
    sys.exit(tyro.cli(Paper, prog="python -m paper").run())
