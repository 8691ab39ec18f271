"""Small runs for the tests of attacks: four hospitals of synthetic patients, and what was drawn.

The patients look like the heart study's (numbers on a grid, one-hot groups, values that were not
measured) but are made here, so that the attacks' tests need no table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregation.data.patients import Column, Patients, Schema
from aggregation.federation import Federation
from aggregation.models import Perceptron
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.transcript import Transcript
from attacks.knowledge.priors import Prior
from attacks.views import Adversary, GradientView, Name, observe, require

__all__ = ["PRIOR", "SCHEMA", "Run", "cohort", "run"]

SCHEMA = Schema(
    (
        Column("age", 55.0, 10.0, 18.0, 100.0, 1.0, binary=False),
        Column("sex"),
        Column("cp=atypical", group="cp"),
        Column("cp=non-anginal", group="cp"),
        Column("cp=asymptomatic", group="cp"),
        Column("trestbps", 130.0, 20.0, 70.0, 240.0, 1.0, binary=False),
        Column("chol", 200.0, 40.0, 80.0, 620.0, 1.0, binary=False),
        Column("exang"),
        Column("oldpeak", 1.0, 1.0, -4.0, 8.0, 0.1, binary=False),
        Column("thal=fixed", group="thal"),
        Column("thal=reversible", group="thal"),
    ),
    "disease",
)
PRIOR = Prior.from_schema(SCHEMA)


def cohort(seed: int, *, size: int = 60) -> dict[str, Patients]:
    """Four hospitals with ``size`` patients each."""
    rng = np.random.default_rng([77, seed])
    names = ("north", "east", "south", "west")
    return {name: _patients(rng, size) for name in names}


def _patients(rng: np.random.Generator, size: int) -> Patients:
    age = np.clip(np.rint(rng.normal(54, 9, size)), 18, 100)
    pressure = np.clip(np.rint(rng.normal(132, 18, size)), 70, 240)
    chol = np.clip(np.rint(rng.normal(220, 50, size)), 80, 620)
    chol = np.where(rng.random(size) < 0.2, np.nan, chol)  # not measured
    depression = np.clip(np.rint(rng.exponential(1.0, size) * 10) / 10, -4, 8)
    cp, thal = rng.integers(0, 4, size), rng.choice(3, size, p=[0.6, 0.1, 0.3])
    rows = np.column_stack(
        [
            (age - 55.0) / 10.0,
            rng.random(size) < 0.7,
            cp == 1,
            cp == 2,
            cp == 3,
            (pressure - 130.0) / 20.0,
            np.nan_to_num((chol - 200.0) / 40.0, nan=0.0),
            rng.random(size) < 0.4,
            (depression - 1.0) / 1.0,
            thal == 1,
            thal == 2,
        ]
    ).astype(np.float64)
    outcomes = (rows @ rng.normal(size=rows.shape[1]) + rng.normal(size=size) > 0).astype(np.int64)
    return Patients(rows, outcomes)


@dataclass(frozen=True)
class Run:
    """A finished run: the transcript for the attacker, the rest for the judge."""

    plan: Plan
    transcript: Transcript
    drawn: Mapping[str, Mapping[int, tuple[Patients, ...]]]
    params: NDArray[np.float64]
    sent: Mapping[str, Mapping[int, NDArray[np.int64]]]

    def truth(self, *, round_: int, hospitals: tuple[str, ...]) -> Patients:
        """Everybody who was drawn, over the given hospitals."""
        drawn = [batch for name in hospitals for batch in self.drawn[name][round_]]
        return Patients(
            np.concatenate([b.features for b in drawn]), np.concatenate([b.outcomes for b in drawn])
        )

    def view(self, adversary: Adversary | Name) -> GradientView:
        """What the adversary sees, if it sees gradients."""
        return require(observe(self.transcript, adversary), GradientView, "test")


def run(seed: int = 0, *, patients: Mapping[str, Patients] | None = None, **fields: Any) -> Run:
    """Run a federation of synthetic patients; ``fields`` change the plan."""
    patients = cohort(seed) if patients is None else patients
    settings: dict[str, Any] = {
        "run": f"test {seed}",
        "model": Perceptron(len(SCHEMA), 100),
        "hospitals": tuple(patients),
        "declared_sizes": tuple(len(p) for p in patients.values()),
        "rounds": 1,
        "learning_rate": 0.5,
        "noise": NoiseKind.NONE,
        "scheme": "plain",
        "clip_norm": None,
        "radius": 2**24,
        "sampling_size": 8,
        "model_seed": seed,
    }
    plan = Plan(**(settings | fields))
    outcome = Federation.simulated(plan, patients, seed=(5, seed)).run()
    return Run(plan, outcome.transcript, outcome.drawn, outcome.params, outcome.sent)
