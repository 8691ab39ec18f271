"""Mistakes between releases: who is sampled, and what is carried from round to round."""

from typing import Any

import numpy as np

from privacy.mechanisms.clipping import clip
from privacy.mechanisms.noise import NoiseSource, Seeded
from privacy.testing.mutants.building import (
    CLIP,
    PLAIN,
    PROB,
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
    seed_of,
)

__all__ = ["COURSES"]


def _sample_ignored(rows: Rows, source: NoiseSource) -> Any:
    draw(rows, source)
    return noised_sum(rows, source)


def _sample_as_count(rows: Rows, source: NoiseSource) -> Any:
    """As many patients as were drawn, from the top of the table."""
    return noised_sum(rows[: draw(rows, source).sum()], source)


def _one_sample(rows: Rows, source: NoiseSource) -> Releases:
    """Drawn once for all rounds."""
    batch = rows[draw(rows, source)]
    return [noised_sum(batch, source) for _ in range(ROUNDS)]


def _first_sample(rows: Rows, source: NoiseSource) -> Releases:
    """Drawn for every round; the first one is used."""
    taken = [draw(rows, source) for _ in range(ROUNDS)]
    return [noised_sum(rows[taken[0]], source) for _ in range(ROUNDS)]


def _sample_seeded_from_data(rows: Rows, source: NoiseSource) -> Any:
    """The source's sample is drawn, and one that follows the patients is used."""
    draw(rows, source)
    return noised_sum(rows[Seeded(seed_of(rows)).poisson_sample(PROB, len(rows))], source)


def _shuffled_as_poisson(rows: Rows, source: NoiseSource) -> Releases:
    """Batches of a shuffled pass, accounted for as if each were a Poisson sample."""
    order = np.random.default_rng(0).permutation(len(rows))
    return [noised_sum(rows[batch], source) for batch in np.array_split(order, ROUNDS)]


def _sample_of_half(rows: Rows, source: NoiseSource) -> Any:
    """Only half of the patients can be drawn: those are drawn as the claim says, it seems."""
    half = rows[: len(rows) // 2]
    return noised_sum(half[draw(half, source)], source)


def _filled_up(rows: Rows, source: NoiseSource) -> Any:
    """A batch that came out short is filled up from the top of the table."""
    taken = draw(rows, source)
    taken[: 2 - int(taken.sum()) if taken.sum() < 2 else 0] = True
    return noised_sum(rows[taken], source)


def _exact_parameters(rows: Rows, source: NoiseSource) -> Releases:
    """The model moves by the sum without noise; with noise it is only shown."""
    params, released = np.zeros(rows.shape[1]), []
    for _ in range(ROUNDS):
        total = clipped_sum(rows - params)
        params = params + 0.3 * total
        released.append(total + source.gaussian(STD, rows.shape[1]))
    return released


def _exact_momentum(rows: Rows, source: NoiseSource) -> Releases:
    momentum, released = np.zeros(rows.shape[1]), []
    for _ in range(ROUNDS):
        momentum = 0.5 * momentum + 0.5 * clipped_sum(rows[draw(rows, source)])
        released.append(momentum + source.gaussian(STD, rows.shape[1]))
    return released


def _error_feedback(rows: Rows, source: NoiseSource) -> Releases:
    """What clipping cut off is added to the next round."""
    residual, released = np.zeros_like(rows), []
    for _ in range(ROUNDS):
        wanted = rows.mean(axis=0, keepdims=True) + residual if len(rows) else rows
        clipped = clip(wanted, clip_norm=CLIP).values
        residual = wanted - clipped
        released.append(clipped.sum(axis=0) + source.gaussian(STD, rows.shape[1]))
    return released


def _best_so_far(rows: Rows, source: NoiseSource) -> Releases:
    """A round is kept if it brought the model closer to the patients, which nobody noised."""
    params, released = np.zeros(rows.shape[1]), []
    for _ in range(ROUNDS):
        noised = noised_sum(rows - params, source)
        tried = params + 0.1 * noised
        if np.abs(rows - tried).sum() < np.abs(rows - params).sum():
            params = tried
        released.append(noised)
    return released


def _stops_early(rows: Rows, source: NoiseSource) -> Releases:
    """Training ends when the patients' own loss is low."""
    released: Releases = []
    while len(released) < ROUNDS and (not released or np.abs(rows).sum() > 1.0):
        released.append(noised_sum(rows, source))
    return released


_KEPT: dict[int, Rows] = {}


def _kept_from_before(rows: Rows, source: NoiseSource) -> Any:
    """A cache outlives the run."""
    before = _KEPT.get(rows.shape[1], np.zeros(rows.shape[1]))
    _KEPT[rows.shape[1]] = clipped_sum(rows)
    return _KEPT[rows.shape[1]] + 0.1 * before + source.gaussian(STD, rows.shape[1])


COURSES: tuple[Mutant, ...] = (
    Mutant("sample ignored", rounds(_sample_ignored), SAMPLED, "sensitivity"),
    Mutant("sample used as a count", rounds(_sample_as_count), SAMPLED, "sensitivity"),
    Mutant("one sample for all rounds", _one_sample, SAMPLED, "sampler"),
    Mutant("first sample in all rounds", _first_sample, SAMPLED, "sensitivity"),
    Mutant("sample seeded from data", rounds(_sample_seeded_from_data), SAMPLED, "sensitivity"),
    Mutant("shuffle accounted as Poisson", _shuffled_as_poisson, SAMPLED, "sampler"),
    Mutant("sample of half of the patients", rounds(_sample_of_half), SAMPLED, "sampler"),
    Mutant("short batches filled up", rounds(_filled_up), SAMPLED, "sensitivity"),
    Mutant("off-by-one rounds", lambda r, s: [noised_sum(r, s) for _ in range(5)], PLAIN, "count"),
    Mutant("parameters without noise", _exact_parameters, PLAIN, "sensitivity"),
    Mutant("momentum without noise", _exact_momentum, SAMPLED, "sensitivity"),
    Mutant("error feedback", _error_feedback, PLAIN, "sensitivity"),
    Mutant("the best round is kept", _best_so_far, PLAIN, "sensitivity"),
    Mutant("early stopping", _stops_early, PLAIN, "control"),
    Mutant("kept from run to run", rounds(_kept_from_before), PLAIN, "control"),
)
