"""Hospitals at their own pace: what each rule reaches, when, and for how many bytes.

A rule *reaches* the gap when its excess loss over pooled training first is at most ``GAP``,
provided that it stays: the mean over the last quarter of the time is at most ``GAP`` too. One
record a cohort and rule; a second run into the same folder computes only what is missing.
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
from rich.console import Console
from rich.table import Table

from aggregation.timing import leverage
from experiments.cohorts import Cohort, Fold, called
from experiments.evaluation import Scored, auc, join
from experiments.run.record import Record, completed
from experiments.run.text import mean, nearest
from experiments.studies.asynchronous import (
    RULES_COMPARED,
    SEALED_SETTINGS,
    Point,
    follow,
    schedule_of,
)
from experiments.studies.problem import Problem, scores

__all__ = ["COHORTS", "GAP", "LEGEND", "Outcome", "grid", "measure", "outcomes", "run", "tables"]

GAP = 0.005  # nats a patient
COHORTS = ("heart", "network")
LEGEND = (
    "time: when the excess loss over pooled training is at most 0.005 nats and stays there, in "
    "units of the fastest hospital's mean duration; kB: all uploads until then, before sealing; "
    "gap, AUC: at the end; eps: least and most of any hospital, upper end; without: nothing "
    "is protected."
)
MOMENTS = 61  # when a run is looked at, evenly spaced


def grid(
    seed: int = 0,
    *,
    seeds: int = 1,
    cohorts: Sequence[str] = COHORTS,
    rules: Sequence[str] = RULES_COMPARED,
) -> list[Point]:
    """Every rule on every cohort, once a seed."""
    every = range(seed, seed + seeds)
    return [_point(c, r, s) for c in cohorts for r in rules for s in every]


def _point(cohort: str, rule: str, seed: int) -> Point:
    point = Point(cohort, rule, seed=seed)
    if cohort == "network":
        point = dataclasses.replace(point, horizon=400.0, buffer=10, learning_rate=2.5)
    tuned = cohort if cohort in COHORTS else "heart"  # nothing was tuned for other cohorts
    return dataclasses.replace(point, **SEALED_SETTINGS.get((tuned, rule), {}))


def run(
    out: Path,
    points: Sequence[Point],
    *,
    data_dir: Path | None = None,
    console: Console | None = None,
) -> list[Record]:
    """Compute the points that have no record in ``out`` yet; return all of them, in order."""
    shown = console or Console()
    return completed(
        out,
        points,
        lambda point: measure(point, data_dir),
        status=lambda point: shown.status(f"{called(point.cohort)}: {point.rule}"),
    )


def measure(point: Point, data_dir: Path | None = None) -> dict[str, Any]:
    """Return a point's metrics: curves over time, and where they end."""
    cohort, split = point.split(data_dir)
    runs = [follow(point, cohort, fold, k) for k, fold in enumerate(split)]
    moments = np.linspace(0.0, point.horizon, MOMENTS)
    at = [[r.models[np.searchsorted(r.times, t, side="right") - 1] for t in moments] for r in runs]
    problems = [Problem(fold.train, point.ridge) for fold in split]
    gaps = np.mean([[p.gap(w) for w in models] for p, models in zip(problems, at, strict=True)], 0)
    aucs = [
        auc(join(*(_scored(models[m], fold) for models, fold in zip(at, split, strict=True))))
        for m in range(MOMENTS)
    ]
    pooled = auc(join(*(_scored(p.optimum, f) for p, f in zip(problems, split, strict=True))))
    sent = [int(np.searchsorted(runs[0].uploads, t, side="right")) for t in moments]
    final = float(gaps[3 * MOMENTS // 4 :].mean())
    reached = None
    if final <= GAP:
        first = int(np.argmax(gaps <= GAP))
        reached = {"time": float(moments[first]), "bytes": sent[first] * runs[0].upload_bytes}
    spent = runs[0].epsilons
    return {
        "time": moments.tolist(),
        "gap": gaps.tolist(),
        "auc": aucs,
        "bytes": [n * runs[0].upload_bytes for n in sent],
        "final_gap": final,
        "final_auc": float(np.mean(aucs[3 * MOMENTS // 4 :])),
        "pooled_auc": pooled,
        "reached": reached,
        "epsilons": None if spent is None else dict(spent),
        **_memory_cost(point, cohort),
    }


def _scored(params: NDArray[np.float64], fold: Fold) -> dict[str, Scored]:
    return {
        name: Scored(scores(params, test.features), test.outcomes)
        for name, test in fold.test.items()
    }


def _memory_cost(point: Point, cohort: Cohort) -> dict[str, Any]:
    """What Memory's openings cost over single ones: squared sensitivity against m / n."""
    if point.rule not in ("memory", "ca2fl"):
        return {"leverage_over_assumed": None}
    brief = dataclasses.replace(point, horizon=min(point.horizon, 60.0))
    schedule = schedule_of(brief, cohort)
    found = leverage(schedule)
    assumed: dict[str, float] = {}
    for opening in schedule.openings:
        for arrival in opening.arrivals:
            name = arrival.hospital
            assumed[name] = assumed.get(name, 0.0) + 1 / len(opening.arrivals)
    ratios = [found[name] / assumed[name] for name in found if math.isfinite(found[name])]
    return {"leverage_over_assumed": max(ratios, default=None)}


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
