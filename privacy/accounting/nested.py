"""A composition as one profile, so that it can itself be sampled."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privacy.accounting.composition import (
    Composition,
    Part,
    affordable_spread,
    compose,
    upper_deltas,
)
from privacy.accounting.cost import TooDearError, WorkBudget
from privacy.accounting.profiles import Deltas
from privacy.accounting.remembered import remembered
from privacy.accounting.tilt import at_delta

__all__ = ["Composed"]

_AIMS = tuple(at_delta(d) for d in (0.3, 1e-4, 1e-10, 1e-20, 1e-40))  # it is asked for every delta
_LAST = 1e-38
_REMEMBERED = 1 << 27  # bytes of grids, and of curves, that are kept
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
        curves = _curves(self.parts)
        both = [_interpolate(epsilons, odds, deltas) for odds, deltas in curves]
        return (both[0], both[0]) if len(both) == 1 else (both[0], both[1])


_Grid = tuple[Composition, float, WorkBudget] | None
_Curves = tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...]


def _bytes_of_grid(grid: _Grid) -> int:
    return 0 if grid is None else grid[0].nbytes


def _bytes_of_curves(curves: _Curves) -> int:
    return sum(values.nbytes for pair in curves for values in pair)


@remembered(_bytes_of_grid, most=_REMEMBERED)
def _coarse(parts: tuple[Part, ...]) -> _Grid:
    """Return a first grid, its step, and what is left to spend; None where none is affordable."""
    budget = WorkBudget(_SHARE * WorkBudget().left)
    typical = affordable_spread(parts, budget)
    if typical is None:
        return None
    for step in (1e-2, 0.5 * typical):
        composed = compose(parts, *_AIMS, step=step, budget=budget)
        if composed is not None:
            return composed, step, budget
    return None


@remembered(_bytes_of_curves, most=_REMEMBERED)
def _curves(parts: tuple[Part, ...]) -> _Curves:
    """Return e^epsilon and delta at the points of a grid, of one direction or of both."""
    coarse = _coarse(parts)
    if coarse is None:
        raise TooDearError
    composed, step, budget = coarse
    while composed.size < _POINTS:
        step *= max(0.1, composed.size / (1.5 * _POINTS))
        finer = compose(parts, *_AIMS, step=step, budget=budget)
        if finer is None:
            break
        composed = finer
    sides = [composed.remove, composed.add] if composed.add else [composed.remove]
    curves = []
    for side, other in zip(sides, sides[::-1], strict=True):
        ends = (min(one.upper_epsilon(_LAST) for one in both) for both in (side, other))
        steps = np.ceil(min(max(ends) + step, 600.0) / step)
        grid = np.arange(steps + 1) * step
        deltas = upper_deltas(side, grid)
        # Below 0 by the other direction: what floating point changes stays small beside delta.
        mirrored = -np.expm1(-grid) + np.exp(-grid) * upper_deltas(other, grid)
        losses = np.append(-grid[:0:-1], grid)
        curve = np.minimum(np.append(mirrored[:0:-1], deltas), 1.0)
        # At e^epsilon = 0 every delta is 1; a chord of a convex curve lies above it.
        curves.append((np.append(0.0, np.exp(losses)), np.append(1.0, curve)))
    return tuple(curves)


def _interpolate(
    epsilons: NDArray[np.float64], odds: NDArray[np.float64], deltas: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Linear in e^epsilon between the points; beyond the last one its delta."""
    return np.interp(np.exp(np.minimum(epsilons, 700.0)), odds, deltas)
