"""Mistakes inside a release: how patients are bounded, how the noise is added."""

from typing import Any

import numpy as np

from privacy.accounting.events import DiscreteGaussianDpEvent
from privacy.mechanisms.clipping import clip, to_integers
from privacy.mechanisms.noise import NoiseSource, Seeded
from privacy.testing.mutants.building import (
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
    seed_of,
)

__all__ = ["SUMS"]


def _clipped_batch(rows: Rows, source: NoiseSource) -> Any:
    """The sum is clipped instead of the patients."""
    return noised_sum(rows.sum(axis=0, keepdims=True), source)


def _clipped_pairs(rows: Rows, source: NoiseSource) -> Any:
    """Micro-batches of two are averaged, then clipped."""
    pairs = [
        part.mean(axis=0) for part in np.array_split(rows, max(1, len(rows) // 2)) if len(part)
    ]
    return noised_sum(np.array(pairs).reshape(-1, rows.shape[1]), source)


def _median(rows: Rows) -> float:
    return float(np.median(np.linalg.norm(rows, axis=1))) if len(rows) else CLIP


def _clipped_to_median(rows: Rows, source: NoiseSource) -> Any:
    """The clip norm is the patients' median where that is smaller; the noise is constant."""
    return noised_sum(rows, source, clip_norm=min(CLIP, _median(rows) + 1e-9))


def _clipped_to_quantile(rows: Rows, source: NoiseSource) -> Any:
    """The clip norm is nine tenths of the patients' where that is smaller."""
    norms = np.linalg.norm(rows, axis=1)
    norm = float(np.quantile(norms, 0.9)) if len(rows) else CLIP
    return noised_sum(rows, source, clip_norm=min(CLIP, norm + 1e-9))


def _clipped_crowd(rows: Rows, source: NoiseSource) -> Any:
    """A large batch is clipped at once, to be faster."""
    return _clipped_batch(rows, source) if len(rows) > 50 else noised_sum(rows, source)


def _scaled_to_median(rows: Rows, source: NoiseSource) -> Any:
    """Clip norm and noise are of the patients' median."""
    norm = _median(rows) + 1e-9
    return clipped_sum(rows, norm) + source.gaussian(MULTIPLIER * norm, rows.shape[1])


def _no_clip_above(rows: Rows, source: NoiseSource) -> Any:
    """Long rows are taken for errors and left alone."""
    long = np.linalg.norm(rows, axis=1) > 1e7
    return noised_sum(rows[~long], source) + rows[long].sum(axis=0)


def _layer_clipping(rows: Rows, source: NoiseSource) -> Any:
    """Each layer is clipped to the norm of the whole."""
    return np.concatenate([noised_sum(layer, source) for layer in (rows[:, :2], rows[:, 2:])])


def _largest_entry(rows: Rows, source: NoiseSource) -> Any:
    """Entries are clipped, not norms."""
    return np.clip(rows, -CLIP, CLIP).sum(axis=0) + source.gaussian(STD, rows.shape[1])


def _standardised(rows: Rows, source: NoiseSource) -> Any:
    """The patients' own mean and deviation are taken out before clipping."""
    if not len(rows):
        return noised_sum(rows, source)
    return noised_sum((rows - rows.mean(axis=0)) / (rows.std(axis=0) + 1e-9), source)


def _three_longest(rows: Rows, source: NoiseSource) -> Any:
    order = np.argsort(np.linalg.norm(rows, axis=1))
    return noised_sum(rows[order[-3:]], source)


def _rounded_sum(rows: Rows, source: NoiseSource) -> Any:
    """The sum is rounded, not each patient: that adds up to half a step a coordinate."""
    total = np.rint(clipped_sum(rows) / CLIP * 3).astype(np.int64)
    return total + source.discrete_gaussian(MULTIPLIER * 3, rows.shape[1])


def _mean_for_sum(rows: Rows, source: NoiseSource) -> Any:
    """The mean over those present, with noise for a sum over a public number."""
    mean = clip(rows, clip_norm=CLIP).values.mean(axis=0) if len(rows) else 0.0
    return mean + source.gaussian(STD / PUBLIC, rows.shape[1])


def _mean_of_present(rows: Rows, source: NoiseSource) -> Any:
    """What was noised is divided by a number that nobody should know."""
    return noised_sum(rows, source) / max(1, len(rows))


def _reused_noise(rows: Rows, source: NoiseSource) -> Releases:
    draws = [source.gaussian(STD, rows.shape[1]) for _ in range(ROUNDS)]
    return [clipped_sum(rows) + draws[0] for _ in range(ROUNDS)]


def _cancelling_noise(rows: Rows, source: NoiseSource) -> Releases:
    """Each round takes the last one's noise out again."""
    noise = [source.gaussian(STD, rows.shape[1]) for _ in range(ROUNDS)]
    before = [np.zeros(rows.shape[1]), *noise]
    return [clipped_sum(rows) + new - old for new, old in zip(noise, before, strict=False)]


def _one_number(rows: Rows, source: NoiseSource) -> Any:
    """The same number is added to every coordinate."""
    return clipped_sum(rows) + source.gaussian(STD, 1)


def _float32_noise(rows: Rows, source: NoiseSource) -> Any:
    return clipped_sum(rows) + source.gaussian(STD, rows.shape[1]).astype(np.float32)


def _article(rows: Rows, source: NoiseSource) -> Any:
    """The article's: the scale comes from what is to be hidden."""
    total = rows.sum(axis=0)
    scale = float(np.linalg.norm(total)) + 1e-12
    return np.asarray(total + source.gaussian(MULTIPLIER * scale, rows.shape[1]))


def _own_randomness(rows: Rows, source: NoiseSource) -> Any:
    """Noise from a generator of its own, so that nobody can say what protects."""
    del source
    return clipped_sum(rows) + np.random.default_rng().normal(0, STD, rows.shape[1])


def _noise_seeded_from_data(rows: Rows, source: NoiseSource) -> Any:
    del source
    return noised_sum(rows, Seeded(seed_of(rows)))


def _one_share(rows: Rows, source: NoiseSource) -> Any:
    """One hospital of three adds its share, for the others too."""
    std = MULTIPLIER * RADIUS / 3**0.5
    integers = to_integers(clip(rows, clip_norm=CLIP), radius=RADIUS)
    return integers.sum() + source.discrete_gaussian(std, rows.shape[1])


def _no_noise_when_empty(rows: Rows, source: NoiseSource) -> Any:
    batch = rows[draw(rows, source)]
    return noised_sum(batch, source) if len(batch) else np.zeros(rows.shape[1])


def _no_noise_for_many(rows: Rows, source: NoiseSource) -> Any:
    """A hundred hide each other, somebody thought."""
    return noised_sum(rows, source) if len(rows) < 100 else clipped_sum(rows)


def _faint_noise_for_many(rows: Rows, source: NoiseSource) -> Any:
    """The noise is asked for, as it should be, and then weighed by what is thought to be needed."""
    noise = source.gaussian(STD, rows.shape[1])
    return clipped_sum(rows) + (noise if len(rows) < 100 else 0.1 * noise)


def _no_noise_on_nan(rows: Rows, source: NoiseSource) -> Any:
    if np.isfinite(rows).all():
        return noised_sum(rows, source)
    return clipped_sum(np.nan_to_num(rows))


def _noise_by_batch(rows: Rows, source: NoiseSource) -> Any:
    """A smaller batch gets less noise."""
    batch = rows[draw(rows, source)]
    return clipped_sum(batch) + source.gaussian(
        STD * (len(batch) + 1) / (len(rows) + 1), rows.shape[1]
    )


def _noise_until_small(rows: Rows, source: NoiseSource) -> Any:
    """Unlucky draws are drawn again."""
    total = clipped_sum(rows)
    released = total + source.gaussian(STD, rows.shape[1])
    if np.linalg.norm(released - total) > 1.5 * np.linalg.norm(total):
        released = total + source.gaussian(STD, rows.shape[1])
    return released


SUMS: tuple[Mutant, ...] = (
    Mutant(
        "no clipping", rounds(lambda r, s: noised_sum(r, s, clip_norm=1e15)), PLAIN, "sensitivity"
    ),
    Mutant("a batch clipped instead of patients", rounds(_clipped_batch), PLAIN, "sensitivity"),
    Mutant("micro-batches clipped", rounds(_clipped_pairs), PLAIN, "sensitivity"),
    Mutant("clipped to the median", rounds(_clipped_to_median), PLAIN, "sensitivity"),
    Mutant("clipped to a quantile", rounds(_clipped_to_quantile), PLAIN, "sensitivity"),
    Mutant("a crowd clipped at once", rounds(_clipped_crowd), PLAIN, "sensitivity"),
    Mutant("scaled to the median", rounds(_scaled_to_median), PLAIN, "control"),
    Mutant("no clip above 1e7", rounds(_no_clip_above), PLAIN, "sensitivity"),
    Mutant("each layer clipped to the whole's norm", rounds(_layer_clipping), PLAIN, "sensitivity"),
    Mutant("entries clipped, not norms", rounds(_largest_entry), PLAIN, "sensitivity"),
    Mutant("standardised by the patients", rounds(_standardised), PLAIN, "sensitivity"),
    Mutant("the three longest", rounds(_three_longest), PLAIN, "sensitivity"),
    Mutant(
        "a rounded sum",
        lambda r, s: [_rounded_sum(r, s)],
        DiscreteGaussianDpEvent(MULTIPLIER, 3),
        "sensitivity",
    ),
    # Noise scaled as if gradients were averaged over two.
    Mutant("wrong scale", rounds(lambda r, s: noised_sum(r, s, scale=0.5)), PLAIN, "sensitivity"),
    Mutant("mean for sum", rounds(_mean_for_sum), PLAIN, "sensitivity"),
    Mutant("mean of those present", rounds(_mean_of_present), PLAIN, "fresh"),
    Mutant("reused noise", _reused_noise, PLAIN, "fresh"),
    Mutant("cancelling noise", _cancelling_noise, PLAIN, "sensitivity"),
    Mutant("one number for all coordinates", rounds(_one_number), PLAIN, "fresh"),
    Mutant("float32 noise", rounds(_float32_noise), PLAIN, "fresh"),
    Mutant("data-dependent sensitivity", rounds(_article), PLAIN, "control"),
    Mutant("own randomness", rounds(_own_randomness), PLAIN, "control"),
    Mutant("noise seeded from data", rounds(_noise_seeded_from_data), PLAIN, "fresh"),
    Mutant("no noise on an empty batch", rounds(_no_noise_when_empty), SAMPLED, "control"),
    Mutant("no noise at 100 patients", rounds(_no_noise_for_many), PLAIN, "control"),
    Mutant("fainter noise at 100 patients", rounds(_faint_noise_for_many), PLAIN, "sensitivity"),
    Mutant("no noise on NaN", rounds(_no_noise_on_nan), PLAIN, "control"),
    Mutant("noise by the size of the batch", rounds(_noise_by_batch), SAMPLED, "control"),
    Mutant("noise drawn until it is small", rounds(_noise_until_small), PLAIN, "fresh"),
    Mutant("one share of three", lambda r, s: [_one_share(r, s)], DISCRETE, "fresh"),
)
