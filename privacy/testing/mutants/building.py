"""What the specimens are made of: sums of clipped rows, noise, rounds, and their claims."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from dp_accounting import NeighboringRelation as Relation
from dp_accounting import dp_event as dp
from numpy.typing import NDArray

from privacy.accounting.events import DistributedDiscreteGaussianDpEvent
from privacy.mechanisms.clipping import clip
from privacy.mechanisms.noise import NoiseSource

__all__ = [
    "BOTH",
    "CLIP",
    "DISCRETE",
    "MULTIPLIER",
    "PLAIN",
    "PROB",
    "PUBLIC",
    "RADIUS",
    "ROUNDS",
    "SAMPLED",
    "STD",
    "Mutant",
    "Releases",
    "Rows",
    "clipped_sum",
    "draw",
    "noised_sum",
    "rounds",
    "seed_of",
]

Rows = NDArray[np.float64]
Releases = list[NDArray[Any]]
CLIP, MULTIPLIER, ROUNDS, PROB = 1.5, 2.0, 3, 0.25
STD = CLIP * MULTIPLIER
RADIUS, PUBLIC = 300, 6

ONE = dp.GaussianDpEvent(MULTIPLIER)
PLAIN = dp.SelfComposedDpEvent(ONE, ROUNDS)
SAMPLED = dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(PROB, ONE), ROUNDS)
DISCRETE = DistributedDiscreteGaussianDpEvent(MULTIPLIER, RADIUS, 5, 3)
BOTH = dp.PoissonSampledDpEvent(PROB, dp.SelfComposedDpEvent(ONE, 2))


@dataclass(frozen=True)
class Mutant:
    """A mechanism and what it claims.

    Attributes:
      name: The mistake, or what is right.
      run: The mechanism.
      claim: The event that it says it is.
      caught_by: The check of ``privacy.testing.mechanism`` that must find it; empty if correct.
      relation: The relation that it claims it under.
    """

    name: str
    run: Callable[[Rows, NoiseSource], Releases]
    claim: dp.DpEvent
    caught_by: str = ""
    relation: Relation = Relation.ADD_OR_REMOVE_ONE


def clipped_sum(rows: Rows, clip_norm: float = CLIP) -> Rows:
    """Sum clipped rows."""
    return clip(rows, clip_norm=clip_norm).sum()


def noised_sum(
    rows: Rows, source: NoiseSource, *, clip_norm: float = CLIP, scale: float = 1.0
) -> Rows:
    """Sum clipped rows and add noise."""
    noise = source.gaussian(scale * STD, rows.shape[1])
    return np.asarray(clipped_sum(rows, clip_norm) + noise)


def draw(rows: Rows, source: NoiseSource) -> NDArray[np.bool_]:
    """Draw a Poisson sample of the rows."""
    return source.poisson_sample(PROB, len(rows))


def rounds(step: Callable[[Rows, NoiseSource], NDArray[Any]]) -> Callable[..., Releases]:
    """A mechanism that does the same in each round."""
    return lambda rows, source: [step(rows, source) for _ in range(ROUNDS)]


def seed_of(rows: Rows) -> int:
    """Make a seed of what is to be hidden."""
    return int(abs(np.nan_to_num(rows).sum()) * 1e3) % 2**31
