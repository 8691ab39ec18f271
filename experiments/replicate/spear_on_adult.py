"""SPEAR's batch sizes on Adult: one ReLU layer of width 256, untrained (Dimitrov et al. 2024).

Published: exact up to about 25 records, by sampling, in minutes on a GPU. Ours reads the
activations as bits, which a single output allows, so that a batch is solved for certain or not at
all. Where we differ: gradients arrive as integers of 2^-24, as our hospitals send them.
"""

import time
from dataclasses import dataclass

import numpy as np

from aggregation.data.patients import Patients, Schema
from aggregation.models import Perceptron
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from attacks.exact.spear import unmix
from attacks.knowledge.priors import Prior
from attacks.knowledge.replay import integer_rows
from attacks.views import Gradient, SumPart

__all__ = ["Solved", "solve_batch"]


@dataclass(frozen=True)
class Solved:
    """One batch.

    Attributes:
      exact: Whether every record came out right in every column.
      seconds: Of the attack alone, wall clock.
    """

    exact: bool
    seconds: float


def solve_batch(
    people: Patients, schema: Schema, *, size: int, width: int = 256, seed: int, most: int = 20
) -> Solved:
    """Unmix one random batch."""
    rng = np.random.default_rng([seed, size, width])
    batch = people.take(rng.choice(len(people), size, replace=False))
    plan = Plan(
        run="spear",
        model=Perceptron(len(schema), width),
        hospitals=("one",),
        declared_sizes=(size,),
        rounds=1,
        learning_rate=1.0,
        noise=NoiseKind.NONE,
        scheme="plain",
        clip_norm=None,
        radius=2**24,
    )
    params = plan.model.initial(rng)
    total = integer_rows(plan, params, batch.features, batch.outcomes).sum(axis=0)
    gradient = Gradient(0, (SumPart("one", params),), total, 0.0)
    started = time.perf_counter()
    found = unmix(plan, gradient, total, Prior.from_schema(schema), most=most)
    seconds = time.perf_counter() - started
    exact = found.complete and sorted(map(tuple, found.records.round(9))) == sorted(
        map(tuple, batch.features.round(9))
    )
    return Solved(exact, seconds)
