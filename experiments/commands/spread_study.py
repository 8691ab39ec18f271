"""``inpatient spread``: how far an AUC moves with the splits and with the noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from experiments.commands.base import StudyCommand

if TYPE_CHECKING:
    from experiments.run.study import GridPoint

__all__ = ["Spread"]


@dataclass(frozen=True, kw_only=True)
class Spread(StudyCommand):
    """The frontier's AUCs over many cross-validations, each with splits and noise of its own."""

    out: Path = Path("results/spread")
    """Folder for records; what is there already is not computed again."""
    cohort: str = "heart"
    """Whose patients: a cohort's name, or the path of a ``cohort.toml`` (docs/own-data.md)."""
    regime: Literal["full", "small"] = "full"
    """All patients in every round, or about 8 a hospital."""
    model: str = "logistic"
    """As for ``inpatient train``."""
    seeds: int = 40
    """Cross-validations of each design."""
    data_dir: Path | None = None
    """Folder with a named cohort's original files (heart: UCI's; by default as packaged)."""

    def check(self) -> None:
        """Refuse fewer than two cross-validations, and an unknown model."""
        from aggregation.models import check_name
        from experiments.studies import spread

        super().check()
        check_name(self.model)
        spread.grid(seeds=self.seeds)

    def points(self) -> "tuple[Sequence[GridPoint], Path | None]":
        """Every design at its epsilons."""
        from experiments.cohorts import resolve
        from experiments.studies import spread
        from experiments.studies.design import Regime

        name, data_dir = resolve(self.cohort, self.data_dir)
        regime = Regime(self.regime)
        return (
            spread.grid(cohort=name, regime=regime, model=self.model, seeds=self.seeds),
            data_dir,
        )
