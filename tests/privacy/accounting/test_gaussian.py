"""The closed form against mpmath at 60 digits, dp-accounting, and its own inverse."""

import mpmath
import numpy as np
import pytest
from dp_accounting import GaussianDpEvent, NeighboringRelation, get_epsilon_gaussian
from hypothesis import given
from hypothesis import strategies as st

from privacy.accounting import epsilon as epsilon_of
from privacy.accounting.budget import budget_curve
from privacy.accounting.gaussian import (
    gaussian_delta,
    gaussian_deltas,
    gaussian_epsilon,
    gaussian_mu,
)

mus = st.floats(1e-3, 60)
deltas = st.floats(1e-14, 0.4)


def exact_delta(mu: float, epsilon: float) -> mpmath.mpf:
    with mpmath.workdps(60):
        m, e = mpmath.mpf(mu), mpmath.mpf(epsilon)
        return mpmath.ncdf(-e / m + m / 2) - mpmath.exp(e) * mpmath.ncdf(-e / m - m / 2)


@given(mus, st.floats(-5, 200))
def test_delta_is_the_formula_at_sixty_digits(mu: float, epsilon: float) -> None:
    truth = exact_delta(mu, epsilon)
    found = gaussian_deltas(np.array([epsilon]), mu)[0]
    assert abs(found - truth) <= 1e-11 * truth + 1e-290


@given(st.floats(-8, 3), st.floats(0, 13))
def test_small_deltas_of_wide_noise_keep_their_digits(log_mu: float, distance: float) -> None:
    """Both terms of the formula are alike to almost all of their digits here."""
    mu = 10**log_mu
    epsilon = mu * distance + mu**2 / 2
    truth = exact_delta(mu, epsilon)
    assert abs(gaussian_delta(mu=mu, epsilon=epsilon) - truth) <= 1e-11 * truth
    column = gaussian_deltas(np.array([[epsilon], [0.0]]), np.array([[mu], [1.0]]))
    assert column[0, 0] == pytest.approx(float(truth), rel=1e-11)


@given(st.floats(-1, 8), st.floats(-30, -1))
def test_certified_ends_enclose_sixty_digits_at_any_noise(log_std: float, log_delta: float) -> None:
    multiplier, delta = 10**log_std, 10**log_delta
    event = GaussianDpEvent(multiplier)
    found = epsilon_of(event, delta=delta, relation=NeighboringRelation.ADD_OR_REMOVE_ONE)
    assert exact_delta(1 / multiplier, found.upper) <= delta
    assert found.lower == 0 or exact_delta(1 / multiplier, found.lower) >= delta
    _, curve = budget_curve(
        event, rounds=3, delta=delta, relation=NeighboringRelation.ADD_OR_REMOVE_ONE
    )
    assert exact_delta(1 / multiplier, curve[0]) <= delta


@given(mus, deltas)
def test_epsilon_inverts_delta_from_above(mu: float, delta: float) -> None:
    epsilon = gaussian_epsilon(mu=mu, delta=delta)
    assert gaussian_delta(mu=mu, epsilon=epsilon) <= delta
    if epsilon > 0:
        assert gaussian_delta(mu=mu, epsilon=epsilon * (1 - 1e-6)) > delta
        assert epsilon == pytest.approx(get_epsilon_gaussian(1 / mu, delta), rel=1e-6, abs=1e-6)


@given(st.floats(0, 50), st.floats(1e-10, 0.4))
def test_mu_is_the_largest_that_keeps_the_promise(epsilon: float, delta: float) -> None:
    mu = gaussian_mu(epsilon=epsilon, delta=delta)
    assert gaussian_delta(mu=mu, epsilon=epsilon) <= delta
    assert gaussian_delta(mu=mu * (1 + 1e-6), epsilon=epsilon) > delta
