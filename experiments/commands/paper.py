"""``inpatient paper``: the paper from its committed records."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Paper"]


@dataclass(frozen=True)
class Paper:
    """Rebuild the paper's numbers, figure and PDF, and the README's table, from paper/records."""

    root: Path = Path()
    """The checkout, with its ``paper`` folder."""

    def check(self) -> None:
        """Refuse a folder that is no checkout: the paper is made from its committed records."""
        from privacy.errors import InvalidInputError

        if not (self.root / "paper" / "records").is_dir():
            raise InvalidInputError(
                f"No paper/records in {self.root.absolute()}. Run this in a checkout of the "
                "repository, or name one with --root."
            )

    def run(self) -> int:
        """Build, and say where the PDF is."""
        from experiments.paper import build

        print(f"Wrote {build(self.root)}.")
        return 0
