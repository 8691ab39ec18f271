"""Noise that only Renyi divergences bound from above: the curve of its deltas, and sampling it."""

import itertools
import math

import numpy as np
import pytest
from dp_accounting import NeighboringRelation as Relation
from dp_accounting import dp_event as dp
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.accounting import epsilon
from privacy.accounting.concentrated import Concentrated, together
from privacy.accounting.discrete import zcdp_delta
from privacy.accounting.events import (
    DiscreteGaussianDpEvent,
    DistributedDiscreteGaussianDpEvent,
    SkellamDpEvent,
)
from privacy.accounting.lowering import lower
from privacy.accounting.profiles import DiscreteGaussianOutcomes
from privacy.accounting.renyi import renyi_epsilon
from privacy.reconstruction import success_bound
from tests.privacy.accounting.integers import lattice

ADD, REPLACE, SPECIAL = (
    Relation.ADD_OR_REMOVE_ONE,
    Relation.REPLACE_ONE,
    Relation.REPLACE_SPECIAL,
)


def rounds(prob: float, inner: dp.DpEvent, n: int) -> dp.DpEvent:
    return dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(prob, inner), n)


@settings(max_examples=60)
@given(st.floats(1e-4, 60), st.sampled_from([0.0, 0.02, 1.0]), st.floats(0, 1.5))
def test_the_curve_is_convex_lies_near_the_conversion_and_is_its_own_mirror(
    rho: float, xi: float, at: float
) -> None:
    curve = Concentrated(rho, xi, 1)
    reach = rho + xi + 8 * math.sqrt(rho)
    e = np.linspace(-reach, reach, 801)
    found, other = curve.deltas(e)
    assert found is other
    inside = found[1:-1]
    alphas = [np.exp(e[1:-1] - e[1:-1]), np.exp(e[:-2] - e[1:-1]), np.exp(e[2:] - e[1:-1])]
    share = (alphas[0] - alphas[1]) / (alphas[2] - alphas[1])
    chord = found[:-2] * (1 - share) + found[2:] * share
    assert (inside <= chord + 1e-12).all()  # in e^epsilon, also across 1
    assert (np.diff(found) <= 1e-15).all()
    assert curve.deltas(np.array([1e6]))[0][0] <= 1e-60  # it ends where nothing is left
    mirrored = -np.expm1(-e[401:]) + np.exp(-e[401:]) * found[401:]
    assert mirrored == pytest.approx(found[:400][::-1], rel=1e-9, abs=1e-15)
    epsilon_ = at * reach
    value = float(curve.deltas(np.array([epsilon_]))[0][0])
    assert value <= zcdp_delta(rho=rho, xi=xi, epsilon=epsilon_) * 1.02 + 1e-60


@settings(max_examples=60)
@given(
    st.floats(0.4, 2.5),
    st.sampled_from([(1,), (4,), (1, 1), (2, 1)]),
    st.floats(-6, 25),
)
def test_no_discrete_gaussian_lies_above_the_curve(
    std: float, move: tuple[int, ...], at: float
) -> None:
    q = lattice(std, (0,) * len(move), math.ceil(14 * std) + 5)
    p = lattice(std, move, math.ceil(14 * std) + 5)
    p, q = p / q.sum(), q / q.sum()
    truth = float(np.maximum(p - math.exp(at) * q, 0).sum())
    rho = sum(m**2 for m in move) / (2 * std**2)
    found = Concentrated(rho, 0.0, 1).deltas(np.array([at]))[0][0]
    assert truth <= found * (1 + 1e-9) + 1e-15


def test_releases_together_add_up_their_divergences() -> None:
    one, other = Concentrated(0.25, 0.5, 1), Concentrated(2.0, 0.0, 3)
    assert one.times(4) == Concentrated(1.0, 2.0, 4)
    assert together([one, other]) == Concentrated(2.25, 0.5, 4)
    assert together([]) is None


# -- whole events ----------------------------------------------------------------------------------


NARROW = (
    DiscreteGaussianDpEvent(1.0, 1),
    DiscreteGaussianDpEvent(0.4, 2),
    SkellamDpEvent(2.0, 3, 5),
    DistributedDiscreteGaussianDpEvent(2.0, 1, 4, 3),
)


@pytest.mark.parametrize("inner", NARROW)
@pytest.mark.parametrize("relation", [ADD, SPECIAL, REPLACE])
def test_sampling_amplifies_narrow_noise(inner: dp.DpEvent, relation: Relation) -> None:
    plain = epsilon(inner, delta=1e-5, relation=relation)
    last = 0.0
    for prob in (0.001, 0.01, 0.1):
        event = dp.PoissonSampledDpEvent(prob, inner)
        found = epsilon(event, delta=1e-5, relation=relation)
        # One release: delta of the sample is q times that of the inner, moved by log (1 + ... / q).
        inside = epsilon(inner, delta=1e-5 / prob, relation=relation).upper
        limit = math.log1p(prob * math.expm1(inside))
        assert last < found.upper <= limit * 1.01 + 1e-6 < plain.upper
        assert found.lower <= found.upper
        last = found.upper
        many = dp.SelfComposedDpEvent(event, 20)
        assert epsilon(many, delta=1e-5, relation=relation).upper < 20 * found.upper
        risk = success_bound(event, prior_success=0.01, relation=relation)
        assert 0.01 <= risk <= success_bound(inner, prior_success=0.01, relation=relation)


def test_sampled_narrow_noise_costs_about_what_it_must() -> None:
    one = dp.PoissonSampledDpEvent(0.01, DiscreteGaussianDpEvent(1.0, 1))
    found = epsilon(one, delta=1e-5, relation=ADD)
    assert 0.22 < found.lower < found.upper < 0.29
    many = dp.SelfComposedDpEvent(one, 1000)
    found = epsilon(many, delta=1e-5, relation=ADD)
    alike = epsilon(rounds(0.01, dp.GaussianDpEvent(1.0), 1000), delta=1e-5, relation=ADD)
    assert found.method == "Renyi DP"
    assert alike.lower < found.upper < 1.2 * alike.upper
    assert found.lower == pytest.approx(alike.lower, rel=1e-2)


def test_narrow_noise_from_below_is_the_integers_own() -> None:
    x = np.arange(-40, 41)
    for std, radius in ((0.4, 1), (0.7, 2), (1.5, 1)):
        law = np.exp(-(x**2) / (2 * std**2))
        law /= law.sum()
        profile = DiscreteGaussianOutcomes(std**2, radius)
        for at in (-3.0, 0.0, 0.3, 2.0, 7.0):
            truth = float(np.maximum(np.roll(law, radius) - math.exp(at) * law, 0).sum())
            assert profile.deltas(np.array([at]))[0][0] == pytest.approx(truth, rel=1e-9, abs=1e-15)
            tail = float(law[np.roll(law, radius) > math.exp(at) * law].sum())
            assert profile.tail(np.array([at]))[0] == pytest.approx(tail, rel=1e-9, abs=1e-15)
    found = epsilon(DiscreteGaussianDpEvent(1e-4, 10_000), delta=1e-5, relation=ADD)
    assert (found.lower, found.upper > 1e7) == (0.0, True)  # a shift beyond all masses


def test_distances_of_replacement_are_paid_for_from_both_sides() -> None:
    for inner in NARROW[:3]:
        removed = lower(inner, ADD, "above").concentrated
        replaced = lower(inner, REPLACE, "above").concentrated
        assert removed is not None and replaced is not None
        assert replaced.rho == pytest.approx(4 * removed.rho)


@settings(max_examples=10)
@given(st.lists(st.sampled_from(NARROW), min_size=1, max_size=3), st.integers(1, 30))
def test_narrow_releases_in_one_sample_are_bounded(inner: list[dp.DpEvent], n: int) -> None:
    """As a composed profile or by moments: never below a single one of them, never infinite."""
    event = rounds(0.05, dp.ComposedDpEvent(inner), n)
    found = epsilon(event, delta=1e-6, relation=ADD)
    assert math.isfinite(found.upper)
    for one in inner:
        assert epsilon(rounds(0.05, one, n), delta=1e-6, relation=ADD).lower <= found.upper
    parts = lower(event, ADD, "above").parts
    assert found.upper <= renyi_epsilon(parts, 1e-6) * (1 + 1e-12)


def test_pairs_of_all_kinds_may_be_composed_together() -> None:
    kinds: list[dp.DpEvent] = [
        *NARROW,
        *(dp.PoissonSampledDpEvent(0.1, one) for one in NARROW[1:3]),
        dp.GaussianDpEvent(3.0),
        dp.LaplaceDpEvent(5.0),
    ]
    for one, other in itertools.combinations(kinds, 2):
        found = epsilon(dp.ComposedDpEvent([one, other]), delta=1e-5, relation=ADD)
        alone = [epsilon(e, delta=1e-5, relation=ADD) for e in (one, other)]
        assert max(a.lower for a in alone) <= found.upper
        halves = [epsilon(e, delta=0.5e-5, relation=ADD).upper for e in (one, other)]
        assert found.upper <= sum(halves) * 1.01 + 1e-3


@pytest.mark.parametrize("relation", [ADD, REPLACE])
@pytest.mark.parametrize("inner", [NARROW[0], NARROW[2]])
def test_one_noise_may_be_sampled_at_several_rates(inner: dp.DpEvent, relation: Relation) -> None:
    """Profiles that are gridded together share an inner one that is no column of numbers."""
    rates = [dp.PoissonSampledDpEvent(prob, inner) for prob in (0.02, 0.1, 0.5)]
    found = epsilon(dp.ComposedDpEvent(rates), delta=1e-5, relation=relation)
    alone = epsilon(rates[-1], delta=1e-5, relation=relation)
    thrice = epsilon(dp.SelfComposedDpEvent(rates[-1], 3), delta=1e-5, relation=relation)
    assert alone.lower < found.upper < thrice.upper
    assert 0 < found.lower <= found.upper


@pytest.mark.parametrize("relation", list(Relation))
@pytest.mark.parametrize("contributors", [2, 3, 50])
def test_several_narrow_shares_cost_no_more_than_one_of_them(
    relation: Relation, contributors: int
) -> None:
    """Nothing was known of them, and a Gaussian without noise stood in their place."""
    share = 0.35
    event = DistributedDiscreteGaussianDpEvent(share * contributors**0.5, 1, 1, contributors)
    one = epsilon(DiscreteGaussianDpEvent(share, 1), delta=1e-5, relation=relation)
    found = epsilon(event, delta=1e-5, relation=relation)
    assert 0 <= found.lower <= found.upper < math.inf
    assert found.upper <= one.upper * (1 + 1e-9)


def test_batches_that_hold_everybody_are_not_cut() -> None:
    """No binomial goes beyond its own end: these shares were no numbers, and nothing came back."""
    for q in (0.3, 1.0):
        event = dp.TruncatedSubsampledGaussianDpEvent(2, q, 3, 1.0)
        plain = dp.PoissonSampledDpEvent(q, dp.GaussianDpEvent(1.0))
        found, same = (
            epsilon(e, delta=1e-5, relation=Relation.ADD_OR_REMOVE_ONE) for e in (event, plain)
        )
        assert (found.lower, found.upper) == pytest.approx((same.lower, same.upper), rel=1e-6)
