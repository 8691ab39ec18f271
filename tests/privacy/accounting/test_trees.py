"""A tree of events costs what its flattening costs, whatever its shape; bounds move as they must.

The oracle knows no tree: it lists the leaves with their counts, and takes the Gaussians together by
their variances.
"""

import math
import os
import random
from collections.abc import Iterator

import pytest
from dp_accounting import NeighboringRelation as Relation
from dp_accounting import dp_event as dp
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.accounting import Interval, delta, epsilon
from privacy.accounting.concentrated import Concentrated
from privacy.accounting.events import (
    DiscreteGaussianDpEvent,
    DistributedDiscreteGaussianDpEvent,
    RandomAllocationDpEvent,
    SkellamDpEvent,
)
from privacy.accounting.gaussian import gaussian_epsilon
from privacy.accounting.intervals import upper_epsilon
from privacy.accounting.lowering import lower
from privacy.errors import InvalidInputError

ADD, REPLACE, SPECIAL = (
    Relation.ADD_OR_REMOVE_ONE,
    Relation.REPLACE_ONE,
    Relation.REPLACE_SPECIAL,
)
NOISE = st.sampled_from([0.5, 1.0, 1.7, 4.0, 30.0])
LEAVES = st.one_of(
    NOISE.map(dp.GaussianDpEvent),
    NOISE.map(dp.LaplaceDpEvent),
    NOISE.map(lambda s: DiscreteGaussianDpEvent(s, 40)),
    NOISE.map(lambda s: DistributedDiscreteGaussianDpEvent(s, 40, 7, 3)),
    NOISE.map(lambda s: SkellamDpEvent(s, 40, 7)),
    NOISE.map(lambda s: dp.DiscreteLaplaceDpEvent(1 / s, 2)),
    st.just(dp.NoOpDpEvent()),
    NOISE.map(lambda s: RandomAllocationDpEvent(5, dp.GaussianDpEvent(s))),
    st.builds(
        lambda q, s: dp.PoissonSampledDpEvent(q, dp.GaussianDpEvent(s)),
        st.sampled_from([0.01, 0.3]),
        NOISE,
    ),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(dp.SelfComposedDpEvent, inner, st.integers(0, 12)),
        st.builds(dp.ComposedDpEvent, st.lists(inner, max_size=4)),
    ),
    max_leaves=9,
)
RELATIONS = st.sampled_from([ADD, REPLACE, SPECIAL])
COUNT = 20_000 if os.environ.get("HYPOTHESIS_PROFILE") == "hunt" else 500


def leaves(event: dp.DpEvent, times: int = 1) -> Iterator[tuple[dp.DpEvent, int]]:
    match event:
        case dp.SelfComposedDpEvent():
            yield from leaves(event.event, times * event.count)
        case dp.ComposedDpEvent():
            for inner in event.events:
                yield from leaves(inner, times)
        case _:
            yield event, times


def parts_of(bound: Concentrated | None) -> tuple[float, ...]:
    return () if bound is None else (bound.rho, bound.xi, bound.count)


def flat(event: dp.DpEvent, *, shuffled: int | None = None) -> dp.DpEvent:
    parts = [dp.SelfComposedDpEvent(leaf, n) for leaf, n in leaves(event) if n > 0]
    if shuffled is not None:
        random.Random(shuffled).shuffle(parts)
    return dp.ComposedDpEvent(parts)


@settings(max_examples=COUNT)
@given(event=TREES, relation=RELATIONS, order=st.integers(0, 99))
def test_a_tree_is_its_flattening_in_any_order(
    event: dp.DpEvent, relation: Relation, order: int
) -> None:
    for side in ("above", "below"):
        tree = lower(event, relation, side)
        for other in (
            lower(flat(event), relation, side),
            lower(flat(event, shuffled=order), relation, side),
        ):
            assert dict(other.others) == dict(tree.others)
            assert other.unbounded == tree.unbounded
            assert parts_of(other.concentrated) == pytest.approx(
                parts_of(tree.concentrated), rel=1e-12
            )
            for name in ("gaussian_mu", "slack", "rho", "xi", "lost"):
                assert getattr(other, name) == pytest.approx(getattr(tree, name), rel=1e-12)
        gaussians = [
            n / leaf.noise_multiplier**2
            for leaf, n in leaves(event)
            if isinstance(leaf, dp.GaussianDpEvent)
        ]
        factor = 2 if relation is REPLACE else 1
        assert tree.gaussian_mu >= factor * math.sqrt(math.fsum(gaussians)) * (1 - 1e-12)


def test_repeated_wide_gaussians_beside_another_release() -> None:
    """One Laplace beside 100 Gaussians hid nine tenths of them: 350.8 for 633.9."""
    rounds = dp.ComposedDpEvent(
        [dp.SelfComposedDpEvent(dp.GaussianDpEvent(1.0), 100), dp.LaplaceDpEvent(1.0)]
    )
    repeated = epsilon(dp.SelfComposedDpEvent(rounds, 10), delta=1e-5, relation=ADD)
    listed = epsilon(dp.ComposedDpEvent([rounds] * 10), delta=1e-5, relation=ADD)
    assert repeated.upper == pytest.approx(listed.upper, rel=1e-9)
    alone = gaussian_epsilon(mu=math.sqrt(1000), delta=1e-5)
    assert alone <= repeated.upper <= 1.02 * (alone + 10)


def ends(event: dp.DpEvent, relation: Relation) -> Interval:
    found = epsilon(event, delta=1e-5, relation=relation)
    assert 0 <= found.lower <= found.estimate <= found.upper
    assert math.isfinite(found.lower)
    return found


@settings(max_examples=max(20, COUNT // 25))
@given(event=TREES, more=LEAVES, relation=RELATIONS)
def test_more_releases_and_less_delta_cost_more(
    event: dp.DpEvent, more: dp.DpEvent, relation: Relation
) -> None:
    base = ends(event, relation)
    with_more = ends(dp.ComposedDpEvent([event, more]), relation)
    assert with_more.upper >= base.lower
    twice = ends(dp.SelfComposedDpEvent(event, 2), relation)
    assert twice.upper >= base.lower
    assert epsilon(event, delta=1e-7, relation=relation).upper >= base.lower


@pytest.mark.parametrize("relation", [ADD, REPLACE, SPECIAL])
@pytest.mark.parametrize(
    "event",
    [
        dp.PoissonSampledDpEvent(0.1, dp.GaussianDpEvent(0.02)),
        dp.PoissonSampledDpEvent(0.3, dp.DiscreteLaplaceDpEvent(5.0, 1000)),
        dp.GaussianDpEvent(1e-3),
        dp.GaussianDpEvent(1e-7),
        dp.LaplaceDpEvent(1e-7),
        dp.DiscreteLaplaceDpEvent(5.0, 1000),
    ],
)
def test_what_passes_the_largest_float_is_sound_on_both_sides(
    event: dp.DpEvent, relation: Relation
) -> None:
    """e^epsilon is no float beyond 709: both ends stay finite, narrow, and each other's inverse."""
    found = epsilon(event, delta=1e-5, relation=relation)
    assert math.isfinite(found.upper)
    assert found.lower >= (1 - 1e-8) * found.upper or relation is REPLACE
    assert delta(event, epsilon=found.upper, relation=relation).lower <= 1e-5
    assert delta(event, epsilon=found.lower * (1 - 1e-8), relation=relation).upper >= 1e-5


@pytest.mark.parametrize(
    ("prob", "noise", "at"),
    [(0.1, 0.02, 1500.0), (0.1, 0.02, 1200.0), (0.5, 0.01, 6000.0), (0.5, 0.02, 720.0)],
)
def test_deltas_far_out_enclose_an_integral_of_sixty_digits(
    prob: float, noise: float, at: float
) -> None:
    import mpmath as mp

    with mp.workdps(60):
        mu, q, e = 1 / mp.mpf(noise), mp.mpf(prob), mp.mpf(at)
        inside = mp.log(1 + (mp.e**e - 1) / q)
        truth = q * (mp.ncdf(mu / 2 - inside / mu) - mp.e**inside * mp.ncdf(-mu / 2 - inside / mu))
        event = dp.PoissonSampledDpEvent(prob, dp.GaussianDpEvent(noise))
        found = delta(event, epsilon=at, relation=ADD)
        assert found.lower <= truth <= found.upper <= found.lower * (1 + 1e-6)


@pytest.mark.parametrize(
    ("prob", "noise", "rounds", "target", "most"),
    [
        (0.01, 1.5, 10_000, 1e-12, 10.9),
        (0.00033, 4.0, 10_000, 1.1e-18, 1.0),
        (0.1, 2.0, 100, 1e-30, 8.4),
    ],
)
def test_a_bound_that_some_road_gives_is_given(
    prob: float, noise: float, rounds: int, target: float, most: float
) -> None:
    """Floating point hides tiny deltas on a grid; moments don't."""
    sampled = dp.PoissonSampledDpEvent(prob, dp.GaussianDpEvent(noise))
    event = dp.SelfComposedDpEvent(sampled, rounds)
    found = epsilon(event, delta=target, relation=ADD)
    assert found.lower <= found.upper <= most
    assert upper_epsilon(event, delta=target, relation=ADD) <= most
    assert delta(event, epsilon=found.upper, relation=ADD).upper <= target * (1 + 1e-6)


@pytest.mark.parametrize("bad", [1e-200, 1e200, 5e-324])
def test_noise_whose_square_is_no_float_is_refused_in_words(bad: float) -> None:
    for event in (dp.GaussianDpEvent(bad), DiscreteGaussianDpEvent(bad, 3)):
        with pytest.raises(InvalidInputError, match="between 1e-100 and 1e100"):
            epsilon(event, delta=1e-5, relation=ADD)
