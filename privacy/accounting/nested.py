"""A composition as one profile, so that it can itself be sampled."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from privacy.accounting.composition import Part, compose
from privacy.accounting.profiles import Deltas
from privacy.errors import InvalidInputError

__all__ = ["Composed"]

_DELTA = 1e-9  # the ends of the inner grid are cut where they hold less than 1e-4 of it
_POINTS = 20_000


@dataclass(frozen=True)
class Composed:
    """Several releases taken together (as when a hospital is drawn for a round of local steps).

    Attributes:
      parts: The releases; their composition dominates the real one.
    """

    parts: tuple[Part, ...]

    def deltas(self, epsilons: NDArray[np.float64]) -> Deltas:
        """See ``privacy.accounting.profiles.Profile``."""
        found = _curves(self.parts)
        both = [_interpolate(epsilons, odds, deltas) for odds, deltas in found]
        return (both[0], both[0]) if len(both) == 1 else (both[0], both[1])


@cache
def _curves(parts: tuple[Part, ...]) -> tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...]:
    """Return e^epsilon and delta at the points of a grid, of one direction or of both."""
    step, composed = 1e-2, compose(parts, step=1e-2, delta=_DELTA)
    if composed is None:
        raise InvalidInputError("The sampled composition loses too much privacy to be accounted.")
    while composed.size < _POINTS:
        step *= max(0.1, composed.size / (1.5 * _POINTS))
        finer = compose(parts, step=step, delta=_DELTA)
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
        # At e^epsilon = 0 every delta is 1; a chord of a convex curve lies above it.
        curves.append((np.append(0.0, np.exp(grid)), np.append(1.0, deltas)))
    return tuple(curves)


def _interpolate(
    epsilons: NDArray[np.float64], odds: NDArray[np.float64], deltas: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Linear in e^epsilon between the points; beyond the last one its delta."""
    return np.interp(np.exp(np.minimum(epsilons, 700.0)), odds, deltas)
