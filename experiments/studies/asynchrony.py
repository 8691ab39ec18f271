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
from experiments.cohorts import Cohort, Fold, called
from experiments.evaluation import Scored, auc, join
from experiments.run.record import Record
from experiments.run.text import mean, nearest
from experiments.studies.asynchronous import (
    SEALED_SETTINGS,
    ArrivalRule,
    AsynchronousRun,
    follow,
    schedule_of,
)
from experiments.studies.problem import Problem, scores

__all__ = ["COHORTS", "GAP", "LEGEND", "AsynchronyPoint", "Outcome", "grid", "outcomes", "tables"]

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
        problem = Problem(fold.train, self.run.ridge)
        places = np.searchsorted(timed.times, self.moments, side="right") - 1
        models = [timed.models[place] for place in places]
        return FoldInTime(
            gaps=tuple(problem.gap(params) for params in models),
            sites=tuple(_scored(params, fold) for params in models),
            pooled=_scored(problem.optimum, fold),
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
) -> list[AsynchronyPoint]:
    """Every rule on every cohort, once a seed."""
    every = range(seed, seed + seeds)
    return [AsynchronyPoint(_run(c, r, s)) for c in cohorts for r in rules for s in every]


def _run(cohort: str, rule: ArrivalRule, seed: int) -> AsynchronousRun:
    run = AsynchronousRun(cohort, rule, seed=seed)
    if cohort == "network":
        run = dataclasses.replace(run, horizon=400.0, buffer=10, learning_rate=2.5)
    tuned = cohort if cohort in COHORTS else "heart"  # nothing was tuned for other cohorts
    return dataclasses.replace(run, **SEALED_SETTINGS.get((tuned, rule), {}))


def _scored(params: NDArray[np.float64], fold: Fold) -> dict[str, Scored]:
    return {
        name: Scored(scores(params, test.features), test.outcomes)
        for name, test in fold.test.items()
    }


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
class Outcome:
    """One rule on one cohort over all seeds, in the seeds' order.

    Attributes:
      cohort: Of the points.
      rule: Of the points.
      reached: When and after how many bytes the gap was reached; None where it never was.
      gaps: At the end.
      aucs: At the end.
      pooled: AUC of pooled training.
      epsilons: Least and most of any hospital, of every seed; empty where nothing is protected.
    """

    cohort: str
    rule: str
    reached: tuple[Mapping[str, Any] | None, ...]
    gaps: tuple[float, ...]
    aucs: tuple[float, ...]
    pooled: tuple[float, ...]
    epsilons: tuple[float, ...]

    @property
    def seeds(self) -> int:
        """How many."""
        return len(self.reached)

    @property
    def time(self) -> str:
        """When the gap is reached: the mean over seeds, or how many seeds reach it."""
        return self._always("time", 1.0) or (
            f"{sum(r is not None for r in self.reached)} of {self.seeds}"
            if any(self.reached)
            else "never"
        )

    @property
    def kilobytes(self) -> str:
        """Of all uploads until then; empty unless every seed reaches the gap."""
        return self._always("bytes", 1e-3)

    def _always(self, name: str, unit: float) -> str:
        known = [r[name] * unit for r in self.reached if r is not None]
        return mean(known, 0, most=math.inf) if len(known) == self.seeds else ""


def outcomes(records: Sequence[Record]) -> list[Outcome]:
    """Gather the seeds of each cohort and rule, in the order of their first record."""
    found: dict[tuple[str, str], list[Record]] = {}
    for r in sorted(records, key=lambda r: int(r.config["seed"])):
        found.setdefault((r.config["cohort"], r.config["rule"]), []).append(r)
    shown = []
    for place in dict.fromkeys((r.config["cohort"], r.config["rule"]) for r in records):
        seeds = [r.metrics for r in found[place]]
        spent = [m["epsilons"].values() for m in seeds if m["epsilons"] is not None]
        shown.append(
            Outcome(
                *place,
                reached=tuple(m["reached"] for m in seeds),
                gaps=tuple(m["final_gap"] for m in seeds),
                aucs=tuple(m["final_auc"] for m in seeds),
                pooled=tuple(m["pooled_auc"] for m in seeds),
                epsilons=tuple(e for s in spent for e in (min(s), max(s))),
            )
        )
    return shown


def tables(records: Sequence[Record]) -> list[Table]:
    """One table a cohort: when the gap is reached, for how many bytes, and where the rule ends."""
    shown = []
    for cohort in dict.fromkeys(r.config["cohort"] for r in records):
        own = outcomes([r for r in records if r.config["cohort"] == cohort])
        pooled, seeds = float(np.mean(own[0].pooled)), own[0].seeds
        times = "1 seed" if seeds == 1 else f"{seeds} seeds, 95 % intervals"
        title = f"{called(cohort)} (pooled AUC {pooled:.3f}; {times})"
        table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
        table.add_column("rule", no_wrap=True)
        for heading in ("time", "kB", "gap", "AUC", "eps"):
            table.add_column(heading, justify="right", no_wrap=True)
        for found in own:
            table.add_row(
                found.rule,
                found.time,
                found.kilobytes,
                nearest(float(np.mean(found.gaps)), 4),
                mean(found.aucs),
                f"{min(found.epsilons):.2f}-{max(found.epsilons):.2f}" if found.epsilons else "",
            )
        shown.append(table)
    return shown
