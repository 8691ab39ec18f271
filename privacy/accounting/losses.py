r"""A composed privacy loss, tilted: how delta and epsilon are read from it, from either side.

Kept are masses :math:`q_j` at losses :math:`\ell_j` on a grid, tilted by :math:`\theta`:
the loss has mass :math:`p_j = q_j e^{\Lambda - \theta\ell_j}`, :math:`\Lambda` the logarithm of all
releases' moments together. So

.. math:: \delta(\varepsilon) = \delta_\infty + e^{\Lambda - \theta\varepsilon}
   \sum_{\ell_j > \varepsilon} q_j (1 - e^{-x_j}) e^{-\theta x_j}, \quad x_j = \ell_j - \varepsilon.

No factor of a term exceeds :math:`c(\theta)` (``tilt``). What numbers change is told apart:

  - ``outside``: tilted mass that lies outside of the window, and has wrapped around into it. It
    moves delta by at most :math:`e^{\Lambda-\theta\varepsilon} c(\theta)` times itself: a fraction
    of the Renyi bound on the same delta, however small that is.
  - ``error``: absolute error of each :math:`q_j`, from the transforms. It moves delta by at most
    :math:`e^{\Lambda-\theta\varepsilon}` times itself times the sum of all factors, which is
    :math:`\frac{r}{1-r} - \frac{r'}{1-r'}` plus one of them, for :math:`r = e^{-\theta h}` and
    :math:`r' = e^{-(1+\theta)h}`.
  - ``rounding``: relative error of each :math:`p_j`, from one release's profile, from the tilt and
    from untilting: the sum by that factor.

A release's own delta that is right up to a factor :math:`1 - \rho` is that of a release which takes
place with probability :math:`1 - \rho` and else tells nothing: n of them lose at most the factor
:math:`(1-\rho)^n`. One that is right for an epsilon which is wrong in its last digits moves the
loss, and delta by the tilt times that.

The sums over j are two recursions from the highest loss down, :math:`s_j = q_j + e^{-\theta h}
s_{j+1}` and the same with :math:`1 + \theta`; what rounding does to them is summed likewise.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from privacy.accounting._search import bisect_up
from privacy.accounting.tilt import log_chord

__all__ = ["Losses"]

Floats = NDArray[np.float64]
_UNIT = 2.0**-53
_ARRAYS = 9  # the masses, four sums, and two of them at either end
_LOST_DIGITS = 700.0  # a factor of e to this and more that rounding may have taken
_READ = 1e-10  # how far an epsilon is read from where it is, relative


@dataclass(frozen=True)
class Losses:
    """A loss on a grid, in one direction (module docstring).

    Attributes:
      first: The lowest loss, in steps.
      step: The grid's step h.
      shift: What is added to every loss, in units of loss.
      masses: The tilted masses, not negative.
      tilt: theta, at least 0.
      log_scale: Lambda.
      infinite: Mass at an infinite loss.
      outside: See the module.
      error: See the module.
      rounding: See the module; as a logarithm.
    """

    first: int
    step: float
    shift: float
    masses: Floats
    tilt: float
    log_scale: float
    infinite: float
    outside: float
    error: float
    rounding: float

    @property
    def size(self) -> int:
        """Points of the grid."""
        return len(self.masses)

    @property
    def nbytes(self) -> int:
        """Bytes that it holds once it was read: the masses, and what is computed from them."""
        return _ARRAYS * self.masses.nbytes

    def upper_deltas(self, epsilons: Floats) -> Floats:
        """Return a delta that is enough for each epsilon, of any sign."""
        deltas = self._deltas(epsilons - self.shift, above=True)
        # Delta is convex in e^epsilon and 1 at 0: below epsilon 0 the chord from there lies above.
        ends = 1 - self._deltas(np.full(1, -self.shift), above=True)
        chord = 1 - np.exp(np.minimum(epsilons, 0.0)) * np.clip(ends, 0.0, 1.0)
        return np.asarray(np.minimum(np.minimum(deltas, chord) + self.infinite, 1.0))

    def lower_deltas(self, epsilons: Floats) -> Floats:
        """Return a delta that no correct answer is below, for each epsilon."""
        return np.clip(self._deltas(epsilons - self.shift, above=False), 0.0, 1.0)

    def allowed(self, epsilon: float) -> float:
        """Return what an upper delta holds beside the sum: what is infinite, and for numbers."""
        exponent = min(self.log_scale - self.tilt * (epsilon - self.shift), 600.0)
        return self.infinite + math.exp(exponent) * self.lost

    def upper_epsilon(self, delta: float) -> float:
        """Return an epsilon >= 0 that is enough for ``delta``."""

        def enough(e: float) -> bool:
            return bool(self.upper_deltas(np.array([e]))[0] <= delta)

        if enough(0.0):
            return 0.0
        at = np.flatnonzero(self._on_grid(above=True) + self.infinite <= delta)
        if len(at):
            high = (self.first + int(at[0])) * self.step + self.shift
            return bisect_up(enough, max(high - self.step, 0.0), high, tolerance=_READ)
        # Above the highest loss all that is left is the error.
        headroom = delta - self.infinite
        if not headroom > 0:
            return math.inf
        top = (self.first + self.size) * self.step + self.shift
        high = (self.log_scale + math.log(self.lost) - math.log(headroom)) / self.tilt + self.shift
        high = max(high * (1 + 1e-12), top, 0.0) + 1e-12
        return high if enough(high) else math.inf

    def lower_epsilon(self, delta: float) -> float:
        """Return an epsilon >= 0 that no correct answer for ``delta`` is below."""

        def too_small(e: float) -> bool:
            return bool(self.lower_deltas(np.array([e]))[0] > delta)

        at = np.flatnonzero(self._on_grid(above=False) > delta)
        if not len(at):
            return 0.0
        place = (self.first + int(at[-1])) * self.step + self.shift
        low, high = max(place, 0.0), place + self.step
        if high <= 0 or not too_small(low):
            return 0.0
        return -bisect_up(lambda e: too_small(-e), -high, -low, tolerance=_READ)

    @cached_property
    def lost(self) -> float:
        """What ``outside`` and ``error`` may change in a delta, over its scale."""
        most = math.exp(float(log_chord(self.tilt)))
        factors = most * self.size
        if self.tilt > 0:
            # 1 / (e^a - 1) - 1 / (e^(a + h) - 1), a = theta h
            a, h = self.tilt * self.step, self.step
            grown = math.expm1(min(a + h, 600.0))
            summed = math.exp(min(a, 600.0)) * math.expm1(min(h, 600.0)) / math.expm1(min(a, 600.0))
            factors = min(factors, most + summed / grown)
        return (self.outside * most + self.error * factors) * (1 + 1e-9)

    @cached_property
    def _sums(self) -> tuple[Floats, Floats, Floats, Floats]:
        """The two sums from each grid point on, and what rounding may have changed in each."""
        sums_and_errors = []
        for rate in (self.tilt, 1 + self.tilt):
            ratio = math.exp(-rate * self.step)
            sums = _summed(self.masses, ratio)
            # A product, a sum and the ratio's own digits, at each point.
            sums_and_errors += [sums, 4 * _UNIT * (1 + rate * self.step) * _summed(sums, ratio)]
        return sums_and_errors[0], sums_and_errors[1], sums_and_errors[2], sums_and_errors[3]

    @cached_property
    def _from_above(self) -> tuple[Floats, Floats]:
        s, off, t, other = self._sums
        return s + off, t - other

    @cached_property
    def _from_below(self) -> tuple[Floats, Floats]:
        s, off, t, other = self._sums
        return s - off, t + other

    def _on_grid(self, *, above: bool) -> Floats:
        s, t = self._from_above if above else self._from_below
        losses = np.asarray((self.first + np.arange(self.size)) * self.step, dtype=np.float64)
        return self._scaled(losses, s - t, above=above)

    def _deltas(self, epsilons: Floats, *, above: bool) -> Floats:
        s, t = self._from_above if above else self._from_below
        at = np.ceil(epsilons / self.step).astype(np.int64) - self.first
        inside = at < self.size
        at = np.clip(at, 0, self.size - 1)
        x = np.maximum((self.first + at) * self.step - epsilons, 0.0)
        near = np.exp(-self.tilt * x)
        sums = np.where(inside, near * s[at] - near * np.exp(-x) * t[at], 0.0)
        return self._scaled(epsilons, sums, above=above)

    def _scaled(self, epsilons: Floats, sums: Floats, *, above: bool) -> Floats:
        if above and self.rounding > _LOST_DIGITS:
            return np.full_like(epsilons, math.inf)  # nothing is left of any number
        sums = (
            np.maximum(sums, 0.0) * math.exp(self.rounding) + self.lost
            if above
            else sums * math.exp(-self.rounding) - self.lost
        )
        with np.errstate(over="ignore"):
            return np.asarray(np.exp(self.log_scale - self.tilt * epsilons) * sums)


def _summed(values: Floats, ratio: float) -> Floats:
    """Return each value plus ``ratio`` times the sum from the next one on."""
    return np.asarray(lfilter([1.0], [1.0, -ratio], values[::-1])[::-1])
