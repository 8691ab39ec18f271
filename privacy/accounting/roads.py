"""The numerical roads to epsilon and delta: exact inversion of one release, and refined grids."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from privacy.accounting._search import bisect_up
from privacy.accounting.composition import (
    Composition,
    Parts,
    affordable_spread,
    compose,
    compose_below,
)
from privacy.accounting.cost import Budget, TooDearError
from privacy.accounting.profiles import Profile

__all__ = [
    "MANY",
    "QUICK",
    "Gap",
    "Grids",
    "exact_delta",
    "exact_epsilon",
    "grids",
    "quick_grid",
]

MANY = 32  # different releases: a grid's points are dear beyond
_REFINEMENTS = 6
_FINEST = 1e-3  # below it rounding hides what a finer step would tell
_COARSEST = 0.4  # a step, as a share of a typical loss, that still tells something
# A step's share of one release's typical loss. The grid adds about h^2/6 to the variance of each
# release's loss, so .1 % of all of it whatever the number of releases: half of that to epsilon.
QUICK = 0.08
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

    def share(self, releases: int) -> float:
        """Return a step, as a share of a typical loss, that is fine enough for so many kinds.

        A tenth of the width for few; most of it for many, where each point of the grid is dear.
        """
        finer = 1.0 if self.quantity == "epsilon" else 0.4  # delta changes faster
        share = (0.8 if releases <= MANY else 1.8) * finer * math.sqrt(self.width)
        return min(0.2, max(share, _FINEST))

    def over(self, upper: Composition, lower: Composition) -> float:
        """Return the interval's width over what is allowed."""
        if self.quantity == "epsilon":
            high, low = upper.upper_epsilon(self.above), lower.lower_epsilon(self.below)
        else:
            high, low = upper.upper_delta(self.above), lower.lower_delta(self.below)
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
    found = float(max(remove[0], add[0], 0.0))
    return unknown if math.isnan(found) else found


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


@lru_cache(maxsize=1024)
def quick_grid(parts: Parts, delta: float) -> Composition | None:
    """Return a composition from above whose epsilon at ``delta`` is about .2 % from the truth.

    Coarser where that would pass the limits of ``cost``, and None where any would.
    """
    budget, share = Budget(), QUICK
    typical = affordable_spread(parts, budget)
    while typical is not None and share < 4 * _COARSEST:
        found = compose(parts, step=share * typical, delta=delta, budget=budget)
        if found is not None:
            return found
        share *= 4
    return None


@lru_cache(maxsize=256)
def grids(above: Parts, below: Parts, delta: float, gap: Gap) -> Grids:
    """Return compositions from above and from below, fine enough for ``gap`` where affordable.

    The step is halved and more while it helps: the width falls with its square. Each end has
    half of a budget of work (``cost``); coarser grids are tried before none.

    Args:
      above: What dominates; at least one release.
      below: What is attained; may be empty: then nothing is known from below.
      delta: The ends of the grid are cut where they hold less than a ten thousandth of it.
      gap: Of two compositions, how wide the interval is between them over how wide it may be.
    """
    half = Budget().left / 2
    budgets = Budget(half), Budget(half)
    typical = affordable_spread(above, budgets[0])
    if typical is None:
        return Grids(short=True)

    def upper(share: float) -> Composition | None:
        return compose(above, step=share * typical, delta=delta, budget=budgets[0])

    def lower(share: float) -> Composition | None:
        if not below:
            return None
        return compose_below(below, step=share * typical, delta=delta, budget=budgets[1])

    share = gap.share(len(above))
    found, coarse = Grids(upper(share), lower(share)), share
    while coarse < _COARSEST and (found.upper is None or (below and found.lower is None)):
        coarse = min(4 * coarse, _COARSEST)
        found = Grids(found.upper or upper(coarse), found.lower or lower(coarse), short=True)
    if found.upper is None or found.lower is None:
        return Grids(found.upper, found.lower, found.short or found.upper is None)
    over = gap.over(found.upper, found.lower)
    for _ in range(0 if found.short else _REFINEMENTS):
        if over <= 1 or share <= _FINEST:
            break
        share *= min(0.7, max(0.9 / math.sqrt(over), 0.1))
        finer = Grids(upper(share), lower(share))
        if finer.upper is None or finer.lower is None:
            return Grids(found.upper, found.lower, short=True)
        left = gap.over(finer.upper, finer.lower)
        found = finer
        if left > 0.8 * over:
            break  # what is left is not the grid's
        over = left
    return found
