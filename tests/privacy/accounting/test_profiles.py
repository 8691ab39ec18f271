"""Each profile against dp-accounting's own, against brute force, and for the shape it must have."""

import math

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_mechanism as library
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import ndtr

from privacy.accounting.nested import Composed
from privacy.accounting.profiles import (
    Attained,
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
    delta,
    kind,
    stacked,
)

GRID = np.linspace(-7, 7, 57)
Adjacency = library.AdjacencyType
probs = st.floats(1e-4, 1 - 1e-4)


def theirs(loss: library.MonotonePrivacyLoss) -> NDArray[np.float64]:
    return np.asarray(loss.get_delta_for_epsilon(list(GRID)), dtype=np.float64)


@given(st.floats(0.3, 50), probs)
def test_sampled_gaussian_is_dp_accountings(std: float, prob: float) -> None:
    remove, add = Sampled(prob, GaussianProfile(1 / std)).deltas(GRID)
    for found, adjacency in ((remove, Adjacency.REMOVE), (add, Adjacency.ADD)):
        loss = library.GaussianPrivacyLoss(std, sampling_prob=prob, adjacency_type=adjacency)
        np.testing.assert_allclose(found, theirs(loss), rtol=1e-6, atol=1e-14)
    loss = library.GaussianPrivacyLoss(std, sampling_prob=prob, adjacency_type=Adjacency.REPLACE)
    replace = SampledGaussianReplace(prob, 1 / std).deltas(GRID)[0]
    np.testing.assert_allclose(replace, theirs(loss), rtol=1e-6, atol=1e-14)


@given(st.floats(0.05, 20), probs)
def test_laplace_is_dp_accountings(scale: float, prob: float) -> None:
    loss = library.LaplacePrivacyLoss(scale)
    np.testing.assert_allclose(LaplaceProfile(1 / scale).deltas(GRID)[0], theirs(loss), atol=1e-14)
    remove, add = Sampled(prob, LaplaceProfile(1 / scale)).deltas(GRID)
    for found, adjacency in ((remove, Adjacency.REMOVE), (add, Adjacency.ADD)):
        sampled = library.LaplacePrivacyLoss(scale, sampling_prob=prob, adjacency_type=adjacency)
        np.testing.assert_allclose(found, theirs(sampled), atol=1e-13)


@given(st.floats(0.01, 3), st.integers(1, 9), st.floats(-8, 8))
def test_discrete_laplace_is_the_sum_over_integers(a: float, shift: int, epsilon: float) -> None:
    x = np.arange(-4000, 4001)
    p = np.exp(-a * np.abs(x)) * math.tanh(a / 2)
    q = np.exp(-a * np.abs(x - shift)) * math.tanh(a / 2)
    truth = np.maximum(p - math.exp(epsilon) * q, 0).sum()
    found = DiscreteLaplaceProfile(a, shift).deltas(np.array([epsilon]))[0][0]
    assert found == pytest.approx(truth, abs=1e-9)


def test_sampled_replace_bounds_a_brute_force_pair() -> None:
    """Three outcomes; the sample holds the patient, or its replacement, or neither."""
    rng = np.random.default_rng(4)
    e = np.linspace(-3, 3, 25)
    for _ in range(200):
        with_, other, without = rng.dirichlet([1, 1, 1], 3)
        q = rng.uniform(0.05, 0.95)

        def hockey(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(np.maximum(a - np.exp(e)[:, None] * b, 0).sum(axis=1))

        truth = hockey(q * with_ + (1 - q) * without, q * other + (1 - q) * without)

        class Inner:
            """Dominates the pairs that it is made of, in both directions."""

            def __init__(self, *pairs: tuple[NDArray[np.float64], NDArray[np.float64]]) -> None:
                self.pairs = pairs

            def deltas(
                self, epsilons: NDArray[np.float64]
            ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
                grown = np.exp(epsilons)[:, None]
                each = [np.maximum(a - grown * b, 0).sum(axis=1) for a, b in self.pairs]
                best = np.max(each, axis=0)
                return best, best

        among = (with_, other, without)
        every = Inner(*((a, b) for a in among for b in among))
        plain = SampledReplace(q, every).deltas(e)[0]
        assert (plain >= truth - 1e-12).all()
        removed = Inner((with_, without), (other, without))
        convex = SampledReplace(q, every, removed).deltas(e)[0]
        assert (convex >= truth - 1e-12).all()
        assert (convex <= plain + 1e-12).all()


def test_a_replaced_patient_in_a_sample_is_less_than_a_replaced_one_drawn() -> None:
    """Those not drawn are in the middle between the two, and blur them."""
    q, e = 0.1, np.array([0.05, 0.2])
    plain = SampledReplace(q, LaplaceProfile(2.0)).deltas(e)[0]
    convex = SampledReplace(q, LaplaceProfile(2.0), LaplaceProfile(1.0)).deltas(e)[0]
    assert (convex < [0.9, 0.5] * plain).all()


ALL: list[Profile] = [
    GaussianProfile(0.7),
    LaplaceProfile(1.3),
    DiscreteLaplaceProfile(0.4, 3),
    FiniteOutcomes(((0.7, 0.2), (0.3, 0.8))),
    Sampled(0.2, GaussianProfile(1.5)),
    Sampled(0.3, Sampled(0.5, LaplaceProfile(2.0))),
    SampledGaussianReplace(0.3, 1.0),
    SampledReplace(0.2, GaussianProfile(1.0)),
    MixtureProfile(((0.3, GaussianProfile(2.0)), (0.7, Sampled(0.1, GaussianProfile(1.0))))),
    Composed(((Sampled(0.2, GaussianProfile(1.0)), 5),)),
]


@pytest.mark.parametrize("profile", ALL, ids=lambda p: type(p).__name__)
def test_a_profile_is_convex_in_the_odds_and_between_its_trivial_bounds(profile: Profile) -> None:
    odds = np.linspace(1e-3, 30, 4000)
    for deltas in profile.deltas(np.log(odds)):
        assert (deltas <= 1 + 1e-12).all()
        assert (deltas >= np.maximum(1 - odds, 0) - 1e-12).all()
        assert (np.diff(deltas) <= 1e-12).all()
        assert (np.diff(deltas, 2) >= -1e-9).all()


@pytest.mark.parametrize("profile", ALL[:6], ids=lambda p: type(p).__name__)
def test_add_is_the_mirror_of_remove(profile: Profile) -> None:
    """H(Q, P) at e is 1 - exp(e) + exp(e) H(P, Q) at -e, for every pair."""
    remove, _ = profile.deltas(-GRID)
    _, add = profile.deltas(GRID)
    np.testing.assert_allclose(add, 1 - np.exp(GRID) + np.exp(GRID) * remove, atol=1e-10)


def test_a_nested_composition_equals_the_direct_one() -> None:
    """Sampling a composition of Gaussians: through the inner grid, and in closed form."""
    direct = Sampled(0.1, GaussianProfile(10**0.5))
    inner = Composed(((Sampled(1.0, GaussianProfile(1.0)), 10),))
    e = np.linspace(-1, 20, 200)
    for ours, truth in zip(Sampled(0.1, inner).deltas(e), direct.deltas(e), strict=True):
        assert (ours >= truth - 1e-12).all()
        np.testing.assert_allclose(ours, truth, rtol=2e-3, atol=1e-7)


def test_a_tail_is_minus_the_slope_of_delta_by_the_odds() -> None:
    odds = np.exp(np.linspace(-4, 4, 4001))
    middle = (odds[1:] + odds[:-1]) / 2
    for profile in ALL[:7]:
        assert isinstance(profile, Attained)
        slopes = -np.diff(profile.deltas(np.log(odds))[0]) / np.diff(odds)
        tails = profile.tail(np.log(middle))
        jumps = np.abs(np.diff(profile.tail(np.log(odds)))) > 1e-2  # an atom: any slope is one
        np.testing.assert_allclose(tails[~jumps], slopes[~jumps], atol=2e-3)


@pytest.mark.parametrize(
    "profiles",
    [
        [Sampled(0.2, GaussianProfile(1.5)), Sampled(0.01, GaussianProfile(0.3))],
        [
            Sampled(0.3, Sampled(0.5, LaplaceProfile(2.0))),
            Sampled(0.1, Sampled(0.9, LaplaceProfile(0.2))),
        ],
        [DiscreteLaplaceProfile(0.4, 3), DiscreteLaplaceProfile(0.1, 1)],
        [
            Sampled(0.2, SkellamOutcomes(90.0, 4)),
            Sampled(0.01, SkellamOutcomes(90.0, 4)),
        ],  # one table of masses
        [SampledGaussianReplace(0.3, 1.0), SampledGaussianReplace(0.01, 2.0)],
        [SampledReplace(0.2, GaussianProfile(1.0)), SampledReplace(0.7, GaussianProfile(0.1))],
    ],
    ids=lambda p: type(p[0]).__name__,
)
def test_stacked_profiles_are_the_single_ones(profiles: list[Profile]) -> None:
    assert kind(profiles[0]) == kind(profiles[1])
    together = stacked(profiles)
    for direction in (0, 1):
        found = delta(together, GRID, direction)
        for row, profile in zip(found, profiles, strict=True):
            np.testing.assert_allclose(row, profile.deltas(GRID)[direction], rtol=1e-12, atol=1e-16)
    if isinstance(together, Attained) and not isinstance(profiles[0], SampledReplace):
        for row, profile in zip(together.tail(GRID), profiles, strict=True):
            assert isinstance(profile, Attained)
            np.testing.assert_allclose(row, profile.tail(GRID), rtol=1e-12, atol=1e-16)
    assert kind(ALL[3]) != kind(ALL[8]) != kind(ALL[9])


@pytest.mark.parametrize("mu", [0.5, 8.0, 36.0, 40.0, 200.0])
def test_an_opposite_patient_is_seen_however_little_noise(mu: float) -> None:
    """With hardly any noise a release tells whenever the patient is drawn: delta(0) is q."""
    for q in (1e-6, 0.1, 0.9):
        profile = SampledGaussianReplace(q, mu)
        e = np.array([0.0, 1e-9, 0.5, 3.0])
        remove, _ = profile.deltas(e)
        assert remove[0] == pytest.approx(q * (ndtr(mu) - ndtr(-mu)), rel=1e-9)
        assert (np.diff(remove) <= 1e-15).all()
        if mu > 30:
            assert remove[3] == pytest.approx(q, rel=1e-9)


def test_far_below_zero_everything_counts() -> None:
    """At e^epsilon = 0 every delta is 1: between there and a composition's grid too."""
    e = np.array([-700.0, -60.0, -20.0, -9.0])
    for deltas in Composed(((Sampled(0.2, GaussianProfile(0.5)), 5),)).deltas(e):
        assert (deltas >= -np.expm1(e) - 1e-15).all()
