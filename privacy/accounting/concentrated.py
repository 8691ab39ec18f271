r"""Profiles from bounds on Renyi divergences: narrow discrete noise, Skellam noise, selection.

With :math:`D_\alpha \le \rho\alpha + \xi` in both directions, every neighbouring pair has delta at
most g, the least conversion over all orders (``discrete.zcdp_delta``). As a function of
:math:`\gamma = e^\varepsilon` each pair's delta is convex, so it lies below the greatest convex
function below g, wherever g is not convex itself. That function h is one profile for all of them:
it belongs to the pair with :math:`Q(P/Q > \gamma) = -h'(\gamma)`, which dominates, so it can be
sampled and composed (Zhu, Dong and Wang 2022, Theorems 10 and 11).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from privacy.accounting.discrete import zcdp_deltas
from privacy.accounting.profiles import Deltas

__all__ = ["Concentrated", "MomentBound", "together"]

_KNOTS = 800
_LEAST = 1e-60  # deltas below are as good as this one
_WIDTHS = 17.0  # how many widths above the mean loss a Gaussian's delta falls to the least


@dataclass(frozen=True)
class Concentrated:
    """One or several releases together that are concentrated DP; both directions are alike.

    Attributes:
      rho: See the module docstring; above 0 and finite.
      xi: See the module docstring; where it is not 0 the bound holds at whole orders only.
      count: How many releases these are.
    """

    rho: float
    xi: float
    count: int

    stacks: ClassVar[bool] = False  # its curve is computed once for each

    def times(self, count: int) -> "Concentrated":
        """Return so many such releases together."""
        return Concentrated(count * self.rho, count * self.xi, count * self.count)

    def deltas(self, epsilons: NDArray[np.float64]) -> Deltas:
        """Delta at each epsilon, of any sign: the same when a patient is removed and added."""
        both = _read(epsilons, *_curve(self.rho, self.xi))
        return both, both


@dataclass(frozen=True)
class MomentBound:
    """One release of which no more is known than its moments at whole orders (``moments``).

    Attributes:
      log_moments: Logarithms of M_0, M_1, M_2 and so on, from above; some finite.
    """

    log_moments: tuple[float, ...]

    stacks: ClassVar[bool] = False  # as above

    def deltas(self, epsilons: NDArray[np.float64]) -> Deltas:
        """Delta at each epsilon, of any sign: the same when a patient is removed and added."""
        both = _read(epsilons, *_curve_of_moments(self.log_moments))
        return both, both


def _read(
    epsilons: NDArray[np.float64], knots: NDArray[np.float64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return a curve with such corners at each epsilon; below 0 by symmetry."""
    e = np.abs(epsilons)
    at = np.clip(np.searchsorted(knots, e, side="right") - 1, 0, len(knots) - 2)
    with np.errstate(over="ignore", invalid="ignore"):
        # Linear in e^epsilon; where the gap's exponential is no float, the value before.
        share = np.expm1(e - knots[at]) / np.expm1(knots[at + 1] - knots[at])
    share = np.where(np.isnan(share), 0.0, np.clip(share, 0.0, 1.0))
    tail = values[at] * (1 - share) + values[at + 1] * share
    return np.where(epsilons >= 0, tail, -np.expm1(-e) + np.exp(-e) * tail)


def together(releases: Sequence[Concentrated]) -> Concentrated | None:
    """Return several releases as one; None for none."""
    if not releases:
        return None
    return Concentrated(
        math.fsum(one.rho for one in releases),
        math.fsum(one.xi for one in releases),
        sum(one.count for one in releases),
    )


@lru_cache(maxsize=64)
def _curve(rho: float, xi: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the corners of the greatest convex function, at epsilons from 0 up, and its values."""
    width = math.sqrt(2 * rho)
    last = rho + xi + _WIDTHS * width
    while zcdp_deltas(rho=rho, xi=xi, epsilons=np.array([last]))[0] > _LEAST:
        last *= 2
    near = np.linspace(rho + xi - 4 * width, rho + xi + _WIDTHS * width, _KNOTS)
    e = np.unique(np.concatenate([np.linspace(0.0, last, _KNOTS), near[near > 0]]))
    return _corners(e, np.minimum.accumulate(zcdp_deltas(rho=rho, xi=xi, epsilons=e)))


@lru_cache(maxsize=64)
def _curve_of_moments(
    log_moments: tuple[float, ...],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """As ``_curve``, by the least conversion over whole orders (``discrete.zcdp_deltas``)."""
    k = np.arange(2.0, len(log_moments))
    start = np.array(log_moments[2:]) - np.log(k - 1) + k * np.log1p(-1 / k)
    finite = np.isfinite(start)
    k, start = k[finite], start[finite]
    last = max(1e-6, float(((start - math.log(_LEAST)) / (k - 1)).min()))
    e = np.concatenate([[0.0], last * np.geomspace(1e-6, 1.0, 2 * _KNOTS)])
    logs = (start[:, None] - (k - 1)[:, None] * e).min(axis=0)
    return _corners(e, np.minimum.accumulate(np.exp(np.minimum(logs, 0.0))))


def _corners(
    e: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where the greatest convex function of e^epsilon below such values bends."""
    # The curve goes on below 0, mirrored: a chord from one side of e^epsilon = 1 to the other.
    half = np.tanh(e / 2)
    values[0] = np.min(half + (1 - half) * values)
    corners: list[int] = []
    for i in range(len(e)):
        while len(corners) > 1 and _fall(e, values, corners[-1], i) >= _fall(
            e, values, corners[-2], corners[-1]
        ):
            corners.pop()
        corners.append(i)
    return e[corners], values[corners]


def _fall(e: NDArray[np.float64], values: NDArray[np.float64], i: int, j: int) -> float:
    """Return the logarithm of how steeply the chord from i to j falls, by e^epsilon."""
    drop, gap = float(values[i] - values[j]), float(e[j] - e[i])
    if drop <= 0:
        return -math.inf
    return math.log(drop) - float(e[i]) - (gap + math.log(-math.expm1(-gap)))
