"""``inpatient correction``: what each correction rule does for every hospital."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.commands.base import ComparisonCommand

if TYPE_CHECKING:
    from experiments.run.study import GridPoint

__all__ = ["Correction"]


@dataclass(frozen=True, kw_only=True)
class Correction(ComparisonCommand):
    """Every correction rule on the same folds: AUC and calibration, hospital by hospital."""

    out: Path = Path("results/correction")
    """Folder for records and figures; what is there already is not computed again."""
    seeds: int = 20
    """Cross-validations of the heart cohort (some six minutes for twenty)."""

    def points(self) -> "tuple[Sequence[GridPoint], Path | None]":
        """Every rule on every cohort; spoilt labels on real ones."""
        from experiments.studies import correction_study, poor_labels

        cohorts, data_dir = self.chosen()
        rules = correction_study.grid(self.seed, seeds=self.seeds, cohorts=cohorts)
        labels = [
            point
            for cohort in cohorts
            if cohort != "network"
            for point in poor_labels.grid(self.seed, cohort=cohort)
        ]
        return [*rules, *labels], data_dir
