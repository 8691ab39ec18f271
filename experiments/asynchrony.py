"""Hospitals at their own pace: what each rule reaches, when, and for how many bytes.

A rule *reaches* the gap when its excess loss over pooled training first is at most ``GAP``,
provided that it stays: the mean over the last quarter of the time is at most ``GAP`` too. One
record a cohort and rule; a second run into the same folder computes only what is missing.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from aggregation.arrival import leverage
from experiments.cohorts import Cohort, Fold
from experiments.evaluation import Scored, auc, join
from experiments.logistic import Problem, scores
from experiments.paced import RULES_COMPARED, SEALED_SETTINGS, Point, follow, schedule_of
from experiments.record import Record, read_records, stamp, writable_folder

__all__ = ["COHORTS", "GAP", "LEGEND", "grid", "measure", "run", "tables"]

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
    return dataclasses.replace(point, **SEALED_SETTINGS.get((cohort, rule), {}))


def run(
    out: Path,
    points: Sequence[Point],
    *,
    data_dir: Path | None = None,
    console: Console | None = None,
) -> list[Record]:
    """Compute the points that have no record in ``out`` yet; return all of them, in order."""
    console = console or Console()
    folder = writable_folder(out / "records")
    done = {record.name: record for record in read_records(folder)}
    stamped = stamp()
    for point in points:
        name = Record(point.config, {}, {}).name
        if name in done:
            continue
        with console.status(f"{point.cohort}: {point.rule}"):
            done[name] = Record(point.config, measure(point, data_dir), stamped)
        done[name].write(folder)
    return [done[Record(point.config, {}, {}).name] for point in points]


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


def tables(records: Sequence[Record]) -> list[Table]:
    """One table a cohort: when the gap is reached, for how many bytes, and where the rule ends."""
    shown = []
    for cohort in dict.fromkeys(r.config["cohort"] for r in records):
        own = [r for r in records if r.config["cohort"] == cohort]
        base = {
            r.config["seed"]: r.metrics["reached"] for r in own if r.config["rule"] == "synchronous"
        }
        pooled = own[0].metrics["pooled_auc"]
        table = Table(title=f"{cohort} (pooled AUC {pooled:.3f})", title_justify="left")
        table.add_column("rule", no_wrap=True)
        for heading in ("time", "/sync", "kB", "gap", "AUC", "eps"):
            table.add_column(heading, justify="right", no_wrap=True)
        for record in own:
            m, sync = record.metrics, base.get(record.config["seed"])
            reached, spent = m["reached"], m["epsilons"]
            table.add_row(
                record.config["rule"],
                "never" if reached is None else f"{reached['time']:.0f}",
                f"{reached['time'] / sync['time']:.0%}" if reached and sync else "",
                "" if reached is None else f"{reached['bytes'] / 1e3:.0f}",
                f"{m['final_gap']:.4f}",
                f"{m['final_auc']:.3f}",
                "" if spent is None else f"{min(spent.values()):.2f}-{max(spent.values()):.2f}",
            )
        shown.append(table)
    return shown
