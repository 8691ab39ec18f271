"""Hospitals at their own pace: what each rule reaches, when, and for how many bytes.

A rule *reaches* the gap when its excess loss over pooled training first is at most ``GAP``,
provided that it stays: the mean over the last quarter of the time is at most ``GAP`` too. One
record a cohort, rule and seed.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE
from rich.table import Table

from aggregation.timing import leverage
from experiments.cohorts import Cohort, called
from experiments.evaluation import Scored, auc, join
from experiments.run.record import Record
from experiments.run.text import mean, nearest
from experiments.run.typed import TypedRecord, read_all
from experiments.studies.asynchronous import (
    SEALED_SETTINGS,
    ArrivalRule,
    AsynchronousRun,
    SealedSettings,
    follow,
    schedule_of,
)
from experiments.studies.problem import LogisticProblem, scored_by

__all__ = [
    "COHORTS",
    "GAP",
    "LEGEND",
    "AsynchronyMetrics",
    "AsynchronyPoint",
    "AsynchronyResult",
    "RuleOverSeeds",
    "grid",
    "read_asynchrony",
    "repeated",
    "tables",
]

GAP = 0.005  # nats a patient
COHORTS = ("heart", "network")
LEGEND = (
    "time: when the excess loss over pooled training is at most 0.005 nats and stays there, in "
    "units of the fastest hospital's mean duration; kB: all uploads until then, before sealing; "
    "gap, AUC: at the end; eps: least and most of any hospital, upper end; without: nothing "
    "is protected."
)
MOMENTS = 61  # when a run is looked at, evenly spaced
_LATE = 3 * MOMENTS // 4  # the first moment of the last quarter


@dataclass(frozen=True)
class FoldInTime:
    """One fold's run, looked at ``MOMENTS`` times.

    Attributes:
      gaps: Excess loss over pooled training at each moment, nats a patient.
      sites: The test patients as the model of each moment scores them.
      pooled: As pooled training scores them.
      sent: Uploads until each moment.
      upload_bytes: Of one upload.
      epsilons: Spent by each hospital; None: nothing is protected.
      leverage_over_assumed: What Memory's openings cost over single ones; None: another rule.
    """

    gaps: tuple[float, ...]
    sites: tuple[Mapping[str, Scored], ...]
    pooled: Mapping[str, Scored]
    sent: tuple[int, ...]
    upload_bytes: int
    epsilons: Mapping[str, float] | None
    leverage_over_assumed: float | None


@dataclass(frozen=True)
class AsynchronyPoint:
    """One rule on one cohort; a unit is a fold.

    Attributes:
      run: What is run on each fold.
    """

    run: AsynchronousRun

    @property
    def config(self) -> dict[str, Any]:
        """What names the point's record."""
        return self.run.config

    @property
    def label(self) -> str:
        """A short name for progress and errors."""
        return f"asynchrony, {called(self.run.cohort)}: {self.run.rule}"

    @property
    def units(self) -> range:
        """Folds."""
        return range(self.run.fold_count)

    def measure(self, unit: int, data_dir: Path | None = None) -> FoldInTime:
        """Run one fold, and look at it as time goes by."""
        cohort, split = self.run.split(data_dir)
        fold = split[unit]
        timed = follow(self.run, cohort, fold, unit)
        problem = LogisticProblem(fold.train, self.run.ridge)
        places = np.searchsorted(timed.times, self.moments, side="right") - 1
        models = [timed.models[place] for place in places]
        return FoldInTime(
            gaps=tuple(problem.gap(params) for params in models),
            sites=tuple(scored_by(params, fold.test) for params in models),
            pooled=scored_by(problem.optimum, fold.test),
            sent=tuple(int(n) for n in np.searchsorted(timed.uploads, self.moments, side="right")),
            upload_bytes=timed.upload_bytes,
            epsilons=timed.epsilons,
            leverage_over_assumed=_memory_cost(self.run, cohort) if unit == 0 else None,
        )

    @property
    def moments(self) -> NDArray[np.float64]:
        """When the run is looked at."""
        return np.linspace(0.0, self.run.horizon, MOMENTS)

    def summarise(self, parts: list[FoldInTime]) -> dict[str, Any]:
        """Curves over time, and where they end; bytes and budgets are those of the first fold."""
        first = parts[0]
        gaps = np.mean([part.gaps for part in parts], axis=0)
        aucs = [auc(join(*(part.sites[m] for part in parts))) for m in range(MOMENTS)]
        sent = [count * first.upload_bytes for count in first.sent]
        final = float(gaps[_LATE:].mean())
        reached = None
        if final <= GAP:
            place = int(np.argmax(gaps <= GAP))
            reached = {"time": float(self.moments[place]), "bytes": sent[place]}
        return {
            "time": self.moments.tolist(),
            "gap": gaps.tolist(),
            "auc": aucs,
            "bytes": sent,
            "final_gap": final,
            "final_auc": float(np.mean(aucs[_LATE:])),
            "pooled_auc": auc(join(*(part.pooled for part in parts))),
            "reached": reached,
            "epsilons": None if first.epsilons is None else dict(first.epsilons),
            "leverage_over_assumed": first.leverage_over_assumed,
        }


def grid(
    seed: int = 0,
    *,
    seeds: int = 1,
    cohorts: Sequence[str] = COHORTS,
    rules: Sequence[ArrivalRule] = tuple(ArrivalRule),
    sealed_settings: SealedSettings = SEALED_SETTINGS,
) -> list[AsynchronyPoint]:
    """Every rule on every cohort, once a seed."""
    every = range(seed, seed + seeds)
    return [
        AsynchronyPoint(_run(c, r, s, sealed_settings))
        for c in cohorts
        for r in rules
        for s in every
    ]


def _run(
    cohort: str, rule: ArrivalRule, seed: int, sealed_settings: SealedSettings
) -> AsynchronousRun:
    run = AsynchronousRun(cohort, rule, seed=seed)
    if cohort == "network":
        run = dataclasses.replace(run, horizon=400.0, buffer=10, learning_rate=2.5)
    of_heart = sealed_settings.get(("heart", rule), {})  # why: those of cohorts not searched for
    return dataclasses.replace(run, **sealed_settings.get((cohort, rule), of_heart))


def _memory_cost(run: AsynchronousRun, cohort: Cohort) -> float | None:
    """What Memory's openings cost over single ones: squared sensitivity against m / n."""
    if run.rule not in (ArrivalRule.MEMORY, ArrivalRule.CA2FL):
        return None
    brief = dataclasses.replace(run, horizon=min(run.horizon, 60.0))
    schedule = schedule_of(brief, cohort)
    costs = leverage(schedule)
    assumed: dict[str, float] = {}
    for opening in schedule.openings:
        for arrival in opening.arrivals:
            name = arrival.hospital
            assumed[name] = assumed.get(name, 0.0) + 1 / len(opening.arrivals)
    ratios = [costs[name] / assumed[name] for name in costs if math.isfinite(costs[name])]
    return max(ratios, default=None)


@dataclass(frozen=True)
class Reached:
    """When the gap was reached, and after how many bytes."""

    time: float
    bytes: float


@dataclass(frozen=True)
class AsynchronyMetrics:
    """What a record holds.

    Attributes:
      time: Moments.
      gap: Excess loss over pooled training, at each moment.
      auc: Within-site AUC, at each moment.
      bytes: Of all uploads until each moment.
      final_gap: The mean over the last quarter.
      final_auc: The same.
      pooled_auc: Of pooled training.
      reached: Where the gap was reached, and kept.
      epsilons: Spent by each hospital; None: nothing is protected.
    """

    time: tuple[float, ...]
    gap: tuple[float, ...]
    auc: tuple[float, ...]
    bytes: tuple[float, ...]
    final_gap: float
    final_auc: float
    pooled_auc: float
    reached: Reached | None
    epsilons: Mapping[str, float] | None


AsynchronyResult = TypedRecord[AsynchronousRun, AsynchronyMetrics]


def read_asynchrony(records: Sequence[Record]) -> list[AsynchronyResult]:
    """Read records of this study, in order."""
    return read_all(records, AsynchronousRun, AsynchronyMetrics)


@dataclass(frozen=True)
class RuleOverSeeds:
    """One rule on one cohort over all seeds, in the seeds' order.

    Attributes:
      cohort: Of the runs.
      rule: Of the runs.
      metrics: Of each seed.
    """

    cohort: str
    rule: ArrivalRule
    metrics: tuple[AsynchronyMetrics, ...]

    @property
    def seeds(self) -> int:
        """How many."""
        return len(self.metrics)

    @property
    def aucs(self) -> list[float]:
        """At the end."""
        return [m.final_auc for m in self.metrics]

    @property
    def gaps(self) -> list[float]:
        """At the end."""
        return [m.final_gap for m in self.metrics]

    @property
    def pooled(self) -> float:
        """AUC of pooled training: the mean over seeds."""
        return float(np.mean([m.pooled_auc for m in self.metrics]))

    @property
    def epsilons(self) -> list[float]:
        """What hospitals spent, in all seeds; empty where nothing is protected."""
        return [e for m in self.metrics for e in (m.epsilons or {}).values()]

    @property
    def time(self) -> str:
        """When the gap is reached: the mean over seeds, or how many seeds reach it."""
        reached = [m.reached for m in self.metrics if m.reached is not None]
        if len(reached) == self.seeds:
            return mean([r.time for r in reached], 0, most=math.inf)
        return f"{len(reached)} of {self.seeds}" if reached else "never"

    @property
    def kilobytes(self) -> str:
        """Of all uploads until then; empty unless every seed reaches the gap."""
        reached = [m.reached for m in self.metrics if m.reached is not None]
        if len(reached) < self.seeds:
            return ""
        return mean([r.bytes / 1e3 for r in reached], 0, most=math.inf)


def repeated(results: Sequence[AsynchronyResult]) -> list[RuleOverSeeds]:
    """Gather the seeds of each cohort and rule, in the order of their first record."""
    gathered: dict[tuple[str, ArrivalRule], list[AsynchronyResult]] = {}
    for result in results:
        gathered.setdefault((result.point.cohort, result.point.rule), []).append(result)
    return [
        RuleOverSeeds(*place, tuple(r.metrics for r in sorted(seeds, key=lambda r: r.point.seed)))
        for place, seeds in gathered.items()
    ]


def tables(records: Sequence[Record]) -> list[Table]:
    """One table a cohort: when the gap is reached, for how many bytes, and where the rule ends."""
    shown = []
    rules = repeated(read_asynchrony(records))
    for cohort in dict.fromkeys(one.cohort for one in rules):
        lines = [one for one in rules if one.cohort == cohort]
        seeds = lines[0].seeds
        times = "1 seed" if seeds == 1 else f"{seeds} seeds, 95 % intervals"
        title = f"{called(cohort)} (pooled AUC {lines[0].pooled:.3f}; {times})"
        table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
        table.add_column("rule", no_wrap=True)
        for heading in ("time", "kB", "gap", "AUC", "eps"):
            table.add_column(heading, justify="right", no_wrap=True)
        for one in lines:
            spent = one.epsilons
            table.add_row(
                one.rule,
                one.time,
                one.kilobytes,
                nearest(float(np.mean(one.gaps)), 4),
                mean(one.aucs),
                f"{min(spent):.2f}-{max(spent):.2f}" if spent else "",
            )
        shown.append(table)
    return shown
