"""Each mechanism is its sum plus the noise that its event declares, by a recorded source."""

import numpy as np
import pytest
from dp_accounting import GaussianDpEvent

from privacy.accounting.events import DiscreteGaussianDpEvent, SkellamDpEvent
from privacy.accounting.gaussian import gaussian_delta
from privacy.mechanisms import clip, to_integers
from privacy.mechanisms.additive import DiscreteGaussian, Gaussian, Skellam, analytic_gaussian
from privacy.testing.recording import RandomnessRequest, Recording

ROWS = clip(np.random.default_rng(1).normal(size=(7, 4)) * 3, clip_norm=2.5)
STEPS = to_integers(ROWS, radius=30)


def test_continuous_noise_is_scaled_by_the_clip_norm() -> None:
    source = Recording()
    released = Gaussian(1.7).release(ROWS, source)
    assert source.calls == [RandomnessRequest("gaussian", 1.7 * 2.5, 4)]
    assert np.array_equal(released, ROWS.sum() + source.answers[0])
    assert Gaussian(1.7).event(ROWS) == GaussianDpEvent(1.7)


def test_integer_noise_is_scaled_by_the_radius() -> None:
    for mechanism, kind, event in (
        (DiscreteGaussian(1.7), "discrete_gaussian", DiscreteGaussianDpEvent(1.7, 30)),
        (Skellam(1.7), "skellam", SkellamDpEvent(1.7, 30, 4)),
    ):
        source = Recording()
        released = mechanism.release(STEPS, source)
        (call,) = source.calls
        assert (call.kind, call.size) == (kind, 4)
        assert call.scale == pytest.approx(1.7 * 30, rel=1e-12)
        assert released.dtype == np.int64
        assert np.array_equal(released, STEPS.sum() + source.answers[0])
        assert mechanism.event(STEPS) == event


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0])
def test_the_analytic_gaussian_keeps_its_promise_and_no_less_noise_does(epsilon: float) -> None:
    found = analytic_gaussian(epsilon=epsilon, delta=1e-5).noise_multiplier
    assert gaussian_delta(mu=1 / found, epsilon=epsilon) <= 1e-5
    assert gaussian_delta(mu=1 / (found * (1 - 1e-6)), epsilon=epsilon) > 1e-5
