r"""One release's privacy loss on a grid of losses, from above and from below.

Both rest on one picture: delta as a function of :math:`\alpha = e^\varepsilon` is convex, and a
convex function that bends at grid points only belongs to a loss that lies on the grid.

**From above**, connect the dots (Doroshenko, Ghazi, Kamath, Kumar and Manurangsi 2022, Section 4):
the chords between the curve's values at the grid points lie above it. It is the loss with each
outcome split between its two neighbours on the grid: the variance grows by at most
:math:`h^2/4` a release, :math:`h^2/6` on average.

**From below**, merge the bins. The tangents at the *half* grid points lie below the curve; they are
what is left of the pair when all outcomes within half a step of a grid point are merged into one
(post-processing), and they meet near the grid points, not at them. At each grid point take the
lower of the two tangents beside it: then every chord lies below the tangent between its ends, so
below the curve. The greatest convex function through or under these points is a dominated pair on
the grid; it keeps all of the mass, and its variance falls by about :math:`h^2/12` a release.

Both errors are of second order in h and never a shift: the composed interval's width falls with
:math:`h^2`, whatever the number of releases.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from privacy.accounting.cost import TooDearError
from privacy.accounting.profiles import Attained, Profile, delta

__all__ = ["Grid", "Places", "above", "below", "loss_ends", "places", "typical_square"]

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
_LARGEST_LOSS = 690.0  # e to it is a float; bins beyond are merged, which is sound


@dataclass(frozen=True)
class Grid:
    """Losses of one profile, or of each of many, at multiples of a step.

    Attributes:
      places: The losses, in steps, rising.
      masses: P's mass at each loss, ``[profiles, losses]``.
      infinite: P's mass at an infinite loss, ``[profiles]``.
      shift: What is to be added to the losses, at most 0, ``[profiles]``.
    """

    places: Places
    masses: Floats
    infinite: Floats
    shift: Floats

    @property
    def length(self) -> int:
        """The highest loss above the lowest, in steps."""
        return int(self.places[-1] - self.places[0])


def places(low: float, high: float, *, step: float, growth: float) -> Places:
    """Return multiples of ``step`` from ``low`` or less to ``high`` or more, 0 among them.

    Args:
      low: At most 0.
      high: At least 0.
      step: Between neighbours near 0.
      growth: How much further apart they are at a loss l: ``growth`` x l, where that is more. What
        the grid costs stays of second order, and where losses are rare it is cheap.
    """
    sides = []
    for end in (math.ceil(-low / step), math.ceil(high / step)):
        side = [0]
        while growth and side[-1] * growth < 1 and side[-1] < end:
            side.append(side[-1] + 1)
        while growth and side[-1] < end:
            side.append(math.ceil(side[-1] * (1 + growth)))
        sides.append(np.array(side) if growth else np.arange(end + 1))
    return np.concatenate([-sides[0][:0:-1], sides[1]])


def above(profile: Profile, direction: int, at: Places, *, step: float) -> Grid:
    """Connect the dots, in one direction (0: a patient is removed, 1: added).

    Args:
      profile: One, or many stacked.
      direction: Which of the profile's deltas.
      at: Losses, in steps: what lies below is moved up to the first, what lies above to infinity.
      step: The grid's step h.
    """
    losses = np.asarray(at * step, dtype=np.float64)
    deltas = np.atleast_2d(delta(profile, losses, direction))
    if np.isnan(deltas).any():
        raise TooDearError  # beyond what floats can tell
    deltas = np.minimum.accumulate(np.clip(deltas, 0.0, 1.0), axis=1)
    # A chord's slope by alpha, times alpha at its upper end: Algorithm 1 of the paper. Neighbouring
    # slopes are alike, so their difference is exact where the slopes times e^-gap would each round.
    drops = -np.diff(deltas, axis=1)
    falls = drops / -np.expm1(-np.diff(at) * step)
    masses = -np.diff(falls, axis=1, prepend=1 - deltas[:, :1], append=0.0)
    masses[:, :-1] += drops
    return Grid(at, np.maximum(masses, 0.0), deltas[:, -1], np.zeros(len(masses)))


def below(profile: Attained, direction: int, at: Places, *, step: float) -> Grid:
    """Merge the bins, in one direction (0: a patient is removed, 1: added).

    The high losses of that direction are known to their last digits, the low ones to the last digit
    of 1: so each direction has a grid of its own.

    Args:
      profile: One, or many stacked.
      direction: Which of the profile's deltas.
      at: Losses, in steps, 0 among them: what lies beyond the ends is merged into them.
      step: The grid's step h.
    """
    at = at[np.abs(at) * step <= _LARGEST_LOSS]
    shift = np.zeros(len(np.atleast_2d(profile.tail(np.zeros(1), direction))))
    masses, short, _ = _merged(profile, direction, at, step, shift)
    if short.any():
        shift = np.where(short, _rest(profile, direction, step), 0.0)
        masses, _, mute = _merged(profile, direction, at, step, shift)
        shift[mute] = 0.0
    return Grid(at, masses, np.zeros(len(masses)), shift)


def _merged(
    profile: Attained, direction: int, at: Places, step: float, shift: Floats
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
    """Return P's masses at each loss, which rows are short near a loss of 0, which tell nothing.

    Most of the mass may lie a little below 0, as that of a patient who is seldom sampled: short of
    more than the few losses above it can make up for. Where ``shift`` is the loss of all that mass
    together the grid is moved there, and it is short of nothing.
    """
    alphas = np.exp(at * step + shift[:, None])
    gaps = np.diff(alphas, axis=1)
    halves = np.asarray((at[1:] + at[:-1]) * (step / 2) + shift[:, None], dtype=np.float64)
    tails = np.clip(_rows(profile.tail, halves, direction), 0.0, 1.0)  # Q's above each
    zero = int(np.searchsorted(at, 0))
    under, over = _powers(profile, direction, halves, tails, zero)  # P's mass below each, and above
    # The lowest atom holds all below it, the highest all above: each where such a merged mass, from
    # there on, has a loss that the atoms inside can make up for.
    lowest = len(at) - 1 - _first((under - alphas[:, :-1] * (1 - tails) > 0)[:, ::-1])
    lowest = np.where(shift < 0, zero, lowest)
    highest = _first(over - alphas[:, 1:] * tails < 0)
    column = np.arange(len(at) - 1)
    before, after = column < lowest[:, None], column >= highest[:, None]
    tails = np.where(after, 0.0, np.where(before, 1.0, tails))
    under = np.where(after, 1.0, np.where(before, 0.0, under))
    over = np.where(after, 0.0, np.where(before, 1.0, over))
    # How far each merged bin's mass lies above its grid point: neighbours on either side settle it.
    bins = np.diff(under, axis=1, prepend=0.0, append=1.0)
    bins[:, zero:] = -_steps(over)[:, zero:]
    bins[:, zero] = 1 - under[:, zero - 1] - over[:, zero]
    excess = bins + alphas * _steps(tails)
    rest = tails[:, zero] - over[:, zero] - np.expm1(shift) * (1 - tails[:, zero])
    excess[:, zero] = np.where(shift < 0, rest, excess[:, zero])
    settled = np.maximum(-excess[:, :-1], 0.0) - np.maximum(excess[:, 1:], 0.0)
    slopes = tails - settled / gaps
    short = slopes[:, zero] < np.maximum(slopes[:, min(zero + 1, len(column) - 1)], _NOISE)
    least = np.atleast_2d(profile.tail(np.full(1, -2.5 * step), direction))[:, 0]
    short &= least == 1
    for row in np.flatnonzero((np.diff(slopes, axis=1) > _NOISE).any(axis=1)):
        inside = slice(lowest[row], highest[row])
        slopes[row, inside] = isotonic_regression(
            slopes[row, inside], weights=gaps[row, inside], increasing=False
        ).x
    slopes = np.minimum.accumulate(slopes, axis=1)
    masses = alphas * np.maximum(-_steps(slopes), 0.0)
    # Too coarse a grid: tell nothing, which is always true.
    mute = (lowest >= highest) | (slopes.max(axis=1) > 1 + _NOISE) | (slopes.min(axis=1) < -_NOISE)
    mute |= (shift < 0) & (masses.sum(axis=1) < 1 - 1e-9)
    masses[mute] = at == 0
    return masses, short, mute


_NOISE = 1e-15


def _rest(profile: Attained, direction: int, step: float) -> Floats:
    """Return the loss of all that lies less than half a step above 0, merged; a hair above it."""
    half = np.full(1, step / 2)
    tail = np.atleast_2d(profile.tail(half, direction))[:, 0]
    over = np.atleast_2d(delta(profile, half, direction))[:, 0] + math.exp(step / 2) * tail
    return np.minimum((np.log1p(-over) - np.log1p(-tail)) * (1 - 1e-9), 0.0)


def _rows(
    of: Callable[[Floats, int], Floats], losses: Floats, direction: int
) -> NDArray[np.float64]:
    """Ask for one row's values by a plain array, as most profiles expect it."""
    return np.atleast_2d(of(losses if len(losses) > 1 else losses[0], direction))


def _powers(
    profile: Attained, direction: int, halves: Floats, tails: Floats, zero: int
) -> tuple[Floats, Floats]:
    """Return P's mass below and above each loss, the smaller of the two to its last digits."""

    def deltas(e: Floats, direction: int) -> Floats:
        return delta(profile, e, direction)

    low, high = halves[:, :zero], halves[:, zero:]
    over = _rows(deltas, high, direction) + np.exp(high) * tails[:, zero:]
    less = 1 - tails[:, :zero] - _rows(deltas, -low, 1 - direction)
    under = np.exp(low) * np.maximum(less, 0.0)
    over = np.minimum(over, 1.0)
    return np.hstack([under, 1 - over]), np.hstack([1 - under, over])


def loss_ends(profile: Profile, cut: float) -> tuple[Floats, Floats]:
    """Return losses where delta is at most ``cut``: when a patient is removed, and when added."""
    ends = []
    for direction in (0, 1):

        def enough(e: Floats, direction: int = direction) -> NDArray[np.bool_]:
            deltas = np.atleast_2d(delta(profile, e[:, None] if e.size > 1 else e, direction))
            return np.asarray(deltas[:, 0] <= cut)

        ends.append(_smallest(enough, len(np.atleast_2d(profile.deltas(np.zeros(1))[0]))))
    return ends[0], ends[1]


def typical_square(profile: Profile, high: float) -> Floats:
    r"""Return twice the Kullback-Leibler divergence, about the loss's variance, ``[profiles]``.

    :math:`KL(P\|Q) = \int_0^\infty \delta_{remove}(e) + e^{-e} \delta_{add}(e)\, de`; nothing is
    expected beyond ``high``.
    """
    e = high * np.append(0.0, np.geomspace(1e-5, 1.0, 80))
    remove, add = profile.deltas(e)
    density = np.atleast_2d(remove + np.exp(-e) * add)
    return np.asarray((density[:, 1:] + density[:, :-1]) @ np.diff(e))


def _smallest(enough: Callable[[Floats], NDArray[np.bool_]], size: int) -> Floats:
    """Return, for each of ``size`` rows, the smallest loss that is enough, from above."""
    low, high = np.full(size, 1e-9), np.full(size, 1e5)
    for _ in range(12):  # to 1 % in the logarithm
        middle = np.sqrt(low * high)
        holds = enough(middle)
        low, high = np.where(holds, low, middle), np.where(holds, middle, high)
    return high


def _first(holds: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return each row's first place that holds; its length where none does."""
    return np.asarray(np.where(holds.any(axis=1), holds.argmax(axis=1), holds.shape[1]))


def _steps(tails: Floats) -> Floats:
    """Return the differences of tails that start at 1 and end at 0."""
    return np.diff(tails, axis=1, prepend=1.0, append=0.0)
