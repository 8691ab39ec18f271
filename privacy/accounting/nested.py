"""A composition as one profile, so that it can itself be sampled."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from privacy.accounting.composition import Composition, Part, affordable_spread, compose
from privacy.accounting.cost import Budget, TooDearError
from privacy.accounting.profiles import Deltas

__all__ = ["Composed"]

_DELTA = 1e-9  # the ends of the inner grid are cut where they hold less than 1e-4 of it
_POINTS = 20_000
_SHARE = 0.05  # of a full budget, for the inner grid


@dataclass(frozen=True)
class Composed:
    """Several releases taken together (as when a unit is drawn for all steps of a round at once).

    Attributes:
      parts: The releases; their composition dominates the real one.
    """

    parts: tuple[Part, ...]

    def deltas(self, epsilons: NDArray[np.float64]) -> Deltas:
        """See ``privacy.accounting.profiles.Profile``.

        Raises:
          TooDearError: The releases' own grid would pass the limits of ``privacy.accounting.cost``.
        """
        found = _curves(self.parts)
        both = [_interpolate(epsilons, odds, deltas) for odds, deltas in found]
        return (both[0], both[0]) if len(both) == 1 else (both[0], both[1])


@cache
def _coarse(parts: tuple[Part, ...]) -> tuple[Composition, float, Budget] | None:
    """Return a first grid, its step, and what is left to spend; None where none is affordable."""
    budget = Budget(_SHARE * Budget().left)
    typical = affordable_spread(parts, budget)
    if typical is None:
        return None
    for step in (1e-2, 0.5 * typical):
        composed = compose(parts, step=step, delta=_DELTA, budget=budget)
        if composed is not None:
            return composed, step, budget
    return None


@cache
def _curves(parts: tuple[Part, ...]) -> tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...]:
    """Return e^epsilon and delta at the points of a grid, of one direction or of both."""
    found = _coarse(parts)
    if found is None:
        raise TooDearError
    composed, step, budget = found
    while composed.size < _POINTS:
        step *= max(0.1, composed.size / (1.5 * _POINTS))
        finer = compose(parts, step=step, delta=_DELTA, budget=budget)
        if finer is None:
            break
        composed = finer
    sides = (
        [composed.remove] if composed.remove is composed.add else [composed.remove, composed.add]
    )
    curves = []
    for side in sides:
        high = min(float(side.get_epsilon_for_delta(2 * composed.cut)) + step, 600.0)
        grid = np.arange(-np.ceil(high / step), np.ceil(high / step) + 1) * step
        deltas = np.asarray(side.get_delta_for_epsilon(grid), dtype=np.float64)
        deltas = np.clip(deltas + composed.floating, 0.0, 1.0)
        # At e^epsilon = 0 every delta is 1; a chord of a convex curve lies above it.
        curves.append((np.append(0.0, np.exp(grid)), np.append(1.0, deltas)))
    return tuple(curves)


def _interpolate(
    epsilons: NDArray[np.float64], odds: NDArray[np.float64], deltas: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Linear in e^epsilon between the points; beyond the last one its delta."""
    return np.interp(np.exp(np.minimum(epsilons, 700.0)), odds, deltas)
