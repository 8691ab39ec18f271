r"""A Renyi bound of many releases: what is left where a grid of privacy losses is too dear.

Only (sampled) Gaussians have one here, at whole orders. Their sum is turned into epsilon and delta
by dp-accounting, and for few different releases its accountant, which also tries orders between
whole ones, does all of it.
"""

import math
from collections.abc import Iterator

import numpy as np
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
from dp_accounting.rdp import RdpAccountant
from dp_accounting.rdp.rdp_privacy_accountant import compute_delta, compute_epsilon
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp

from privacy.accounting.composition import Parts
from privacy.accounting.profiles import Column, Gaussian, Sampled

__all__ = ["renyi_delta", "renyi_epsilon"]

_FEW = 32
_ORDERS = np.array([*range(2, 17), 20, 24, 28, 32, 40, 48, 64, 96, 128, 256, 512])
_ROWS = 4096


def renyi_epsilon(parts: Parts, delta: float) -> float:
    """Return an epsilon that is enough for ``delta``; infinity where a part has no Renyi bound."""
    if (accountant := _library(parts)) is not None:
        return float(accountant.get_epsilon(delta))
    rdp = divergences(parts)
    return math.inf if rdp is None else float(compute_epsilon(_ORDERS, rdp, delta)[0])


def renyi_delta(parts: Parts, epsilon: float) -> float:
    """Return a delta that is enough for ``epsilon``; 1 where a part has no Renyi bound."""
    if (accountant := _library(parts)) is not None:
        return float(accountant.get_delta(epsilon))
    rdp = divergences(parts)
    return 1.0 if rdp is None else min(1.0, float(compute_delta(_ORDERS, rdp, epsilon)[0]))


def divergences(parts: Parts) -> NDArray[np.float64] | None:
    r"""Return the Renyi divergence of all parts together at each whole order.

    Mironov, Talwar and Zhang 2019 (arXiv 1908.10530), Theorem 4 and Section 3.3: at a whole order
    :math:`\alpha` a sampled Gaussian has :math:`\frac{1}{\alpha - 1} \log \sum_k
    \binom{\alpha}{k} (1-q)^{\alpha-k} q^k e^{(k^2-k)\mu^2/2}`, in both directions.

    Returns:
      None where a part is no Gaussian, sampled or not.
    """
    rows: list[tuple[Column, Column, int]] = []
    for profile, n in parts:
        match profile:
            case Gaussian(mu):
                rows.append((1.0, mu, n))
            case Sampled(prob, Gaussian(mu)):
                rows.append((prob, mu, n))
            case _:
                return None
    table = np.array(rows, dtype=np.float64)
    total = np.zeros(len(_ORDERS))
    for chunk in np.split(table, range(_ROWS, len(table), _ROWS)):
        prob, mu, counts = chunk.T
        total += np.array([counts @ one for one in _each(prob, mu)])
    return total


def _each(prob: NDArray[np.float64], mu: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """The divergence of each row, order by order."""
    with np.errstate(divide="ignore"):
        stays, leaves = np.log(prob)[:, None], np.log1p(-prob)[:, None]
    for order in _ORDERS:
        k = np.arange(order + 1)
        terms = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
        left = np.where(k < order, (order - k) * np.where(k < order, leaves, 0.0), 0.0)
        grown = k * stays + left + (k**2 - k) * (mu[:, None] ** 2 / 2)
        yield logsumexp(terms + grown, axis=1) / (order - 1)


def _library(parts: Parts) -> RdpAccountant | None:
    """Return dp-accounting's accountant, where the parts are few and known to it."""
    if len(parts) > _FEW:
        return None
    accountant = RdpAccountant()
    for profile, n in parts:
        match profile:
            case Gaussian(mu):
                accountant.compose(GaussianDpEvent(1 / mu), n)
            case Sampled(prob, Gaussian(mu)):
                accountant.compose(PoissonSampledDpEvent(prob, GaussianDpEvent(1 / mu)), n)
            case _:
                return None
    return accountant
