"""``inpatient correlated``: what noise that is correlated over rounds buys at equal epsilon."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.commands.base import StudyCommand

if TYPE_CHECKING:
    from experiments.run.study import GridPoint

__all__ = ["Correlated"]


@dataclass(frozen=True, kw_only=True)
class Correlated(StudyCommand):
    """Independent, allocated and correlated noise (DP-FTRL) at one epsilon: AUC of each."""

    out: Path = Path("results/correlated")
    """Folder for records; what is there already is not computed again."""
    cohort: str = "heart"
    """Whose patients: a cohort's name, or the path of a ``cohort.toml`` (docs/own-data.md)."""
    epsilon: float = 1.0
    """Of the whole run."""
    seed: int = 0
    """The experiment's seed: folds and noise; never a patient's protection."""
    seeds: int = 1
    """Cross-validations of each way."""
    data_dir: Path | None = None
    """Folder with a named cohort's original files (heart: UCI's; by default as packaged)."""

    def check(self) -> None:
        """Refuse no cross-validation, and an epsilon that protects nobody."""
        from experiments.studies import correlated

        super().check()
        correlated.grid(self.seed, seeds=self.seeds, epsilon=self.epsilon)

    def points(self) -> "tuple[Sequence[GridPoint], Path | None]":
        """Every way to add the noise."""
        from experiments.cohorts import resolve
        from experiments.studies import correlated

        name, data_dir = resolve(self.cohort, self.data_dir)
        points = correlated.grid(self.seed, seeds=self.seeds, epsilon=self.epsilon, cohort=name)
        return points, data_dir
