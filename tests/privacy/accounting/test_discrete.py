"""The sandwich around discrete noise, against brute force over the integers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from privacy.accounting.discrete import concentrated_rho, sandwich, zcdp_delta, zcdp_epsilon
from privacy.accounting.gaussian import gaussian_delta


def masses(std: float, reach: int) -> NDArray[np.float64]:
    x = np.arange(-reach, reach + 1)
    p = np.exp(-(x**2) / (2 * std**2))
    return np.asarray(p / p.sum())


def brute_delta(p: NDArray[np.float64], shift: int, epsilon: float) -> float:
    """Hockey-stick divergence of a distribution on the integers and its shift."""
    padded = np.concatenate([p, np.zeros(shift)])
    moved = np.concatenate([np.zeros(shift), p])
    return float(np.maximum(padded - math.exp(epsilon) * moved, 0).sum())


@given(st.floats(2.2, 40), st.integers(1, 60), st.integers(1, 4), st.floats(0, 6))
def test_sandwich_holds_for_shares_of_discrete_noise(
    std: float, radius: int, contributors: int, epsilon: float
) -> None:
    share = masses(std / math.sqrt(contributors), math.ceil(14 * std))
    total = share
    for _ in range(contributors - 1):
        total = np.convolve(total, share)
    truth = brute_delta(total, radius, epsilon)
    bound = sandwich(std=std, radius=radius, coordinates=1, contributors=contributors)
    above, below = bound.slack_above, bound.slack_below
    if math.isfinite(bound.mu_above):
        upper = gaussian_delta(mu=bound.mu_above, epsilon=max(0.0, epsilon - 2 * above))
        assert truth <= upper * math.exp(above) + 1e-14
    lower = gaussian_delta(mu=bound.mu_below, epsilon=epsilon + 2 * below) if bound.mu_below else 0
    assert truth >= lower * math.exp(-below) - 1e-14
    rho = concentrated_rho(std=std, radius=radius, coordinates=1, contributors=contributors)
    assert truth <= zcdp_delta(rho=rho, epsilon=epsilon) + 1e-14


def test_the_mixture_behind_the_upper_bound_is_the_discrete_gaussian() -> None:
    """Integrate the docstring's post-processing; r is small, so that the factor can be seen."""
    y = np.linspace(-25, 25, 20_001)
    x = np.arange(-45, 46)
    for r2, s2 in ((0.4, 3.0), (0.6, 1.7)):
        kernel = np.exp(-((x[:, None] - y) ** 2) / (2 * r2))
        density = np.exp(-(y**2) / (2 * s2)) / math.sqrt(2 * math.pi * s2)
        mixed = (kernel / kernel.sum(axis=0) * density).sum(axis=1) * (y[1] - y[0])
        exact = masses(math.sqrt(s2 + r2), 45)
        theta = 2 * sum(math.exp(-2 * math.pi**2 * r2 * j**2) for j in (1, 2, 3))
        zeta = math.log1p(theta) - math.log1p(-theta)
        middle = np.abs(x) < 8
        ratio = np.abs(np.log(mixed[middle] / exact[middle])).max()
        assert zeta / 1e6 < ratio <= zeta


def test_wide_noise_costs_next_to_nothing_for_being_discrete() -> None:
    bound = sandwich(std=16280.0, radius=440, coordinates=19, contributors=3)
    assert bound.mu_above / bound.mu_below - 1 < 1e-7
    assert bound.slack_above < 1e-13


def test_narrow_shares_are_not_sandwiched() -> None:
    assert sandwich(std=1.0, radius=3, coordinates=9, contributors=1).mu_above == math.inf
    # Three shares of parameter 0.6 are visibly not one discrete Gaussian.
    bound = sandwich(std=0.6 * 3**0.5, radius=1, coordinates=1, contributors=3)
    assert bound.mu_above == math.inf
    assert bound.mu_below == 0
    # Too narrow for the theorem on shares: one of them alone protects, the others are noise.
    alone = concentrated_rho(std=0.4 * 3**0.5, radius=2, coordinates=1, contributors=3)
    assert alone == pytest.approx(
        concentrated_rho(std=0.4, radius=2, coordinates=1, contributors=1)
    )


def test_slack_covers_how_far_a_sum_of_shares_is_from_one_draw() -> None:
    for share, contributors in ((0.75, 2), (0.8, 2), (0.8, 3)):
        one = masses(share, 40)
        total = one
        for _ in range(contributors - 1):
            total = np.convolve(total, one)
        std = share * math.sqrt(contributors)
        middle = len(total) // 2
        near = slice(middle - math.ceil(4 * std), middle + math.ceil(4 * std) + 1)
        ratio = np.abs(np.log(total[near] / masses(std, middle)[near])).max()
        bound = sandwich(std=std, radius=1, coordinates=1, contributors=contributors)
        assert ratio <= bound.slack_below
        assert bound.slack_below < 100 * ratio


def test_share_bound_grows_with_the_number_of_shares() -> None:
    slacks = [
        sandwich(std=1.1 * n**0.5, radius=1, coordinates=1, contributors=n).slack_below
        for n in (1, 2, 10, 100, 101, 1000)
    ]
    assert slacks == sorted(slacks)
    rhos = [
        concentrated_rho(std=1.1 * n**0.5, radius=1, coordinates=1, contributors=n) * n
        for n in (1, 2, 10, 100, 101, 1000)
    ]
    assert rhos == sorted(rhos)


@given(st.floats(1e-4, 50), st.floats(1e-12, 0.1), st.sampled_from([0.0, 0.01, 1.0]))
def test_zcdp_conversion_inverts_and_beats_the_textbook(
    rho: float, delta: float, xi: float
) -> None:
    epsilon = zcdp_epsilon(rho=rho, delta=delta, xi=xi)
    assert zcdp_delta(rho=rho, epsilon=epsilon, xi=xi) <= delta
    if xi == 0:
        # Bun and Steinke 2016, Proposition 1.3
        assert epsilon <= rho + 2 * math.sqrt(rho * math.log(1 / delta)) + 1e-9
        assert epsilon >= 0


@given(st.floats(1e-3, 20), st.floats(0, 30))
def test_zcdp_bounds_the_gaussian_that_has_it(mu: float, epsilon: float) -> None:
    assert (
        gaussian_delta(mu=mu, epsilon=epsilon) <= zcdp_delta(rho=mu**2 / 2, epsilon=epsilon) + 1e-15
    )


def test_zcdp_conversion_equals_the_best_alpha() -> None:
    for rho, epsilon in ((0.01, 0.5), (0.5, 4.0), (5.0, 25.0)):
        best = min(
            math.exp((a - 1) * (a * rho - epsilon)) / (a - 1) * (1 - 1 / a) ** a
            for a in np.linspace(1.0001, 1.5 * epsilon / rho, 400_000)
        )
        assert zcdp_delta(rho=rho, epsilon=epsilon) == pytest.approx(best, rel=1e-3)


@pytest.mark.parametrize("contributors", [2, 3, 100, 101, 150, 2000])
def test_every_share_is_paid_for(contributors: int) -> None:
    """The sums over contributors written out; beyond the hundredth each costs at most that one."""
    share = 0.7**2
    std = math.sqrt(share * contributors)

    def tau(k: int) -> float:
        theta = 2 * sum(math.exp(-2 * math.pi**2 * share * k / (k + 1) * j**2) for j in (1, 2, 3))
        return 2 * math.log1p(theta) - math.log1p(-theta)

    exact = math.fsum(tau(k) for k in range(1, contributors))
    found = sandwich(std=std, radius=1, coordinates=1, contributors=contributors)
    assert exact <= found.slack_below <= exact * 1.5 + 1e-12
    assert exact <= found.slack_above <= exact * 1.5 + 1e-12
    many = sandwich(std=std, radius=1, coordinates=7, contributors=contributors)
    assert 7 * exact <= many.slack_above

    terms = (math.exp(-2 * math.pi**2 * share * k / (k + 1)) for k in range(1, contributors))
    summed = 10 * math.fsum(terms)
    roots = (math.sqrt(1 / std**2 + summed * 5 / 2), 1 / std + summed * math.sqrt(5))
    rho = concentrated_rho(std=std, radius=1, coordinates=5, contributors=contributors)
    least = min(min(roots) ** 2, contributors / std**2) / 2
    assert least <= rho * (1 + 1e-12)
    assert rho <= least * 1.5


@given(st.floats(1e-3, 5), st.floats(0.01, 2), st.floats(0, 20))
def test_with_a_constant_only_whole_orders_count(rho: float, xi: float, epsilon: float) -> None:
    """The bound on the divergence is proved at 2, 3, ...: no order between may be tried."""
    whole = np.arange(2.0, 20_000.0)
    log_deltas = (
        (whole - 1) * (whole * rho + xi - epsilon)
        - np.log(whole - 1)
        + whole * np.log1p(-1 / whole)
    )
    best = math.exp(min(0.0, float(log_deltas.min())))
    assert zcdp_delta(rho=rho, xi=xi, epsilon=epsilon) >= best * (1 - 1e-9)
