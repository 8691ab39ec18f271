"""``inpatient correction``: what each correction rule does for every hospital."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.commands.study import StudyCommand

if TYPE_CHECKING:
    from experiments.run.study import GridPoint

__all__ = ["Correction"]


@dataclass(frozen=True, kw_only=True)
class Correction(StudyCommand):
    """Every correction rule on the same folds: AUC and calibration, hospital by hospital."""

    out: Path = Path("results/correction")
    """Folder for records and figures; what is there already is not computed again."""
    cohorts: tuple[str, ...] = ("heart", "network")
    """``heart`` (four real hospitals), ``network`` (40 simulated ones), or both."""
    cohort: str = ""
    """Instead of those: a cohort's name, or the path of a ``cohort.toml`` (docs/own-data.md)."""
    seed: int = 0
    """The experiment's seed: folds, networks, noise; never a patient's protection."""
    seeds: int = 20
    """Cross-validations of the heart cohort (some six minutes for twenty)."""
    data_dir: Path | None = None
    """Folder with a named cohort's original files (heart: UCI's; by default as packaged)."""

    def check(self) -> None:
        """Refuse names of no cohort."""
        from experiments.studies import correction
        from privacy.errors import InvalidInputError

        super().check()
        unknown = set(self.cohorts) - set(correction.COHORTS)
        if unknown or not self.cohorts:
            raise InvalidInputError(
                f"Expected cohorts among {correction.COHORTS}, got {self.cohorts}."
            )

    def points(self) -> "tuple[Sequence[GridPoint], Path | None]":
        """Every rule on every cohort; spoilt labels on the heart's hospitals."""
        from experiments.cohorts import resolve
        from experiments.studies import correction, poor_labels

        cohorts, data_dir = self.cohorts, self.data_dir
        if self.cohort:
            name, data_dir = resolve(self.cohort, self.data_dir)
            cohorts = (name,)
        rules = correction.grid(self.seed, seeds=self.seeds, cohorts=cohorts)
        labels = poor_labels.grid(self.seed) if "heart" in cohorts else []
        return [*rules, *labels], data_dir
