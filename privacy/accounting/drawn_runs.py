r"""What the best of a random number of runs costs (Papernot and Steinke 2022, arXiv 2110.03620).

The number K of runs is drawn from a truncated negative binomial law with parameters
:math:`\eta \ge 0` (the *shape*) and :math:`\gamma`,
:math:`P[K = k] \propto (1-\gamma)^k \prod_{l<k} \frac{l+\eta}{l+1}`, k = 1, 2, ...: logarithmic for
:math:`\eta = 0`, geometric for 1; the best run alone is released, its score being part of it. A
*fixed* number of runs has no such bound: it can cost as much as all of them together.
"""

import math

import numpy as np
from numpy.typing import NDArray

from privacy.accounting._search import bisect_up

__all__ = ["mean_runs", "selected_log_moments", "stopping_prob"]

Floats = NDArray[np.float64]


def mean_runs(stopping: float, shape: float) -> float:
    """Return E[K] for a stopping probability gamma in (0, 1): it falls as gamma rises."""
    log = math.log(stopping)
    if shape == 0:
        return math.expm1(-log) / -log
    return shape * (1 - stopping) / (stopping * -math.expm1(shape * log))


def stopping_prob(mean: float, shape: float) -> float:
    """Return gamma for a mean number of runs above 1, from below: runs are no fewer."""
    if shape == 1:
        return math.nextafter(1 / mean, 0.0)
    low = bisect_up(lambda log: mean_runs(math.exp(-log), shape) >= mean, 1e-9, 700.0)
    return math.exp(-low)


def selected_log_moments(inner: Floats, *, mean: float, shape: float) -> Floats:
    r"""Return bounds on the logarithms of M_k (``moments``) of the best of K runs.

    Theorem 2: with a run's divergences :math:`\epsilon(\lambda)` at whole orders,
    :math:`\epsilon'(\lambda) = \epsilon(\lambda) + \frac{\log E[K]}{\lambda - 1} + (1 + \eta)
    \min_{\hat\lambda \ge 1} [(1 - 1/\hat\lambda) \epsilon(\hat\lambda) +
    \log(1/\gamma)/\hat\lambda]`.

    Args:
      inner: Of one run, at k = 0, 1, 2 and so on, in both directions.
      mean: E[K], at least 1.
      shape: eta.
    """
    if mean == 1:
        return inner.copy()  # K is 1
    k = np.arange(len(inner), dtype=np.float64)
    runs = -math.log(stopping_prob(mean, shape))
    # (1 - 1/k) of a divergence is its moment's logarithm over k.
    constant = (1 + shape) * float(((inner[1:] + runs) / k[1:]).min())
    if math.isinf(constant):
        return np.full(len(inner), math.inf)
    log_moments = inner + math.log(mean) + np.maximum(k - 1, 0.0) * constant
    log_moments[:2] = 0.0
    # No divergence is larger than one of a higher order, where the mean weighs less.
    rates = np.minimum.accumulate((log_moments[2:] / (k[2:] - 1))[::-1])[::-1]
    log_moments[2:] = np.minimum(log_moments[2:], rates * (k[2:] - 1))
    return log_moments * (1 + 1e-12)
