"""The relations hold for our accountant, and find the live under-counts of the bare library."""

import dp_accounting as dp
import numpy as np
import pytest
from dp_accounting import NeighboringRelation as Relation
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from privacy.accounting import epsilon
from privacy.accounting.events import check, from_json, to_json
from privacy.errors import InvalidInputError
from privacy.testing import check_accountant
from privacy.testing.relations import Accountant
from privacy.testing.strategies import arrivals, events, schedules
from tests.privacy.golden import golden


def ours(event: dp.DpEvent, delta: float, relation: Relation) -> float:
    return epsilon(event, delta=delta, relation=relation, width=0.05).upper


def pld(event: dp.DpEvent, delta: float, relation: Relation) -> float:
    accountant = PLDAccountant(relation, value_discretization_interval=1e-3)
    return float(accountant.compose(event).get_epsilon(delta))


def rdp(event: dp.DpEvent, delta: float, relation: Relation) -> float:
    return float(RdpAccountant(None, relation).compose(event).get_epsilon(delta))


def noise_and_prob(event: dp.DpEvent) -> tuple[float, float]:
    """What a repeated, sampled Gaussian is made of; 1 where an event has none."""
    prob = 1.0
    while (inner := getattr(event, "event", None)) is not None:
        prob *= getattr(event, "sampling_probability", 1.0)
        event = inner
    return getattr(event, "noise_multiplier", 1.0), prob


def test_our_accountant_keeps_every_relation() -> None:
    assert check_accountant(ours, unsupported=InvalidInputError) == []


def test_both_under_counts_of_the_bare_library_are_found() -> None:
    """dp-accounting 0.6.0: a count that is forgotten, and a distance that is not doubled."""
    found = check_accountant(pld, unsupported=dp.UnsupportedEventError)
    assert [b.relation for b in found] == ["loop"]
    assert "RandomizedResponse" in found[0].message
    found = check_accountant(rdp, unsupported=(dp.UnsupportedEventError, ValueError))
    assert "closed_form" in [b.relation for b in found]
    assert any("REPLACE_ONE" in b.message for b in found)
    table = golden("accounting")["undoubled_renyi"]
    event = dp.SelfComposedDpEvent(dp.GaussianDpEvent(1.0), 10)
    assert rdp(event, 1e-5, Relation.REPLACE_ONE) == pytest.approx(table["library"], abs=5.1e-3)
    assert ours(event, 1e-5, Relation.REPLACE_ONE) == pytest.approx(table["truth"], abs=5.1e-3)
    one = dp.RandomizedResponseDpEvent(0.5, 3)
    many = dp.SelfComposedDpEvent(one, 20)
    relation = Relation.REPLACE_ONE
    assert pld(many, 1e-5, relation) == pld(one, 1e-5, relation)  # the count is forgotten
    assert ours(many, 1e-5, relation) > 5 * pld(many, 1e-5, relation)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("rounds", lambda e, d, r: ours(e, d, r) / getattr(e, "count", 1)),
        ("closed_form", lambda e, d, r: 0.9 * ours(e, d, r)),
        ("delta", lambda e, d, r: ours(e, 1e-5 if d == 1e-5 else 1e-3, r)),
        ("positive", lambda e, d, r: ours(e, d, r) - 100),
        ("positive", lambda e, d, r: -0.01),
        ("noise", lambda e, d, r: 10 * noise_and_prob(e)[0]),
        ("sampling", lambda e, d, r: 10 * (2 - noise_and_prob(e)[1])),
    ],
)
def test_broken_accountants_are_named(name: str, wrong: Accountant) -> None:
    found = check_accountant(wrong, unsupported=InvalidInputError)
    assert name in [b.relation for b in found]


@settings(max_examples=30)
@given(events(), st.sampled_from([1e-3, 1e-6]))
def test_random_trees_have_ordered_ends_and_survive_json(event: dp.DpEvent, delta: float) -> None:
    relation = Relation.ADD_OR_REMOVE_ONE
    check(event)
    found = epsilon(event, delta=delta, relation=relation, width=0.2)
    assert 0 <= found.lower <= found.estimate <= found.upper
    again = epsilon(from_json(to_json(event)), delta=delta, relation=relation, width=0.2)
    assert (again.lower, again.upper) == (found.lower, found.upper)
    more = epsilon(
        dp.ComposedDpEvent([event, dp.GaussianDpEvent(5.0)]),
        delta=delta,
        relation=relation,
        width=0.2,
    )
    assert more.upper >= found.lower


@given(arrivals(contributors=4, openings=6, most=2), schedules(max_rounds=5))
def test_strategies_keep_their_word(
    who: NDArray[np.bool_], schedule: list[tuple[float, float]]
) -> None:
    assert who.shape == (6, 4)
    assert (who.sum(axis=0) <= 2).all()
    assert 1 <= len(schedule) <= 5
