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
from attacks.exact.spear import unmix
from attacks.knowledge.priors import Prior
from experiments.replicate.undefended import undefended_plan, undefended_update

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
    plan = undefended_plan("spear", Perceptron(len(schema), width), size)
    params = plan.model.initial(rng)
    update = undefended_update(plan, params, batch)
    started = time.perf_counter()
    unmixed = unmix(plan, update, update.integers, Prior.from_schema(schema), most=most)
    seconds = time.perf_counter() - started
    exact = unmixed.complete and sorted(map(tuple, unmixed.records.round(9))) == sorted(
        map(tuple, batch.features.round(9))
    )
    return Solved(exact, seconds)
