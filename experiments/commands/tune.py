"""``inpatient tune``: training settings, chosen on simulated patients of a cohort's shape."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from experiments.commands.base import StudyCommand

if TYPE_CHECKING:
    from experiments.run.study import GridPoint

__all__ = ["Tune"]


@dataclass(frozen=True, kw_only=True)
class Tune(StudyCommand):
    """Search training settings on simulated patients; the best of each regime and model.

    Of the cohort it reads the schema and the hospitals' sizes alone, no patient's value.
    ``inpatient frontier --tuned OUT`` and ``inpatient asynchrony --tuned OUT`` train with the best.
    """

    DRAWN_COHORTS: ClassVar[str] = "network-"  # networks of so many simulated hospitals

    out: Path = Path("results/tuning")
    """Folder for the records, one a search."""
    regimes: tuple[str, ...] = ("full", "small")
    """Which of full (all patients in every round) and small (about 8 a hospital)."""
    models: tuple[str, ...] = ("logistic", "mlp")
    """Which of logistic, mlp, moments (logistic, opened once), deep, embedded, transformer, or
    FILE:FACTORY (docs/own-model.md)."""
    rounds: tuple[int, ...] = ()
    """Numbers of rounds that are tried; by default those of the regime."""
    studies: int = 8
    """Simulated studies that each setting is averaged over."""
    paced: bool = False
    """Search the sealed runs of ``inpatient asynchrony`` instead (seconds a setting and study)."""
    scaling: bool = False
    """Search the steps of the headline figure (``frontier --figure headline``) instead."""
    cohort: str = "heart"
    """Whose sizes and schema: a cohort's name, the path of a ``cohort.toml`` (docs/own-data.md),
    network-40 (as many simulated hospitals, of seeds that are not published), or with --paced
    network (likewise)."""
    data_dir: Path | None = None
    """Folder with a named cohort's original files (heart: UCI's; by default as packaged)."""

    def check(self) -> None:
        """Refuse names of no regime or model, and options that would change nothing."""
        from aggregation.models import check_name
        from experiments.studies.design import Regime
        from privacy._validate import natural
        from privacy.errors import InvalidInputError

        super().check()
        if self.cohort == "network" and not self.paced:
            raise InvalidInputError(
                "--cohort network goes with --paced; without it name a cohort that has tables."
            )
        if self.cohort.startswith(self.DRAWN_COHORTS):
            hospitals = self.cohort.removeprefix(self.DRAWN_COHORTS)
            if not re.fullmatch(r"[1-9]\d{0,4}", hospitals) or self.paced:
                raise InvalidInputError(
                    f"Expected --cohort {self.cohort} as network-N with N hospitals, up to 99999, "
                    "and without --paced, which takes network."
                )
        if self.scaling and (self.paced or self.cohort != "heart"):
            raise InvalidInputError(
                "--scaling searches the headline figure's own networks; leave out --paced and "
                "--cohort."
            )
        if not self.regimes or not self.models:
            raise InvalidInputError("Give at least one of --regimes and one of --models.")
        for model in self.models:
            check_name(model)
        for count in self.rounds:
            natural(rounds=count, least=1)
        if self.rounds and (self.paced or self.scaling or len(self.regimes) != 1):
            raise InvalidInputError(
                "--rounds goes with one of --regimes, and with neither --paced nor --scaling."
            )
        for regime in self.regimes:
            if regime not in tuple(Regime):
                raise InvalidInputError(f"Unknown regime {regime!r}; choose full or small.")

    def points(self) -> "tuple[Sequence[GridPoint], Path | None]":
        """The searches, one a record (some 15 minutes on two cores for all)."""
        from experiments.cohorts import load, resolve
        from experiments.studies.asynchronous import SEALED
        from experiments.studies.design import Regime
        from experiments.studies.tuning import (
            NETWORKS,
            AsynchronousSearch,
            StepSearch,
            TrainingSearch,
        )

        if self.scaling:
            return [StepSearch(*place) for place in NETWORKS], None
        if self.cohort == "network":
            rules = SEALED.values()
            return [AsynchronousSearch(rule, self.cohort, self.studies) for rule in rules], None
        cohort, place = self.cohort, None
        if not cohort.startswith(self.DRAWN_COHORTS):
            cohort, place = resolve(self.cohort, self.data_dir)
        if self.paced:
            count = len(load(cohort, place).hospitals)
            searches = [
                AsynchronousSearch(rule, cohort, self.studies, count) for rule in SEALED.values()
            ]
            return searches, place
        panels = product(map(Regime, self.regimes), self.models)
        return [
            TrainingSearch(*panel, self.studies, cohort, tuple(self.rounds)) for panel in panels
        ], place
