"""Tables of nobody: a number, a field with levels, two of yes or no."""

import numpy as np

from aggregation.data.patients import Field, Patients, Schema
from experiments.cohorts import Cohort

FIELDS = (
    Field("age", "years", mean=55.0, sd=10.0, low=18.0, high=100.0),
    Field("pain", levels=("none", "some", "much")),
    Field("smokes"),
    Field("insulin"),
)
SCHEMA = Schema.of_fields("ill", FIELDS)


def values(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, 5])
    age = rng.integers(300, 900, count) / 10
    coins = rng.integers(0, 2, (2, count)).astype(float)
    return np.column_stack([age, rng.integers(0, 3, count), *coins])


def cohort(count: int = 120) -> Cohort:
    sites = {}
    for k, name in enumerate(("north", "south")):
        rng = np.random.default_rng([k, 9])
        own = values(count, k)
        x = np.column_stack(
            [(own[:, 0] - 55) / 10, own[:, 1] == 1, own[:, 1] == 2, own[:, 2], own[:, 3]]
        )
        risk = 1 / (1 + np.exp(-(x[:, 0] + x[:, 2] - 1)))
        sites[name] = Patients(x, (rng.random(count) < risk).astype(np.int64), np.arange(count))
    return Cohort("made-up", sites, SCHEMA)
