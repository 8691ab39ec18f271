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

    def points(self) -> "tuple[Sequence[GridPoint], Path | None]":
        """Every rule on every cohort, once a seed."""
        from experiments.studies import asynchrony

        cohorts, data_dir = self.chosen()
        return asynchrony.grid(self.seed, seeds=self.seeds, cohorts=cohorts), data_dir
