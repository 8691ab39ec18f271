"""Whole events: enclosure of closed forms, the roads against each other."""

import math

import dp_accounting as dp
import numpy as np
import pytest
from dp_accounting import NeighboringRelation as Relation
from dp_accounting.pld import PLDAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from privacy.accounting import delta, epsilon, intervals
from privacy.accounting.discrete import sandwich
from privacy.accounting.events import (
    DiscreteGaussianDpEvent,
    DistributedDiscreteGaussianDpEvent,
    ShuffledBatchesDpEvent,
    SkellamDpEvent,
)
from privacy.accounting.gaussian import gaussian_delta, gaussian_epsilon
from privacy.accounting.intervals import upper_epsilon
from privacy.accounting.lowered import Lowered
from privacy.accounting.profiles import GaussianProfile, Sampled
from privacy.accounting.renyi import renyi_delta, renyi_epsilon
from tests.privacy.golden import golden

GOLDEN = golden("accounting")
ADD, REPLACE, SPECIAL = (
    Relation.ADD_OR_REMOVE_ONE,
    Relation.REPLACE_ONE,
    Relation.REPLACE_SPECIAL,
)
multipliers = st.floats(0.3, 100)
rounds = st.integers(1, 2000)
deltas = st.floats(1e-10, 0.1)


def gaussians(noise_multiplier: float, n: int) -> dp.DpEvent:
    return dp.SelfComposedDpEvent(dp.GaussianDpEvent(noise_multiplier), n)


def sampled(noise_multiplier: float, prob: float, n: int) -> dp.DpEvent:
    return dp.SelfComposedDpEvent(
        dp.PoissonSampledDpEvent(prob, dp.GaussianDpEvent(noise_multiplier)), n
    )


@settings(max_examples=1000)
@given(multipliers, rounds, deltas, st.sampled_from([ADD, REPLACE, SPECIAL]))
def test_closed_form_is_enclosed(
    noise_multiplier: float, n: int, target: float, relation: Relation
) -> None:
    mu = math.sqrt(n) / noise_multiplier * (2 if relation is REPLACE else 1)
    truth = gaussian_epsilon(mu=mu, delta=target)
    found = epsilon(gaussians(noise_multiplier, n), delta=target, relation=relation)
    assert found.lower <= truth <= found.upper
    assert found.upper - found.lower <= 1e-7 * found.upper + 1e-9
    at = delta(gaussians(noise_multiplier, n), epsilon=truth, relation=relation)
    assert at.lower <= gaussian_delta(mu=mu, epsilon=truth) <= at.upper


@settings(max_examples=120)
@given(st.floats(0.5, 30), st.integers(2, 300), st.floats(1e-8, 1e-2))
def test_the_grid_encloses_the_closed_form(noise_multiplier: float, n: int, target: float) -> None:
    """A Laplace so wide that it costs nothing sends a Gaussian composition down the other road."""
    tiny = dp.LaplaceDpEvent(1e9)
    event = dp.ComposedDpEvent([gaussians(noise_multiplier, n), dp.SelfComposedDpEvent(tiny, 2)])
    found = epsilon(event, delta=target, relation=ADD)
    truth = gaussian_epsilon(mu=math.sqrt(n) / noise_multiplier, delta=target)
    assert found.method == "privacy loss distribution"
    assert found.lower <= truth + 3e-9
    assert truth <= found.upper
    assert found.upper <= 1.01 * truth + 1e-3
    assert found.lower >= 0.98 * truth - 2e-3
    at = delta(event, epsilon=truth, relation=ADD)
    assert at.lower <= target * (1 + 1e-6)
    assert target <= at.upper * (1 + 1e-6)


@settings(max_examples=25)
@given(
    st.floats(0.6, 20),
    st.floats(0.003, 0.9),
    st.integers(2, 300),
    st.floats(1e-7, 1e-3),
    st.sampled_from([ADD, REPLACE]),
)
def test_sampled_gaussians_agree_with_the_library(
    noise_multiplier: float, prob: float, n: int, target: float, relation: Relation
) -> None:
    event = sampled(noise_multiplier, prob, n)
    found = epsilon(event, delta=target, relation=relation)
    library = PLDAccountant(relation, value_discretization_interval=1e-3)
    library.compose(event)
    theirs = library.get_epsilon(target)  # an upper bound, on a coarser grid
    assert found.lower <= theirs + 1e-6
    assert found.upper <= theirs * (1 + 1e-3) + 1e-3
    assert found.upper - found.lower <= 0.01 * found.upper + 1e-3
    quick = upper_epsilon(event, delta=target, relation=relation)
    assert found.lower <= quick <= found.upper * 1.003 + 1e-4


@given(
    st.floats(0.5, 50),
    st.integers(100, 10_000),
    st.integers(1, 3000),
    st.integers(1, 8),
    st.integers(1, 100),
    st.sampled_from([ADD, REPLACE]),
)
def test_wide_discrete_noise_is_as_good_as_gaussian(
    noise_multiplier: float, radius: int, dim: int, contributors: int, n: int, relation: Relation
) -> None:
    truth = epsilon(gaussians(noise_multiplier, n), delta=1e-5, relation=relation).estimate
    one = DistributedDiscreteGaussianDpEvent(noise_multiplier, radius, dim, contributors)
    found = epsilon(dp.SelfComposedDpEvent(one, n), delta=1e-5, relation=relation)
    assert found.lower <= truth <= found.upper
    assert found.upper <= truth * (1 + 4 / (noise_multiplier * radius) ** 2) * (1 + 1e-7) + 1e-8


@settings(max_examples=10)
@given(st.floats(0.8, 5), st.floats(0.03, 0.3), st.integers(10, 100))
def test_sampled_discrete_noise_is_as_good_as_sampled_gaussian(
    noise_multiplier: float, prob: float, n: int
) -> None:
    one = DistributedDiscreteGaussianDpEvent(noise_multiplier, 1000, 19, 3)
    event = dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(prob, one), n)
    found = epsilon(event, delta=1e-5, relation=ADD)
    truth = epsilon(sampled(noise_multiplier, prob, n), delta=1e-5, relation=ADD)
    assert found.upper == pytest.approx(truth.upper, rel=1e-3)
    assert found.lower <= truth.upper
    assert truth.lower <= found.upper


def test_the_slack_of_every_release_is_paid_for() -> None:
    """Narrow shares, many rounds: kappa is large enough to be seen in epsilon."""
    event, rounds = DistributedDiscreteGaussianDpEvent(22.0, 1, 1, 400), 100
    bound = sandwich(std=22.0, radius=1, coordinates=1, contributors=400)
    kappa = bound.slack_above * rounds
    assert 1e-3 < kappa < 0.1
    found = epsilon(dp.SelfComposedDpEvent(event, rounds), delta=1e-5, relation=ADD)
    mu = math.sqrt(rounds) * bound.mu_above
    assert found.method == "closed form"
    assert found.upper == pytest.approx(
        gaussian_epsilon(mu=mu, delta=1e-5 * math.exp(-kappa)) + 2 * kappa, rel=1e-8
    )
    mu = math.sqrt(rounds) * bound.mu_below
    kappa = bound.slack_below * rounds
    assert found.lower == pytest.approx(
        gaussian_epsilon(mu=mu, delta=1e-5 * math.exp(kappa)) - 2 * kappa, rel=1e-8
    )


def test_samples_of_samples_multiply() -> None:
    for relation in (ADD, REPLACE):
        twice = dp.PoissonSampledDpEvent(
            0.5, dp.PoissonSampledDpEvent(0.2, dp.GaussianDpEvent(1.0))
        )
        once = dp.PoissonSampledDpEvent(0.1, dp.GaussianDpEvent(1.0))
        found, truth = (epsilon(e, delta=1e-5, relation=relation) for e in (twice, once))
        assert found.upper == pytest.approx(truth.upper, rel=1e-9)


def test_narrow_discrete_noise_keeps_a_certified_upper_end() -> None:
    """Brute force over the worst axis direction, one coordinate."""
    x = np.arange(-60, 61)
    for std, radius in ((0.8, 1), (1.0, 2), (2.0, 1), (2.0, 3)):
        p = np.exp(-(x**2) / (2 * std**2))
        p /= p.sum()
        for at in (0.5, 1.0, 3.0):
            moved = np.roll(p, radius)
            truth = float(np.maximum(p - math.exp(at) * moved, 0).sum())
            event = DiscreteGaussianDpEvent(std / radius, radius)
            found = delta(event, epsilon=at, relation=ADD)
            assert found.lower <= truth + 1e-15
            assert truth <= found.upper


def test_a_unit_drawn_for_several_steps_at_once() -> None:
    """The rates must not be multiplied: golden values of both."""
    round_ = dp.PoissonSampledDpEvent(0.1, gaussians(1.0, 10))
    found = epsilon(round_, delta=1e-5, relation=ADD)
    assert found.estimate == pytest.approx(GOLDEN["hospital_rounds"]["truth"], abs=6e-3)
    wrong = epsilon(sampled(1.0, 0.1, 10), delta=1e-5, relation=ADD)
    assert wrong.upper == pytest.approx(GOLDEN["hospital_rounds"]["product_rule"], abs=6e-3)
    # Batches sampled inside: between no inner sampling and the (wrong) product rule.
    both = dp.PoissonSampledDpEvent(0.1, sampled(1.0, 0.5, 10))
    inner = epsilon(both, delta=1e-5, relation=ADD)
    product = epsilon(sampled(1.0, 0.05, 10), delta=1e-5, relation=ADD)
    assert product.upper < inner.upper < found.upper


def test_shuffled_batches_cost_what_one_batch_costs() -> None:
    event = ShuffledBatchesDpEvent(100, dp.GaussianDpEvent(1.0))
    found = epsilon(event, delta=1e-5, relation=SPECIAL)
    assert found.upper == pytest.approx(gaussian_epsilon(mu=1.0, delta=1e-5), rel=1e-6)
    assert found.lower == pytest.approx(GOLDEN["shuffled"]["at_least"], abs=2e-3)
    # Replaced by one like the others: the same batches, all two sensitivities below.
    replaced = epsilon(event, delta=1e-5, relation=REPLACE)
    assert found.lower < replaced.lower < replaced.upper
    rng = np.random.default_rng(3)
    noise = rng.normal(size=(200_000, 100))
    with_ = np.maximum(noise[:, 1:].max(axis=1), noise[:, 0] + 2.0)
    power, error = (with_ > 5.0).mean(), (noise.max(axis=1) > 5.0).mean()
    at = delta(event, epsilon=1.0, relation=REPLACE)
    assert power - math.e * error <= at.lower + 3e-3
    integers = ShuffledBatchesDpEvent(100, DiscreteGaussianDpEvent(1.0, 1000))
    alike = epsilon(integers, delta=1e-5, relation=SPECIAL)
    assert alike.lower == pytest.approx(found.lower, rel=1e-3)
    as_poisson = epsilon(sampled(1.0, 0.01, 100), delta=1e-5, relation=ADD)
    assert as_poisson.upper == pytest.approx(GOLDEN["shuffled"]["as_poisson"], abs=2e-3)
    assert as_poisson.upper < found.lower / 5


def test_randomised_response_composes() -> None:
    """Binomial closed form; dp-accounting 0.6.0 forgets the count here."""
    p, k, n = 0.5, 2, 20
    one = dp.dp_event.RandomizedResponseDpEvent(p, k)
    own = 1 - p / 2
    for at in (1.0, 5.0, 15.0):
        truth = 0.0
        for heads in range(n + 1):
            a = math.comb(n, heads) * own**heads * (1 - own) ** (n - heads)
            b = math.comb(n, heads) * own ** (n - heads) * (1 - own) ** heads
            truth += max(a - math.exp(at) * b, 0.0)
        found = delta(dp.SelfComposedDpEvent(one, n), epsilon=at, relation=REPLACE)
        assert found.lower <= truth <= found.upper


@settings(max_examples=15)
@given(st.floats(0.8, 8), st.integers(1, 20), st.integers(1, 3), st.floats(0, 4))
def test_skellam_is_enclosed_and_in_one_dimension_attained(
    noise_multiplier: float, radius: int, n: int, at: float
) -> None:
    """Brute force over the integers: the noise of n releases, outcome by outcome."""
    std = noise_multiplier * radius
    x = np.arange(-int(10 * std) - 30, int(10 * std) + 31)
    p = stats.skellam.pmf(x, std**2 / 2, std**2 / 2)
    p, moved = np.append(p, np.zeros(radius)), np.append(np.zeros(radius), p)
    seen = (p > 0) & (moved > 0)
    losses, masses = np.log(moved[seen] / p[seen]), moved[seen]
    total, weights = losses, masses
    for _ in range(n - 1):
        keep = weights > 1e-13
        total = np.add.outer(total[keep], losses).ravel()
        weights = np.multiply.outer(weights[keep], masses).ravel()
        if total.size > 200_000:
            return  # three releases of wide noise: too many outcomes for brute force
    truth = float((weights * np.maximum(-np.expm1(at - total), 0)).sum())
    event = dp.SelfComposedDpEvent(SkellamDpEvent(noise_multiplier, radius, 1), n)
    found = delta(event, epsilon=at, relation=ADD)
    assert found.lower <= truth * (1 + 1e-9) + 1e-9
    assert truth <= found.upper + 1e-12
    assert found.lower >= 0.9 * truth - 1e-6


def test_skellam_meets_the_gaussian_for_wide_noise() -> None:
    wide = epsilon(SkellamDpEvent(5.0, 1_000, 19), delta=1e-5, relation=ADD)
    gaussian = epsilon(dp.GaussianDpEvent(5.0), delta=1e-5, relation=ADD)
    assert wide.method == "concentrated DP"
    assert wide.lower == pytest.approx(gaussian.lower, rel=1e-4)
    assert gaussian.upper < wide.upper < 1.15 * gaussian.upper
    narrow = epsilon(SkellamDpEvent(5.0, 3, 19), delta=1e-5, relation=ADD)
    assert narrow.upper > wide.upper
    sampled_ = dp.PoissonSampledDpEvent(0.1, SkellamDpEvent(2.0, 100, 5))
    found = epsilon(dp.SelfComposedDpEvent(sampled_, 50), delta=1e-5, relation=ADD)
    alike = epsilon(sampled(2.0, 0.1, 50), delta=1e-5, relation=ADD)
    assert found.lower == pytest.approx(alike.lower, rel=1e-3)
    # Too wide for its masses to be added up one by one: then it is said.
    unknown = epsilon(SkellamDpEvent(5.0, 10_000, 19), delta=1e-5, relation=ADD)
    assert unknown.lower == 0
    assert "nothing is known of event" in unknown.why


def test_fixed_size_samples_are_bounded_from_both_sides() -> None:
    fixed = dp.SampledWithoutReplacementDpEvent(1000, 100, dp.GaussianDpEvent(2.0))
    one = epsilon(fixed, delta=1e-5, relation=REPLACE)
    assert one.upper < epsilon(dp.GaussianDpEvent(2.0), delta=1e-5, relation=REPLACE).upper
    # A single release is known exactly: all others lie opposite.
    assert one.lower == pytest.approx(one.upper, rel=1e-6)
    x = np.linspace(-20, 20, 400_001)
    q = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi) * (x[1] - x[0])
    p = 0.9 * q + 0.1 * np.exp(-((x - 1.0) ** 2) / 2) / math.sqrt(2 * math.pi) * (x[1] - x[0])
    truth = float(np.maximum(p - math.exp(one.upper) * q, 0).sum())
    assert truth == pytest.approx(1e-5, rel=1e-4)
    many = epsilon(dp.SelfComposedDpEvent(fixed, 100), delta=1e-5, relation=REPLACE)
    assert 0.85 * many.upper < many.lower < many.upper
    laplace = dp.SampledWithoutReplacementDpEvent(1000, 100, dp.LaplaceDpEvent(2.0))
    assert epsilon(laplace, delta=1e-5, relation=REPLACE).lower > 0


def test_truncated_batches_are_bounded_from_both_sides() -> None:
    roomy = dp.TruncatedSubsampledGaussianDpEvent(1000, 0.01, 200, 1.0)
    tight = dp.TruncatedSubsampledGaussianDpEvent(1000, 0.01, 12, 1.0)
    plain = epsilon(sampled(1.0, 0.01, 50), delta=1e-5, relation=ADD)
    found = epsilon(dp.SelfComposedDpEvent(roomy, 50), delta=1e-5, relation=ADD)
    assert found.upper == pytest.approx(plain.upper, rel=1e-3)
    assert found.lower == pytest.approx(plain.lower, rel=1e-3)
    cut = epsilon(dp.SelfComposedDpEvent(tight, 50), delta=1e-5, relation=ADD)
    library = PLDAccountant()
    library.compose(tight, 50)
    assert cut.upper == pytest.approx(library.get_epsilon(1e-5), rel=1e-3)
    # From below, the chance to stay in the batch: by simulation.
    rng = np.random.default_rng(2)
    others = rng.binomial(999, 0.01, 400_000)
    stays = 0.01 * np.minimum(1, 12 / (others + 1)).mean()
    alike = epsilon(sampled(1.0, float(stays), 50), delta=1e-5, relation=ADD)
    assert cut.lower == pytest.approx(alike.lower, rel=2e-3)


def test_sampled_laplace_under_replacement_is_known_from_below() -> None:
    one = dp.PoissonSampledDpEvent(0.1, dp.LaplaceDpEvent(2.0))
    replaced = epsilon(dp.SelfComposedDpEvent(one, 50), delta=1e-5, relation=REPLACE)
    removed = epsilon(dp.SelfComposedDpEvent(one, 50), delta=1e-5, relation=ADD)
    assert replaced.lower == pytest.approx(removed.lower, rel=1e-2)
    assert replaced.lower < replaced.upper


def test_what_is_not_known_from_below_is_said_and_sampling_may_amplify_everything() -> None:
    inner = dp.ComposedDpEvent([sampled(1.0, 0.5, 3), dp.LaplaceDpEvent(3.0)])
    event = dp.ComposedDpEvent([dp.GaussianDpEvent(2.0), dp.PoissonSampledDpEvent(0.1, inner)])
    found = epsilon(event, delta=1e-5, relation=ADD)
    alone = epsilon(dp.GaussianDpEvent(2.0), delta=1e-5, relation=ADD)
    assert found.lower == pytest.approx(alone.lower, rel=1e-6)
    assert "event.events[1]" in found.why
    # No noise at all, but drawn with probability .1: below a delta of .1 nothing is private.
    bare = dp.PoissonSampledDpEvent(0.1, dp.NonPrivateDpEvent())
    found = epsilon(bare, delta=0.2, relation=ADD)
    assert (found.lower, found.upper) == (0.0, math.inf)


def test_nothing_and_everything() -> None:
    for nothing in (
        dp.NoOpDpEvent(),
        dp.ComposedDpEvent([]),
        gaussians(1.0, 0),
        dp.PoissonSampledDpEvent(0.0, dp.GaussianDpEvent(1.0)),
    ):
        found = epsilon(nothing, delta=1e-5, relation=ADD)
        assert (found.lower, found.upper) == (0.0, 0.0)
        assert delta(nothing, epsilon=0.0, relation=ADD).upper == 0.0
    everything = dp.ComposedDpEvent([dp.GaussianDpEvent(1.0), dp.NonPrivateDpEvent()])
    assert epsilon(everything, delta=1e-5, relation=ADD).lower == math.inf
    assert delta(everything, epsilon=3.0, relation=ADD).lower == 1.0


def test_losses_beyond_the_range_of_exp() -> None:
    event = dp.ComposedDpEvent(
        [gaussians(0.5, 265), dp.SelfComposedDpEvent(dp.LaplaceDpEvent(1e9), 2)]
    )
    truth = gaussian_epsilon(mu=math.sqrt(265) / 0.5, delta=1e-8)
    found = epsilon(event, delta=1e-8, relation=ADD)
    assert found.lower <= truth <= found.upper <= 1.01 * truth


def test_same_arguments_same_bits() -> None:
    event = dp.ComposedDpEvent([sampled(1.1, 0.07, 30), dp.LaplaceDpEvent(9.0)])
    first, second = (epsilon(event, delta=1e-5, relation=ADD) for _ in range(2))
    assert first == second
    assert set(first.versions) == {"accountant", "dp-accounting", "numpy", "scipy"}
    assert first.why


@settings(max_examples=15)
@given(
    st.floats(0.5, 10),
    st.floats(-4, -0.1),
    st.integers(2, 20_000),
    st.floats(-30, -1),
)
def test_intervals_are_narrow_for_every_delta(
    noise_multiplier: float, log_prob: float, n: int, log_delta: float
) -> None:
    """From 1e-30 to .1, for rare sampling too, where few large losses count."""
    event, target = sampled(noise_multiplier, 10**log_prob, n), 10**log_delta
    found = epsilon(event, delta=target, relation=ADD)
    assert found.lower >= 0.98 * found.upper - 2e-3
    assert found.upper <= 1.01 * found.lower + 1e-3
    if found.lower > 0:
        assert delta(event, epsilon=found.upper, relation=ADD).lower <= target * (1 + 1e-6)
        assert delta(event, epsilon=found.lower, relation=ADD).upper >= target * (1 - 1e-6)


def test_a_tiny_delta_of_a_thousand_sampled_releases() -> None:
    """Within what twenty times finer grids prove."""
    found = epsilon(sampled(1.0, 0.01, 1000), delta=1e-30, relation=ADD)
    assert 9.340 < found.lower <= 9.3419 <= found.upper < 9.348


def test_the_renyi_road_gives_up_the_slack_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """delta(e) <= e^slack delta'(e - 2 slack): on each of the three doors."""
    parts = ((Sampled(0.01, GaussianProfile(1.0)), 10**15),)  # beyond any grid
    loose = Lowered(others=parts, slack=0.1, rho=math.inf)
    monkeypatch.setattr(intervals, "lower", lambda *_: loose)
    event, target = sampled(1.0, 0.01, 10**15), 1e-5
    truth = renyi_epsilon(parts, target * math.exp(-0.1)) + 0.2
    found = epsilon(event, delta=target, relation=ADD)
    assert (found.method, found.upper) == ("Renyi DP", truth)
    assert upper_epsilon(event, delta=target, relation=ADD) == truth
    assert delta(event, epsilon=truth, relation=ADD).upper == pytest.approx(
        renyi_delta(parts, truth - 0.2) * math.exp(0.1)
    )
