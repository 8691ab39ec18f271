r"""The Gaussian mechanism in closed form: what every other road is measured against.

A Gaussian release whose sensitivity is :math:`\mu` standard deviations has the privacy profile

.. math:: \delta(\varepsilon) = \Phi(-\varepsilon/\mu + \mu/2)
          - e^{\varepsilon} \Phi(-\varepsilon/\mu - \mu/2)

(Balle and Wang 2018, Theorem 8), in both directions; T releases have :math:`\mu\sqrt T` (Dong, Roth
and Su 2022, Corollary 3.3), adaptively chosen ones too.

>>> round(gaussian_epsilon(mu=1 / 3.7306, delta=1e-5), 4)
1.0
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, ndtr, ndtri

from privacy._validate import non_negative, unit_open
from privacy.accounting._search import bisect_up

__all__ = [
    "gaussian_delta",
    "gaussian_deltas",
    "gaussian_epsilon",
    "gaussian_mu",
    "mills_drop",
]

_NARROW = 0.05
_LEGENDRE = np.polynomial.legendre.leggauss(5)
_NODES, _WEIGHTS = (_LEGENDRE[0] + 1) / 2, _LEGENDRE[1] / 2  # of the unit interval


def gaussian_deltas(
    epsilons: NDArray[np.float64], mu: float | NDArray[np.float64]
) -> NDArray[np.float64]:
    r"""The profile at many epsilons, of any sign; float64, relative error at most 1e-11.

    With :math:`a = \varepsilon/\mu - \mu/2`, :math:`e^\varepsilon \varphi(a + \mu) = \varphi(a)`:
    :math:`\delta = \varphi(a) [M(a) - M(a + \mu)]`, M = :math:`\Phi(-x)/\varphi(x)`, Mills' ratio.

    ``mu`` may be an array, none of it 0: they are broadcast together.
    """
    if isinstance(mu, float | int) and mu == 0:
        return np.maximum(-np.expm1(np.minimum(epsilons, 0.0)), 0.0)
    # For a negative epsilon use delta(e) = 1 - e^e + e^e delta(-e): no cancellation near 1.
    positive = np.abs(epsilons)
    a, b = positive / mu - mu / 2, positive / mu + mu / 2  # b: a + mu, also where mu is infinite
    with np.errstate(over="ignore"):  # exp(-inf) is 0
        density = np.exp(-(a**2) / 2) / math.sqrt(2 * math.pi)
    near = np.maximum(a, -1.0)  # Mills' ratio overflows far below; there the first term is near 1
    tail = density * mills_drop(near, mu)
    tail = np.where(a > -1, tail, ndtr(-a) - density * _mills(np.maximum(b, 0.0)))
    tail = np.maximum(tail, 0.0)
    mirrored = -np.expm1(-positive) + np.exp(-positive) * tail
    return np.where(epsilons >= 0, tail, mirrored)


def mills_drop(x: NDArray[np.float64], mu: float | NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Return :math:`M(x) - M(x + \mu)` of Mills' ratio; ``x`` is at least -1."""
    difference = _mills(x) - _mills(x + mu)
    if np.min(mu) >= _NARROW:
        return difference
    # The two ratios are alike to almost all of their digits: their difference is an integral.
    narrow = np.minimum(mu, _NARROW)
    slopes = (1 - y * _mills(y) for y in (x + narrow * node for node in _NODES))
    summed = sum(w * slope for w, slope in zip(_WEIGHTS, slopes, strict=True))
    return np.asarray(np.where(mu < _NARROW, narrow * summed, difference))


def _mills(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(math.sqrt(math.pi / 2) * erfcx(x / math.sqrt(2)))


def gaussian_delta(*, mu: float, epsilon: float) -> float:
    """Return delta at one epsilon >= 0."""
    non_negative(mu=mu)
    non_negative(epsilon=epsilon)
    return float(gaussian_deltas(np.array([epsilon]), mu)[0])


def gaussian_epsilon(*, mu: float, delta: float) -> float:
    """Return the smallest epsilon >= 0 for ``delta``, rounded up by at most 1e-12 of itself."""
    non_negative(mu=mu)
    unit_open(delta=delta)
    if gaussian_delta(mu=mu, epsilon=0.0) <= delta:
        return 0.0
    # Phi(-e/mu + mu/2) <= delta is enough, so the root lies below this.
    high = mu * (mu / 2 - float(ndtri(delta)))
    return bisect_up(lambda e: gaussian_delta(mu=mu, epsilon=e) <= delta, 0.0, high)


def gaussian_mu(*, epsilon: float, delta: float) -> float:
    """Return the largest mu that is (epsilon, delta)-DP: the analytic Gaussian mechanism.

    The noise multiplier of Balle and Wang 2018, Algorithm 1, is ``1 / mu``; mu is rounded down by
    at most 1e-12 of itself.
    """
    non_negative(epsilon=epsilon)
    unit_open(delta=delta)
    high = 1.0
    while gaussian_delta(mu=high, epsilon=epsilon) <= delta:
        high *= 2
    return -bisect_up(lambda m: gaussian_delta(mu=-m, epsilon=epsilon) <= delta, -high, 0.0)
