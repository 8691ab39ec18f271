r"""Where noise comes from: the operating system for patients, a seed for experiments.

A source is handed to whatever draws; there is no global one. Only a source whose ``protects`` is
True may stand between a patient and an adversary: whoever knows a seed subtracts the noise.

>>> Seeded(7).discrete_gaussian(2.0, 4).tolist() == Seeded(7).discrete_gaussian(2.0, 4).tolist()
True

References:
  [1] Canonne, Kamath, Steinke 2020, "The Discrete Gaussian for Differential Privacy".
  [2] Hörmann 1993, "The transformed rejection method for generating Poisson random variables".
"""

import math
import os
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from scipy.special import gammaln

from privacy._validate import fraction, natural, positive
from privacy.errors import InvalidInputError
from privacy.mechanisms.inversion import WIDEST, discrete_gaussian_by_inversion

__all__ = ["NoiseSource", "OperatingSystem", "Seeded"]

_LARGEST_STD = 2.0**50  # in integer steps: 2^12 standard deviations still fit into int64


@runtime_checkable
class NoiseSource(Protocol):
    """What a mechanism draws from. Standard deviations and variances are in the caller's units."""

    @property
    def protects(self) -> bool:
        """Whether the draws are unpredictable, as a patient's protection demands."""
        ...

    def discrete_gaussian(self, std: float, size: int) -> Int[np.ndarray, "size"]:
        """Draw integers with mass proportional to exp(-x^2 / (2 std^2))."""
        ...

    def gaussian(self, std: float, size: int) -> Float[np.ndarray, "size"]:
        """Draw normal variables of mean 0, float64."""
        ...

    def skellam(self, variance: float, size: int) -> Int[np.ndarray, "size"]:
        """Draw differences of two independent Poisson variables of mean ``variance / 2``."""
        ...

    def poisson_sample(self, prob: float, size: int) -> Bool[np.ndarray, "size"]:
        """Draw for each of ``size`` patients, independently, whether it takes part."""
        ...


class OperatingSystem:
    """Randomness of the operating system: what protects patients.

    Guarantees (each is a test in ``tests/privacy/mechanisms/test_noise.py``):
      - ``discrete_gaussian`` is exactly the discrete Gaussian whose parameter is the float ``std``
        taken as a rational number: by inversion up to 2^11 (``mechanisms.inversion``: ten million
        draws a second), above by OpenDP's exact arithmetic ([1], Algorithm 3: a hundred thousand);
      - ``gaussian`` is OpenDP's: exact noise on a grid far finer than float64 resolves at ``std``,
        with tails as long as they should be;
      - ``poisson_sample`` includes each with exactly the probability ``prob`` (rounded down to a
        multiple of 2^-128, which is the safe side);
      - ``skellam`` is correct up to the rounding of float64 in its acceptance test [2]: about 1e-9
        of the mass at a variance of 1e14, less below;
      - no draw can be repeated: there is no state to save.
    """

    protects = True

    def discrete_gaussian(self, std: float, size: int) -> Int[np.ndarray, "size"]:
        """Draw integers with mass proportional to exp(-x^2 / (2 std^2)).

        Raises:
          InvalidInputError: ``std`` is not above 0 and at most 2^50, or ``size`` no count.
        """
        _check_draw(size, std=std)
        if std > WIDEST:
            return np.array(_opendp_gaussian("i64", std)([0] * size), dtype=np.int64)
        words = np.frombuffer(os.urandom(8 * size), dtype=np.uint64)
        return discrete_gaussian_by_inversion(std, words, _fresh_word)

    def gaussian(self, std: float, size: int) -> Float[np.ndarray, "size"]:
        """Draw normal variables of mean 0, float64.

        Raises:
          InvalidInputError: ``std`` is not above 0 and at most 2^50, or ``size`` no count.
        """
        _check_draw(size, std=std)
        return np.array(_opendp_gaussian("f64", std)([0.0] * size), dtype=np.float64)

    def skellam(self, variance: float, size: int) -> Int[np.ndarray, "size"]:
        """Draw differences of two independent Poisson variables of mean ``variance / 2``.

        Raises:
          InvalidInputError: ``variance`` is not above 0 and at most 2^100, or ``size`` no count.
        """
        return _skellam(self._uniforms, variance, size)

    def poisson_sample(self, prob: float, size: int) -> Bool[np.ndarray, "size"]:
        """Draw for each of ``size`` patients, independently, whether it takes part.

        Raises:
          InvalidInputError: ``prob`` is not in [0, 1], or ``size`` no count.
        """
        fraction(prob=prob)
        natural(size=size)
        if prob == 1:
            return np.ones(size, dtype=np.bool_)
        high, low = divmod(int(Fraction(prob) * 2**128), 2**64)
        words = np.frombuffer(os.urandom(16 * size), dtype=np.uint64).reshape(size, 2)
        below = (words[:, 0] == np.uint64(high)) & (words[:, 1] < np.uint64(low))
        return np.asarray((words[:, 0] < np.uint64(high)) | below)

    def _uniforms(self, size: int) -> NDArray[np.float64]:
        words = np.frombuffer(os.urandom(8 * size), dtype=np.uint64)
        return np.asarray((words >> np.uint64(11)) * 2.0**-53, dtype=np.float64)


class Seeded:
    """Repeatable randomness for experiments and tests; a run on real patients refuses it.

    Guarantees (each is a test in ``tests/privacy/mechanisms/test_noise.py``):
      - the same seed and the same calls give the same values;
      - ``discrete_gaussian`` follows [1], Algorithm 3, vectorised in float64: the acceptance
        probabilities are rounded to about 1e-15, so it is a faithful simulation and no protection;
      - about a million draws a second, whatever the standard deviation.

    Args:
      seed: A whole number, or several (one a part of the name of the stream).
    """

    protects = False

    def __init__(self, seed: int | Sequence[int]) -> None:
        parts = [seed] if isinstance(seed, int | np.integer) else list(seed)
        for part in parts:
            natural(seed=part)
        self._rng = np.random.default_rng(parts)

    def discrete_gaussian(self, std: float, size: int) -> Int[np.ndarray, "size"]:
        """Draw integers with mass proportional to exp(-x^2 / (2 std^2)).

        Raises:
          InvalidInputError: ``std`` is not above 0 and at most 2^50, or ``size`` no count.
        """
        _check_draw(size, std=std)
        t = math.floor(std) + 1  # [1], Algorithm 3: the scale of the discrete Laplace proposal
        p = -math.expm1(-1 / t)

        def propose(count: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
            y = self._rng.geometric(p, count) - self._rng.geometric(p, count)
            log_accept = -((np.abs(y) - std * std / t) ** 2) / (2 * std * std)
            return y, self._rng.random(count) < np.exp(log_accept)

        return _until_accepted(propose, size)

    def gaussian(self, std: float, size: int) -> Float[np.ndarray, "size"]:
        """Draw normal variables of mean 0, float64.

        Raises:
          InvalidInputError: ``std`` is not above 0 and at most 2^50, or ``size`` no count.
        """
        _check_draw(size, std=std)
        return self._rng.normal(0.0, std, size)

    def skellam(self, variance: float, size: int) -> Int[np.ndarray, "size"]:
        """Draw differences of two independent Poisson variables of mean ``variance / 2``.

        Raises:
          InvalidInputError: ``variance`` is not above 0 and at most 2^100, or ``size`` no count.
        """
        return _skellam(self._rng.random, variance, size)

    def poisson_sample(self, prob: float, size: int) -> Bool[np.ndarray, "size"]:
        """Draw for each of ``size`` patients, independently, whether it takes part.

        Raises:
          InvalidInputError: ``prob`` is not in [0, 1], or ``size`` no count.
        """
        fraction(prob=prob)
        natural(size=size)
        return self._rng.random(size) < prob


def _check_draw(size: int, *, std: float) -> None:
    natural(size=size)
    positive(std=std)
    if std > _LARGEST_STD:
        raise InvalidInputError(
            f"Expected std={std} <= 2^50: draws must fit into 64-bit integers. Use a coarser step."
        )


def _fresh_word() -> int:
    return int.from_bytes(os.urandom(8), "little")


def _opendp_gaussian(
    kind: str, std: float
) -> Callable[[list[int] | list[float]], list[int] | list[float]]:
    # Not from opendp.prelude, which brings pandas and scikit-learn: 130 MB at every hospital.
    from opendp.domains import atom_domain, vector_domain
    from opendp.measurements import make_gaussian
    from opendp.metrics import l2_distance
    from opendp.mod import enable_features

    enable_features("contrib")  # OpenDP's own flag for constructors without a vetted proof
    atoms = atom_domain(T=kind) if kind == "i64" else atom_domain(T=kind, nan=False)
    space = vector_domain(atoms), l2_distance(T="f64")
    measurement: Callable[[list[int] | list[float]], list[int] | list[float]]
    measurement = make_gaussian(*space, scale=std)
    return measurement


def _until_accepted(
    propose: Callable[[int], tuple[NDArray[np.int64], NDArray[np.bool_]]], size: int
) -> NDArray[np.int64]:
    """Rejection sampling for many at once: propose until ``size`` were accepted."""
    kept = np.empty(0, dtype=np.int64)
    while len(kept) < size:
        proposed, accepted = propose(2 * (size - len(kept)) + 16)
        kept = np.concatenate([kept, proposed[accepted]])
    return kept[:size]


def _skellam(
    uniforms: Callable[[int], NDArray[np.float64]], variance: float, size: int
) -> NDArray[np.int64]:
    _check_draw(size, std=math.sqrt(positive(variance=variance)))
    return _poisson(uniforms, variance / 2, size) - _poisson(uniforms, variance / 2, size)


def _poisson(
    uniforms: Callable[[int], NDArray[np.float64]], mean: float, size: int
) -> NDArray[np.int64]:
    """Poisson variables: transformed rejection ([2], PTRS), by inversion for a mean below 10."""
    if mean < 10:
        masses = np.exp(_poisson_log_mass(np.arange(120.0), mean))
        return np.searchsorted(np.cumsum(masses), uniforms(size)).astype(np.int64)

    def propose(count: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        k, log_ratio = _transformed(uniforms(count) - 0.5, mean)
        inside = np.isfinite(log_ratio)
        accepted = inside & (np.log(uniforms(count) + 1e-300) <= log_ratio)
        return np.where(inside, k, 0).astype(np.int64), accepted

    return _until_accepted(propose, size)


def _transformed(
    u: NDArray[np.float64], mean: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Proposals for uniforms in [-1/2, 1/2), and the logarithms of their chances ([2], PTRS)."""
    b = 0.931 + 2.53 * math.sqrt(mean)
    a = -0.059 + 0.02483 * b
    # [2] has the second factor alone; between means of 10 and 2000 a chance would pass 1 by up to
    # .6 %, and up to 7e-7 of the mass would be lost.
    inverse_alpha = 1.01 * (1.1239 + 1.1328 / (b - 3.4))
    us = 0.5 - np.abs(u) + 2.0**-60
    k = np.floor((2 * a / us + b) * u + mean + 0.43)
    inside = (k >= 0) & (k < 2.0**62)
    log_mass = _poisson_log_mass(np.where(inside, k, 0.0), mean)
    return k, np.where(inside, log_mass - np.log(inverse_alpha / (a / us**2 + b)), -np.inf)


def _poisson_log_mass(k: NDArray[np.float64], mean: float) -> NDArray[np.float64]:
    """Log of e^-m m^k / k!, without the cancellation of its large terms."""
    small = k < 32
    x = (k - mean) / mean
    deviance = mean * ((1 + x) * np.log1p(np.where(small, 0.0, x)) - x)
    n = np.maximum(k, 32.0)  # Stirling's series; its error at 32 is below 1e-13
    stirling = 0.5 * np.log(2 * np.pi * n) + 1 / (12 * n) - 1 / (360 * n**3) + 1 / (1260 * n**5)
    direct = np.where(small, k, 0.0) * math.log(mean) - mean - gammaln(np.where(small, k, 0.0) + 1)
    return np.where(small, direct, -deviance - stirling)
