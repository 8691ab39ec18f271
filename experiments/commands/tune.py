"""``inpatient tune``: how the training settings were chosen, without looking at a heart patient."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.commands.base import StudyCommand

if TYPE_CHECKING:
    from experiments.run.study import GridPoint

__all__ = ["Tune"]


@dataclass(frozen=True, kw_only=True)
class Tune(StudyCommand):
    """Search training settings on simulated patients; the best of each regime and model."""

    out: Path = Path("results/tuning")
    """Folder for the records, one a search."""
    regimes: tuple[str, ...] = ("full", "small")
    """Which of full (all patients in every round) and small (about 8 a hospital)."""
    models: tuple[str, ...] = ("logistic", "mlp")
    """Which of logistic and mlp."""
    studies: int = 8
    """Simulated studies that each setting is averaged over."""
    paced: bool = False
    """Search the sealed runs of ``inpatient asynchrony`` instead (seconds a setting and study)."""
    cohort: str = "heart"
    """Of ``--paced``: heart (the studies are simulated) or network (of other seeds)."""
    scaling: bool = False
    """Search the steps of the headline figure (``frontier --figure headline``) instead."""

    def check(self) -> None:
        """Refuse names of no regime, model or cohort."""
        from experiments.studies.asynchrony import COHORTS
        from experiments.studies.design import TRAINING
        from privacy.errors import InvalidInputError

        super().check()
        if self.cohort not in COHORTS:
            raise InvalidInputError(
                f"Unknown cohort {self.cohort!r}; choose one of {', '.join(COHORTS)}."
            )
        if not self.regimes or not self.models:
            raise InvalidInputError("Give at least one of --regimes and one of --models.")
        for panel in product(self.regimes, self.models):
            if panel not in TRAINING:
                raise InvalidInputError(
                    f"Unknown regime or model {panel}; choose full or small, and logistic or mlp."
                )

    def points(self) -> "tuple[Sequence[GridPoint], None]":
        """The searches, one a record (some 15 minutes on two cores for all)."""
        from experiments.studies.asynchronous import SEALED
        from experiments.studies.design import Regime
        from experiments.studies.tuning import (
            NETWORKS,
            AsynchronousSearch,
            StepSearch,
            TrainingSearch,
        )

        if self.paced:
            rules = SEALED.values()
            return [AsynchronousSearch(rule, self.cohort, self.studies) for rule in rules], None
        if self.scaling:
            return [StepSearch(*place) for place in NETWORKS], None
        panels = product(map(Regime, self.regimes), self.models)
        return [TrainingSearch(*panel, self.studies) for panel in panels], None
