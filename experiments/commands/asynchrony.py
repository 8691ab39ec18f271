"""``inpatient asynchrony``: hospitals at their own pace, with and without privacy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.commands.study import StudyCommand

if TYPE_CHECKING:
    from experiments.run.study import GridPoint

__all__ = ["Asynchrony"]


@dataclass(frozen=True, kw_only=True)
class Asynchrony(StudyCommand):
    """When each asynchronous rule reaches pooled training, for how many bytes, at what budget."""

    out: Path = Path("results/asynchrony")
    """Folder for records and figures; what is there already is not computed again."""
    cohorts: tuple[str, ...] = ("heart", "network")
    """``heart`` (four real hospitals), ``network`` (40 simulated ones), or both."""
    cohort: str = ""
    """Instead of those: a cohort's name, or the path of a ``cohort.toml`` (docs/own-data.md)."""
    seed: int = 0
    """The experiment's seed: folds, schedules, noise; never a patient's protection."""
    seeds: int = 5
    """How many seeds, from the first on (the paper: 5)."""
    data_dir: Path | None = None
    """Folder with a named cohort's original files (heart: UCI's; by default as packaged)."""

    def check(self) -> None:
        """Refuse names of no cohort."""
        from experiments.studies import asynchrony
        from privacy.errors import InvalidInputError

        super().check()
        unknown = set(self.cohorts) - set(asynchrony.COHORTS)
        if unknown or not self.cohorts:
            raise InvalidInputError(
                f"Expected cohorts among {asynchrony.COHORTS}, got {self.cohorts}."
            )

    def points(self) -> "tuple[Sequence[GridPoint], Path | None]":
        """Every rule on every cohort, once a seed."""
        from experiments.cohorts import resolve
        from experiments.studies import asynchrony

        cohorts, data_dir = self.cohorts, self.data_dir
        if self.cohort:
            name, data_dir = resolve(self.cohort, self.data_dir)
            cohorts = (name,)
        return asynchrony.grid(self.seed, seeds=self.seeds, cohorts=cohorts), data_dir
