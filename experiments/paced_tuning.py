"""Where the settings of the sealed runs at hospitals' own pace come from: simulated studies alone.

The search of ``experiments.tuning`` for runs along a schedule: the same simulated studies, at
epsilon 1, judged by the within-site AUC over the last quarter of the time. It reads no heart
patient.
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
from experiments.logistic import scores
from experiments.paced import OWN_BUDGET, Point, follow
from experiments.record import Record, stamp
from experiments.tuning import simulated_study

__all__ = ["candidates", "score", "search"]


def candidates(rule: str) -> list[Point]:
    """Return the settings that are tried: uploads a budget buys, step, and size of a sum."""
    buffers = (4,) if rule == "sealed synchronous" else (2, 3)
    return [
        Point("heart", rule, uploads=uploads, sealed_rate=rate, clip_norm=1.0, buffer=buffer)
        for uploads, rate, buffer in product((10, 30), (0.5, 1.0, 2.0, 4.0), buffers)
    ]


def search(
    rules: Sequence[str] = OWN_BUDGET, *, studies: int = 3, jobs: int = -1
) -> Iterator[Record]:
    """Score every candidate, rule by rule; the best comes first in each rule's record."""
    schema = load("heart").schema
    stamped = stamp()
    for rule in rules:
        tried = candidates(rule)
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
        train, test = simulated_study(schema, seed)
        seeded = dataclasses.replace(point, seed=seed)
        ran = follow(seeded, Cohort("simulated", train, schema), Fold(train, test), 0)
        late = ran.models[ran.times >= 0.75 * point.horizon]
        late = late if len(late) else ran.models[-1:]
        sites = (
            {n: Scored(scores(w, t.features), t.outcomes) for n, t in test.items()}
            for w in late[:: max(1, len(late) // 5)]
        )
        values.append(float(np.mean([auc(s) for s in sites])))
    error = float(np.std(values, ddof=1) / np.sqrt(studies)) if studies > 1 else 0.0
    setting = {k: getattr(point, k) for k in ("uploads", "sealed_rate", "buffer", "clip_norm")}
    return {"setting": setting, "auc": float(np.mean(values)), "standard_error": error}
