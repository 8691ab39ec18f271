r"""Intervals and equivalence for attack scores.

>>> low, high = clopper_pearson(5, 50)
>>> round(low, 4), round(high, 4)
(0.0333, 0.2181)
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped
from numpy.typing import NDArray

from privacy._validate import natural, positive, unit_open
from privacy.errors import InvalidInputError

__all__ = [
    "Equivalence",
    "Rate",
    "clopper_pearson",
    "cluster_bootstrap",
    "equivalence",
    "student_half_width",
    "success_rate",
]


def clopper_pearson(
    successes: int, trials: int, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the exact two-sided interval of a proportion (Clopper and Pearson 1934).

    Its coverage is at least ``confidence`` at every truth.

    Raises:
      InvalidInputError: More successes than trials, no trials, or a confidence outside (0, 1).
    """
    from scipy.special import betaincinv

    natural(successes=successes)
    natural(trials=trials, least=1)
    unit_open(confidence=confidence)
    if successes > trials:
        raise InvalidInputError(f"Expected successes={successes} <= trials={trials}.")
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else float(betaincinv(successes, trials - successes + 1, tail))
    high = (
        1.0
        if successes == trials
        else float(betaincinv(successes + 1, trials - successes, 1 - tail))
    )
    return low, high


def cluster_bootstrap(
    values: Float[np.ndarray, "units"],
    clusters: Int[np.ndarray, "units"],
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
) -> tuple[float, float]:
    """Return a percentile interval of the mean; whole clusters (batches) are drawn.

    Patients of one batch succeed or fail together, so an interval over patients would be too
    narrow.

    Raises:
      InvalidInputError: No values, shapes that do not agree, or fewer than two clusters.
    """
    sums, sizes = _cluster_sums(values, clusters)
    means = _resampled_means(sums, sizes, rng, resamples)
    tail = (1 - unit_open(confidence=confidence)) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def student_half_width(
    values: Float[np.ndarray, "repetitions"], *, confidence: float = 0.95
) -> float:
    """Return half the width of Student's interval of the mean of independent repetitions.

    Raises:
      InvalidInputError: Fewer than two values, or a confidence outside (0, 1).
    """
    from scipy.stats import t

    if len(values) < 2:
        raise InvalidInputError(
            f"An interval of a mean needs two repetitions, got {len(values)}. Repeat."
        )
    quantile = t.ppf((1 + unit_open(confidence=confidence)) / 2, len(values) - 1)
    return float(quantile * np.std(values, ddof=1) / np.sqrt(len(values)))


@dataclass(frozen=True)
class Rate:
    """How often something succeeded, with an interval.

    Attributes:
      value: Share of successes.
      lower: Lower end of the interval.
      upper: Upper end.
      units: Targets.
      clusters: Batches that they came in.
    """

    value: float
    lower: float
    upper: float
    units: int
    clusters: int


def success_rate(
    hits: Shaped[np.ndarray, "units"],
    clusters: Int[np.ndarray, "units"],
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
) -> Rate:
    """Return a proportion with the wider, at each end, of two intervals.

    Clopper and Pearson's is exact if targets are independent, and never of width zero; the cluster
    bootstrap allows for batches in which patients share a fate, but not for batches so few, or so
    unanimous, that resampling shows nothing.

    Args:
      hits: 1 or true: a success.
      clusters: Number of each unit's batch.
      rng: Resamples the batches.
      confidence: Of each interval.

    Raises:
      InvalidInputError: Values other than 0 and 1, or as ``cluster_bootstrap``.
    """
    values = hits.astype(np.float64)
    if not np.isin(values, (0.0, 1.0)).all():
        raise InvalidInputError("A success rate is of values 0 and 1; use cluster_bootstrap.")
    low, high = cluster_bootstrap(values, clusters, rng, confidence=confidence)
    exact = clopper_pearson(int(values.sum()), len(values), confidence=confidence)
    return Rate(
        value=float(values.mean()),
        lower=min(low, exact[0]),
        upper=max(high, exact[1]),
        units=len(values),
        clusters=len(np.unique(clusters)),
    )


@dataclass(frozen=True)
class Equivalence:
    """Whether a mean difference is shown to be within a margin.

    Attributes:
      estimate: Mean difference.
      low: Lower end of the interval of confidence 1 - 2 alpha.
      high: Upper end.
      margin: Set before the data were seen.
      equivalent: Whether the whole interval lies within the margin: both one-sided tests at alpha
        reject (Schuirmann 1987).
    """

    estimate: float
    low: float
    high: float
    margin: float
    equivalent: bool


def equivalence(
    differences: Float[np.ndarray, "units"],
    clusters: Int[np.ndarray, "units"],
    rng: np.random.Generator,
    *,
    margin: float,
    alpha: float = 0.05,
) -> Equivalence:
    """Test that a mean difference lies within ``margin`` of zero (two one-sided tests).

    A failed test of difference shows nothing; this one has to be passed.

    Raises:
      InvalidInputError: As ``cluster_bootstrap``; a margin that is not above 0.
    """
    positive(margin=margin)
    low, high = cluster_bootstrap(differences, clusters, rng, confidence=1 - 2 * alpha)
    return Equivalence(
        float(differences.mean()), low, high, margin, bool(-margin < low and high < margin)
    )


def _cluster_sums(
    values: NDArray[np.float64], clusters: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if values.shape != clusters.shape or values.ndim != 1:
        raise InvalidInputError(
            f"Expected one cluster a value, got {clusters.shape} for {values.shape}."
        )
    _, places = np.unique(clusters, return_inverse=True)
    sizes = np.bincount(places).astype(np.float64)
    if len(sizes) < 2:
        raise InvalidInputError(
            f"Expected at least 2 clusters to resample, got {len(sizes)}. Attack more batches."
        )
    return np.bincount(places, weights=values).astype(np.float64), sizes


def _resampled_means(
    sums: NDArray[np.float64],
    sizes: NDArray[np.float64],
    rng: np.random.Generator,
    resamples: int,
) -> NDArray[np.float64]:
    drawn = rng.integers(len(sums), size=(resamples, len(sums)))
    return np.asarray(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
