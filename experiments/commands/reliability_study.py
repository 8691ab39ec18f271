"""``inpatient reliability``: whether the likelihood ratio is right as often as it says."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.commands.base import StudyCommand

if TYPE_CHECKING:
    from experiments.run.study import GridPoint

__all__ = ["ReliabilityStudy"]


@dataclass(frozen=True, kw_only=True)
class ReliabilityStudy(StudyCommand):
    """How sure the likelihood ratio is of whom it names, and how often it is right.

    On a real table, as it is and divided by a number that simulated hospitals tell.
    """

    out: Path = Path("results/reliability")
    """Folder for records; what is there already is not computed again."""
    cohort: str = "heart"
    """Whose patients: a cohort's name, or the path of a ``cohort.toml`` (docs/own-data.md)."""
    seed: int = 0
    """The experiment's seed: folds, line-ups, noise; never a patient's protection."""
    seeds: int = 1
    """Cross-validations a design."""
    data_dir: Path | None = None
    """Folder with a named cohort's original files (heart: UCI's; by default as packaged)."""

    def check(self) -> None:
        """Refuse no cross-validation."""
        from experiments.studies import reliability

        super().check()
        reliability.grid(self.seed, seeds=self.seeds)

    def points(self) -> "tuple[Sequence[GridPoint], Path | None]":
        """Every design that is judged."""
        from experiments.cohorts import resolve
        from experiments.studies import reliability

        name, data_dir = resolve(self.cohort, self.data_dir)
        return reliability.grid(self.seed, cohort=name, seeds=self.seeds), data_dir
