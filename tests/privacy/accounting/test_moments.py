"""Moments against sums and integrals of many digits, and the lemma that stands on them."""

import math

import mpmath as mp
import numpy as np
import pytest
from dp_accounting import NeighboringRelation as Relation
from dp_accounting import dp_event as dp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import logsumexp, ndtr, ndtri

from privacy.accounting import delta, epsilon
from privacy.accounting.concentrated import Concentrated
from privacy.accounting.intervals import upper_epsilon
from privacy.accounting.moments import LARGEST_ORDER, log_moments
from privacy.accounting.nested import Composed
from privacy.accounting.profiles import (
    DiscreteLaplaceProfile,
    FiniteOutcomes,
    GaussianProfile,
    LaplaceProfile,
    MixtureProfile,
    Profile,
    Sampled,
    SampledGaussianReplace,
    SampledReplace,
    SkellamOutcomes,
)
from privacy.accounting.renyi import renyi_success
from tests.privacy.accounting.integers import lattice

ADD, REPLACE = Relation.ADD_OR_REMOVE_ONE, Relation.REPLACE_ONE
Floats = NDArray[np.float64]
orders = st.integers(2, 12)
probs = st.sampled_from([1e-3, 0.03, 0.3, 0.9])


def both(p: Floats, q: Floats, order: int) -> tuple[float, float]:
    """Logarithms of E_Q[(P/Q)^order] and of E_P[(Q/P)^order] over all outcomes."""
    p, q = p.ravel() / p.sum(), q.ravel() / q.sum()
    seen = (p > 0) & (q > 0)
    p, q = np.log(p[seen]), np.log(q[seen])
    return (
        float(logsumexp(order * p + (1 - order) * q)),
        float(logsumexp(order * q + (1 - order) * p)),
    )


@settings(max_examples=40)
@given(st.floats(0.05, 4), orders)
def test_laplace_moments_are_the_integral(shift: float, k: int) -> None:
    def power(x: mp.mpf) -> mp.mpf:
        return mp.exp(-k * abs(x - shift) - (1 - k) * abs(x)) / 2

    truth = mp.log(mp.quad(power, [-mp.inf, 0, shift, mp.inf]))
    assert log_moments(LaplaceProfile(shift))[k] == pytest.approx(float(truth), rel=1e-9, abs=1e-13)


@settings(max_examples=60)
@given(st.floats(0.05, 3), st.integers(1, 6), orders)
def test_discrete_laplace_moments_are_the_sum(a: float, shift: int, k: int) -> None:
    with mp.workdps(30):
        law = [mp.exp(-a * abs(x)) * mp.tanh(a / 2) for x in range(-int(60 / a) - 9, int(60 / a))]
        truth = mp.log(mp.fsum(p**k * q ** (1 - k) for p, q in zip(law, law[shift:], strict=False)))
        found = log_moments(DiscreteLaplaceProfile(a, shift))[k]
        assert found == pytest.approx(float(truth), rel=1e-9, abs=1e-12)


@settings(max_examples=30)
@given(
    st.sampled_from([0.6, 1.0, 1.7]),
    st.sampled_from([(1,), (3,), (1, 1), (2, -1), (0, 2)]),
    probs,
    st.integers(2, 5),
)
def test_sampled_discrete_gaussians_have_the_moments_of_continuous_ones(
    std: float, move: tuple[int, ...], prob: float, order: int
) -> None:
    """Any whole-number direction: removing exactly, adding no more; and shorter moves cost less."""
    reach = math.ceil(12 * std) + 3 * order
    q, p = lattice(std, (0,) * len(move), reach), lattice(std, move, reach)
    mixed = (1 - prob) * q / q.sum() + prob * p / p.sum()
    remove, add = both(mixed, q / q.sum(), order)
    rho = sum(m**2 for m in move) / (2 * std**2)
    found = log_moments(Sampled(prob, Concentrated(rho, 0.0, 1)))[order]
    assert remove == pytest.approx(found, rel=1e-9, abs=1e-12)
    assert add <= found + 1e-12
    alike = log_moments(Sampled(prob, GaussianProfile(math.sqrt(2 * rho))))[order]
    assert found == pytest.approx(alike, rel=1e-9)
    longer = log_moments(Sampled(prob, Concentrated(1.01 * rho, 0.0, 1)))[order]
    assert longer > found


@given(st.lists(st.floats(1e-3, 1), min_size=2, max_size=7), probs, st.floats(1, 30))
def test_adding_costs_no_more_than_removing_where_both_directions_are_alike(
    weights: list[float], prob: float, order: float
) -> None:
    """The lemma of the module docstring, at orders between whole ones too."""
    p = np.array(weights) / sum(weights)
    q = p[::-1]
    mixed = (1 - prob) * q + prob * p
    remove, add = both(mixed, q, order)  # type: ignore[arg-type]  # not only whole orders
    assert add <= remove + 1e-12


def test_it_may_cost_more_where_they_are_not() -> None:
    """Why the general bound is needed: a rare outcome that only the patient makes rarer."""
    p, q = np.array([0.5, 0.5]), np.array([0.999, 0.001])
    order, prob = 8, 0.9
    found = log_moments(
        Sampled(prob, FiniteOutcomes(tuple(zip(q.tolist(), p.tolist(), strict=True))))
    )
    remove, add = both((1 - prob) * p + prob * q, p, order)
    assert add > remove + 1
    assert max(add, remove) <= found[order]
    pair = FiniteOutcomes(tuple(zip(q.tolist(), p.tolist(), strict=True)))
    one = log_moments(Sampled(prob, Composed(((pair, 1), (GaussianProfile(1e-9), 1)))))
    assert one[order] == pytest.approx(found[order], rel=1e-9)


@given(
    st.lists(st.tuples(st.floats(1e-3, 1), st.floats(1e-3, 1)), min_size=2, max_size=5),
    probs,
    orders,
)
def test_moments_of_any_pair_hold_sampled_or_not(
    outcomes: list[tuple[float, float]], prob: float, order: int
) -> None:
    p, q = np.array(outcomes).T
    p, q = p / p.sum(), q / q.sum()
    pair = FiniteOutcomes(tuple(zip(p.tolist(), q.tolist(), strict=True)))
    assert max(both(p, q, order)) == pytest.approx(log_moments(pair)[order], rel=1e-9, abs=1e-12)
    sampled = max(both((1 - prob) * q + prob * p, q, order))
    assert sampled <= log_moments(Sampled(prob, pair))[order] + 1e-12
    told = MixtureProfile(((0.25, pair), (0.75, LaplaceProfile(0.5))))
    parts = [log_moments(part)[order] for part in (pair, LaplaceProfile(0.5))]
    truth = math.log(0.25 * math.exp(parts[0]) + 0.75 * math.exp(parts[1]))
    assert log_moments(told)[order] == pytest.approx(truth, rel=1e-9, abs=1e-12)
    together_ = log_moments(Composed(((pair, 2), (LaplaceProfile(0.5), 3))))[order]
    assert together_ == pytest.approx(2 * parts[0] + 3 * parts[1], rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("prob", [0.05, 0.5])
def test_sampled_releases_whose_direction_follows_the_last_outcome(prob: float) -> None:
    """Two integer releases in one sample; the second is moved by an amount the first decides."""
    x = np.arange(-25, 26)
    law = np.exp(-(x**2) / 2)
    law /= law.sum()
    first = np.roll(law, 1)
    moves = np.where(x > 0, 2, 1)
    q = np.multiply.outer(law, law)
    p = np.array([mass * np.roll(law, move) for mass, move in zip(first, moves, strict=True)])
    rho = (1 + 4) / 2
    mixed = (1 - prob) * q + prob * p
    bound = log_moments(Sampled(prob, Concentrated(rho, 0.0, 2)))
    alike = log_moments(Sampled(prob, Concentrated(rho, 0.0, 1)))
    for order in (2, 3, 4):
        assert max(both(mixed, q, order)) <= bound[order] + 1e-12
    assert alike[2] == bound[2]
    assert alike[3] < bound[3] <= alike[3] + math.log(3)


@settings(max_examples=30)
@given(st.floats(0.2, 1.5), probs, st.integers(2, 6))
def test_a_replaced_patient_in_a_sample_of_gaussians(mu: float, prob: float, order: int) -> None:
    x = np.linspace(-30, 30, 6001)
    base, one, other = (np.exp(-((x - c) ** 2) / 2) for c in (0.0, mu, -mu))
    p, q = (1 - prob) * base + prob * one, (1 - prob) * base + prob * other
    truth = max(both(p, q, order))
    exact = log_moments(SampledGaussianReplace(prob, mu))[order]
    convex = log_moments(SampledReplace(prob, GaussianProfile(2 * mu)))[order]
    known = log_moments(SampledReplace(prob, GaussianProfile(2 * mu), GaussianProfile(mu)))[order]
    assert truth <= min(exact, convex) + 1e-9
    assert known == min(exact, convex)
    fixed = (1 - prob) * other + prob * one
    assert max(both(fixed, other, order)) <= convex + 1e-9
    assert exact <= log_moments(Sampled(prob, GaussianProfile(mu)))[order] - (
        order - 1
    ) * math.log1p(-prob) * (1 + 1e-12)


@settings(max_examples=20)
@given(st.floats(0.2, 3), st.sampled_from([1e-3, 0.1, 0.7]), st.integers(2, 8))
def test_moments_of_a_sampled_replacement_are_at_least_the_profiles_own(
    shift: float, prob: float, order: int
) -> None:
    """The profile q H(1 + (gamma - 1) / q), in both directions, integrated by gamma."""

    def integrand(t: mp.mpf) -> mp.mpf:
        gamma, inside = 1 - prob + prob * t, 1 - mp.sqrt(t / mp.exp(shift))
        return (gamma ** (order - 2) + gamma ** (-order - 1)) * prob**2 * inside

    truth = mp.log1p(order * (order - 1) * mp.quad(integrand, [1, mp.exp(shift)]))
    found = log_moments(SampledReplace(prob, LaplaceProfile(shift)))[order]
    assert truth * (1 - 1e-9) <= found
    assert found <= 2.5 * truth or order * prob > 1


def test_moments_of_what_has_none_are_infinite_and_none_is_below_one() -> None:
    assert (log_moments(SkellamOutcomes(4.0, 1))[2:] == math.inf).all()
    profiles: list[Profile] = [
        GaussianProfile(1e-9),
        LaplaceProfile(1e-12),
        DiscreteLaplaceProfile(1e-9, 1),
        FiniteOutcomes(((0.5, 0.5), (0.5, 0.5))),
        Sampled(1e-9, LaplaceProfile(1e-3)),
        SampledReplace(1e-9, LaplaceProfile(1e-3)),
    ]
    for profile in profiles:
        found = log_moments(profile)
        assert len(found) == LARGEST_ORDER + 1
        assert (found[:2] == 0).all()
        assert (found >= 0).all()
        assert np.isfinite(found).all()


# -- the curve of what only divergences bound ------------------------------------------------------


def rounds(prob: float, inner: dp.DpEvent, n: int) -> dp.DpEvent:
    return dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(prob, inner), n)


@pytest.mark.parametrize(
    ("event", "relation", "target", "most"),
    [
        (rounds(0.01, dp.LaplaceDpEvent(2.0), 10_000), ADD, 1e-15, 3.9),
        (rounds(0.01, dp.LaplaceDpEvent(2.0), 10_000), ADD, 1e-30, 5.6),
        (rounds(0.01, dp.LaplaceDpEvent(2.0), 10_000), REPLACE, 1e-15, 8.1),
        (rounds(0.01, dp.DiscreteLaplaceDpEvent(0.5, 1), 10_000), ADD, 1e-15, 4.2),
        (rounds(0.01, dp.GaussianDpEvent(2.0), 10_000), REPLACE, 1e-15, 10.0),
        (
            dp.SelfComposedDpEvent(
                dp.SampledWithoutReplacementDpEvent(1000, 10, dp.GaussianDpEvent(2.0)), 10_000
            ),
            REPLACE,
            1e-15,
            17.1,
        ),
        (
            dp.SelfComposedDpEvent(
                dp.TruncatedSubsampledGaussianDpEvent(1000, 0.01, 12, 1.0), 1000
            ),
            ADD,
            1e-15,
            35.0,
        ),
        (
            dp.SelfComposedDpEvent(dp.RandomizedResponseDpEvent(0.5, 2), 1000),
            REPLACE,
            1e-20,
            900.0,
        ),
        (
            rounds(0.1, dp.SelfComposedDpEvent(dp.GaussianDpEvent(4.0), 10), 100),
            ADD,
            1e-15,
            11.0,
        ),
    ],
)
def test_every_profile_has_a_bound_at_tiny_deltas(
    event: dp.DpEvent, relation: Relation, target: float, most: float
) -> None:
    found = epsilon(event, delta=target, relation=relation)
    assert 0 < found.lower <= found.upper <= most or "nothing is known of" in found.why
    assert found.upper <= most
    assert upper_epsilon(event, delta=target, relation=relation) <= most
    at = delta(event, epsilon=found.upper, relation=relation)
    assert at.lower <= target
    assert at.upper <= target * (1 + 1e-6)


@pytest.mark.parametrize("prior", [1e-12, 1e-6, 1e-2, 0.3])
@pytest.mark.parametrize("mu", [0.5, 1.0, 2.0, 4.0])
def test_reconstruction_by_moments_lies_above_the_closed_form(prior: float, mu: float) -> None:
    truth = float(ndtr(ndtri(prior) + mu))
    found = renyi_success(((GaussianProfile(mu / 2), 4),), prior)
    assert truth <= found <= min(1.0, 40 * truth)
    by_hand = min((prior * math.exp(k * mu**2 / 2)) ** (1 - 1 / k) for k in range(2, 17))
    assert found <= min(1.0, by_hand) * (1 + 1e-9)
