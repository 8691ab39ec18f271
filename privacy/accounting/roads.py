"""The numerical roads to epsilon and delta: exact inversion of one release, and refined grids."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
from dp_accounting.rdp import RdpAccountant

from privacy.accounting._search import bisect_up
from privacy.accounting.composition import Composition, Parts, compose, compose_below, spread
from privacy.accounting.profiles import Gaussian, Profile, Sampled

__all__ = [
    "MANY",
    "QUICK",
    "Gap",
    "exact_delta",
    "exact_epsilon",
    "grids",
    "quick_grid",
    "renyi_epsilon",
]

MANY = 32  # different releases: a Renyi bound of each would take long
_REFINEMENTS = 6
# A step's share of one release's typical loss. The grid adds about h^2/6 to the variance of each
# release's loss, so .1 % of all of it whatever the number of releases: half of that to epsilon.
QUICK = 0.08


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
        return min(0.2, (0.8 if releases <= MANY else 1.8) * finer * math.sqrt(self.width))

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


def exact_delta(profile: Profile, epsilon: float) -> float:
    """Return one release's delta at ``epsilon``, the worse of both directions."""
    remove, add = profile.deltas(np.array([epsilon]))
    return float(max(remove[0], add[0], 0.0))


def exact_epsilon(profile: Profile, delta: float) -> float:
    """Return one release's smallest epsilon >= 0 for ``delta``, up to 1e-13 of itself."""
    if exact_delta(profile, 0.0) <= delta:
        return 0.0
    high = 1.0
    while exact_delta(profile, high) > delta:
        high *= 2
        if high > 1e5:
            return math.inf
    return bisect_up(lambda e: exact_delta(profile, e) <= delta, 0.0, high)


@lru_cache(maxsize=1024)
def quick_grid(parts: Parts, delta: float) -> Composition | None:
    """Return a composition from above whose epsilon at ``delta`` is about .2 % from the truth.

    None where its grid would take too much memory.
    """
    return compose(parts, step=QUICK * spread(parts), delta=delta)


@lru_cache(maxsize=256)
def grids(
    above: Parts, below: Parts, delta: float, gap: Gap
) -> tuple[Composition | None, Composition | None]:
    """Return compositions from above and from below, fine enough for ``gap``.

    The step is halved and more while it helps: the width falls with its square.

    Args:
      above: What dominates; at least one release.
      below: What is attained; may be empty: then nothing is known from below.
      delta: The ends of the grid are cut where they hold less than a ten thousandth of it.
      gap: Of two compositions, how wide the interval is between them over how wide it may be.
    """
    step = gap.share(len(above)) * spread(above)
    upper = compose(above, step=step, delta=delta)
    lower = compose_below(below, step=step, delta=delta) if below else None
    if upper is None or lower is None:
        return upper, lower
    over = gap.over(upper, lower)
    for _ in range(_REFINEMENTS):
        if over <= 1:
            break
        step *= min(0.7, max(0.9 / math.sqrt(over), 0.1))
        finer = compose(above, step=step, delta=delta), compose_below(below, step=step, delta=delta)
        if finer[0] is None or finer[1] is None:
            break
        left = gap.over(finer[0], finer[1])
        upper, lower = finer[0], finer[1]
        if left > 0.8 * over:
            break  # what is left is not the grid's
        over = left
    return upper, lower


def renyi_epsilon(parts: Parts, delta: float) -> float:
    """Return dp-accounting's Renyi bound where all parts are (sampled) Gaussians, else infinity."""
    accountant = RdpAccountant()
    for profile, n in parts:
        match profile:
            case Gaussian(mu):
                accountant.compose(GaussianDpEvent(1 / mu), n)
            case Sampled(prob, Gaussian(mu)):
                accountant.compose(PoissonSampledDpEvent(prob, GaussianDpEvent(1 / mu)), n)
            case _:
                return math.inf
    return float(accountant.get_epsilon(delta))
