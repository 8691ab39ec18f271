"""A correct mechanism and the mistakes that the field has made, each of which must be caught.

They are written as somebody would write them: none is contrived to be found.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from dp_accounting import dp_event as dp
from numpy.typing import NDArray

from privacy.mechanisms.clipping import clip
from privacy.mechanisms.noise import NoiseSource

__all__ = ["MUTANTS", "Mutant", "reference"]

Rows = NDArray[np.float64]
Releases = list[NDArray[Any]]
_CLIP, _MULTIPLIER, _ROUNDS, _PROB = 1.5, 2.0, 4, 0.25


@dataclass(frozen=True)
class Mutant:
    """A mechanism and what it claims.

    Attributes:
      name: The mistake.
      run: The mechanism.
      claim: The event that it says it is.
      caught_by: The check of ``privacy.testing.mechanism`` that must find it; empty if correct.
    """

    name: str
    run: Callable[[Rows, NoiseSource], Releases]
    claim: dp.DpEvent
    caught_by: str


def _noised(
    rows: Rows, source: NoiseSource, *, clip_norm: float = _CLIP, scale: float = 1.0
) -> NDArray[np.float64]:
    noise = source.gaussian(scale * _MULTIPLIER * _CLIP, rows.shape[1])
    return np.asarray(clip(rows, clip_norm=clip_norm).values.sum(axis=0) + noise)


def _correct(rows: Rows, source: NoiseSource) -> Releases:
    taken = (rows[source.poisson_sample(_PROB, len(rows))] for _ in range(_ROUNDS))
    return [_noised(sample, source) for sample in taken]


def _no_clipping(rows: Rows, source: NoiseSource) -> Releases:
    return [_noised(rows, source, clip_norm=1e12) for _ in range(_ROUNDS)]


def _wrong_scale(rows: Rows, source: NoiseSource) -> Releases:
    """The noise is scaled as if gradients were averaged over two."""
    return [_noised(rows, source, scale=0.5) for _ in range(_ROUNDS)]


def _mean_for_sum(rows: Rows, source: NoiseSource) -> Releases:
    """The mean over those present, with noise for a sum over a public number."""
    clipped = clip(rows, clip_norm=_CLIP).values
    public = 6
    return [
        clipped.mean(axis=0) + source.gaussian(_MULTIPLIER * _CLIP / public, rows.shape[1])
        for _ in range(_ROUNDS)
    ]


def _reused_noise(rows: Rows, source: NoiseSource) -> Releases:
    total = clip(rows, clip_norm=_CLIP).values.sum(axis=0)
    draws = [source.gaussian(_MULTIPLIER * _CLIP, rows.shape[1]) for _ in range(_ROUNDS)]
    return [total + draws[0] for _ in range(_ROUNDS)]


def _shuffled_as_poisson(rows: Rows, source: NoiseSource) -> Releases:
    """Batches of a shuffled pass, accounted for as if each were a Poisson sample."""
    order = np.random.default_rng(0).permutation(len(rows))
    return [_noised(rows[batch], source) for batch in np.array_split(order, _ROUNDS)]


def _float32_noise(rows: Rows, source: NoiseSource) -> Releases:
    total = clip(rows, clip_norm=_CLIP).values.sum(axis=0)
    return [
        total + source.gaussian(_MULTIPLIER * _CLIP, rows.shape[1]).astype(np.float32)
        for _ in range(_ROUNDS)
    ]


def _data_dependent_sensitivity(rows: Rows, source: NoiseSource) -> Releases:
    """The article's: the scale comes from what is to be hidden."""
    total = rows.sum(axis=0)
    scale = float(np.linalg.norm(total)) + 1e-12
    return [total + source.gaussian(_MULTIPLIER * scale, rows.shape[1]) for _ in range(_ROUNDS)]


def _one_round_more(rows: Rows, source: NoiseSource) -> Releases:
    return [_noised(rows, source) for _ in range(_ROUNDS + 1)]


def _own_randomness(rows: Rows, source: NoiseSource) -> Releases:
    """Noise from a generator of its own, so that nobody can say what protects."""
    rng = np.random.default_rng()
    total = clip(rows, clip_norm=_CLIP).values.sum(axis=0)
    return [total + rng.normal(0, _MULTIPLIER * _CLIP, rows.shape[1]) for _ in range(_ROUNDS)]


_PLAIN = dp.SelfComposedDpEvent(dp.GaussianDpEvent(_MULTIPLIER), _ROUNDS)
_SAMPLED = dp.SelfComposedDpEvent(
    dp.PoissonSampledDpEvent(_PROB, dp.GaussianDpEvent(_MULTIPLIER)), _ROUNDS
)

reference = Mutant("correct", _correct, _SAMPLED, "")

MUTANTS: tuple[Mutant, ...] = (
    Mutant("no clipping", _no_clipping, _PLAIN, "sensitivity"),
    Mutant("wrong scale", _wrong_scale, _PLAIN, "sensitivity"),
    Mutant("mean for sum", _mean_for_sum, _PLAIN, "sensitivity"),
    Mutant("reused noise", _reused_noise, _PLAIN, "fresh"),
    Mutant("shuffle accounted as Poisson", _shuffled_as_poisson, _SAMPLED, "sampler"),
    Mutant("float32 noise", _float32_noise, _PLAIN, "fresh"),
    Mutant("data-dependent sensitivity", _data_dependent_sensitivity, _PLAIN, "control"),
    Mutant("off-by-one rounds", _one_round_more, _PLAIN, "count"),
    Mutant("own randomness", _own_randomness, _PLAIN, "count"),
)
