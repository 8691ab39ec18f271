"""The two numerical roads to a profile's epsilon and delta: exact inversion, and a refined grid."""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
from dp_accounting.rdp import RdpAccountant

from privacy.accounting._search import bisect_up
from privacy.accounting.composition import Composition, Part, compose
from privacy.accounting.profiles import Gaussian, Profile, Sampled

__all__ = [
    "MANY",
    "exact_delta",
    "exact_epsilon",
    "grid_for_delta",
    "grid_for_epsilon",
    "renyi_epsilon",
]

_REFINEMENTS = 6
MANY = 32  # different releases: their classes are coarser than any grid


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


@lru_cache(maxsize=256)
def grid_for_epsilon(
    parts: tuple[Part, ...], delta: float, width: float, *, both_ends: bool = True
) -> Composition:
    """Return a composition fine enough for epsilon at ``delta``.

    Args:
      parts: What is composed.
      delta: Where epsilon is wanted.
      width: Fraction of epsilon that its interval may measure (+ 5e-4), memory permitting.
      both_ends: Whether the lower end counts too; if not, the grid is far coarser and the upper
        end is still about ``width`` / 10 from the truth.
    """
    root = math.sqrt(sum(n for _, n in parts))

    def wanted(found: Composition) -> float:
        upper = found.upper_epsilon(delta)
        if not math.isfinite(upper):
            return math.inf
        if not both_ends:
            return (3 * width * upper + 1e-5) / (root * found.step)
        return (width * upper + 5e-4) / max(upper - found.lower_epsilon(delta), 1e-300)

    return _refine(parts, delta, wanted, first=0.015 / root)


@lru_cache(maxsize=256)
def grid_for_delta(parts: tuple[Part, ...], epsilon: float, width: float) -> Composition:
    """Return a composition fine enough for delta at ``epsilon``: ``width`` of delta, + 1e-12."""
    root = math.sqrt(sum(n for _, n in parts))

    def wanted(found: Composition) -> float:
        upper = found.upper_delta(epsilon)
        return (width * upper + 1e-12) / max(upper - found.lower_delta(epsilon), 1e-300)

    return _refine(parts, 1e-8, wanted, first=0.002 / root)


def renyi_epsilon(parts: tuple[Part, ...], delta: float) -> float:
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


def _refine(
    parts: tuple[Part, ...], delta: float, wanted: Callable[[Composition], float], *, first: float
) -> Composition:
    """Shrink the grid's step until ``wanted``, a ratio that grows as the step shrinks, is 1."""
    step = first if len(parts) <= MANY else 6 * first
    found = compose(parts, step=step, delta=delta)
    while found is None:  # enormous losses: start coarser
        step *= 10
        found = compose(parts, step=step, delta=delta)
    for _ in range(_REFINEMENTS if len(parts) <= MANY else 1):
        ratio = wanted(found)
        if ratio >= 1:
            break
        step *= min(0.5, max(0.9 * ratio, 0.02))
        finer = compose(parts, step=step, delta=delta)
        if finer is None:
            break
        found = finer
    return found
