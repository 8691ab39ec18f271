"""Small cohorts and plans that the tests of the federation share."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregation.data.patients import Patients
from aggregation.models import Perceptron
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan

HOSPITALS = ("north", "east", "south")


def patients(seed: int, count: int = 12, features: int = 3) -> Patients:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, features))
    y = (x[:, 0] + rng.normal(size=count) > 0).astype(np.int64) if count else np.zeros(0, int)
    return Patients(x, y)


def cohort(count: int = 12) -> dict[str, Patients]:
    return {name: patients(seed, count) for seed, name in enumerate(HOSPITALS)}


def plan(**changes: Any) -> Plan:
    fields: dict[str, Any] = {
        "run": "test",
        "model": Perceptron(3, 4),
        "hospitals": HOSPITALS,
        "declared_sizes": (12, 12, 12),
        "rounds": 3,
        "learning_rate": 0.5,
        "noise": NoiseKind.SHARED,
        "scheme": "plain",
        "clip_norm": 1.0,
        "radius": 1024,
        "noise_multiplier": 2.0,
        "colluders": 1,
    }
    return Plan(**(fields | changes))


def clear(**changes: Any) -> Plan:
    """A plan without protection, at a fine grid."""
    bare: dict[str, Any] = {
        "noise": NoiseKind.NONE,
        "clip_norm": None,
        "radius": 2**30,
        "noise_multiplier": 0.0,
        "colluders": 0,
    }
    return plan(**(bare | changes))


def opened_scalars(made: Plan, opened_sum: NDArray[np.int64]) -> dict[str, float]:
    """The scalars of an opened sum, each summed over hospitals, in their own units."""
    found, start = {}, made.update_dim
    for scalar in made.scalars:
        end = start + made.slots_of(scalar)
        found[scalar.name] = float(opened_sum[start:end].sum()) * scalar.step
        start = end
    return found
