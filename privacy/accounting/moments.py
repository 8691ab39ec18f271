r"""Moments of likelihood ratios, at whole orders and from above: what Renyi divergences come from.

With :math:`L = P/Q` (P with the patient, Q without), :math:`M_k = \max(E_Q[L^k], E_P[L^{-k}])` =
:math:`e^{(k-1) D_k}`, both directions together. Moments of independent (also of adaptively chosen)
releases multiply. :math:`M_0 = M_1 = 1`.

**Poisson samples.** A patient drawn with probability q turns the pair into :math:`(1-q)Q + qP`
against Q, so at a whole order :math:`\alpha`, exactly where :math:`M_k = E_Q[L^k]`,

.. math:: E_Q[(1-q+qL)^\alpha] = \sum_k \binom{\alpha}{k} (1-q)^{\alpha-k} q^k E_Q[L^k].

The other direction, :math:`E_Q[(1-q+qL)^{1-\alpha}]`, is no larger where the pair is *alike* in
both directions: L under Q has the law of 1/L under P. (Mironov, Talwar and Zhang 2019, Theorem 5,
for densities with a mirror; here without them.) Then :math:`E_Q[g(L)] = E_Q[L\,g(1/L)]` for all g,
and it is enough that for every L, by symmetry :math:`L \ge 1`, with u = 1 - q + qL and
v = 1 - q + q/L,

.. math:: u^\alpha - u^{1-\alpha} \ge L\,(v^{1-\alpha} - v^\alpha), \quad\text{that is}\quad
   \sqrt u \sinh(c \log u) \ge L \sqrt v \sinh(c \log(1/v)), \quad c = \alpha - \tfrac12.

At c = 1/2 both sides are q (L - 1) / 2. By the inequality of Cauchy and Schwarz :math:`uv \ge 1`,
so :math:`\log u \ge \log(1/v) \ge 0`, and then the quotient of the two sinh grows with c.

A sum of integer vectors with noise that is symmetric about 0 is such a pair, in any number of
dimensions: :math:`x \mapsto \Delta - x` exchanges P and Q and keeps the counting measure on the
integers. For the discrete Gaussian :math:`E_Q[L^k] = e^{k(k-1) \|\Delta\|^2 / 2\sigma^2}` at every
whole k, as for the continuous one: :math:`k \|x-\Delta\|^2 + (1-k) \|x\|^2 = \|x - k\Delta\|^2 -
k(k-1) \|\Delta\|^2`, and the sum over all x forgets the shift by the integer vector
:math:`k\Delta` (Canonne, Kamath and Steinke 2020, Theorem 14). All of it grows with
:math:`\|\Delta\|`.

Several releases chosen one after another need not be alike, where the direction of :math:`\Delta`
may follow the outcome before. For those and for all other pairs Zhu and Wang 2019 (Poisson
Subsampled Renyi Differential Privacy, Theorem 5) bound both directions by the same sum with the
terms of :math:`k \ge 3` three times.

**A replaced patient.** For Poisson samples, with R the outcomes without the patient in the middle,
:math:`E_Q[(P/Q)^\alpha]^2 \le E_R[(P/R)^{2\alpha}] E_Q[(R/Q)^{2\alpha-1}]` by Cauchy and Schwarz
(Mironov 2017, Proposition 11), moments of removing and of adding. And :math:`Q \ge (1-q) R`, so
:math:`(1-q)^{1-\alpha} E_R[(P/R)^\alpha]` is enough too.

Where only :math:`H(1 - q + qt) \le q H_{inner}(t)` is known of the hockey-stick divergences at
:math:`t \ge 1` (``profiles.SampledReplace``): by Taylor's formula for :math:`t^\alpha` around 1,
:math:`M_\alpha - 1 = \alpha(\alpha-1) \int_1^\infty (\gamma^{\alpha-2} H(\gamma) +
\gamma^{-\alpha-1} H'(\gamma)) d\gamma` with H' of the other direction, and with
:math:`\gamma = 1 - q + qt`

.. math:: M_\alpha - 1 \le \alpha(\alpha-1) q^2 \int_1^\infty ((1-q+qt)^{\alpha-2} + 1)
   H_{inner}(t)\,dt \le \sum_{k\ge2} \binom{\alpha}{k} (1-q)^{\alpha-k} q^k (M_k - 1)
   + \binom{\alpha}{2} q^2 (M_2 - 1),

for :math:`k(k-1) \int t^{k-2} H_{inner}(t)\,dt \le M_k - 1` by the same formula.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp

from privacy.accounting.allocation import Allocated
from privacy.accounting.concentrated import Concentrated, MomentBound
from privacy.accounting.nested import Composed
from privacy.accounting.profiles import (
    DiscreteLaplaceProfile,
    FiniteOutcomes,
    GaussianMixtureProfile,
    GaussianProfile,
    LaplaceProfile,
    MixtureProfile,
    Profile,
    Sampled,
    SampledGaussianReplace,
    SampledReplace,
)

__all__ = ["LARGEST_ORDER", "log_moments"]

Floats = NDArray[np.float64]

LARGEST_ORDER = 512
_K = np.arange(LARGEST_ORDER + 1, dtype=np.float64)


@lru_cache(maxsize=4096)
def log_moments(profile: Profile) -> Floats:
    """Return upper bounds on the logarithm of M_k for k = 0 ... ``LARGEST_ORDER``.

    Up to rounding: relative 1e-12 and absolute 1e-12 k. Infinite where no bound is known.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        logs = _of(profile)
    logs[:2] = 0.0
    logs = np.where(np.isnan(logs), np.inf, np.maximum(logs, 0.0))
    logs.flags.writeable = False  # it is kept for the next question
    return logs


def _of(profile: Profile) -> Floats:
    k = _K
    match profile:
        case GaussianProfile(mu):
            return np.asarray(k * (k - 1) * mu**2 / 2)
        case Concentrated(rho, xi):
            return np.asarray((k - 1) * (k * rho + xi))
        case MomentBound(values):
            return np.array(values)
        case LaplaceProfile(shift):  # Mironov 2017, Table II
            grown = np.log(k / (2 * k - 1)) + (k - 1) * shift
            return np.logaddexp(grown, np.log((k - 1) / (2 * k - 1)) - k * shift)
        case DiscreteLaplaceProfile(parameter, shift):
            return _discrete_laplace(float(parameter), float(shift))
        case FiniteOutcomes(masses):
            return np.maximum(_finite(masses), _finite(tuple((q, p) for p, q in masses)))
        case Sampled(prob, inner):
            return _poisson(float(prob), log_moments(inner), alike=_alike(inner))
        case SampledGaussianReplace(prob, mu):
            return _through(float(prob), GaussianProfile(mu))
        case Allocated(_, inner):  # by convexity: as if the step were known
            return log_moments(inner).copy()
        case SampledReplace(prob, inner, removed):
            both = _replaced(float(prob), log_moments(inner))
            if removed is not None:
                both = np.minimum(both, _through(float(prob), removed))
            return both
        case GaussianMixtureProfile(parts):  # by joint convexity: as if the shift were known
            each = [math.log(p) + k * (k - 1) * c**2 / 2 for p, c in parts]
            return np.asarray(logsumexp(each, axis=0))
        case MixtureProfile(parts):
            each = [math.log(weight) + log_moments(part) for weight, part in parts if weight > 0]
            return np.asarray(logsumexp(each, axis=0))
        case Composed(parts):
            return np.asarray(np.sum([n * log_moments(part) for part, n in parts], axis=0))
        case _:
            return np.full(len(k), math.inf)


def _alike(profile: Profile) -> bool:
    """Whether the pair that the moments are of is known to be alike in both directions."""
    match profile:
        case Concentrated():
            return profile.count == 1
        case GaussianProfile() | LaplaceProfile() | DiscreteLaplaceProfile():
            return True
        case Composed(parts):  # the product of dominating pairs dominates, and is alike if they are
            return all(
                isinstance(p, GaussianProfile | LaplaceProfile | DiscreteLaplaceProfile)
                for p, _ in parts
            )
        case _:
            return False


def _discrete_laplace(a: float, d: float) -> Floats:
    """Sum P^k Q^(1-k): beyond both centres geometric, and between them too."""
    k = _K
    log_mass = math.log(math.tanh(a / 2))  # at the centre
    edge = -np.log(-np.expm1(-a))  # of the sum of e^(-a x) over x >= 0
    rate = a * (2 * k - 1)  # the sum of e^(rate x) over 0 < x < d, from its largest term down
    inside = rate * (d - 1) + np.log(-np.expm1(-rate * (d - 1))) - np.log(-np.expm1(-rate))
    ends = np.logaddexp(-a * k * d, a * (k - 1) * d) + edge
    return np.asarray(log_mass + np.logaddexp(ends, inside - a * k * d))


def _finite(masses: tuple[tuple[float, float], ...]) -> Floats:
    p, q = (np.array(side)[:, None] for side in zip(*masses, strict=True))
    terms = np.where(p > 0, _K * np.log(p) - (_K - 1) * np.log(q), -np.inf)
    return np.asarray(logsumexp(terms, axis=0))


def _poisson(q: float, inner: Floats, *, alike: bool) -> Floats:
    terms = _weights(q) + inner
    if not alike:
        terms[:, 3:] += math.log(3)
    return np.asarray(logsumexp(terms, axis=1))


def _replaced(q: float, inner: Floats) -> Floats:
    """Logarithm of one plus the two sums of the module docstring."""
    above_one = np.where(inner > 0, inner + np.log(-np.expm1(-inner)), -np.inf)
    terms = _weights(q)[:, 2:] + above_one[2:]
    extra = np.log(_K * (_K - 1) / 2) + 2 * math.log(q) + above_one[2]
    return np.asarray(np.logaddexp(0.0, np.logaddexp(logsumexp(terms, axis=1), extra)))


def _through(q: float, inner: Profile) -> Floats:
    """Replacing a patient in a sample, by way of the data set without the patient."""
    removed = log_moments(Sampled(q, inner))
    replaced = removed - (_K - 1) * math.log1p(-q)
    k = np.arange(2, LARGEST_ORDER // 2 + 1)
    replaced[k] = np.minimum(replaced[k], (removed[2 * k] + removed[2 * k - 1]) / 2)
    return replaced


@lru_cache(maxsize=64)
def _weights(q: float) -> Floats:
    """Logarithms of the binomial weights of k (columns) of so many (rows)."""
    n, k = _K[:, None], _K[None, :]
    below = k <= n
    failures = np.where(below, n - k, 0.0)
    binomial = gammaln(n + 1) - gammaln(k + 1) - gammaln(failures + 1)
    weights = np.where(below, binomial + k * math.log(q) + failures * math.log1p(-q), -np.inf)
    weights.flags.writeable = False
    return weights
