r"""Discrete Gaussian noise, bounded by continuous Gaussian noise with a proof.

**The sandwich.** Write :math:`N_Z(\sigma^2)` for the discrete Gaussian, :math:`\varphi_\sigma`
for the normal density and :math:`\theta(v) = 2\sum_{j\ge1} e^{-2\pi^2 v j^2}`. Poisson summation
gives, for every real c, :math:`\sum_{x\in Z}\varphi_{\sqrt v}(x-c) \in [1-\theta(v),
1+\theta(v)]`, so :math:`N_Z(\sigma^2)` has mass :math:`\varphi_\sigma(x) / (1+\theta(\sigma^2))`
at x.

*From above.* Draw :math:`Y \sim N(0, \sigma^2-r^2)` and then X from the discrete Gaussian with
parameter r centred at Y. Then X has mass :math:`\int \varphi_{\sqrt{\sigma^2-r^2}}(y)
\varphi_r(x-y) / \sum_z \varphi_r(z-y)\, dy`, which lies between :math:`\varphi_\sigma(x)
/(1 \pm \theta(r^2))`: within a factor :math:`e^{\pm\zeta}` of :math:`N_Z(\sigma^2)`, with
:math:`\zeta = \log\frac{1+\theta(r^2)}{1-\theta(r^2)}` (the idea is Peikert's 2010, Theorem 3.1).
Shifting Y by an integer shifts X by it, so a mechanism that adds X to an integer sum is
post-processing of one that adds the *continuous* Gaussian Y. The real mechanism's probabilities are
within :math:`e^{\pm\kappa}` of that one's, :math:`\kappa = \zeta` x coordinates x releases, for
every data set: also when patients are sampled (a mixture keeps such factors) and when releases are
chosen adaptively (they multiply). With :math:`P \le e^\kappa P'`, :math:`Q \ge e^{-\kappa} Q'`,

.. math:: \delta(\varepsilon) \le e^\kappa \delta_{\sigma^2-r^2}(\varepsilon - 2\kappa).

A patient's integer vector has at most radius^2 non-zero coordinates; given the others' sample the
rest of the noise is the same for both neighbours and drops out, so min(dim, radius^2) are counted.

*From below.* Adding :math:`N(0, t^2)` to a discrete Gaussian is post-processing, and gives density
:math:`\varphi_{\sqrt{\sigma^2+t^2}}(z)` up to a factor :math:`(1\pm\theta(v)) /
(1+\theta(\sigma^2))`, :math:`1/v = 1/\sigma^2 + 1/t^2`. One patient whose vector is radius in one
coordinate shows :math:`\delta(\varepsilon) \ge e^{-\kappa}
\delta_{\sigma^2+t^2}(\varepsilon + 2\kappa)`.

*Shares.* Adding a share of variance s to a sum of k such shares gives :math:`N_Z((k+1)s)` up to a
factor :math:`e^{\pm\tau_k}`, :math:`\tau_k = 2\log(1+\theta(v_k)) - \log(1-\theta(v_k))`,
:math:`v_k = s k/(k+1)`, again by Poisson summation; the factors of all k multiply.

**The other road**: concentrated DP. One discrete Gaussian is :math:`\frac{1}{2}(D/\sigma)^2`-zCDP
(Canonne, Kamath, Steinke 2020, Theorem 4), n shares as Kairouz, Liu, Steinke 2021, Theorem 1 says.
It holds for any noise and is looser for wide noise: the smaller of the two counts.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privacy._validate import non_negative, unit_open
from privacy.accounting._search import bisect_up

__all__ = [
    "Sandwich",
    "concentrated_rho",
    "discrete_theta",
    "log_ratio",
    "sandwich",
    "zcdp_delta",
    "zcdp_deltas",
    "zcdp_epsilon",
]

_LOG_SLACK = 1e-14  # what one release may add to the logarithm of a probability
_AROUND = np.concatenate(  # orders that are tried, less 1, over those of the stationary one
    [
        np.geomspace(1e-3, 1, 60),
        np.geomspace(1, 1e4, 160),
        np.linspace(0.8, 1.3, 80),
    ]
)


@dataclass(frozen=True)
class Sandwich:
    """Continuous Gaussians that bound a discrete release (module docstring).

    Attributes:
      mu_above: The release is no worse than a Gaussian of this mu, up to ``slack_above``; infinite
        where the noise is too narrow for the argument.
      slack_above: kappa of the bound from above.
      mu_below: The release is no better than a Gaussian of this mu, up to ``slack_below``.
      slack_below: kappa of the bound from below.
    """

    mu_above: float
    slack_above: float
    mu_below: float
    slack_below: float


def sandwich(*, std: float, radius: int, coordinates: int, contributors: int) -> Sandwich:
    """Bound a discrete Gaussian release by continuous ones.

    Args:
      std: Root of the sum of the contributors' squared parameters, in integer steps.
      radius: L2 distance that one change of the data makes, in integer steps.
      coordinates: How many coordinates such a change can touch at most.
      contributors: Number of equal shares that make up the noise; 1 for a single draw.
    """
    shares = _shares_log_ratio(std**2 / contributors, contributors)
    # theta(v) <= 2.0001 e^(-2 pi^2 v) for v >= 1/2; zeta is twice that to first order.
    least = math.log(5 * coordinates / _LOG_SLACK) / (2 * math.pi**2)
    above = coordinates * (log_ratio(least) + shares)
    wide = std**2 > 2 * least
    added = least * std**2 / (std**2 - least) if wide else math.inf  # t^2, so that v = least
    return Sandwich(
        mu_above=radius / math.sqrt(std**2 - least) if wide and above < 1e-3 else math.inf,
        slack_above=above,
        mu_below=radius / math.sqrt(std**2 + added) if wide and shares < 1e-3 else 0.0,
        slack_below=log_ratio(least) + shares,
    )


def concentrated_rho(*, std: float, radius: int, coordinates: int, contributors: int) -> float:
    r"""Return rho of zero-concentrated DP (Kairouz, Liu, Steinke 2021, Theorem 1).

    :math:`\rho = \epsilon^2/2`, :math:`\epsilon = \min\{\sqrt{D^2/(n\sigma^2) + \tau d/2},
    D/(\sqrt n\sigma) + \tau\sqrt d\}`,
    :math:`\tau = 10\sum_{k=1}^{n-1} e^{-2\pi^2\sigma^2k/(k+1)}`; :math:`\sigma` is one share's
    parameter, at least 1/2. For one share :math:`\tau = 0`. Several are also no worse than one of
    them alone: the others are noise of their own.
    """
    share = std**2 / contributors
    alone = radius**2 / (2 * share)
    if contributors > 1 and share < 0.25:
        return alone
    # Summing k >= 100 terms by a bound: each is at most the 100th.
    counted = min(contributors - 1, 100)
    exponents = [-2 * math.pi**2 * share * k / (k + 1) for k in range(1, counted + 1)]
    tau = 10 * sum(math.exp(e) for e in exponents)
    if contributors - 1 > counted:
        tau += 10 * (contributors - 1 - counted) * math.exp(exponents[-1])
    mu = radius / std
    root = min(
        math.sqrt(mu**2 + tau * coordinates / 2),
        mu + tau * math.sqrt(coordinates),
    )
    return min(alone, root**2 / 2)


def zcdp_delta(*, rho: float, epsilon: float, xi: float = 0.0) -> float:
    """Return ``zcdp_deltas`` at one epsilon >= 0."""
    non_negative(epsilon=epsilon)
    return float(zcdp_deltas(rho=rho, epsilons=np.array([epsilon]), xi=xi)[0])


def zcdp_deltas(
    *, rho: float, epsilons: NDArray[np.float64], xi: float = 0.0
) -> NDArray[np.float64]:
    r"""Return delta at each epsilon >= 0 of a release with :math:`D_\alpha \le \rho\alpha + \xi`.

    :math:`\delta = \inf_\alpha \frac{e^{(\alpha-1)(\alpha\rho+\xi-\varepsilon)}}{\alpha-1}
    (1-1/\alpha)^\alpha` (Canonne, Kamath, Steinke 2020, Proposition 12). Every alpha gives a valid
    bound; the best of a fine grid is taken, of whole ones where ``xi`` is not 0.
    """
    if rho == 0 and xi == 0:
        return np.zeros_like(epsilons)
    if not math.isfinite(rho + xi):
        return np.ones_like(epsilons)
    e = epsilons[:, None]
    best = np.maximum((e - xi + rho) / (2 * rho), 1 + 1e-9)  # stationary but for the logarithms
    a = 1 + (best - 1) * _AROUND
    if xi > 0:
        a = np.maximum(np.rint(a), 2)
    log_delta = (a - 1) * (a * rho + xi - e) - np.log(a - 1) + a * np.log1p(-1 / a)
    return np.asarray(np.exp(np.minimum(0.0, log_delta.min(axis=1))))


def zcdp_epsilon(*, rho: float, delta: float, xi: float = 0.0) -> float:
    """Return an epsilon for ``delta``; valid, and best up to 1e-6 of itself."""
    unit_open(delta=delta)
    if not math.isfinite(rho + xi):
        return math.inf
    high = 2 * (rho + xi + 2 * math.sqrt((rho + 1e-300) * math.log(1 / delta))) + 1
    while zcdp_delta(rho=rho, xi=xi, epsilon=high) > delta:
        high *= 2
    return bisect_up(lambda e: zcdp_delta(rho=rho, xi=xi, epsilon=e) <= delta, 0.0, high)


def discrete_theta(v: float) -> float:
    """Return twice the sum of e^(-2 pi^2 v j^2) over j >= 1, from above (terms <= first^j)."""
    first = math.exp(-2 * math.pi**2 * v)
    return 2 * first / (1 - first) if first < 1 else math.inf


def log_ratio(v: float) -> float:
    """Return the logarithm of (1 + theta) / (1 - theta); infinite where theta is 1 and more."""
    theta = discrete_theta(v)
    return math.log1p(theta) - math.log1p(-theta) if theta < 1 else math.inf


def _shares_log_ratio(share: float, contributors: int) -> float:
    """Sum of tau_k over k = 1 ... contributors - 1; terms beyond 100 by the hundredth."""
    total = 0.0
    for k in range(1, min(contributors - 1, 100) + 1):
        theta = discrete_theta(share * k / (k + 1))
        if theta >= 1:
            return math.inf
        last = 2 * math.log1p(theta) - math.log1p(-theta)
        total += last if k < 100 else last * (contributors - 100)
    return total
