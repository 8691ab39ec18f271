import dp_accounting as dp
import numpy as np
import pytest
from dp_accounting import NeighboringRelation as Relation
from dp_accounting.pld import PLDAccountant
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.accounting import epsilon
from privacy.accounting.budget import budget_curve
from privacy.accounting.events import DistributedDiscreteGaussianDpEvent, SkellamDpEvent

ADD, REPLACE = Relation.ADD_OR_REMOVE_ONE, Relation.REPLACE_ONE


def sampled(noise_multiplier: float, prob: float) -> dp.DpEvent:
    return dp.PoissonSampledDpEvent(float(prob), dp.GaussianDpEvent(float(noise_multiplier)))


@pytest.mark.parametrize(
    ("event", "rounds"),
    [
        (dp.GaussianDpEvent(30.0), 10_000),
        (DistributedDiscreteGaussianDpEvent(30.0, 1000, 19, 3), 10_000),
        (sampled(1.5, 0.05), 30),
        (sampled(1.0, 0.01), 10_000),
        (dp.PoissonSampledDpEvent(0.1, DistributedDiscreteGaussianDpEvent(2.0, 20, 5, 3)), 500),
        (SkellamDpEvent(30.0, 1000, 19), 20),
    ],
    ids=["gaussian", "discrete", "sampled", "many", "both", "skellam"],
)
def test_curve_brackets_every_round_and_never_falls(event: dp.DpEvent, rounds: int) -> None:
    low, high = budget_curve(event, rounds=rounds, delta=1e-5, relation=ADD)
    assert len(low) == len(high) == rounds
    assert (np.diff(low) >= 0).all()
    assert (np.diff(high) >= 0).all()
    for n in (1, 2, rounds // 3, rounds):
        found = epsilon(dp.SelfComposedDpEvent(event, n), delta=1e-5, relation=ADD)
        assert low[n - 1] <= found.upper
        assert high[n - 1] >= found.lower
        assert high[n - 1] <= found.upper * 1.05 + 1e-3


def test_without_sampling_every_round_is_the_single_answer() -> None:
    for event in (
        dp.GaussianDpEvent(3.0),
        DistributedDiscreteGaussianDpEvent(22.0, 1, 1, 400),  # narrow shares: a slack to be seen
    ):
        low, high = budget_curve(event, rounds=100, delta=1e-5, relation=ADD)
        for n in (1, 10, 100):
            found = epsilon(dp.SelfComposedDpEvent(event, n), delta=1e-5, relation=ADD)
            assert low[n - 1] == pytest.approx(found.lower, rel=1e-7)
            assert high[n - 1] == pytest.approx(found.upper, rel=1e-7)


def test_ten_thousand_different_releases_between_those_that_bracket_them() -> None:
    """A narrow schedule: each release between two that are composed with themselves instead."""
    n = 10_000
    rng = np.random.default_rng(1)
    pairs = list(zip(rng.uniform(0.0100, 0.0101, n), rng.uniform(1.200, 1.204, n), strict=True))
    found = epsilon(dp.ComposedDpEvent([sampled(z, q) for q, z in pairs]), delta=1e-5, relation=ADD)
    ends = [
        epsilon(dp.SelfComposedDpEvent(sampled(z, q), n), delta=1e-5, relation=ADD)
        for q, z in ((0.0100, 1.204), (0.0101, 1.200))
    ]
    assert ends[0].lower < found.lower < found.upper < ends[1].upper
    assert found.upper - found.lower <= 0.01 * found.upper


@settings(max_examples=4)
@given(st.integers(0, 2**32 - 1), st.integers(40, 120), st.sampled_from([ADD, REPLACE]))
def test_different_releases_are_enclosed_as_tightly_as_equal_ones(
    seed: int, n: int, relation: Relation
) -> None:
    """Two roads: all together by their transforms, and two by two by dp-accounting."""
    rng = np.random.default_rng(seed)
    events = [
        sampled(z, q)
        for q, z in zip(rng.uniform(0.005, 0.3, n), rng.uniform(0.7, 4, n), strict=True)
    ]
    found = epsilon(dp.ComposedDpEvent(events), delta=1e-5, relation=relation)
    assert found.upper - found.lower <= 0.01 * found.upper + 1e-3
    library = PLDAccountant(relation, value_discretization_interval=5e-3)
    for event in events[:40]:
        library.compose(event)
    some = epsilon(dp.ComposedDpEvent(events[:40]), delta=1e-5, relation=relation)
    theirs = library.get_epsilon(1e-5)  # from above, on a coarser grid
    assert some.lower <= theirs <= some.upper * 1.02 + 1e-3
    assert some.upper <= found.upper


def test_kinds_are_composed_together() -> None:
    """Several Laplaces, sampled Gaussians and a wide one: against dp-accounting, two by two."""
    events = [
        sampled(1.0, 0.1),
        sampled(1.3, 0.1),
        dp.LaplaceDpEvent(5.0),
        dp.LaplaceDpEvent(7.0),
        dp.dp_event.DiscreteLaplaceDpEvent(0.2, 1),
        dp.GaussianDpEvent(0.1),  # wide: its losses alone pass the range of floats
    ]
    found = epsilon(dp.ComposedDpEvent(events), delta=1e-5, relation=ADD)
    library = PLDAccountant(value_discretization_interval=1e-3)
    for event in events:
        library.compose(event)
    theirs = library.get_epsilon(1e-5)
    assert found.lower <= theirs <= found.upper * 1.005
    assert found.upper - found.lower <= 0.01 * found.upper


def test_what_the_numbers_behind_a_profile_may_be_off_by_is_given_up_each_round() -> None:
    """Masses of Skellam noise are Bessel functions: 1e-11 a release is more than they are off."""
    event = dp.PoissonSampledDpEvent(0.1, SkellamDpEvent(2.0, 30, 5))
    low, high = budget_curve(event, rounds=1000, delta=1e-9, relation=ADD)
    found = epsilon(dp.SelfComposedDpEvent(event, 1000), delta=1e-9, relation=ADD)
    assert 0.99 * found.lower <= low[-1] <= 1.002 * found.lower
    assert found.upper <= high[-1] * (1 + 1e-9)
