"""Profiles of countably many outcomes: a few that are listed, or noise on whole numbers.

See ``profiles`` for what a profile is.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import ive

__all__ = ["Deltas", "DiscreteGaussianOutcomes", "FiniteOutcomes", "SkellamOutcomes"]

Deltas = tuple[NDArray[np.float64], NDArray[np.float64]]

_FAR = 600.0  # e to this is a float still, and so is a mass times it
_TOGETHER = 2048


@dataclass(frozen=True)
class FiniteOutcomes:
    """Finitely many outcomes, as randomised response has.

    Attributes:
      masses: What P and Q give to each outcome.
    """

    masses: tuple[tuple[float, float], ...]

    def deltas(self, epsilons: NDArray[np.float64]) -> Deltas:
        """See ``Profile``."""
        remove, add = np.zeros_like(epsilons), np.zeros_like(epsilons)
        p, q = np.array(self.masses).T[:, :, None]
        # Outcome by outcome and then added up, a few epsilons at a time: small deltas stay exact.
        for at in range(0, len(epsilons), _TOGETHER):
            part = slice(at, at + _TOGETHER)
            remove[part] = np.maximum(p - _grown(epsilons[part], q), 0.0).sum(axis=0)
            add[part] = np.maximum(q - _grown(epsilons[part], p), 0.0).sum(axis=0)
        return remove, add

    def tail(self, epsilons: NDArray[np.float64], direction: int = 0) -> NDArray[np.float64]:
        """See ``Attained``."""
        tails = np.zeros_like(epsilons)
        p, q = np.array(self.masses).T[:: -1 if direction else 1, :, None]
        for at in range(0, len(epsilons), _TOGETHER):
            part = slice(at, at + _TOGETHER)
            tails[part] = np.where(p > _grown(epsilons[part], q), q, 0.0).sum(axis=0)
        return tails


def _grown(epsilons: NDArray[np.float64], masses: NDArray[np.float64]) -> NDArray[np.float64]:
    """e^epsilon times a mass; far out, where the power is no float, by logarithms."""
    near = np.exp(np.minimum(epsilons, _FAR)) * masses
    with np.errstate(divide="ignore"):
        far = np.exp(np.minimum(epsilons + np.log(masses), _FAR))
    return np.asarray(np.where(epsilons > _FAR, far, near))


@dataclass(frozen=True)
class _Shifted:
    """A shift of ``shift`` steps of a log-concave variable on the integers: the loss rises with x.

    Symmetric about 0, so both directions are alike.
    """

    variance: float
    shift: int

    stacks: ClassVar[bool] = False  # its masses are added up once for each

    def masses(self, x: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the masses at whole numbers, up to a common factor."""
        raise NotImplementedError

    def deltas(self, epsilons: NDArray[np.float64]) -> Deltas:
        """See ``Profile``."""
        losses, powers, tails = _added_up(self)
        first = np.searchsorted(losses, epsilons, side="right")
        both = powers[first] - np.exp(np.minimum(epsilons, 700.0)) * tails[first]
        both = np.maximum(both, 0.0)
        return both, both

    def tail(self, epsilons: NDArray[np.float64], direction: int = 0) -> NDArray[np.float64]:
        """See ``Attained``."""
        losses, _, tails = _added_up(self)
        return np.asarray(tails[np.searchsorted(losses, epsilons, side="right")])


@dataclass(frozen=True)
class SkellamOutcomes(_Shifted):
    """A shift of a Skellam variable: its mass at x is e^(-variance) I_x(variance)."""

    def masses(self, x: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the masses at whole numbers."""
        return np.asarray(ive(np.abs(x), self.variance))


@dataclass(frozen=True)
class DiscreteGaussianOutcomes(_Shifted):
    """A shift of a discrete Gaussian variable: its mass at x is in proportion to a density."""

    def masses(self, x: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the masses at whole numbers, over the mass at 0."""
        return np.asarray(np.exp(-(x**2) / (2 * self.variance)))


@lru_cache(maxsize=16)
def _added_up(noise: _Shifted) -> tuple[NDArray[np.float64], ...]:
    """Return the loss at each integer, and what P and Q hold from there on (one entry more)."""
    reach, shift = int(14 * noise.variance**0.5) + 40, noise.shift
    x = np.arange(-reach - shift, reach + 2 * shift + 1)
    q, p = noise.masses(x), noise.masses(x - shift)
    total = noise.masses(np.arange(-reach, reach + 1)).sum()
    seen = (p > 1e-290) & (q > 1e-290)
    p, q = p[seen] / total, q[seen] / total
    losses = np.maximum.accumulate(np.log(p / q))
    tails = [np.append(np.cumsum(masses[::-1])[::-1], 0.0) for masses in (p, q)]
    return losses, np.minimum(tails[0], 1.0), np.minimum(tails[1], 1.0)
