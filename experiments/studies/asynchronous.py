"""One rule followed along one schedule of hospitals at their own pace, without noise or for real.

The uploads are one step each, the only ones that may share noise. Without privacy a rule is
replayed on mean gradients; ``sealed ...`` rules are true runs on summed integers: ledgers,
clipping, discrete noise, sealed sums, each hospital throttled to its budget.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import cycle
from pathlib import Path
from typing import Any

import attr
import numpy as np
from dp_accounting import DpEvent, SelfComposedDpEvent
from numpy.typing import NDArray

from aggregation.agreement import Agreement, memory_events
from aggregation.data.patients import Patients
from aggregation.engines import clear
from aggregation.federation import Federation
from aggregation.models import Logistic
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.releases import round_event
from aggregation.rules import Buffered, Call, FedAsync, Memory, Rule, corrected, fedbuff
from aggregation.timing import Pace, Schedule, Trigger, simulate
from aggregation.timing.allowance import allowed_uploads
from experiments.cohorts import Cohort, Fold, folds, load
from experiments.cohorts.network import Network
from experiments.studies.design import DELTA, RELATION, radius_for
from experiments.studies.problem import LogisticProblem
from privacy.accounting import epsilon as epsilon_of
from privacy.calibration import noise_multiplier

__all__ = [
    "SEALED",
    "SEALED_SETTINGS",
    "ArrivalRule",
    "AsynchronousRun",
    "SealedSettings",
    "TimedModels",
    "agreed",
    "averaged",
    "follow",
    "schedule_of",
]

HEART_DURATIONS = (1.0, 1.5, 6.0, 4.0)
TIER_DURATIONS = {"tier3": 1.0, "clinic": 6.0}


class ArrivalRule(StrEnum):
    """What is done with uploads that arrive at different times; the value is the name in records.

    The sealed ones are true runs, whose hospitals have a budget each.
    """

    SYNCHRONOUS = "synchronous"
    FASTEST_HALF = "fastest half"
    FEDASYNC = "fedasync"
    FEDBUFF = "fedbuff"
    FEDBUFF_FRESH = "fedbuff, stale dropped"
    CORRECTED = "corrected"
    CA2FL = "ca2fl"
    MEMORY = "memory"
    SEALED_SYNCHRONOUS = "sealed synchronous"
    SEALED_CORRECTED = "sealed corrected"
    SEALED_MEMORY = "sealed memory"

    @property
    def waits_for_all(self) -> bool:
        """Whether a sum holds every hospital."""
        return self in (ArrivalRule.SYNCHRONOUS, ArrivalRule.SEALED_SYNCHRONOUS)

    @property
    def sealed(self) -> bool:
        """Whether it is a true run: clipped, noised, sealed, paid for."""
        return self in SEALED.values()


SEALED: Mapping[ArrivalRule, ArrivalRule] = {
    ArrivalRule.SYNCHRONOUS: ArrivalRule.SEALED_SYNCHRONOUS,
    ArrivalRule.CORRECTED: ArrivalRule.SEALED_CORRECTED,
    ArrivalRule.MEMORY: ArrivalRule.SEALED_MEMORY,
}
"""The rules that are run for real too, and as what."""

SealedSettings = Mapping[tuple[str, ArrivalRule], Mapping[str, Any]]
"""By cohort and sealed rule, the fields of ``AsynchronousRun`` that were searched for."""

# Chosen by ``inpatient tune --paced``: for heart on simulated studies alone, for the network on
# networks of other seeds.
SEALED_SETTINGS: SealedSettings = {
    ("heart", ArrivalRule.SEALED_SYNCHRONOUS): {"uploads": 30, "sealed_rate": 4.0},
    ("heart", ArrivalRule.SEALED_CORRECTED): {"uploads": 30, "sealed_rate": 1.0, "buffer": 3},
    ("heart", ArrivalRule.SEALED_MEMORY): {"uploads": 30, "sealed_rate": 4.0, "buffer": 3},
    ("network", ArrivalRule.SEALED_SYNCHRONOUS): {"uploads": 30, "sealed_rate": 16.0},
    ("network", ArrivalRule.SEALED_CORRECTED): {"uploads": 10, "sealed_rate": 4.0, "buffer": 10},
    ("network", ArrivalRule.SEALED_MEMORY): {"uploads": 30, "sealed_rate": 16.0, "buffer": 20},
}

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class AsynchronousRun:
    """One rule on one cohort, along the schedule of one seed.

    Attributes:
      cohort: ``heart`` (cross-validated) or ``network`` (tested on the next draw of patients).
      rule: What is done with what arrives.
      horizon: How long, in units of the fastest hospital's mean duration.
      buffer: Contributions of distinct hospitals in a sum, of the buffered rules.
      learning_rate: Step on the mean gradient, without noise.
      sealed_rate: The same with noise (``sealed ...``).
      corrected_rate: Server's step of ``corrected`` and ``ca2fl``.
      sealed_server_rate: The same with noise, and of ``sealed memory``.
      average: Part of the models so far that is averaged at any time (``sealed ...``).
      ridge: Of the objective, in patients.
      seed: Of folds, schedule and noise.
      folds: Of the cross-validation.
      epsilon: Each hospital's budget (``sealed ...``).
      uploads: That the budget has to allow the hospital which pays most for one.
      clip_norm: Of a patient's gradient (``sealed ...``).
      hospitals: Of the network.
      code_version: Raised when a change moves the numbers.
    """

    cohort: str
    rule: ArrivalRule
    horizon: float = 240.0
    buffer: int = 2
    learning_rate: float = 2.0
    sealed_rate: float = 0.5
    corrected_rate: float = 0.4
    sealed_server_rate: float = 1.0
    average: float = 0.5
    ridge: float = 10.0
    seed: int = 0
    folds: int = 5
    epsilon: float = 1.0
    uploads: int = 30
    clip_norm: float = 1.0
    hospitals: int = 40
    code_version: int = 2

    @property
    def config(self) -> dict[str, Any]:
        """What names the point's record."""
        return {"experiment": "asynchrony", **dataclasses.asdict(self)}

    def split(self, data_dir: Path | None = None) -> tuple[Cohort, tuple[Fold, ...]]:
        """Return the cohort and its folds."""
        if self.cohort == "network":
            network = Network(self.hospitals, 1.0, self.seed, tier3_fraction=0.25)
            return network.cohort(), (network.fold(),)
        cohort = load(self.cohort, data_dir)
        return cohort, folds(cohort, count=self.folds, seed=self.seed, alone=True)

    @property
    def fold_count(self) -> int:
        """Folds of the cohort: a network is tested on other patients, whole."""
        return 1 if self.cohort == "network" else self.folds

    def paces(self, cohort: Cohort) -> dict[str, Pace]:
        """Return each hospital's declared pace."""
        if cohort.tiers:
            slow = TIER_DURATIONS["clinic"]
            tiers = {n: TIER_DURATIONS.get(cohort.tiers[n], slow) for n in cohort.hospitals}
            return {n: Pace(duration) for n, duration in tiers.items()}
        return {n: Pace(d) for n, d in zip(cohort.hospitals, cycle(HEART_DURATIONS), strict=False)}

    def trigger(self, hospitals: int) -> Trigger:
        """Return when sums are opened."""
        if self.rule.waits_for_all:
            return Trigger.synchronous(hospitals)
        if self.rule is ArrivalRule.FASTEST_HALF:
            return Trigger.synchronous(hospitals // 2)
        count = 1 if self.rule is ArrivalRule.FEDASYNC else self.buffer
        return Trigger(count, count)


@dataclass(frozen=True)
class TimedModels:
    """One fold's run.

    Attributes:
      times: When each model was there, ``[versions]``.
      models: ``[versions, dim]``.
      uploads: When each upload arrived, in order.
      upload_bytes: Of one upload.
      epsilons: Spent by each hospital, upper end; None: nothing was protected.
    """

    times: Vector
    models: Vector
    uploads: Vector
    upload_bytes: int
    epsilons: Mapping[str, float] | None


def follow(point: AsynchronousRun, cohort: Cohort, fold: Fold, number: int) -> TimedModels:
    """Run a point's rule on one fold.

    Args:
      point: What to run.
      cohort: What ``point.split`` returned.
      fold: One of its folds.
      number: Which of them.
    """
    if point.rule.sealed:
        return _follow_sealed(point, cohort, fold, number)
    problem = LogisticProblem(fold.train, point.ridge)
    schedule = schedule_of(point, cohort)
    rule = _rule(point, cohort, problem.shares)

    def update(call: Call) -> Vector:
        return -point.learning_rate * problem.gradient(call.hospital, call.params)

    models = clear.follow(rule, schedule, np.zeros(problem.dim), update=update).models
    return TimedModels(_times(schedule), models, _arrivals(schedule), 8 * problem.dim, None)


def schedule_of(point: AsynchronousRun, cohort: Cohort, *, seed_offset: int = 0) -> Schedule:
    """Return a point's schedule; another ``seed_offset`` is another one of the same law."""
    paces = point.paces(cohort)
    if point.rule is ArrivalRule.FASTEST_HALF:
        paces = {name: paces[name] for name in _fast(paces)}
    trigger = point.trigger(len(cohort.hospitals))
    seed = point.seed + seed_offset
    return simulate(paces, trigger, horizon=point.horizon, seed=seed, waits=True)


def _fast(paces: Mapping[str, Pace]) -> list[str]:
    return sorted(paces, key=lambda name: (paces[name].duration, name))[: len(paces) // 2]


def _rule(point: AsynchronousRun, cohort: Cohort, shares: Mapping[str, float]) -> Rule:
    """A fresh rule; shares of the patients weigh mean displacements."""
    match point.rule:
        case ArrivalRule.SYNCHRONOUS | ArrivalRule.FASTEST_HALF:
            members = list(shares)
            if point.rule is ArrivalRule.FASTEST_HALF:
                members = _fast(point.paces(cohort))
            largest, total = max(shares[n] for n in members), sum(shares[n] for n in members)
            weights = {n: shares[n] / largest for n in members}
            scale = largest / total * len(members)  # the weights then add up to 1
            return Buffered(shares=weights, discount=False, scale=scale)
        case ArrivalRule.FEDASYNC:
            return FedAsync()
        case ArrivalRule.FEDBUFF:
            return fedbuff()
        case ArrivalRule.FEDBUFF_FRESH:
            return fedbuff(oldest=2)
        case ArrivalRule.CORRECTED:
            return corrected(shares, _pilot_rates(point, cohort), rate=point.corrected_rate)
        case ArrivalRule.CA2FL:
            return Memory(rate=point.corrected_rate, hospitals=len(shares))
        case _:
            return Memory(shares=shares, hospitals=len(shares))


def _pilot_rates(point: AsynchronousRun, cohort: Cohort) -> dict[str, float]:
    """Planned rates of hospitals that wait: of another schedule, from declared paces alone.

    Hospitals of one pace have one rate: the mean of theirs.
    """
    rates = schedule_of(point, cohort, seed_offset=1_000_003).rates
    paces = point.paces(cohort)
    members: dict[Pace, list[str]] = {}
    for name, pace in paces.items():
        members.setdefault(pace, []).append(name)
    return {
        name: float(np.mean([rates.get(other, 0.0) for other in members[pace]]))
        for name, pace in paces.items()
    }


def _times(schedule: Schedule) -> Vector:
    return np.array([0.0, *(opening.time for opening in schedule.openings)])


def _arrivals(schedule: Schedule) -> Vector:
    opened = [a.arrived for o in schedule.openings for a in o.arrivals]
    return np.sort(np.array([*opened, *(a.arrived for a in schedule.left)]))


def agreed(
    point: AsynchronousRun, cohort: Cohort, fold: Fold, number: int
) -> tuple[Agreement, Schedule]:
    """Plan a true run (``sealed ...``): noise that keeps every budget, and throttled hospitals.

    Args:
      point: What to run.
      cohort: What ``point.split`` returned.
      fold: One of its folds.
      number: Which of them.
    """
    # A sum has each hospital's patients in it already.
    ones = dict.fromkeys(cohort.hospitals, 1.0)
    if point.rule is ArrivalRule.SEALED_MEMORY:
        memory = Memory(rate=point.sealed_server_rate, shares=ones)
        limits = dict.fromkeys(cohort.hospitals, point.uploads)
        schedule = _throttled(point, cohort, limits)
        plan = _memory_plan(point, schedule, fold.train, memory, number)
        return Agreement.of(plan, schedule), schedule
    rates, rate = {n: 1 / len(ones) for n in ones}, 1.0
    if point.rule is ArrivalRule.SEALED_CORRECTED:
        rates, rate = _pilot_rates(point, cohort), point.sealed_server_rate
    rule = corrected(ones, rates, rate=rate)
    weights = dict(rule.shares or {})
    multiplier = _multiplier(point, len(ones), len(cohort.schema))
    plan = _plan(point, multiplier, fold.train, number, rule)
    limits = {n: _allowed(round_event(plan, n, weight=weights[n]), point.epsilon) for n in ones}
    schedule = _throttled(point, cohort, limits)
    return Agreement.of(plan, schedule), schedule


def _follow_sealed(point: AsynchronousRun, cohort: Cohort, fold: Fold, number: int) -> TimedModels:
    """A true run: every upload spent, clipped, noised and summed; budgets throttle hospitals."""
    agreement, schedule = agreed(point, cohort, fold, number)
    ran = Federation.simulated(
        agreement.plan,
        fold.train,
        seed=point.seed,
        target_epsilon=point.epsilon,
        schedule=schedule,
    ).run()
    payloads = [len(m.payload) for m in ran.transcript if m.kind == "update"]
    spent = {
        n: epsilon_of(agreement.run_event(n), delta=DELTA, relation=RELATION).upper
        for n in schedule.uploads
    }
    models = averaged(ran.models, point.average)
    return TimedModels(
        _times(schedule), models, _arrivals(schedule), max(payloads, default=0), spent
    )


def averaged(models: Vector, part: float) -> Vector:
    """Each model as the mean of the last part of those so far: post-processing of sums."""
    sums = np.cumsum(models, axis=0)
    means = models.copy()
    for k in range(1, len(models)):
        window = max(1, round(part * k))
        means[k] = (sums[k] - sums[k - window]) / window
    return means


def _throttled(point: AsynchronousRun, cohort: Cohort, limits: Mapping[str, int]) -> Schedule:
    return simulate(
        point.paces(cohort),
        point.trigger(len(cohort.hospitals)),
        horizon=point.horizon,
        seed=point.seed,
        waits=True,
        limits=limits,
    )


def _memory_plan(
    point: AsynchronousRun,
    schedule: Schedule,
    patients: Mapping[str, Patients],
    rule: Memory,
    number: int,
) -> Plan:
    """The least noise with which all openings together keep every hospital's budget."""
    unit = memory_events(_plan(point, 1.0, patients, number, rule), schedule)
    totals = {n: SelfComposedDpEvent(e, schedule.uploads[n]) for n, e in unit.items()}
    worst = max(unit, key=lambda n: unit[n].leverage * totals[n].count)

    def event_at(multiplier: float) -> DpEvent:
        event = unit[worst]
        scaled = attr.evolve(event, noise_multiplier=event.noise_multiplier * multiplier)
        return SelfComposedDpEvent(scaled, totals[worst].count)

    least = noise_multiplier(event_at, target_epsilon=point.epsilon, delta=DELTA, relation=RELATION)
    return _plan(point, least, patients, number, rule)


@lru_cache(maxsize=256)
def _allowed(event: DpEvent, epsilon: float) -> int:
    return allowed_uploads(event, target_epsilon=epsilon, delta=DELTA)


@lru_cache(maxsize=256)
@lru_cache(maxsize=16)
def _multiplier(point: AsynchronousRun, hospitals: int, features: int) -> float:
    """Noise with which the budget allows ``point.uploads`` uploads of weight 1."""
    one = Patients(np.zeros((1, features)), np.zeros(1, dtype=np.int64))
    patients = {str(k): one for k in range(hospitals)}

    def event_at(multiplier: float) -> DpEvent:
        plan = _plan(point, multiplier, patients, 0)
        return SelfComposedDpEvent(round_event(plan, "0"), point.uploads)

    return noise_multiplier(event_at, target_epsilon=point.epsilon, delta=DELTA, relation=RELATION)


def _plan(
    point: AsynchronousRun,
    multiplier: float,
    patients: Mapping[str, Patients],
    number: int,
    rule: Rule | None = None,
) -> Plan:
    model = Logistic(next(iter(patients.values())).features.shape[1])
    return Plan(
        run=f"asynchrony-{point.seed}-{number}",
        model=model,
        hospitals=tuple(patients),
        declared_sizes=tuple(len(p) for p in patients.values()),
        rounds=point.uploads,
        learning_rate=point.sealed_rate,
        noise=NoiseKind.SHARED,
        scheme="plain",  # opens to the same integers as the schemes that hide
        clip_norm=point.clip_norm,
        radius=radius_for(model.dim),
        noise_multiplier=multiplier,
        delta=DELTA,
        colluders=1,
        smallest_sum=point.trigger(len(patients)).distinct,
        rule=rule,
    )
