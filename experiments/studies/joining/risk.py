"""The risk of those who train: line-ups of the study's federations, as everywhere in this project.

A point is the frontier's, with the study's setting: the curious server of the design, who knows
nobody, and who knows all other patients, each name one of ten from the transcript of the very run.
Hospitals too small for a line-up are counted as not measurable.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.cohorts import called
from experiments.studies.design import DELTA, Regime, TrainingSetting
from experiments.studies.frontier.metrics import summarise
from experiments.studies.frontier.point import FoldResult, FrontierPoint, measure
from experiments.studies.joining.arm_point import FOLDS, JoiningArm
from experiments.studies.lineups import INFORMED, LIKELIHOOD, AttackSuite
from experiments.studies.people import LINEUP

__all__ = ["JoiningRisk"]


@dataclass(frozen=True)
class JoiningRisk:
    """One federation under attack; its fields are the record's key. A unit is a seed and a fold.

    Attributes:
      arm: A federation.
      epsilon: Of the whole run (``article``: of an upload); None: no noise.
      cohort: As ``experiments.cohorts.load`` takes it.
      setting: How it is trained.
      seeds: Of splits and noise; of hundreds of hospitals one has hundreds of line-ups.
      folds: Of a cross-validation.
      colluders: Hospitals whose share of the noise does not count.
      code_version: Raised when a change moves the numbers.
    """

    arm: JoiningArm
    epsilon: float | None
    cohort: str
    setting: TrainingSetting
    seeds: tuple[int, ...] = (0,)
    folds: int = FOLDS
    colluders: int = 1
    code_version: int = 1

    @property
    def attacked(self) -> FrontierPoint:
        """The same federation as a point of the frontier."""
        return FrontierPoint(
            self.arm.design,
            self.epsilon,
            Regime.FULL,
            self.arm.model,
            AttackSuite((LIKELIHOOD, INFORMED)),
            seeds=self.seeds,
            folds=self.folds,
            colluders=self.colluders,
            scheme="plain",
            cohort=self.cohort,
            setting=self.setting,
        )

    @property
    def config(self) -> dict[str, Any]:
        """What names the record."""
        return {"experiment": "joining risk", "delta": DELTA, "lineup": LINEUP, **asdict(self)}

    @property
    def label(self) -> str:
        """A short name for progress and errors."""
        epsilon = "" if self.epsilon is None else f" eps={self.epsilon:g}"
        return f"joining {called(self.cohort)} {self.arm}{epsilon}: risk"

    @property
    def units(self) -> list[tuple[int, int]]:
        """Seed and fold."""
        return self.attacked.units

    def measure(self, unit: tuple[int, int], data_dir: Path | None) -> FoldResult:
        """Run one fold, and let both adversaries name its targets."""
        return measure(self.attacked, *unit, data_dir)

    def summarise(self, parts: list[FoldResult]) -> dict[str, Any]:
        """As the frontier's (``FrontierMetrics``)."""
        return summarise(self.attacked, parts)
