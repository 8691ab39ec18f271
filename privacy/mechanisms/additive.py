"""Mechanisms that add noise to a sum of bounded rows, each with the event that accounts for it.

>>> from privacy.mechanisms import Seeded, clip, to_integers
>>> rows = to_integers(clip(np.array([[3.0, 4.0]]), clip_norm=1.0), radius=100)
>>> mechanism = DiscreteGaussian(noise_multiplier=2.0)
>>> mechanism.release(rows, Seeded(1)).shape, mechanism.event(rows).noise_multiplier
((2,), 2.0)
"""

from dataclasses import dataclass

import numpy as np
from dp_accounting import dp_event as dp
from jaxtyping import Float, Int

from privacy._validate import positive
from privacy.accounting.events import DiscreteGaussianDpEvent, SkellamDpEvent
from privacy.accounting.gaussian import gaussian_mu
from privacy.mechanisms.clipping import BoundedIntegers, Clipped
from privacy.mechanisms.noise import NoiseSource

__all__ = ["DiscreteGaussian", "Gaussian", "Skellam", "analytic_gaussian"]


@dataclass(frozen=True)
class Gaussian:
    """Continuous noise on a sum of clipped rows.

    Guarantees (each is a test in ``tests/privacy/testing/test_mechanism.py``):
      1. the result is the rows' sum plus fresh noise of standard deviation
         ``noise_multiplier * clip_norm`` on each coordinate;
      2. the noise depends on nothing but these two constants;
      3. ``event`` is what was done, whatever the number of rows.

    Floating point: the sum and the noise are float64; the event is that of exact arithmetic.

    Attributes:
      noise_multiplier: Standard deviation over ``clip_norm``.
    """

    noise_multiplier: float

    def __post_init__(self) -> None:
        positive(noise_multiplier=self.noise_multiplier)

    def release(self, rows: Clipped, source: NoiseSource) -> Float[np.ndarray, "dim"]:
        """Return the noised sum."""
        noise = source.gaussian(self.noise_multiplier * rows.clip_norm, rows.values.shape[1])
        return np.asarray(rows.sum() + noise)

    def event(self, rows: Clipped) -> dp.DpEvent:
        """Return what ``release(rows)`` costs; under replace-one the accountant doubles."""
        del rows  # the event is the same for every one: that is what clipping is for
        return dp.GaussianDpEvent(self.noise_multiplier)


def analytic_gaussian(*, epsilon: float, delta: float) -> Gaussian:
    """Return the Gaussian with the least noise that is (epsilon, delta)-DP for one release.

    Balle and Wang 2018, Algorithm 1, under add-or-remove-one; rounded so that it holds.
    """
    return Gaussian(1 / gaussian_mu(epsilon=epsilon, delta=delta))


@dataclass(frozen=True)
class DiscreteGaussian:
    """Integer noise on an exact integer sum.

    Guarantees (each is a test in ``tests/privacy/testing/test_mechanism.py``):
      1. the result is the rows' exact sum plus fresh discrete Gaussian noise of parameter
         ``noise_multiplier * radius`` on each coordinate, int64;
      2. the noise depends on nothing but these two constants;
      3. ``event`` is what was done, with no floating point in between.

    Attributes:
      noise_multiplier: Parameter of the noise over ``radius``.
    """

    noise_multiplier: float

    def __post_init__(self) -> None:
        positive(noise_multiplier=self.noise_multiplier)

    def release(self, rows: BoundedIntegers, source: NoiseSource) -> Int[np.ndarray, "dim"]:
        """Return the noised sum, in steps."""
        noise = source.discrete_gaussian(self.noise_multiplier * rows.radius, rows.values.shape[1])
        return np.asarray(rows.sum() + noise)

    def event(self, rows: BoundedIntegers) -> DiscreteGaussianDpEvent:
        """Return what ``release(rows)`` costs."""
        return DiscreteGaussianDpEvent(self.noise_multiplier, rows.radius)


@dataclass(frozen=True)
class Skellam:
    """Integer noise that stays Skellam when shares are added.

    Guarantees (each is a test in ``tests/privacy/testing/test_mechanism.py``):
      1. the result is the rows' exact sum plus fresh Skellam noise of variance
         ``(noise_multiplier * radius) ** 2`` on each coordinate, int64;
      2. the noise depends on nothing but these two constants;
      3. ``event`` is what was done.

    Attributes:
      noise_multiplier: Standard deviation over ``radius``.
    """

    noise_multiplier: float

    def __post_init__(self) -> None:
        positive(noise_multiplier=self.noise_multiplier)

    def release(self, rows: BoundedIntegers, source: NoiseSource) -> Int[np.ndarray, "dim"]:
        """Return the noised sum, in steps."""
        variance = (self.noise_multiplier * rows.radius) ** 2
        return np.asarray(rows.sum() + source.skellam(variance, rows.values.shape[1]))

    def event(self, rows: BoundedIntegers) -> SkellamDpEvent:
        """Return what ``release(rows)`` costs."""
        return SkellamDpEvent(self.noise_multiplier, rows.radius, rows.values.shape[1])
