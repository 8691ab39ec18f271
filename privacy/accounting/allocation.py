r"""Random allocation: each unit takes part in exactly one of t steps, drawn uniformly for it alone.

Also known as balls and bins. With P and Q the pair of one step (the unit in it, or not), the pair
of all t is :math:`\frac1t \sum_i Q^{i-1} P Q^{t-i}` against :math:`Q^t`: whatever post-processing
turns P and Q into a step's real outputs, given all before it, turns these into the real ones, so
they dominate steps that are chosen one after another too (Feldman and Shenfeld 2025, arXiv
2502.08202, Section 3). Its likelihood ratio is the mean S of t independent ratios
:math:`R_i = P/Q`, drawn under Q, and

.. math:: \delta_{remove}(\varepsilon) = E_Q[(S - e^\varepsilon)_+], \qquad
   \delta_{add}(\varepsilon) = E_Q[(1 - e^\varepsilon S)_+].

Both are expectations of *convex* functions of S. So whatever spreads S without moving its mean only
raises them, in both directions at once, and whatever takes conditional means only lowers them; and
both survive adding what is independent.

**From above**, a ratio between two neighbours on a grid is split between them; **from below**, all
between two neighbours become their mean (which is post-processing). Sums are doubled, or
grow by one, on grids that are fine where most of their mass lies, so the errors
are of second order in the grid's step and fade as sums grow longer.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from privacy.accounting import grids
from privacy.accounting.profiles import Attained, Deltas, Profile, delta
from privacy.accounting.remembered import remembered

__all__ = ["MOST_STEPS", "Allocated"]

Floats = NDArray[np.float64]

MOST_STEPS = 2**30
_FIRST = 4000  # points of one step's ratios
_FINE = 100  # points for a standard deviation of a sum's logarithm, in its middle
_GROWTH = 0.008  # how much further apart points are, per logarithm away from there
_CUT = 1e-36  # of probability that a grid leaves out at its ends: it goes to 0 or to infinity
_FARTHEST = 300.0  # losses whose ratios, and their sums, are floats still
_BLOCK = 256


@dataclass(frozen=True)
class Allocated:
    """One pass of random allocation over so many steps, each like ``inner`` for who is in it.

    Attributes:
      steps: t.
      inner: One step's profile when a unit comes or goes.
      attained: Whether it bounds from below, not from above; ``inner`` is an attained one then.
    """

    steps: int
    inner: Profile
    attained: bool = False

    stacks: ClassVar[bool] = False  # its ratios are added up once for each

    def deltas(self, epsilons: Floats) -> Deltas:
        """See ``privacy.accounting.profiles.Profile``."""
        values, sides = _added_up(self)
        with np.errstate(over="ignore"):
            grown, shrunk = np.exp(np.minimum(epsilons, 700.0)), np.exp(-epsilons)
        over = np.searchsorted(values, grown, side="right")
        under = np.searchsorted(values, shrunk, side="left")
        remove = sides.power_above[over] - grown * sides.mass_above[over]
        add = sides.mass_below[under] - grown * sides.power_below[under]
        return np.maximum(remove, 0.0), np.maximum(add, 0.0)

    def tail(self, epsilons: Floats, direction: int = 0) -> Floats:
        """See ``privacy.accounting.profiles.Attained``."""
        values, sides = _added_up(self)
        with np.errstate(over="ignore"):
            grown, shrunk = np.exp(np.minimum(epsilons, 700.0)), np.exp(-epsilons)
        if direction == 0:
            return sides.mass_above[np.searchsorted(values, grown, side="right")]
        return sides.power_below[np.searchsorted(values, shrunk, side="left")]


@dataclass(frozen=True)
class _Sides:
    """What lies above and below each value: Q's mass, and its power (P's mass). One entry more."""

    mass_above: Floats
    power_above: Floats
    mass_below: Floats
    power_below: Floats


@dataclass(frozen=True)
class _Ratios:
    """A sum of likelihood ratios under Q.

    Attributes:
      values: Above 0, rising.
      masses: Q's at each value.
      zero: Q's mass at 0.
      infinite: What the mean owes to values beyond all, of no mass.
      terms: How many ratios are added.
    """

    values: Floats
    masses: Floats
    zero: float
    infinite: float
    terms: int


def _bytes_of_sides(sides: tuple[Floats, _Sides]) -> int:
    return sum(int(values.nbytes) for values in (sides[0], *vars(sides[1]).values()))


@remembered(_bytes_of_sides, most=1 << 28)
def _added_up(profile: Allocated) -> tuple[Floats, _Sides]:
    """Return the mean's values, and what lies above and below each."""
    one = _merged(profile.inner) if profile.attained else _spread(profile.inner)
    total = one
    for bit in f"{profile.steps:b}"[1:]:
        total = _sum(total, total, merge=profile.attained)
        if bit == "1":
            total = _sum(total, one, merge=profile.attained)
    values, q = total.values / total.terms, total.masses
    p = q * values
    infinite = total.infinite / total.terms
    sides = _Sides(
        np.append(np.cumsum(q[::-1])[::-1], 0.0),
        np.append(np.cumsum(p[::-1])[::-1], 0.0) + infinite,
        total.zero + np.append(0.0, np.cumsum(q)),
        np.append(0.0, np.cumsum(p)),
    )
    return values, sides


def _places(inner: Profile) -> tuple[grids.Places, float]:
    removed, added = (min(float(end[0]), _FARTHEST) for end in grids.loss_ends(inner, _CUT))
    step = (removed + added) / _FIRST
    return grids.places(-added, removed, step=step, growth=_GROWTH / 2), step


def _spread(inner: Profile) -> _Ratios:
    """Return one step's ratios, each split between its neighbours on a grid of losses."""
    at, step = _places(inner)
    remove = grids.above(inner, 0, at, step=step)
    add = grids.above(inner, 1, -at[::-1], step=step)
    losses = at * step
    # Each direction knows the masses of its own high losses to their last digits.
    masses = np.where(losses < 0, add.masses[0][::-1], remove.masses[0] * np.exp(-losses))
    zero, infinite = float(add.infinite[0]), float(remove.infinite[0])
    middle = int(np.searchsorted(at, 0))
    masses[middle] = max(0.0, 1 - zero - masses[:middle].sum() - masses[middle + 1 :].sum())
    return _Ratios(np.exp(losses), masses, zero, infinite, 1)


def _merged(inner: Profile) -> _Ratios:
    """Return one step's ratios, all between two neighbours on a grid of losses as their mean."""
    if not isinstance(inner, Attained):
        raise TypeError(f"{inner} is not attained: nothing is known from below.")
    at, step = _places(inner)
    losses = (at * step)[at != 0]
    low, high = losses[losses < 0], losses[losses > 0]
    over = inner.tail(high, 0)
    power_over = delta(inner, high, 0) + np.exp(high) * over
    power_under = inner.tail(-low, 1)
    under = delta(inner, -low, 1) + np.exp(-low) * power_under
    masses = np.concatenate([np.diff(under, prepend=0.0), [0.0], -np.diff(over, append=0.0)])
    powers = np.concatenate(
        [np.diff(power_under, prepend=0.0), [0.0], -np.diff(power_over, append=0.0)]
    )
    middle = len(low)
    masses[middle] = 1 - under[-1] - over[0]
    powers[middle] = 1 - power_under[-1] - power_over[0]
    return _means(np.maximum(masses, 0.0), np.maximum(powers, 0.0), 0.0, 0.0, 1)


def _sum(a: _Ratios, b: _Ratios, *, merge: bool) -> _Ratios:
    """Return the sum of two independent ones, on a grid of its own."""
    terms = a.terms + b.terms
    grid = _grid(a, b)
    size = len(grid) + 1
    masses, powers = np.zeros(size), np.zeros(size)
    # 0 of one leaves the other as it is; 0 of both is kept apart, for a mean would hide it.
    values_b, masses_b = np.append(0.0, b.values), np.append(b.zero, b.masses)
    values_a, masses_a = np.append(0.0, a.values), np.append(a.zero, a.masses)
    zero = a.zero * b.zero
    for start in range(0, len(values_a), _BLOCK):
        part = slice(start, start + _BLOCK)
        value = (values_a[part, None] + values_b).ravel()
        mass = (masses_a[part, None] * masses_b).ravel()
        if start == 0:
            mass[0] = 0.0
        cell = np.searchsorted(grid, value, side="right")
        masses += np.bincount(cell, weights=mass, minlength=size)
        powers += np.bincount(cell, weights=mass * value, minlength=size)
    if merge:
        return _means(masses, powers, zero, a.infinite + b.infinite, terms)
    return _split(grid, masses, powers, zero, a.infinite + b.infinite, terms)


def _means(masses: Floats, powers: Floats, zero: float, infinite: float, terms: int) -> _Ratios:
    """Return each cell's mean: 0 where it has no power, infinity where it has no mass."""
    some = (masses > 0) & (powers > 0)
    infinite += float(powers[masses == 0].sum())
    zero += float(masses[powers == 0].sum())
    values = powers[some] / masses[some]
    order = np.argsort(values)  # in order but for cells of rounding alone
    return _Ratios(values[order], masses[some][order], zero, infinite, terms)


def _split(
    grid: Floats, masses: Floats, powers: Floats, zero: float, infinite: float, terms: int
) -> _Ratios:
    """Split each cell's mass between its ends, 0 below all and infinity beyond, by its mean."""
    lower, upper = np.append(0.0, grid[:-1]), grid
    up = np.clip((powers[:-1] - masses[:-1] * lower) / (upper - lower), 0.0, masses[:-1])
    down = masses[:-1] - up
    split_masses = up + np.append(down[1:], 0.0)
    # Beyond the last point: to the point itself, and what its mean passes it by to infinity.
    split_masses[-1] += masses[-1]
    beyond = max(0.0, float(powers[-1] - masses[-1] * grid[-1]))
    return _Ratios(grid, split_masses, zero + float(down[0]), infinite + beyond, terms)


def _grid(a: _Ratios, b: _Ratios) -> Floats:
    """Return values that are close together where most of a sum's mass lies."""
    terms = a.terms + b.terms
    middle = math.log(terms)
    deviation = math.hypot(a.terms * _deviation(a), b.terms * _deviation(b)) / terms
    lowest = _end(a, 0) + _end(b, 0)
    highest = _end(a, -1) + _end(b, -1)
    low, high = (math.log(end) - middle if end > 0 else 0.0 for end in (lowest, highest))
    step = deviation / _FINE
    at = grids.places(min(low, 0.0), max(high, 0.0), step=step, growth=_GROWTH)
    return np.asarray(np.exp(middle + at * step), dtype=np.float64)


def _end(ratios: _Ratios, at: int) -> float:
    return float(ratios.values[at]) if len(ratios.values) else 0.0


def _deviation(ratios: _Ratios) -> float:
    """Return the standard deviation of the logarithm about that of the mean, 1 at most."""
    away = np.log(ratios.values / ratios.terms)
    return min(1.0, math.sqrt(max(float(ratios.masses @ away**2), 1e-24)))
