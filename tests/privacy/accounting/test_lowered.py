"""Counts, lists and samples of releases carry all that was proved of each."""

import math

import numpy as np
import pytest
from dp_accounting import NeighboringRelation as Relation
from dp_accounting import dp_event as dp

from privacy.accounting import delta
from privacy.accounting.concentrated import Concentrated
from privacy.accounting.events import (
    DiscreteGaussianDpEvent,
    DistributedDiscreteGaussianDpEvent,
    ShuffledBatchesDpEvent,
    SkellamDpEvent,
)
from privacy.accounting.linear import upload_events
from privacy.accounting.lowered import Lowered
from privacy.accounting.lowering import lower
from privacy.accounting.profiles import GaussianProfile

ADD = Relation.ADD_OR_REMOVE_ONE
FIELDS = ("gaussian_mu", "slack", "rho", "xi", "lost")
OPENED = upload_events(
    np.array([[1.0, 1, 0], [-1, 1, 1]]), owners="abc", noise_multiplier=3.0, radius=3, dim=1
)["a"]
ONES: list[dp.DpEvent] = [
    dp.GaussianDpEvent(0.7),
    dp.LaplaceDpEvent(2.0),
    DiscreteGaussianDpEvent(1.0, 1),
    DiscreteGaussianDpEvent(3.0, 40),
    DistributedDiscreteGaussianDpEvent(1.5, 30, 9, 300),
    SkellamDpEvent(0.6, 1, 50),
    SkellamDpEvent(2.0, 30, 5),
    dp.PoissonSampledDpEvent(0.1, SkellamDpEvent(0.6, 1, 50)),
    dp.PoissonSampledDpEvent(0.1, DistributedDiscreteGaussianDpEvent(1.5, 30, 9, 300)),
    OPENED,
]


def same(found: Lowered, other: Lowered) -> None:
    for name in FIELDS:
        assert getattr(found, name) == pytest.approx(getattr(other, name), rel=1e-12, abs=0), name
    assert found.others == other.others
    assert (found.unbounded, found.unknown) == (other.unbounded, other.unknown)
    mine, theirs = found.concentrated, other.concentrated
    if mine is None or theirs is None:
        assert mine is theirs
    else:
        assert mine.count == theirs.count
        assert (mine.rho, mine.xi) == pytest.approx((theirs.rho, theirs.xi), rel=1e-12, abs=0)


@pytest.mark.parametrize("one", ONES, ids=lambda e: str(e)[:50])
@pytest.mark.parametrize("times", [1, 2, 7])
def test_a_count_is_so_many_in_a_list(one: dp.DpEvent, times: int) -> None:
    for side in ("above", "below"):
        counted = lower(dp.SelfComposedDpEvent(one, times), ADD, side)
        listed = lower(dp.ComposedDpEvent([one] * times), ADD, side)
        if not listed.unknown:  # its name differs
            same(counted, listed)


def test_what_was_proved_of_each_adds_up() -> None:
    for side in ("above", "below"):
        each = [lower(one, ADD, side) for one in ONES]
        together = lower(dp.ComposedDpEvent(ONES), ADD, side)
        for name in ("slack", "rho", "xi", "lost"):
            total = math.fsum(getattr(one, name) for one in each)
            assert getattr(together, name) == pytest.approx(total, rel=1e-12, abs=0)
            if side == "above" and name in ("slack", "rho", "xi"):
                assert total > max(getattr(one, name) for one in each) > 0
        assert together.gaussian_mu**2 == pytest.approx(
            math.fsum(one.gaussian_mu**2 for one in each), rel=1e-12
        )
    assert together.lost > 0


@pytest.mark.parametrize("one", ONES[:-1], ids=lambda e: str(e)[:50])
def test_a_sample_keeps_what_was_proved_of_the_inner_release(one: dp.DpEvent) -> None:
    for side in ("above", "below"):
        inner = lower(one, ADD, side)
        found = lower(dp.PoissonSampledDpEvent(0.3, one), ADD, side)
        if not inner.unknown:
            for name in ("slack", "rho", "xi", "lost"):
                assert getattr(found, name) == getattr(inner, name)
            assert found.count == 1


def test_skellam_noise_has_the_published_divergence_at_every_whole_order() -> None:
    """Agarwal, Kairouz, Liu 2021, Theorem 3.5: either of its two bounds, order by order."""
    for multiplier, radius, dim in ((0.6, 1, 50), (2.0, 30, 5), (1.0, 3, 2), (5.0, 100, 9)):
        found = lower(SkellamDpEvent(multiplier, radius, dim), ADD, "above")
        variance, l1 = (multiplier * radius) ** 2, min(math.sqrt(dim) * radius, radius**2)
        for order in (2, 16, 40):
            base = order * radius**2 / (2 * variance)
            bounds = (
                base + ((2 * order - 1) * radius**2 + 6 * l1) / (4 * variance**2),
                base + 3 * l1 / (2 * variance),
            )
            told = found.rho * order + found.xi
            assert told >= min(bounds) * (1 - 1e-12)
            if order == 16:
                assert told == pytest.approx(min(bounds), rel=1e-4)  # a constant below 0 is 0
        assert found.concentrated == Concentrated(found.rho, found.xi, 1)


def test_distances_count_as_many_coordinates_as_a_patient_touches() -> None:
    """At most the radius squared, and all of them where that is less; twice when replaced."""
    for relation, factor in ((ADD, 1), (Relation.REPLACE_ONE, 2)):
        for radius, dim in ((3, 5), (3, 9), (3, 400)):
            event = DistributedDiscreteGaussianDpEvent(5.0, radius, dim, 100)
            one = lower(DistributedDiscreteGaussianDpEvent(5.0, radius, 1, 100), relation, "above")
            found = lower(event, relation, "above")
            touched = min(dim, factor * radius**2)
            assert found.slack == pytest.approx(touched * one.slack, rel=0.3, abs=0)
            assert found.slack > 0.7 * touched * one.slack


@pytest.mark.parametrize("mu", [0.5, 7.9, 8.1, 30.0, 1000.0])
def test_a_wide_gaussian_beside_others_is_cut_into_pieces_of_the_same_cost(mu: float) -> None:
    event = dp.ComposedDpEvent([dp.GaussianDpEvent(1 / mu), dp.LaplaceDpEvent(1.0)])
    (piece, count), *rest = lower(event, ADD, "above").parts
    assert isinstance(piece, GaussianProfile)
    assert count * piece.mu**2 == pytest.approx(mu**2, rel=1e-12, abs=0)
    assert piece.mu <= 8 + 1e-9
    assert len(rest) == 1


def test_a_pass_of_shuffled_batches_pays_the_slack_of_every_batch() -> None:
    special = Relation.REPLACE_SPECIAL
    one = DistributedDiscreteGaussianDpEvent(5.0, 3, 9, 100)
    inner = lower(one, special, "below")
    found = lower(ShuffledBatchesDpEvent(40, one), special, "below")
    assert inner.slack > 0
    assert found.slack == pytest.approx(40 * inner.slack, rel=1e-12, abs=0)


@pytest.mark.parametrize("prob", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("multiplier", [0.7, 2.0])
def test_a_replaced_patient_in_one_sample_costs_the_integral_or_more(
    prob: float, multiplier: float
) -> None:
    """Opposite records, both in the sample or neither: by density, at several epsilons."""
    x = np.linspace(-40, 40, 400_001)
    step, shift = x[1] - x[0], 1 / multiplier
    laws = {
        dp.GaussianDpEvent(multiplier): lambda t: np.exp(-(t**2) / 2) / math.sqrt(2 * math.pi),
        dp.LaplaceDpEvent(multiplier): lambda t: np.exp(-np.abs(t)) / 2,
    }
    for event, law in laws.items():
        p, q = ((1 - prob) * law(x) + prob * law(x - s) for s in (shift, -shift))
        for at in (0.0, 0.05, 0.4):
            truth = float(np.maximum(p - math.exp(at) * q, 0).sum() * step)
            sample = dp.PoissonSampledDpEvent(prob, event)
            found = delta(sample, epsilon=at, relation=Relation.REPLACE_ONE)
            assert truth <= found.upper * (1 + 1e-4) + 1e-9
            if isinstance(event, dp.GaussianDpEvent):
                assert found.upper <= truth * (1 + 1e-4) + 1e-9


def test_a_cut_batch_may_exchange_the_patient_at_twice_the_distance() -> None:
    tight = dp.TruncatedSubsampledGaussianDpEvent(1000, 0.01, 12, 2.0)
    roomy = dp.TruncatedSubsampledGaussianDpEvent(1000, 0.01, 1000, 2.0)
    assert lower(tight, ADD, "above").rho == pytest.approx(2 / 2.0**2)
    assert lower(roomy, ADD, "above").rho >= 1 / (2 * 2.0**2)
