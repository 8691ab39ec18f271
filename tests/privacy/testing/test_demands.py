"""A claim is read release by release, and what noise may be counted on is exactly what it says."""

import math

import numpy as np
import pytest
from dp_accounting import NeighboringRelation as Relation
from dp_accounting import dp_event as dp

from privacy.accounting.events import (
    DiscreteGaussianDpEvent,
    DistributedDiscreteGaussianDpEvent,
    SkellamDpEvent,
)
from privacy.errors import InvalidInputError
from privacy.testing.demands import Demand, moves, read

GAUSSIAN = dp.GaussianDpEvent(2.0)
SHARES = DistributedDiscreteGaussianDpEvent(3.0, 40, 7, 3)


def demand(kind: str, *, shares: int = 1) -> Demand:
    return Demand(kind, 1.0, shares, None, None, None)


def of(*scales: float) -> np.ndarray:
    return np.array(scales)


def test_each_release_is_read_in_order_with_the_sample_that_it_is_made_of() -> None:
    sampled = dp.PoissonSampledDpEvent(0.1, GAUSSIAN)
    rounds = dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(0.3, SHARES), 2)
    whole = dp.PoissonSampledDpEvent(1, SkellamDpEvent(4.0, 9, 5))
    found = read(dp.ComposedDpEvent([sampled, dp.NoOpDpEvent(), rounds, whole, GAUSSIAN]))
    assert found.probs == (0.1, 0.3, 0.3)
    shares = [Demand("discrete_gaussian", 3.0, 3, 40, 7, at) for at in (1, 2)]
    assert found.demands == (
        Demand("gaussian", 2.0, 1, None, None, 0),
        *shares,
        Demand("skellam", 4.0, 1, 9, 5, None),
        Demand("gaussian", 2.0, 1, None, None, None),
    )
    both = dp.PoissonSampledDpEvent(0.5, dp.ComposedDpEvent([GAUSSIAN, GAUSSIAN]))
    assert [one.sample for one in read(both).demands] == [0, 0]  # one sample for two releases
    assert read(DiscreteGaussianDpEvent(1.0, 6)).demands[0].radius == 6


def test_a_sample_of_all_patients_is_no_sample_and_may_hold_one() -> None:
    inner = dp.PoissonSampledDpEvent(0.2, GAUSSIAN)
    assert read(dp.PoissonSampledDpEvent(1.0, inner)) == read(inner)
    with pytest.raises(InvalidInputError, match="product of the probabilities"):
        read(dp.PoissonSampledDpEvent(0.5, inner))


def test_a_thousand_releases_are_read_and_no_more() -> None:
    assert len(read(dp.SelfComposedDpEvent(GAUSSIAN, 1000)).demands) == 1000
    with pytest.raises(InvalidInputError, match="at most 1000 releases"):
        read(dp.SelfComposedDpEvent(GAUSSIAN, 1001))


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (dp.GaussianDpEvent(-1.0), "noise_multiplier"),
        (dp.PoissonSampledDpEvent(1.5, GAUSSIAN), "sampling_probability"),
        (dp.RandomizedResponseDpEvent(0.5, 2), "additive noise"),
    ],
)
def test_what_is_no_event_or_no_additive_noise_is_refused(event: dp.DpEvent, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        read(event)


def test_replacing_a_unit_moves_a_sum_twice_and_no_other_relation_does() -> None:
    assert [moves(relation) for relation in Relation] == [
        2 if relation is Relation.REPLACE_ONE else 1 for relation in Relation
    ]
    assert moves(Relation.REPLACE_ONE) == 2
    assert moves(Relation.REPLACE_SPECIAL) == 1


def test_the_norm_is_the_one_that_the_noise_hides() -> None:
    assert demand("laplace").order == 1
    assert [demand(kind).order for kind in ("gaussian", "discrete_gaussian", "skellam")] == [2] * 3


def test_gaussian_and_skellam_draws_add_up_and_laplace_draws_do_not() -> None:
    for kind in ("gaussian", "skellam"):
        found = demand(kind).strength([(kind, of(3.0, 1.0)), (kind, of(4.0, 0.0))])
        np.testing.assert_allclose(found, [5.0, 1.0])
    # Of two Laplace draws one is counted on, the larger: the sum of both is no Laplace noise.
    found = demand("laplace").strength([("laplace", of(3.0, 1.0)), ("laplace", of(4.0, 0.0))])
    np.testing.assert_allclose(found, [4.0, 1.0])


def test_noise_of_another_kind_is_not_counted_on() -> None:
    scales = [("laplace", of(9.0)), ("gaussian", of(2.0))]
    np.testing.assert_allclose(demand("gaussian").strength(scales), [2.0])
    np.testing.assert_allclose(demand("skellam").strength(scales), [0.0])


def test_shares_are_as_many_as_claimed_and_each_as_large_as_the_least_of_the_largest() -> None:
    claimed = demand("discrete_gaussian", shares=2)
    draws = [("discrete_gaussian", of(scale)) for scale in (1.0, 6.0, 5.0)]
    np.testing.assert_allclose(claimed.strength(draws), [math.sqrt(2) * 5.0])
    np.testing.assert_allclose(claimed.strength(draws[:1]), [0.0])
    np.testing.assert_allclose(claimed.strength(draws[:2]), [math.sqrt(2) * 1.0])
