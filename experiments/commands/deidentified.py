"""``inpatient deidentified``: what k-anonymous tables are worth, and who is named from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.commands.base import StudyCommand

if TYPE_CHECKING:
    from experiments.run.study import GridPoint

__all__ = ["Deidentified"]


@dataclass(frozen=True, kw_only=True)
class Deidentified(StudyCommand):
    """What a k-anonymous table is worth to who learns from it, and who is named from it.

    Tables of all fields and of some made coarser, by each hospital and by a curator, on the folds
    and line-ups of the frontier; no bound is known. ``make anonymity`` brings anjana, which makes
    them.
    """

    out: Path = Path("results/deidentified")
    """Folder for records; what is there already is not computed again."""
    cohort: str = "heart"
    """Whose patients: a cohort's name, or the path of a ``cohort.toml`` (docs/own-data.md)."""
    quasi: tuple[str, ...] = ("age", "sex")
    """Fields that are made coarser alone, beside tables in which all are."""
    seed: int = 0
    """The experiment's seed: folds, line-ups, noise; never a patient's protection."""
    seeds: int = 5
    """Cross-validations."""
    data_dir: Path | None = None
    """Folder with a named cohort's original files (heart: UCI's; by default as packaged)."""

    def check(self) -> None:
        """Refuse no cross-validation, and what is no field of the cohort."""
        from experiments.cohorts import load, resolve
        from experiments.studies.deidentified import shown_tables
        from experiments.studies.deidentified.published_point import which

        super().check()
        shown_tables.grid(quasi=self.quasi, seed=self.seed, seeds=self.seeds)
        which(self.quasi, load(*resolve(self.cohort, self.data_dir)))

    def points(self) -> "tuple[Sequence[GridPoint], Path | None]":
        """All fields and some, by hospitals and by a curator."""
        from experiments.cohorts import resolve
        from experiments.studies.deidentified import shown_tables
        from experiments.studies.deidentified.published import require

        require()
        name, data_dir = resolve(self.cohort, self.data_dir)
        return (
            shown_tables.grid(name, quasi=self.quasi, seed=self.seed, seeds=self.seeds),
            data_dir,
        )
