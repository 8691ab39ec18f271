r"""Where a composition is asked, and the tilt that keeps its digits there.

A transform of probabilities is wrong by some units in its last digit of their *sum*: a delta of
1e-30 would drown. So losses are weighed by :math:`e^{\theta\ell}` before they are composed, and
unweighed when they are read (``losses``): what floating point changes is then a fraction of

.. math:: c(\theta) M(\theta) e^{-\theta\varepsilon}, \quad M(\theta) = E_P e^{\theta L}, \quad
   c(\theta) = \frac{\theta^\theta}{(1+\theta)^{1+\theta}},

which is the Renyi bound on delta at order :math:`1 + \theta` (Canonne, Kamath and Steinke 2020,
Proposition 12). Every tilt is sound; the one at which this bound is least is near the best.

That one is found from the profile alone, without a grid of losses: by the integral of Sason and
Verdu 2016, "f-divergence inequalities", Eq. 433 (with f the power :math:`1+\theta`),

.. math:: M(\theta) = 1 + \theta(1+\theta) \int_0^\infty e^{\theta\varepsilon}
   \delta_{remove}(\varepsilon) + e^{-(1+\theta)\varepsilon} \delta_{add}(\varepsilon)\,
   d\varepsilon,

and with the two deltas exchanged for the other direction. The integral is a coarse sum over a few
losses: nothing that is certified rests on it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from privacy.accounting.profiles import Profile

__all__ = ["Aim", "MomentTable", "at_delta", "at_epsilon", "at_success", "log_chord", "renyi_bound"]

Floats = NDArray[np.float64]
_TILTS = np.geomspace(1e-6, 1e8, 200)
_NEAR, _FAR = np.geomspace(1e-6, 1.0, 70), 1 - np.geomspace(1e-6, 1.0, 50)
_LOSSES = np.unique(np.concatenate([_NEAR, _FAR, np.linspace(0.0, 1.0, 30)]))  # of the highest
_APART = 16  # groups of rows of one stack whose moments are not averaged


@dataclass(frozen=True)
class Aim:
    """What a composition is made for; it is sound everywhere, and sharp there.

    Attributes:
      of: What is given: a delta, an epsilon, or a prior success.
      value: Its value.
      near: Of an epsilon, a delta of about its size, where one is known.
    """

    of: Literal["delta", "epsilon", "success"]
    value: float
    near: float | None = None


def at_delta(value: float) -> Aim:
    """Aim at the epsilon of a delta."""
    return Aim("delta", value)


def at_epsilon(value: float) -> Aim:
    """Aim at the delta of an epsilon."""
    return Aim("epsilon", value)


def at_success(value: float) -> Aim:
    """Aim at the success after all releases, from the prior one."""
    return Aim("success", value)


def log_chord(tilt: float | Floats) -> Floats:
    r"""Return :math:`\log c(\theta)`: the largest value of :math:`(1-e^{-x})e^{-\theta x}`."""
    return np.asarray(xlogy(tilt, tilt) - xlogy(1 + np.asarray(tilt), 1 + np.asarray(tilt)))


@dataclass(frozen=True)
class MomentTable:
    """About the logarithm of M at each tilt, in both directions, of all releases together."""

    remove: Floats
    add: Floats

    @classmethod
    def of(
        cls, stacks: Sequence[tuple[Profile, NDArray[np.int64], tuple[float, float]]]
    ) -> "MomentTable":
        """Sum over stacked profiles, each with its counts and the highest losses of a grid.

        What lies above these is an infinite loss on the grid, and has no moment: far out it would
        outweigh all others.
        """
        sides = np.zeros((2, len(_TILTS)))
        for profile, counts, highs in stacks:
            for direction, (side, high) in enumerate(zip(sides, highs, strict=True)):
                e = _LOSSES * high
                deltas = [np.atleast_2d(d) for d in profile.deltas(e)]
                # The logarithm of a mean is far above the mean of logarithms where rows differ.
                for rows in np.array_split(np.arange(len(counts)), min(len(counts), _APART)):
                    n = counts[rows]
                    both = [n @ d[rows] / n.sum() for d in deltas]
                    mine, other = both[direction], both[1 - direction]
                    side += n.sum() * _log_moments(e, mine - mine[-1], other)
        return cls(sides[0], sides[1])

    def tilts(self, aim: Aim, times: int = 1) -> tuple[float, float]:
        """Return the tilt for ``aim`` in each direction, of so many rounds."""
        # Of tilts that all prove what is asked to be nothing, the first.
        sides = (self.remove, self.add)
        bounds = (np.maximum(renyi_bound(aim, _TILTS, times * m), -700.0) for m in sides)
        best_tilts = [_TILTS[int(np.argmin(bound))] for bound in bounds]
        return float(best_tilts[0]), float(best_tilts[1])

    def reached(self, aim: Aim, times: int = 1) -> float:
        """Return about the Renyi bound on epsilon, or on the logarithm of delta or success."""
        return float(
            max(np.min(renyi_bound(aim, _TILTS, times * m)) for m in (self.remove, self.add))
        )


def renyi_bound(aim: Aim, tilts: Floats, moments: Floats) -> Floats:
    """Return what each tilt's Renyi bound says of what is asked (see ``MomentTable.reached``)."""
    if aim.of == "success":
        return np.asarray((tilts * math.log(aim.value) + moments) / (1 + tilts))
    if aim.of == "epsilon":
        return np.asarray(moments - tilts * aim.value + log_chord(tilts))
    return np.asarray((moments + log_chord(tilts) - math.log(aim.value)) / tilts)


def _log_moments(e: Floats, mine: Floats, other: Floats) -> Floats:
    gaps = np.diff(e)
    weights = np.append(gaps, 0.0) / 2 + np.append(0.0, gaps) / 2
    with np.errstate(divide="ignore"):
        logs = np.log(weights) + np.log(np.clip([mine, other], 0.0, 1.0))
    tilts = _TILTS[:, None]
    # Not scipy's logsumexp, which takes most of the time that a small composition does.
    exponents = np.hstack([tilts * e + logs[0], -(1 + tilts) * e + logs[1]])
    highest = np.maximum(exponents.max(axis=1), -1e300)
    with np.errstate(divide="ignore"):
        far = highest + np.log(np.exp(exponents - highest[:, None]).sum(axis=1))
    return np.asarray(np.logaddexp(0.0, np.log(_TILTS) + np.log1p(_TILTS) + far))
