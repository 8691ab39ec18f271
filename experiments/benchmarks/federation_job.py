"""The job of ``bench federation``, told so that every contender can do it.

Hospitals of median 200 patients (lognormal sizes), 18 features, logistic regression, all patients
in each round. Patients are made block by block when they are asked for; the same each round. A
contender that asks again for one hospital's finds them in memory: what is compared is simulators.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from aggregation.models import Logistic
from privacy.mechanisms import NoiseSource, clip, to_integers

__all__ = ["BLOCK", "FEATURES", "Job", "JobBlock", "blocks", "sizes"]

FEATURES = 18
BLOCK = 64  # hospitals made and computed at once
_MEDIAN, _SPREAD = 200, 0.25  # of the lognormal numbers of patients


@dataclass(frozen=True)
class JobBlock:
    """Neighbouring hospitals."""

    features: Float[np.ndarray, "patients features"]
    outcomes: Int[np.ndarray, "patients"]
    offsets: Int[np.ndarray, "ends"]


@dataclass(frozen=True)
class Job:
    """What a peer needs to know to send what a hospital of ours sends.

    Attributes:
      hospitals: How many.
      seed: Of the simulated patients.
      clip_norm: Of a patient's gradient.
      radius: The integer that it becomes.
      share_std: Of the noise that each hospital adds, in integer steps.
      rounds: Timed one by one, after one to warm up.
    """

    hospitals: int
    seed: int
    clip_norm: float
    radius: int
    share_std: float
    rounds: int

    def save(self, path: Path) -> None:
        """Write it for another process."""
        path.write_text(json.dumps(vars(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Job":
        """Read what ``save`` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def patients(self, hospital: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Features and outcomes of one hospital, by number."""
        block = _block(self.hospitals, self.seed, hospital // BLOCK * BLOCK)
        k = hospital % BLOCK
        rows = slice(int(block.offsets[k]), int(block.offsets[k + 1]))
        return block.features[rows], block.outcomes[rows]

    def update(
        self, hospital: int, params: Float[np.ndarray, "dim"], source: NoiseSource
    ) -> Int[np.ndarray, "dim"]:
        """One hospital's update: gradients, clipping, integers, sum, its share of noise."""
        features, outcomes = self.patients(hospital)
        rows = Logistic(FEATURES).per_patient_gradients(params, features, outcomes)
        bounded = to_integers(clip(rows, clip_norm=self.clip_norm), radius=self.radius)
        return np.asarray(bounded.sum() + source.discrete_gaussian(self.share_std, len(params)))


def sizes(hospitals: int, seed: int) -> NDArray[np.int64]:
    """Draw how many patients each hospital has."""
    drawn = np.random.default_rng([seed, 0]).lognormal(math.log(_MEDIAN), _SPREAD, hospitals)
    return np.maximum(1, np.rint(drawn)).astype(np.int64)


def blocks(numbers: NDArray[np.int64], seed: int) -> Iterator[JobBlock]:
    """Make all patients, a block of hospitals at a time."""
    for first in range(0, len(numbers), BLOCK):
        yield _make(numbers[first : first + BLOCK], seed, first)


@cache
def _block(hospitals: int, seed: int, first: int) -> JobBlock:
    return _make(sizes(hospitals, seed)[first : first + BLOCK], seed, first)


def _make(numbers: NDArray[np.int64], seed: int, first: int) -> JobBlock:
    """Make patients whose outcome follows the first features."""
    offsets = np.concatenate([[0], np.cumsum(numbers)])
    rng = np.random.default_rng([seed, 1, first])
    features = rng.standard_normal((int(offsets[-1]), FEATURES))
    chance = 0.5 * (1 + np.tanh(0.5 * (features @ np.linspace(1.0, 0.0, FEATURES))))
    return JobBlock(features, (rng.random(len(chance)) < chance).astype(np.int64), offsets)
