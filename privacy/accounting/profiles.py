r"""Privacy profiles: delta as a function of epsilon, in both directions, for one release.

A profile is what the pair of output distributions (with the patient: P, without: Q) can tell:
:math:`\delta_{remove}(\varepsilon) = \sup_S P(S) - e^\varepsilon Q(S)` and ``add`` with P and Q
exchanged, for every real epsilon. A *dominating* profile lies nowhere below; a composition of
dominating pairs dominates the composition (Zhu, Dong and Wang 2022, Theorem 10).

Profiles are data (frozen, hashable) with one method, ``deltas(epsilons) -> (remove, add)``. An
*attained* profile belongs to a real pair of data sets and also tells ``tail``, which a lower bound
needs. Where a field is a ``Column``, one profile may stand for many of its kind: an array
``[profiles, 1]`` in place of a number gives an array ``[profiles, epsilons]`` (``stacked``).
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, logsumexp, ndtr

from privacy.accounting.gaussian import gaussian_deltas, mills_drop
from privacy.accounting.outcomes import (
    Deltas,
    DiscreteGaussianOutcomes,
    FiniteOutcomes,
    SkellamOutcomes,
)

__all__ = [
    "Attained",
    "Column",
    "Deltas",
    "DiscreteGaussianOutcomes",
    "DiscreteLaplaceProfile",
    "FiniteOutcomes",
    "GaussianMixtureProfile",
    "GaussianProfile",
    "LaplaceProfile",
    "MixtureProfile",
    "Profile",
    "Sampled",
    "SampledGaussianReplace",
    "SampledReplace",
    "SkellamOutcomes",
    "delta",
    "kind",
    "stacked",
]

Column = int | float | NDArray[np.float64]  # one number, or one a profile: ``[profiles, 1]``
_ALL = 1 - 2.0**-53  # the largest float below 1
_NEWTON = 100
_FAR = 600.0  # e to this is a float still, and so is a mass times it


@runtime_checkable
class Profile(Protocol):
    """One release's profile in both directions."""

    def __hash__(self) -> int:
        """Profiles are data: equal ones are one."""
        ...

    def deltas(self, epsilons: NDArray[np.float64]) -> Deltas:
        """Delta at each epsilon (any order and sign) when a patient is removed, and added."""
        ...


@runtime_checkable
class Attained(Profile, Protocol):
    """A profile that a pair of data sets attains."""

    def tail(self, epsilons: NDArray[np.float64], direction: int = 0) -> NDArray[np.float64]:
        """Minus the slope of delta by e^epsilon, in one direction (0: removed, 1: added).

        That is the chance of a loss above epsilon without the patient, or with one who was added.
        """
        ...


@dataclass(frozen=True)
class GaussianProfile:
    """A shift of ``mu`` standard deviations; both directions are alike."""

    mu: Column

    def deltas(self, epsilons: NDArray[np.float64]) -> Deltas:
        """See ``Profile``."""
        both = gaussian_deltas(epsilons, self.mu)
        return both, both

    def tail(self, epsilons: NDArray[np.float64], direction: int = 0) -> NDArray[np.float64]:
        """See ``Attained``."""
        return np.asarray(ndtr(-epsilons / self.mu - self.mu / 2))


@dataclass(frozen=True)
class LaplaceProfile:
    """A shift of ``shift`` scales of a Laplace variable; both directions are alike."""

    shift: Column

    def deltas(self, epsilons: NDArray[np.float64]) -> Deltas:
        """See ``Profile``."""
        inside = -np.expm1((np.minimum(epsilons, self.shift) - self.shift) / 2)
        both = np.where(epsilons > -self.shift, inside, -np.expm1(np.minimum(epsilons, 0.0)))
        return both, both

    def tail(self, epsilons: NDArray[np.float64], direction: int = 0) -> NDArray[np.float64]:
        """See ``Attained``; the loss at x is abs(x) - abs(x - shift)."""
        inside = np.exp(-(np.maximum(epsilons, -self.shift) + self.shift) / 2) / 2
        below = np.where(epsilons < -self.shift, 1.0, inside)
        return np.where(epsilons < self.shift, below, 0.0)


@dataclass(frozen=True)
class DiscreteLaplaceProfile:
    """A shift of ``shift`` steps of a discrete Laplace variable, mass ~ e^(-parameter |x|)."""

    parameter: Column
    shift: Column

    def deltas(self, epsilons: NDArray[np.float64]) -> Deltas:
        """See ``Profile``; the loss at x is parameter (|x - shift| - |x|), falling in x."""
        a, d = self.parameter, self.shift
        largest = a * d
        e = np.clip(epsilons, -largest, largest)
        t = np.ceil(d / 2 - e / (2 * a)) - 1
        # P(X <= t) - e^epsilon P(X <= t - d), t - d < 0: sums of what is not negative.
        left_side = self._below(t) * -np.expm1(e - largest)
        right_side = -np.expm1(e + a * (t - d)) - np.exp(-a) * np.expm1(-a * np.maximum(t, 0.0))
        both = np.where(t < 0, left_side, right_side / (1 + np.exp(-a)))
        both = np.where(epsilons >= largest, 0.0, np.maximum(both, 0.0))
        both = np.where(epsilons <= -largest, -np.expm1(np.minimum(epsilons, 0.0)), both)
        return both, both

    def tail(self, epsilons: NDArray[np.float64], direction: int = 0) -> NDArray[np.float64]:
        """See ``Attained``."""
        a, d = self.parameter, self.shift
        largest = a * d
        t = np.ceil(d / 2 - np.clip(epsilons, -largest, largest) / (2 * a)) - 1
        inside = np.where(epsilons < -largest, 1.0, self._below(t - d))
        return np.where(epsilons >= largest, 0.0, inside)

    def _below(self, t: NDArray[np.float64]) -> NDArray[np.float64]:
        """P(X <= t)."""
        a = self.parameter
        tail = np.exp(-a * np.where(t < 0, -t, t + 1)) / (1 + np.exp(-a))
        return np.asarray(np.where(t < 0, tail, 1 - tail))


@dataclass(frozen=True)
class Sampled:
    r"""``inner`` on a Poisson sample, when one patient comes or goes.

    The pair is :math:`(1-q)Q + qP` against Q (Zhu, Dong and Wang 2022, Theorem 11); its profiles
    follow from the inner ones by solving for the inner epsilon. Exact where the inner one is.
    """

    prob: Column
    inner: Profile

    def deltas(self, epsilons: NDArray[np.float64]) -> Deltas:
        """See ``Profile``."""
        return self.remove(epsilons), self.add(epsilons)

    def remove(self, epsilons: NDArray[np.float64]) -> NDArray[np.float64]:
        """Delta when a patient is removed."""
        q = self.prob
        # q [P - (e^eps - 1 + q)/q Q]; below log(1 - q) every outcome counts.
        possible, inside = _within(epsilons, q)
        rest = -np.expm1(np.minimum(epsilons, 0.0))
        deltas = np.where(possible, q * delta(self.inner, inside, 0), rest)
        return np.maximum(deltas, 0.0)

    def add(self, epsilons: NDArray[np.float64]) -> NDArray[np.float64]:
        """Delta when a patient is added."""
        q = self.prob
        e = np.minimum(epsilons, _FAR)  # beyond it c is below 0 whatever q, and delta nothing
        # c [Q - e^eps q / c P] with c = 1 - (1 - q) e^eps; nothing where c <= 0. Exact for an
        # epsilon that is wrong in its last digit, also where c all but vanishes.
        c = -np.expm1(e + _log_rest(q))
        some = c > 0
        ratio = np.where(some, e + np.log(q) - np.log(np.where(some, c, 1.0)), 0.0)
        deltas = np.where(some, c * delta(self.inner, ratio, 1), 0.0)
        return np.maximum(deltas, 0.0)

    def tail(self, epsilons: NDArray[np.float64], direction: int = 0) -> NDArray[np.float64]:
        """See ``Attained``; Q is the inner one's, and so are the outcomes above a loss."""
        if not isinstance(self.inner, Attained):
            raise TypeError(f"{self.inner} is not attained: nothing is known from below.")
        if direction == 0:
            possible, inside = _within(epsilons, self.prob)
            return np.where(possible, self.inner.tail(inside), 1.0)
        # Both are mixed: (1 - q) Q + q P of the inner loss below what makes this one.
        possible, inside = _within(-epsilons, self.prob)
        inner_tail = self.inner.tail(-inside, 1)
        other = delta(self.inner, -inside, 1) + np.exp(np.minimum(-inside, _FAR)) * inner_tail
        mixed = (1 - self.prob) * np.minimum(other, 1.0) + self.prob * inner_tail
        return np.where(possible, mixed, 0.0)


def _log_rest(q: Column) -> NDArray[np.float64]:
    """log(1 - q), minus infinity where q is 1."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log1p(-np.asarray(q)))


def _within(e: NDArray[np.float64], q: Column) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return where log(1 + (e^eps - 1) / q) exists, and its values there."""
    with np.errstate(over="ignore"):
        small = np.expm1(e) / q
        # (e^eps - (1 - q)) / q, exact for an epsilon that is wrong in its last digit.
        odds = np.where(q == 1, np.exp(e), np.expm1(e - _log_rest(np.minimum(q, _ALL))))
        odds = odds * np.where(q == 1, 1.0, (1 - q) / q)
    possible = odds > 0
    inside = np.log(np.where(possible, odds, 1.0))
    inside = np.where(np.abs(small) < 0.5, np.log1p(np.clip(small, -0.5, 0.5)), inside)
    # Where the quotient is no float, e^eps - 1 and e^eps are the same one.
    return possible, np.where(np.isinf(inside), e - np.log(q), inside)


@dataclass(frozen=True)
class SampledReplace:
    r"""A sample of ``inner`` when one patient is replaced; dominating, seldom exact.

    With :math:`\gamma = e^\varepsilon \ge 1`, :math:`\gamma' = 1 + (\gamma - 1)/q` and
    :math:`\beta = \gamma/\gamma'`, a Poisson sample's pair is :math:`(1-q)R + qP` against
    :math:`(1-q)R + qQ`, R without the patient, and

    .. math:: \delta(\gamma) = q H_{\gamma'}(P \| (1-\beta) R + \beta Q) \le
       q [(1-\beta) H_{\gamma'}(P \| R) + \beta H_{\gamma'}(P \| Q)]

    (advanced joint convexity and convexity: Balle, Barthe and Gaboardi 2018, Theorem 2 and what
    follows it). Samples of a fixed size have :math:`\beta = 1` (their Theorem 9). Below 0 by
    symmetry.

    Attributes:
      prob: q.
      inner: When a patient is replaced; for Poisson samples also no less than when one is removed.
      removed: When a patient is removed, for Poisson samples.
    """

    prob: Column
    inner: Profile
    removed: Profile | None = None

    def deltas(self, epsilons: NDArray[np.float64]) -> Deltas:
        """See ``Profile``."""
        positive = np.abs(epsilons)
        with np.errstate(over="ignore"):
            inside = np.log1p(np.expm1(positive) / self.prob)
        # Where the quotient is no float, e^epsilon - 1 and e^epsilon are the same one.
        inside = np.where(np.isinf(inside), positive - np.log(self.prob), inside)
        inner_deltas = np.maximum(*self.inner.deltas(inside))
        if self.removed is not None:
            beta = np.exp(positive - inside)
            inner_deltas = beta * inner_deltas + (1 - beta) * delta(self.removed, inside, 0)
        upper = self.prob * inner_deltas
        mirrored = -np.expm1(-positive) + np.exp(-positive) * upper
        both = np.where(epsilons >= 0, upper, mirrored)
        return both, both


@dataclass(frozen=True)
class SampledGaussianReplace:
    r"""A Gaussian on a Poisson sample when one patient is replaced by its opposite.

    The pair :math:`(1-q)N(0,1) + qN(\pm\mu,1)` (Zhu, Dong and Wang 2022, Section 4): the loss
    rises with x, and where it equals epsilon, :math:`y = e^{\mu x}` solves
    :math:`a y^2 - (1-q)(e^\varepsilon - 1) y - a e^\varepsilon = 0`, :math:`a = q e^{-\mu^2/2}`.
    """

    prob: Column
    mu: Column

    def deltas(self, epsilons: NDArray[np.float64]) -> Deltas:
        """See ``Profile``."""
        e, q, mu = np.abs(epsilons), self.prob, self.mu
        x = self._place(e)
        upper, lower, log_lower = self._above(x)
        grown = np.where(e > _FAR, np.exp(e + log_lower), np.exp(np.minimum(e, _FAR)) * lower)
        # Where x is the loss's own place, P - e^epsilon Q is q times [Phi(mu - x) less what its
        # density times Mills' ratio at x is] and the same at x + mu, grown: nothing cancels.
        near = np.maximum(x, mu - 1)
        first = np.exp(-((near - mu) ** 2) / 2) * mills_drop(near - mu, mu)
        second = np.exp(np.minimum(e - (near + mu) ** 2 / 2, _FAR)) * mills_drop(near, mu)
        fine = q * (first + second) / np.sqrt(2 * np.pi)
        tail = np.where(x > mu - 1, fine, np.maximum(upper - grown, 0.0))
        mirrored = -np.expm1(-e) + np.exp(-e) * tail
        both = np.where(epsilons >= 0, tail, mirrored)
        return both, both

    def tail(self, epsilons: NDArray[np.float64], direction: int = 0) -> NDArray[np.float64]:
        """See ``Attained``; below 0 by symmetry."""
        upper, lower, _ = self._above(self._place(np.abs(epsilons)))
        return np.where(epsilons >= 0, lower, 1 - upper)

    def _place(self, e: NDArray[np.float64]) -> NDArray[np.float64]:
        """The x whose loss is e >= 0."""
        q, mu = self.prob, self.mu
        # By logarithms, over the larger of the two: a itself may be too small for a float.
        with np.errstate(divide="ignore"):
            log_b = np.log(-(1 - q) * np.expm1(-e))  # the middle coefficient, over e^eps
        log_a = np.log(q) - mu**2 / 2 - e / 2  # the first, over the root of e^eps
        most = np.maximum(log_a, log_b)
        b, a = np.exp(log_b - most), np.exp(log_a - most)
        grown = e + most + np.log((b + np.sqrt(b**2 + 4 * a**2)) / 2)
        return np.asarray((grown - np.log(q) + mu**2 / 2) / mu)

    def _above(self, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """P and Q above x, and the logarithm of Q."""
        q, mu = self.prob, self.mu
        rest = (1 - q) * ndtr(-x)
        with np.errstate(divide="ignore"):
            log_rest = np.log1p(-np.asarray(q)) + log_ndtr(-x)
        log_lower = np.logaddexp(log_rest, np.log(q) + log_ndtr(-mu - x))
        return rest + q * ndtr(mu - x), rest + q * ndtr(-mu - x), log_lower


@dataclass(frozen=True)
class GaussianMixtureProfile:
    r"""A Gaussian that is moved by one of several shifts, drawn in secret.

    The pair :math:`\sum_i p_i N(c_i, 1)` against :math:`N(0, 1)`: with no :math:`c_i` below 0 the
    loss :math:`\log \sum_i p_i e^{c_i x - c_i^2/2}` rises with x (Choquette-Choo et al. 2024, arXiv
    2310.15526).

    Attributes:
      parts: Each :math:`(p_i, c_i)`, c in standard deviations of the noise, some above 0.
    """

    parts: tuple[tuple[float, float], ...]

    def deltas(self, epsilons: NDArray[np.float64]) -> Deltas:
        """See ``Profile``."""
        x, y = self._place(epsilons), self._place(-epsilons)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            remove = self._power(x) - np.exp(epsilons + log_ndtr(-x))
            add = ndtr(y) - np.exp(epsilons + np.log(self._power_below(y)))
        return np.maximum(remove, 0.0), np.maximum(np.where(np.isnan(add), 0.0, add), 0.0)

    def tail(self, epsilons: NDArray[np.float64], direction: int = 0) -> NDArray[np.float64]:
        """See ``Attained``."""
        if direction == 0:
            return np.asarray(ndtr(-self._place(epsilons)))
        return self._power_below(self._place(-epsilons))

    def _power(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """P above x."""
        return np.asarray(sum(p * ndtr(c - x) for p, c in self.parts))

    def _power_below(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """P below x."""
        return np.asarray(sum(p * ndtr(x - c) for p, c in self.parts))

    def _place(self, epsilons: NDArray[np.float64]) -> NDArray[np.float64]:
        """The x whose loss is epsilon; minus infinity where every loss is larger.

        The loss is convex in x and rises, so Newton's steps from above never pass the place.
        """
        probs, shifts = np.array(self.parts).T
        logs, moving = np.log(probs) - shifts**2 / 2, shifts > 0
        still = float(probs[~moving].sum())
        e = np.asarray(epsilons, dtype=np.float64).ravel()
        x = ((e[:, None] - logs[moving]) / shifts[moving]).min(axis=1)
        x[e <= (math.log(still) if still else -np.inf)] = -np.inf
        at = np.flatnonzero(np.isfinite(x))
        for _ in range(_NEWTON):
            terms = logs + shifts * x[at, None]
            loss = logsumexp(terms, axis=1)
            step = (loss - e[at]) / (np.exp(terms - loss[:, None]) @ shifts)
            x[at] -= step
            at = at[step > 1e-13 * (1 + np.abs(x[at]))]
            if not len(at):
                break
        return np.asarray(x.reshape(np.shape(epsilons)), dtype=np.float64)


@dataclass(frozen=True)
class MixtureProfile:
    """Which of several releases took place is drawn by weight, and told."""

    parts: tuple[tuple[float, Profile], ...]

    def deltas(self, epsilons: NDArray[np.float64]) -> Deltas:
        """See ``Profile``."""
        remove, add = np.zeros_like(epsilons), np.zeros_like(epsilons)
        for weight, part in self.parts:
            one, other = part.deltas(epsilons)
            remove += weight * one
            add += weight * other
        return remove, add


def delta(profile: Profile, epsilons: NDArray[np.float64], direction: int) -> NDArray[np.float64]:
    """Return ``deltas`` in one direction (0: remove, 1: add), without the other's work."""
    if isinstance(profile, Sampled):
        return profile.add(epsilons) if direction else profile.remove(epsilons)
    return profile.deltas(epsilons)[direction]


def kind(profile: Profile) -> Any:
    """Return what profiles that can be ``stacked`` together have in common."""
    values = [getattr(profile, name) for name in _names(type(profile))]
    if not getattr(profile, "stacks", True) or any(isinstance(value, tuple) for value in values):
        return profile
    inner = (v for v in values if not isinstance(v, float | int))
    return (type(profile), *(None if v is None else kind(v) for v in inner))


def stacked(profiles: Sequence[Profile]) -> Profile:
    """Return one profile, of columns, that stands for many of one ``kind``."""
    first = profiles[0]
    if len(profiles) == 1 or kind(first) is first:  # then they are all equal
        return first
    columns: list[Any] = []
    for name in _names(type(first)):
        values = [getattr(profile, name) for profile in profiles]
        if values[0] is None:
            columns.append(None)
        elif isinstance(values[0], float | int):
            columns.append(np.array(values, dtype=np.float64)[:, None])
        else:
            columns.append(stacked(values))
    return type(first)(*columns)


@cache
def _names(of: Any) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(of))
