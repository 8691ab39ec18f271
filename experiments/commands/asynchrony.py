"""``inpatient asynchrony``: hospitals at their own pace, with and without privacy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.commands.base import ComparisonCommand

if TYPE_CHECKING:
    from experiments.run.study import GridPoint

__all__ = ["Asynchrony"]


@dataclass(frozen=True, kw_only=True)
class Asynchrony(ComparisonCommand):
    """When each asynchronous rule reaches pooled training, for how many bytes, at what budget."""

    out: Path = Path("results/asynchrony")
    """Folder for records and figures; what is there already is not computed again."""
    seeds: int = 5
    """How many seeds, from the first on (the paper: 5)."""

    tuned: Path | None = None
    """Run the sealed rules with the best settings of ``inpatient tune --paced --cohort`` in this
    folder, where it has them."""

    def check(self) -> None:
        """Refuse a folder without a search for these cohorts."""
        super().check()
        if self.tuned:
            self.points()

    def points(self) -> "tuple[Sequence[GridPoint], Path | None]":
        """Every rule on every cohort, once a seed."""
        from experiments.run.record import read_records
        from experiments.studies import asynchrony_study
        from experiments.studies.asynchronous import SEALED_SETTINGS
        from experiments.studies.searched import best_paced

        cohorts, data_dir = self.chosen()
        settings = SEALED_SETTINGS
        if self.tuned:
            records = read_records(self.tuned / "records")
            best = {(c, r): s for c in cohorts for r, s in best_paced(records, c).items()}
            settings = {**settings, **best}
        points = asynchrony_study.grid(
            self.seed, seeds=self.seeds, cohorts=cohorts, sealed_settings=settings
        )
        return points, data_dir
