"""The numerical roads to epsilon and delta: exact inversion of one release, and refined grids."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from privacy.accounting._search import bisect_up
from privacy.accounting.composition import (
    MANY,
    Composition,
    Parts,
    affordable_spread,
    compose,
    compose_below,
)
from privacy.accounting.cost import TooDearError, WorkBudget
from privacy.accounting.profiles import Profile
from privacy.accounting.remembered import remembered
from privacy.accounting.tilt import Aim, at_delta, at_epsilon

__all__ = [
    "QUICK",
    "Gap",
    "Grids",
    "exact_delta",
    "exact_epsilon",
    "grids",
    "quick_grid",
]

_REFINEMENTS = 6
_REMEMBERED = 1 << 29  # bytes of compositions that are kept, of each kind
_FINEST = 1e-3  # below it rounding hides what a finer step would tell
_WIDEST = 0.5  # a step beyond which an upper end tells nothing, where hardly any loss is typical
_COARSEST = 1.6  # a step, as a share of a typical loss, that still tells something
# A step's share of one release's typical loss. The grid adds about h^2/6 to the variance of each
# release's loss, so .1 % of all of it whatever the number of releases: half of that to epsilon.
QUICK = 0.08
_RAREST = 1e-290  # a delta whose logarithm is a float
_FARTHEST = 1e150  # its square is a float

Side = Literal["above", "below"]


@dataclass(frozen=True)
class Gap:
    """How wide an interval may be, and at which epsilon or delta.

    Attributes:
      quantity: What the interval is of.
      above: The delta (for an epsilon), or the epsilon, that the upper end is read at.
      below: The same for the lower end.
      width: How wide it may be, as a fraction of its upper end.
      floor: How wide it may be besides.
    """

    quantity: Literal["epsilon", "delta"]
    above: float
    below: float
    width: float
    floor: float

    def aims(self) -> tuple[Aim, Aim]:
        """Return what the two compositions are made for."""
        if self.quantity == "epsilon":
            return at_delta(max(self.above, _RAREST)), at_delta(max(self.below, _RAREST))
        return at_epsilon(self.above), at_epsilon(self.below)

    def share(self, releases: int) -> float:
        """Return a step, as a share of a typical loss, that is fine enough for so many kinds.

        A tenth of the width for few; most of it for many, where each point of the grid is dear.
        """
        finer = 1.0 if self.quantity == "epsilon" else 0.4  # delta changes faster
        share = (0.8 if releases <= MANY else 1.8) * finer * math.sqrt(self.width)
        return min(0.2, max(share, _FINEST))

    def high(self, upper: Composition) -> float:
        """Return the upper end that a composition proves."""
        return (upper.upper_epsilon if self.quantity == "epsilon" else upper.upper_delta)(
            self.above
        )

    def low(self, lower: Composition) -> float:
        """Return the lower end that a composition proves."""
        return (lower.lower_epsilon if self.quantity == "epsilon" else lower.lower_delta)(
            self.below
        )

    def over(self, upper: Composition, lower: Composition) -> float:
        """Return the interval's width over what is allowed."""
        high, low = self.high(upper), self.low(lower)
        return (
            min((high - low) / (self.width * high + self.floor), 100.0)
            if high < math.inf
            else 100.0
        )


def exact_delta(profile: Profile, epsilon: float, side: Side = "above") -> float:
    """Return one release's delta at ``epsilon``, the worse of both directions.

    What can't be computed is 1 from above and 0 from below: sound on the side that is asked for.
    """
    unknown = 1.0 if side == "above" else 0.0
    try:
        remove, add = profile.deltas(np.array([epsilon]))
    except TooDearError:
        return unknown
    worse = float(max(remove[0], add[0], 0.0))
    return unknown if math.isnan(worse) else worse


def exact_epsilon(profile: Profile, delta: float, side: Side = "above") -> float:
    """Return one release's smallest epsilon >= 0 for ``delta``, up to 1e-13 of itself.

    Where none is found: infinity from above, and from below the largest that was not enough.
    """
    if exact_delta(profile, 0.0, side) <= delta:
        return 0.0
    high = 1.0
    while exact_delta(profile, high, side) > delta:
        if high > _FARTHEST:
            return math.inf if side == "above" else high
        high *= 2
    return bisect_up(lambda e: exact_delta(profile, e, side) <= delta, 0.0, high)


@dataclass(frozen=True)
class Grids:
    """Two compositions, as fine as was asked for or as could be afforded.

    Attributes:
      upper: From above; None where no grid could be afforded, however coarse.
      lower: From below; None also where nothing is known from below.
      short: Whether a finer one would have passed the limits of ``cost``.
    """

    upper: Composition | None = None
    lower: Composition | None = None
    short: bool = False


def _bytes_of_one(composition: Composition | None) -> int:
    return 0 if composition is None else composition.nbytes


def _bytes_of_both(pair: Grids) -> int:
    return _bytes_of_one(pair.upper) + _bytes_of_one(pair.lower)


@remembered(_bytes_of_one, most=_REMEMBERED)
def quick_grid(parts: Parts, aim: Aim, *, finer: float = 1.0) -> Composition | None:
    """Return a composition from above whose answer to ``aim`` is about .2 % from the truth.

    That is for an epsilon; deltas and successes vary faster, and want a ``finer`` step.

    Coarser where that would pass the limits of ``cost``, and None where any would.
    """
    budget, share = WorkBudget(), QUICK / finer
    typical = affordable_spread(parts, budget, aim)
    while typical is not None and (share <= _COARSEST or share * typical < _WIDEST):
        composition = compose(parts, aim, step=share * typical, budget=budget)
        if composition is not None:
            return composition
        share *= 4
    return None


@remembered(_bytes_of_both, most=_REMEMBERED)
def grids(above: Parts, below: Parts, gap: Gap) -> Grids:
    """Return compositions from above and from below, fine enough for ``gap`` where affordable.

    The step is halved and more while it helps: the width falls with its square. Each end has
    half of a budget of work (``cost``); coarser grids are tried before none.

    Args:
      above: What dominates; at least one release.
      below: What is attained; may be empty: then nothing is known from below.
      gap: Of two compositions, how wide the interval is between them over how wide it may be.
    """
    aims, half = gap.aims(), WorkBudget().left / 2
    budgets = WorkBudget(half), WorkBudget(half)
    typical = affordable_spread(above, budgets[0], aims[0])
    plain = affordable_spread(below, budgets[1]) if below else None
    if typical is None:
        return Grids(short=True)

    def upper(share: float) -> Composition | None:
        return compose(above, aims[0], step=share * typical, budget=budgets[0])

    def lower(share: float) -> Composition | None:
        if plain is None:
            return None
        return compose_below(below, aims[1], step=share * plain, budget=budgets[1])

    share = coarse = gap.share(len(above))
    first = upper(share)
    for _ in range(_REFINEMENTS if gap.quantity == "delta" else 0):
        if first is None or first.allowed(gap.above) < 1e-3 * first.upper_delta(gap.above):
            break
        # Where losses end, and the tilt, were guessed from a bound; now more is known.
        near = max(first.upper_delta(gap.above), _RAREST)
        if aims[0].near is not None and near > 0.5 * aims[0].near:
            break
        aims = replace(aims[0], near=near), replace(aims[1], near=near)
        again = upper(share)
        first = min(first, again, key=gap.high) if again is not None else first
    pair = Grids(first, lower(share))
    while coarse < _COARSEST and (pair.upper is None or (below and pair.lower is None)):
        coarse = min(4 * coarse, _COARSEST)
        pair = Grids(pair.upper or upper(coarse), pair.lower or lower(coarse), short=True)
    while pair.upper is None and coarse * typical < _WIDEST:
        coarse *= 4
        pair = Grids(upper(coarse), pair.lower, short=True)
    if pair.upper is None or pair.lower is None:
        return Grids(pair.upper, pair.lower, pair.short or pair.upper is None)
    high, low = pair.upper, pair.lower
    over, idle = gap.over(high, low), 0
    for _ in range(0 if pair.short else _REFINEMENTS):
        # Losses of some mass lie between the points of one grid, and on those of another: once
        # may be chance. What is left after that is not the grid's.
        if over <= 1 or share <= _FINEST or idle > 1:
            break
        share *= min(0.7, max(0.9 / math.sqrt(over), 0.1))
        finer = upper(share), lower(share)
        if finer[0] is None or finer[1] is None:
            return Grids(high, low, short=True)
        high, low = min(high, finer[0], key=gap.high), max(low, finer[1], key=gap.low)
        ratio = gap.over(high, low)
        over, idle = ratio, 0 if ratio < 0.8 * over else idle + 1
    return Grids(high, low, pair.short)
