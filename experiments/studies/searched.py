"""What searches of settings found: their records, read, and the best of each."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from experiments.cohorts import called
from experiments.run.record import Record
from experiments.run.typed import TypedRecord, read
from experiments.studies.asynchronous import ArrivalRule
from experiments.studies.design import Regime, TrainingSetting
from experiments.studies.scaling import ScalingArm
from experiments.studies.scaling_steps import StepKey
from experiments.studies.tuning import AsynchronousSearch, Search, StepSearch, TrainingSearch
from privacy.errors import InvalidInputError

__all__ = ["best_paced", "best_steps", "best_trainings", "lines", "read_searches"]


@dataclass(frozen=True)
class Tried:
    """One candidate of a search.

    Attributes:
      auc: The mean over studies.
      standard_error: Of it; None: of one study.
      setting: What was tried, of a search of settings.
      design: Of a search of steps.
      epsilon: Of a search of steps; None: no noise.
      step: Of a search of steps.
    """

    auc: float
    standard_error: float | None = None
    setting: Mapping[str, Any] = field(default_factory=dict)
    design: ScalingArm | None = None
    epsilon: float | None = None
    step: float = 0.0


@dataclass(frozen=True)
class SearchMetrics:
    """What a record of any search holds."""

    scores: tuple[Tried, ...]

    @property
    def best(self) -> Tried:
        """The candidate of the greatest mean AUC; the first of several."""
        return max(self.scores, key=lambda tried: tried.auc)


_SEARCHES: Mapping[str, type[Search]] = {
    "tuning": TrainingSearch,
    "tuning asynchrony": AsynchronousSearch,
    "tuning scaling": StepSearch,
}


def read_searches(records: Sequence[Record]) -> list[TypedRecord[Search, SearchMetrics]]:
    """Read records of searches, in order."""
    return [_read(r) for r in records]


def _read(record: Record) -> TypedRecord[Search, SearchMetrics]:
    result = read(record, _SEARCHES[record.config["experiment"]], SearchMetrics)
    if not isinstance(result.point, AsynchronousSearch):
        return result
    cohort = record.config["candidates"][0]["cohort"]  # why: these candidates say it themselves
    return replace(result, point=replace(result.point, cohort=cohort))


def lines(records: Sequence[Record]) -> list[str]:
    """The best of each search, a line each."""
    best_lines = []
    for result in read_searches(records):
        if isinstance(result.point, StepSearch):
            steps = best_steps([result])
            best_lines += [
                f"{' '.join(map(str, key))}: step {step:g}" for key, step in steps.items()
            ]
            continue
        best = result.metrics.best
        error = f"{best.standard_error:.4f}" if best.standard_error is not None else "unknown"
        best_lines.append(
            f"{result.point.label}: AUC {best.auc:.4f} (standard error {error}) with "
            f"{dict(best.setting)}"
        )
    return best_lines


def best_trainings(
    records: Sequence[Record], cohort: str, rounds: tuple[int, ...] = ()
) -> dict[tuple[Regime, str], TrainingSetting]:
    """The best setting of each regime and model that was searched for this cohort.

    Args:
      records: Of searches.
      cohort: Whose.
      rounds: What numbers of rounds were tried; none: the usual ones.

    Raises:
      InvalidInputError: Nothing was.
    """
    best = {}
    for result in read_searches(records):
        point = result.point
        if isinstance(point, TrainingSearch) and (point.cohort, point.rounds) == (cohort, rounds):
            setting = TrainingSetting(**result.metrics.best.setting)
            best[point.regime, point.model] = setting
    if not best:
        raise InvalidInputError(
            f"No search of settings for {called(cohort)} as it is now. Run inpatient tune "
            "--cohort for it first (changed patients or sizes need a search of their own)."
        )
    return best


def best_paced(records: Sequence[Record], cohort: str) -> dict[ArrivalRule, Mapping[str, Any]]:
    """The best fields of ``AsynchronousRun`` for each rule that was searched for this cohort.

    Raises:
      InvalidInputError: Nothing was.
    """
    best = {
        result.point.rule: result.metrics.best.setting
        for result in read_searches(records)
        if isinstance(result.point, AsynchronousSearch) and result.point.cohort == cohort
    }
    if not best:
        raise InvalidInputError(
            f"No search at hospitals' own pace for {called(cohort)} as it is now. Run inpatient "
            "tune --paced --cohort for it first (changed patients need a search of their own)."
        )
    return best


def best_steps(results: Sequence[TypedRecord[Search, SearchMetrics]]) -> dict[StepKey, float]:
    """The step of the greatest mean AUC in each place; the smaller of two that tie."""
    best: dict[StepKey, tuple[float, float]] = {}
    for result in results:
        if not isinstance(result.point, StepSearch):
            continue
        for tried in result.metrics.scores:
            epsilon = math.inf if tried.epsilon is None else tried.epsilon
            arm = ScalingArm(tried.design or ScalingArm.NONE)
            key = (result.point.arrangement, result.point.hospitals, arm, epsilon)
            best[key] = max(best.get(key, (-math.inf, 0.0)), (tried.auc, -tried.step))
    return {key: -step for key, (_, step) in best.items()}
