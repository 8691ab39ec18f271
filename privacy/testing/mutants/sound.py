"""Correct mechanisms, of every kind that a claim can tell: none may be flagged."""

from collections.abc import Callable
from typing import Any

import numpy as np
from dp_accounting import NeighboringRelation as Relation
from dp_accounting import dp_event as dp

from privacy.accounting.events import SkellamDpEvent
from privacy.mechanisms.clipping import clip, to_integers
from privacy.mechanisms.noise import NoiseSource
from privacy.testing.mutants.building import (
    BOTH,
    CLIP,
    DISCRETE,
    MULTIPLIER,
    PLAIN,
    PUBLIC,
    RADIUS,
    ROUNDS,
    SAMPLED,
    STD,
    Mutant,
    Releases,
    Rows,
    clipped_sum,
    draw,
    noised_sum,
    rounds,
)

__all__ = ["CORRECT"]


def training(step: Callable[[Rows, Rows, NoiseSource], Rows]) -> Callable[..., Releases]:
    """Gradient descent towards the patients' mean, on noised sums of clipped gradients."""

    def run(rows: Rows, source: NoiseSource) -> Releases:
        params, released = np.zeros(rows.shape[1]), []
        for _ in range(ROUNDS):
            noised = step(rows - params, rows, source)
            params = params + 0.3 * noised
            released.append(noised)
        return released

    return run


def _sampled_sum(rows: Rows, source: NoiseSource) -> Rows:
    return noised_sum(rows[draw(rows, source)], source)


def _noise_first(rows: Rows, source: NoiseSource) -> Releases:
    """All noise and all samples are drawn before the first round."""
    taken = [draw(rows, source) for _ in range(ROUNDS)]
    noise = [source.gaussian(STD, rows.shape[1]) for _ in range(ROUNDS)]
    return [clipped_sum(rows[mask]) + z for mask, z in zip(taken, noise, strict=True)]


def _sgd(gradients: Rows, rows: Rows, source: NoiseSource) -> Rows:
    return noised_sum(gradients[draw(rows, source)], source)


def _full_batch(gradients: Rows, rows: Rows, source: NoiseSource) -> Rows:
    del rows
    return noised_sum(gradients, source)


def _parameters(rows: Rows, source: NoiseSource) -> Releases:
    """Releases the parameters, with momentum over what was noised."""
    params = momentum = np.zeros(rows.shape[1])
    released = []
    for _ in range(ROUNDS):
        batch = rows[draw(rows, source)]
        momentum = 0.9 * momentum + noised_sum(batch - params, source)
        params = params + 0.1 * momentum
        released.append(params)
    return released


def _logistic(rows: Rows, source: NoiseSource) -> Releases:
    """The last column's sign is the outcome; non-finite rows count for nothing."""
    x, y = np.nan_to_num(rows[:, :-1], posinf=0.0, neginf=0.0), rows[:, -1] > 0
    params, released = np.zeros(x.shape[1]), []
    for _ in range(ROUNDS):
        taken = draw(rows, source)
        expected = 1 / (1 + np.exp(-(x[taken] @ params)))
        gradients = np.nan_to_num((expected - y[taken])[:, None] * x[taken])
        noised = clipped_sum(gradients) + source.gaussian(STD, x.shape[1])
        params = params - 0.5 * noised
        released.append(noised)
    return released


def _adaptive_clipping(rows: Rows, source: NoiseSource) -> Releases:
    """Andrew et al. 2021: the clip norm follows a noised count, and the noise the clip norm."""
    clip_norm, released = CLIP, []
    for _ in range(ROUNDS):
        count = np.atleast_1d((np.linalg.norm(rows, axis=1) <= clip_norm).sum())
        counted = count + source.gaussian(MULTIPLIER, 1)
        noise = source.gaussian(MULTIPLIER * clip_norm, rows.shape[1])
        released += [counted, clipped_sum(rows, clip_norm) + noise]
        clip_norm *= float(np.exp(-0.2 * (counted[0] / PUBLIC - 0.5)))
    return released


def _by_layers(rows: Rows, source: NoiseSource) -> Any:
    """One clip over all parameters, the noise drawn layer by layer."""
    total = clipped_sum(rows)
    layers = total[:2], total[2:]
    return np.concatenate([layer + source.gaussian(STD, len(layer)) for layer in layers])


def _two_of_one_sample(rows: Rows, source: NoiseSource) -> Releases:
    batch = rows[draw(rows, source)]
    return [noised_sum(batch, source), noised_sum(batch, source)]


def _public_mean(rows: Rows, source: NoiseSource) -> Any:
    """The mean, where patients are replaced and their number is known."""
    return noised_sum(rows, source) / len(rows)


def _hospitals(rows: Rows) -> list[Any]:
    return [
        to_integers(clip(part, clip_norm=CLIP), radius=RADIUS) for part in np.array_split(rows, 3)
    ]


def _gaussian_shares(rows: Rows, source: NoiseSource) -> Any:
    parts = (noised_sum(part, source, scale=3**-0.5) for part in np.array_split(rows, 3))
    return np.sum(list(parts), axis=0)


def _discrete_shares(rows: Rows, source: NoiseSource) -> Any:
    std = MULTIPLIER * RADIUS / 3**0.5
    sums = [p.sum() + source.discrete_gaussian(std, rows.shape[1]) for p in _hospitals(rows)]
    return np.sum(sums, axis=0)


def _skellam_shares(rows: Rows, source: NoiseSource) -> Any:
    variance = (MULTIPLIER * RADIUS) ** 2 / 3
    return np.sum(
        [p.sum() + source.skellam(variance, rows.shape[1]) for p in _hospitals(rows)], axis=0
    )


CORRECT: tuple[Mutant, ...] = (
    Mutant("sums of Poisson samples", rounds(_sampled_sum), SAMPLED),
    Mutant("noise and samples drawn first", _noise_first, SAMPLED),
    Mutant("adaptive DP-SGD", training(_sgd), SAMPLED),
    Mutant("adaptive DP-SGD on the full batch", training(_full_batch), PLAIN),
    Mutant("parameters with momentum", _parameters, SAMPLED),
    Mutant("logistic regression", _logistic, SAMPLED),
    Mutant("adaptive clipping", _adaptive_clipping, dp.SelfComposedDpEvent(PLAIN, 2)),
    Mutant("noise by layers", rounds(_by_layers), PLAIN),
    Mutant("two releases of one sample", _two_of_one_sample, BOTH),
    Mutant("three Gaussian shares", rounds(_gaussian_shares), PLAIN),
    Mutant("three discrete shares", lambda r, s: [_discrete_shares(r, s)], DISCRETE),
    Mutant(
        "three Skellam shares",
        lambda r, s: [_skellam_shares(r, s)],
        SkellamDpEvent(MULTIPLIER, RADIUS, 5),
    ),
    Mutant(
        "a mean of a public number",
        rounds(_public_mean),
        PLAIN,
        relation=Relation.REPLACE_ONE,
    ),
    Mutant(
        "more noise than claimed",
        rounds(noised_sum),
        dp.SelfComposedDpEvent(dp.GaussianDpEvent(1.9), ROUNDS),
    ),
    Mutant("sampling that is not claimed", rounds(_sampled_sum), PLAIN),
)
