r"""A Renyi bound of many releases, at whole orders (``moments``).

It is what is left where a grid of privacy losses is too dear; and of noise that only Renyi
divergences bound it is the tightest for many releases.
Whole orders are sums of positive terms, which neither cancel nor fail to converge as
dp-accounting's may at orders between (it then tells of no loss).
"""

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp

from privacy.accounting.composition import Parts
from privacy.accounting.moments import log_moments
from privacy.accounting.profiles import Column, GaussianProfile, Sampled

__all__ = ["renyi_delta", "renyi_epsilon", "renyi_success"]

_ORDERS = np.array([*range(2, 17), 20, 24, 28, 32, 40, 48, 64, 96, 128, 256, 512])
_ROWS = 4096
_ROUNDING = 1e-12  # of log-gamma functions, at the largest order


def renyi_epsilon(parts: Parts, delta: float) -> float:
    r"""Return an epsilon that is enough for ``delta``; infinity where no order has a bound.

    Canonne, Kamath and Steinke 2020, Proposition 12: :math:`\varepsilon = R_\alpha +
    \log\frac{\alpha-1}{\alpha} - \frac{\log\delta + \log\alpha}{\alpha-1}` at any order.
    """
    rdp = divergences(parts)
    each = rdp + np.log1p(-1 / _ORDERS) - (math.log(delta) + np.log(_ORDERS)) / (_ORDERS - 1)
    return max(0.0, float(each.min()))


def renyi_delta(parts: Parts, epsilon: float) -> float:
    """Return a delta that is enough for ``epsilon``; 1 where no order has a bound."""
    rdp = divergences(parts)
    powers = (_ORDERS - 1) * (rdp - epsilon + np.log1p(-1 / _ORDERS)) - np.log(_ORDERS)
    return math.exp(min(0.0, float(powers.min())))


def renyi_success(parts: Parts, prior_success: float) -> float:
    r"""Return a bound on reconstruction; 1 where no order has a bound.

    An outcome of probability :math:`\kappa` without the patient has at most
    :math:`(\kappa e^{R_\alpha})^{(\alpha-1)/\alpha}` with the patient (Mironov 2017,
    Proposition 10).
    """
    rdp = divergences(parts)
    powers = (math.log(prior_success) + rdp) * (1 - 1 / _ORDERS)
    return math.exp(min(0.0, float(powers.min())))


@lru_cache(maxsize=256)
def divergences(parts: Parts) -> NDArray[np.float64]:
    r"""Return the Renyi divergence of all parts together at each whole order, from above.

    Mironov, Talwar and Zhang 2019 (arXiv 1908.10530), Theorem 4 and Section 3.3: at a whole order
    :math:`\alpha` a sampled Gaussian has :math:`\frac{1}{\alpha - 1} \log \sum_k
    \binom{\alpha}{k} (1-q)^{\alpha-k} q^k e^{(k^2-k)\mu^2/2}`, in both directions; there may be
    thousands of different ones, taken together. All others by their moments.
    """
    rows: list[tuple[Column, Column, int]] = []
    total = np.zeros(len(_ORDERS))
    for profile, n in parts:
        match profile:
            case GaussianProfile(mu):
                rows.append((1.0, mu, n))
            case Sampled(prob, GaussianProfile(mu)):
                rows.append((prob, mu, n))
            case _:
                total += n * (log_moments(profile)[_ORDERS] / (_ORDERS - 1) + _ROUNDING)
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)
    for chunk in np.split(table, range(_ROWS, len(table), _ROWS)):
        prob, mu, counts = chunk.T
        total += np.array([counts @ one for one in _each(prob, mu)])
    total.flags.writeable = False  # it is kept for the next question
    return total


def _each(prob: NDArray[np.float64], mu: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """The divergence of each row, order by order."""
    with np.errstate(divide="ignore"):
        stays, leaves = np.log(prob)[:, None], np.log1p(-prob)[:, None]
    for order in _ORDERS:
        k = np.arange(order + 1)
        terms = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
        unsampled = np.where(k < order, (order - k) * np.where(k < order, leaves, 0.0), 0.0)
        grown = k * stays + unsampled + (k**2 - k) * (mu[:, None] ** 2 / 2)
        # The terms add up to 1 and more; what rounding takes from a tiny divergence is given back.
        yield np.maximum(logsumexp(terms + grown, axis=1), 0.0) / (order - 1) + _ROUNDING
