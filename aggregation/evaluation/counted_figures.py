r"""AUC and calibration from noised counts, with intervals that include the noise.

A cell's opened count is :math:`c + z`: it varies by whom chance brought (variance :math:`c`, a
Poisson count) and by the noise (variance :math:`\sigma^2`, known to all). With the noised counts
:math:`p_b` of patients with and :math:`q_b` without the outcome,

.. math:: A = \frac{p^T K q}{\sum p \sum q}, \qquad
   K_{bc} = [b > c] + (\tfrac12 + t_b) [b = c].

Its interval holds every :math:`A_0` that the counts do not contradict (Fieller 1954): with
:math:`M = K - A_0`, :math:`p^T M q` has mean 0 at the truth, and

.. math:: \mathrm{Var} \le \sum_b (p_b^+ + \sigma^2 + 1) (M q)_b^2
   + \sum_c (q_c^+ + \sigma^2 + 1) (M^T p)_c^2

as an estimate: the plug-in adds to each square what the noise adds to it, and 1 stands for a cell
that chance left empty. So where noise drowns the counts the interval is [0, 1], not a narrow one
around chance. (:math:`x^+` is x, at least 0.)

Two patients of one bin: who is ill has the higher score with probability :math:`\frac12 + t_b`,
:math:`t_b = w_b / 12` for scores spread evenly over a bin of width :math:`w_b` (log-odds) whose
risks follow the score. The intervals are wider by that on both sides: it is right for any slope
between none and twice the one that a calibrated model has.

References:
  Fieller (1954), Some problems in interval estimation, J R Stat Soc B 16:175.
  Hanley and McNeil (1982), Radiology 143:29 (the AUC as a probability, ties one half).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.special import expit

from privacy._validate import finite_array, non_negative, unit_open
from privacy.errors import InvalidInputError

__all__ = ["CountedFigure", "HeldOut", "figures"]

_GRID = 2000  # steps of a unit interval
_LEAST = 2.0  # standard deviations of noise that a total has to stand above


@dataclass(frozen=True)
class CountedFigure:
    """A figure with its interval.

    Attributes:
      value: None: noise drowns it.
      lower: Lower end.
      upper: Upper end.
      confidence: Nominal coverage.
    """

    value: float | None
    lower: float
    upper: float
    confidence: float = 0.95


@dataclass(frozen=True)
class HeldOut:
    """Opened counts of held-out patients.

    Attributes:
      counts: ``[sites, 2, bins]``: of patients without and with the outcome; noised.
      noise_std: Standard deviation of the noise of each, in patients.
      edges: Between the bins, in log-odds, increasing.
      sites: Names of the classes of sites.

    Raises:
      InvalidInputError: Shapes that do not agree, edges that do not increase.
    """

    counts: Float[np.ndarray, "sites 2 bins"]
    noise_std: float
    edges: Float[np.ndarray, "edges"]
    sites: tuple[str, ...] = ("",)

    def __post_init__(self) -> None:
        finite_array(counts=self.counts)
        finite_array(edges=self.edges)
        non_negative(noise_std=self.noise_std)
        whole = (len(self.sites), 2, len(self.edges) + 1)
        if self.counts.shape != whole or not (np.diff(self.edges) > 0).all() or not len(self.edges):
            raise InvalidInputError(
                f"Expected counts of shape {whole} between increasing edges, got "
                f"{self.counts.shape}."
            )

    def together(self) -> "HeldOut":
        """All sites as one; the noise of as many cells adds up."""
        if len(self.sites) == 1:
            return self
        std = self.noise_std * math.sqrt(len(self.sites))
        return replace(self, counts=self.counts.sum(axis=0)[None], noise_std=std, sites=("",))

    def of(self, site: str) -> "HeldOut":
        """One class of sites."""
        number = self.sites.index(site)
        return replace(self, counts=self.counts[number : number + 1], sites=(site,))

    @property
    def widths(self) -> Float[np.ndarray, "bins"]:
        """Of the bins, in log-odds; the outer ones as wide as their neighbours."""
        inner = np.diff(self.edges) if len(self.edges) > 1 else np.ones(1)
        return np.concatenate([inner[:1], inner, inner[-1:]])[: len(self.edges) + 1]

    @property
    def risks(self) -> Float[np.ndarray, "bins"]:
        """The risk in the middle of each bin; outer ones end after their width."""
        return np.asarray(expit(self._ends.mean(axis=0)))

    @property
    def spans(self) -> Float[np.ndarray, "2 bins"]:
        """Lowest and highest risk of each bin; outer ones end after their width."""
        return np.asarray(expit(self._ends))

    @property
    def _ends(self) -> NDArray[np.float64]:
        first, last = self.edges[0] - self.widths[0], self.edges[-1] + self.widths[-1]
        points = np.concatenate([[first], self.edges, [last]])
        return np.stack([points[:-1], points[1:]])


def figures(held_out: HeldOut, *, confidence: float = 0.95) -> Mapping[str, CountedFigure]:
    """Return ``AUC``, ``observed less predicted`` risk, and ``observed in bin k``, of all sites.

    Guarantees (each is a test in ``tests/aggregation/evaluation/test_figures.py``):
      - the intervals hold the truth of the population that the patients were drawn from at least as
        often as they say, whatever the noise, down to counts that it drowns;
      - without noise the AUC is that of the counted patients, as far as bins tell it;
      - more noise never makes an interval narrower in the mean.

    Args:
      held_out: What was opened; with several classes of sites, their sum.
      confidence: Nominal coverage.
    """
    unit_open(confidence=confidence)
    one = held_out.together()
    well, ill = one.counts[0]
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    counted_figures = {"AUC": _auc(one, ill, well, z, confidence)}
    counted_figures["observed less predicted"] = _in_the_large(one, ill, well, z, confidence)
    for k in range(one.counts.shape[2]):
        counted_figures[f"observed in bin {k}"] = _observed(
            one.noise_std, float(ill[k]), float(well[k]), z, confidence
        )
    return counted_figures


def _auc(
    one: HeldOut,
    ill: NDArray[np.float64],
    well: NDArray[np.float64],
    z: float,
    confidence: float,
) -> CountedFigure:
    bins = len(ill)
    tie = np.minimum(one.widths / 12, 0.5)
    kernel = np.tril(np.ones((bins, bins)), -1) + np.diag(0.5 + tie)
    spread = (_own(ill) + one.noise_std**2, _own(well) + one.noise_std**2)
    # Both are quadratic in A_0: terms of M = K - A_0.
    rows, columns = kernel @ well, kernel.T @ ill
    all_ill, all_well = float(ill.sum()), float(well.sum())

    def far(value: NDArray[np.float64]) -> NDArray[np.bool_]:
        gap = ill @ rows - value * all_ill * all_well
        ahead = (rows[:, None] - value * all_well) ** 2
        behind = (columns[:, None] - value * all_ill) ** 2
        return np.asarray(gap**2 > z**2 * (spread[0] @ ahead + spread[1] @ behind))

    lower, upper = _hull(far)
    drowned = min(all_ill, all_well) <= _LEAST * one.noise_std * math.sqrt(bins)
    if drowned or not all_ill * all_well > 0:
        return CountedFigure(None, 0.0, 1.0, confidence)
    pairs = np.maximum(ill, 0) @ np.maximum(tie * well, 0)
    hidden = float(pairs) / (all_ill * all_well)
    value = min(1.0, max(0.0, float(ill @ rows) / (all_ill * all_well)))
    lower, upper = min(lower, value), max(upper, value)
    return CountedFigure(value, max(0.0, lower - hidden), min(1.0, upper + hidden), confidence)


def _in_the_large(
    one: HeldOut,
    ill: NDArray[np.float64],
    well: NDArray[np.float64],
    z: float,
    confidence: float,
) -> CountedFigure:
    """Observed less predicted risk: the mean of (outcome - risk of its bin's middle)."""
    total = float((ill + well).sum())
    up, down = 1 - one.risks, -one.risks
    spread = (_own(ill) + one.noise_std**2, _own(well) + one.noise_std**2)
    drowned = total <= _LEAST * one.noise_std * math.sqrt(2 * len(ill))
    if drowned or not total > 0:
        return CountedFigure(None, -1.0, 1.0, confidence)

    def far(share: NDArray[np.float64]) -> NDArray[np.bool_]:
        value = 2 * share - 1  # from -1 to 1
        gap = ill @ up + well @ down - value * total
        ahead, behind = (up[:, None] - value) ** 2, (down[:, None] - value) ** 2
        return np.asarray(gap**2 > z**2 * (spread[0] @ ahead + spread[1] @ behind))

    lower, upper = (2 * end - 1 for end in _hull(far))
    # A density that at most trebles across a bin moves its mean by a twelfth of it.
    low, high = one.spans
    hidden = float(np.maximum(ill + well, 0) @ (high - low)) / 12 / total
    value = min(1.0, max(-1.0, float(ill @ up + well @ down) / total))
    lower, upper = min(lower, value), max(upper, value)
    return CountedFigure(value, max(-1.0, lower - hidden), min(1.0, upper + hidden), confidence)


def _observed(std: float, ill: float, well: float, z: float, confidence: float) -> CountedFigure:
    """Fraction with the outcome among a bin's patients; without noise Wilson's interval."""
    total = ill + well

    def far(value: NDArray[np.float64]) -> NDArray[np.bool_]:
        gap = ill - value * total
        sampling_variance = max(total, 0.0) * value * (1 - value)
        noise = std**2 * ((1 - value) ** 2 + value**2)
        return np.asarray(gap**2 > z**2 * (sampling_variance + noise))

    if not total > _LEAST * std * math.sqrt(2):
        return CountedFigure(None, 0.0, 1.0, confidence)
    value = min(1.0, max(0.0, ill / total))
    lower, upper = _hull(far)
    return CountedFigure(value, min(lower, value), max(upper, value), confidence)


def _own(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """What chance adds to a cell's variance."""
    return np.maximum(counts, 0.0) + 1.0


def _hull(far: Callable[[NDArray[np.float64]], NDArray[np.bool_]]) -> tuple[float, float]:
    """The least interval of [0, 1] that holds every value that is not far, a step wider."""
    grid = np.linspace(0.0, 1.0, _GRID + 1)
    near = np.flatnonzero(~far(grid))
    if not near.size:  # contradicted everywhere: the value alone, which the caller adds
        return 1.0, 0.0
    first, last = int(near[0]), int(near[-1])
    return float(grid[max(first - 1, 0)]), float(grid[min(last + 1, _GRID)])
