"""What a distribution is compared with, and how."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats


def discrete_gaussian_masses(
    std: float, reach: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    x = np.arange(-reach, reach + 1)
    masses = np.exp(-(x**2) / (2 * std**2))
    return x, masses / masses.sum()


def p_value(draws: NDArray[np.int64], x: NDArray[np.int64], masses: NDArray[np.float64]) -> float:
    """Chi-squared over cells of at least 20 expected draws; the tails are one cell each."""
    order = np.flatnonzero(masses * len(draws) >= 20)
    low, high = x[order[0]], x[order[-1]]
    cells = np.clip(draws, low, high)
    observed = np.array([(cells == v).sum() for v in x[order]])
    expected = masses[order].copy()
    expected[0] += masses[x < low].sum()
    expected[-1] += masses[x > high].sum()
    statistic = ((observed - expected * len(draws)) ** 2 / (expected * len(draws))).sum()
    return float(stats.chi2.sf(statistic, len(order) - 1))
