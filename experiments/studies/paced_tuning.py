"""Where the settings of the sealed runs at hospitals' own pace come from: simulated studies alone.

The search of ``studies.tuning`` for runs along a schedule, at epsilon 1, judged by the
within-site AUC over the last quarter of the time. For the four hospitals of heart it takes the same
simulated studies, and reads no heart patient; for the network it takes networks of other seeds than
are published.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from joblib import Parallel, delayed

from aggregation.patients import Schema
from experiments.cohorts import Cohort, Fold, load
from experiments.evaluation import Scored, auc
from experiments.run.record import Record, stamp
from experiments.studies.asynchronous import OWN_BUDGET, Point, follow
from experiments.studies.problem import scores
from experiments.studies.tuning import simulated_study

__all__ = ["candidates", "score", "search"]

_OTHER_NETWORKS = 1_000  # the first seed of networks that nothing is published of


def candidates(rule: str, cohort: str = "heart") -> list[Point]:
    """Return the settings that are tried: uploads a budget buys, step, and size of a sum."""
    sums: tuple[int, ...] = (2, 3)
    rates: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    base = Point(cohort, rule)
    if cohort == "network":
        sums, rates = (10, 20), (1.0, 4.0, 16.0, 64.0)
        base = dataclasses.replace(base, horizon=400.0)
    if rule == "sealed synchronous":  # sums everybody
        sums = (base.hospitals if cohort == "network" else 4,)
    return [
        dataclasses.replace(base, uploads=uploads, sealed_rate=rate, buffer=buffer)
        for uploads, rate, buffer in product((10, 30), rates, sums)
    ]


def search(
    rules: Sequence[str] = OWN_BUDGET, *, cohort: str = "heart", studies: int = 3, jobs: int = -1
) -> Iterator[Record]:
    """Score every candidate, rule by rule; the best comes first in each rule's record."""
    schema = load("heart").schema
    stamped = stamp()
    for rule in rules:
        tried = candidates(rule, cohort)
        found = Parallel(jobs)(delayed(score)(point, schema, studies=studies) for point in tried)
        found = sorted(found, key=lambda f: -f["auc"])
        config = {
            "experiment": "tuning asynchrony",
            "rule": rule,
            "studies": studies,
            "candidates": [p.config for p in tried],
            "code_version": 1,
        }
        yield Record(config, {"scores": found}, stamped)


def score(point: Point, schema: Schema, *, studies: int) -> dict[str, Any]:
    """Return a setting's AUC over simulated studies: mean and standard error."""
    values = []
    for seed in range(studies):
        study, fold = _study(point, schema, seed)
        ran = follow(dataclasses.replace(point, seed=seed), study, fold, 0)
        late = ran.models[ran.times >= 0.75 * point.horizon]
        late = late if len(late) else ran.models[-1:]
        sites = (
            {n: Scored(scores(w, t.features), t.outcomes) for n, t in fold.test.items()}
            for w in late[:: max(1, len(late) // 5)]
        )
        values.append(float(np.mean([auc(s) for s in sites])))
    error = float(np.std(values, ddof=1) / np.sqrt(studies)) if studies > 1 else 0.0
    setting = {k: getattr(point, k) for k in ("uploads", "sealed_rate", "buffer", "clip_norm")}
    return {"setting": setting, "auc": float(np.mean(values)), "standard_error": error}


def _study(point: Point, schema: Schema, seed: int) -> tuple[Cohort, Fold]:
    if point.cohort == "network":
        cohort, (fold,) = dataclasses.replace(point, seed=_OTHER_NETWORKS + seed).split()
        return cohort, fold
    train, test = simulated_study(schema, seed)
    return Cohort("simulated", train, schema), Fold(train, test)
