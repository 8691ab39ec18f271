r"""Composing profiles with dp-accounting's privacy loss distributions, certified on both sides.

Each profile is put on a grid of privacy losses by dp-accounting's connect-the-dots constructor
(Doroshenko, Ghazi, Kamath, Kumar and Manurangsi 2022) and composed by its FFT: an upper bound.

**The lower bound comes from the same object.** Connecting the dots splits an outcome of loss l
between the two grid points around it, a fraction :math:`\lambda` of its P-mass to the upper one,
so that Q's mass is kept too. The true pair is post-processing of the gridded one, and the gridded
loss L' given the true loss L takes two values a step h apart: L' - L is at most
:math:`h(\lambda-\theta) \le h^2/8` in the mean (:math:`\theta = l/h` above the lower point) and
sub-Gaussian with variance proxy :math:`h^2/4` around it (Hoeffding's lemma). Over n releases
L' - L exceeds :math:`c = n h^2/8 + h\sqrt{n \ln(1/\eta)/2}` with probability at most
:math:`\eta` under P, hence

.. math:: \delta(\varepsilon) \ge \delta'(\varepsilon + c) - \eta .

The mass that the grid cuts off at its ends is taken off too. The upper bound's own error is of
second order in h: it adds at most :math:`n h^2/4` to the variance of the loss.

Floating point: an FFT of probabilities errs by about 1e-16 a release in total mass; ``_FLOAT`` a
release is added to delta above and taken off below, so that bounds stay true down to a delta of
about 1e-12 (above it they only grow wide).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from dp_accounting.pld import pld_pmf

from privacy.accounting._search import bisect_up
from privacy.accounting.profiles import Profile

__all__ = ["Composition", "Part", "compose", "gridded_delta"]

Part = tuple[Profile, int]  # a profile, and how many such releases

_FLOAT = 2e-16
_LARGEST_GRID = 2**24  # points of a composed distribution: about half a gigabyte while it is made


@dataclass(frozen=True)
class Composition:
    """Composed privacy losses on a grid: for a removed patient and for an added one.

    Attributes:
      remove: dp-accounting's distribution of the loss when a patient is removed.
      add: The same when one is added; the same object where both are alike.
      step: The grid's step h.
      count: Number of releases n.
      cut: Bound on the P-mass that the grid's ends moved, all releases together.
    """

    remove: pld_pmf.PLDPmf
    add: pld_pmf.PLDPmf
    step: float
    count: int
    cut: float

    @property
    def size(self) -> int:
        """Points of the grid."""
        return max(int(self.remove.size), int(self.add.size))

    @cached_property
    def floating(self) -> float:
        """What floating point may have changed in a delta."""
        return _FLOAT * (self.count + 50)

    def upper_epsilon(self, delta: float) -> float:
        """Return an epsilon that is enough for ``delta``."""
        least = delta - self.floating
        if least <= 0:
            return math.inf
        return max(_epsilon(side, least) for side in self._sides)

    def lower_epsilon(self, delta: float) -> float:
        """Return an epsilon that every correct answer is at least."""
        eta = delta * 1e-3
        most = delta + eta + self._lost
        shift = self._shift(eta)
        found = max(_epsilon(side, min(most, 1.0)) for side in self._sides)
        return max(0.0, found - shift) if math.isfinite(found) else 0.0

    def upper_delta(self, epsilon: float) -> float:
        """Return a delta that is enough for ``epsilon`` (of any sign)."""
        return min(1.0, max(gridded_delta(side, epsilon) for side in self._sides) + self.floating)

    def lower_delta(self, epsilon: float) -> float:
        """Return a delta that every correct answer is at least, for ``epsilon`` >= 0."""
        best = 0.0
        for log_eta in range(-36, -3, 2):
            shift = self._shift(math.exp(log_eta))
            found = max(gridded_delta(side, epsilon + shift) for side in self._sides)
            best = max(best, found - math.exp(log_eta) - self._lost)
        return best

    @property
    def _sides(self) -> tuple[pld_pmf.PLDPmf, ...]:
        return (self.remove,) if self.remove is self.add else (self.remove, self.add)

    def _shift(self, eta: float) -> float:
        h, n = self.step, self.count
        return n * h**2 / 8 + h * math.sqrt(n * math.log(1 / eta) / 2)

    @property
    def _lost(self) -> float:
        return 2 * self.cut + self.floating


def compose(parts: tuple[Part, ...], *, step: float, delta: float) -> Composition | None:
    """Compose the releases on a grid of the given step.

    Args:
      parts: Profiles with their counts; at least one.
      step: Privacy losses are kept in multiples of it.
      delta: The delta of interest: the ends of the grid are cut where they hold less than a ten
        thousandth of it.

    Returns:
      The composition, or None where the grid would take too much memory.
    """
    count = sum(n for _, n in parts)
    cut_each = delta * 1e-4 / (2 * count)
    removes, adds = [], []
    for profile, n in parts:
        gridded = _grid(profile, step, cut_each)
        if gridded is None:
            return None
        alike = gridded[0] is gridded[1]
        if n > 1:
            if max(side.size for side in gridded) * math.sqrt(n) > _LARGEST_GRID:
                return None
            sides = [side.self_compose(n, cut_each * n) for side in gridded[: 2 - alike]]
            gridded = sides[0], sides[-1]
        removes.append(gridded[0])
        adds.append(gridded[1])
    alike = all(r is a for r, a in zip(removes, adds, strict=True))
    remove = _together(removes, cut_each)
    add = remove if alike else _together(adds, cut_each)
    if remove is None or add is None:
        return None
    return Composition(remove, add, step, count, cut=delta * 1e-4 * 2)


def gridded_delta(side: pld_pmf.PLDPmf, epsilon: float) -> float:
    """Return the delta of a gridded pair in one direction, for any real epsilon."""
    return max(0.0, float(side.get_delta_for_epsilon(epsilon)))


def _epsilon(side: pld_pmf.PLDPmf, delta: float) -> float:
    """Return the epsilon >= 0 of a gridded pair for ``delta``."""
    with np.errstate(over="ignore", divide="ignore"):
        found = float(side.get_epsilon_for_delta(delta))
    if found < 600 or gridded_delta(side, 1e9) > delta:
        return found
    # dp-accounting's search divides by e^-loss, which vanishes here; its delta does not.
    high = 1200.0
    while gridded_delta(side, high) > delta:
        high *= 2
    return bisect_up(lambda e: gridded_delta(side, e) <= delta, 0.0, high)


def _together(sides: list[pld_pmf.PLDPmf], cut: float) -> pld_pmf.PLDPmf | None:
    """Convolve all, always the two smallest next, so that the work stays near-linear."""
    queue = sorted((side.to_dense_pmf() for side in sides), key=lambda s: s.size)
    while len(queue) > 1:
        merged = queue[0].compose(queue[1], tail_mass_truncation=cut)
        if merged.size > _LARGEST_GRID:
            return None
        queue = sorted([merged, *queue[2:]], key=lambda s: s.size)
    return queue[0]


def _grid(
    profile: Profile, step: float, cut: float
) -> tuple[pld_pmf.PLDPmf, pld_pmf.PLDPmf] | None:
    """Put a profile on the grid, its two ends where P-masses of at most ``cut`` lie beyond."""
    sides: list[pld_pmf.PLDPmf] = []
    for direction in (0, 1):
        low, high = _ends(profile, direction, step, cut)
        first, last = math.floor(low / step), math.ceil(high / step)
        if last - first > _LARGEST_GRID:
            return None
        both = profile.deltas(np.arange(first, last + 1, dtype=np.float64) * step)
        deltas = np.minimum.accumulate(np.clip(both[direction], 0.0, 1.0))
        sides.append(
            pld_pmf.create_pmf_pessimistic_connect_dots_fixed_gap(step, first, last, deltas)
        )
        if both[0] is both[1]:
            return sides[0], sides[0]
    return sides[0], sides[1]


def _ends(profile: Profile, direction: int, step: float, cut: float) -> tuple[float, float]:
    """Return losses that at most ``cut`` of the P-mass lies below, and above."""

    def at(e: float) -> float:
        return float(profile.deltas(np.array([e]))[direction][0])

    def little_below(e: float) -> bool:
        # delta(-e) - (1 - exp(-e)) is the integral of exp(-e) q - p over losses below -e; where the
        # loss is below -1.1 e, the integrand is at least expm1(e / 10) p.
        return at(-e) + math.expm1(-e) <= cut * math.expm1(e / 10)

    # Above the upper end a mass of delta goes to infinity.
    return -1.1 * _first(little_below, step), _first(lambda e: at(e) <= cut, step)


def _first(holds: Callable[[float], bool], least: float) -> float:
    """Return a point, at least ``least``, where ``holds``; by doubling and bisection."""
    high = least
    while not holds(high):
        if high > 1e5:
            return high
        high *= 2
    return high if high == least else bisect_up(holds, high / 2, high, tolerance=1e-3)
