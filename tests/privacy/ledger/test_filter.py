"""The filter against an account of its own, and the Rényi road against closed forms."""

import math
from typing import Any

import numpy as np
import pytest
from dp_accounting import (
    DpEvent,
    GaussianDpEvent,
    NeighboringRelation,
    PoissonSampledDpEvent,
    SelfComposedDpEvent,
)
from dp_accounting.dp_event import (
    RepeatAndSelectDpEvent,
    SingleEpochTreeAggregationDpEvent,
    ZCDpEvent,
)
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.accounting.events import (
    DiscreteGaussianDpEvent,
    DistributedDiscreteGaussianDpEvent,
    RandomAllocationDpEvent,
    SeenAllocationDpEvent,
    to_json,
)
from privacy.accounting.lowering import lower
from privacy.accounting.moments import log_moments
from privacy.errors import CorruptMessageError
from privacy.ledger import Budget
from privacy.ledger.accountant import Certified, RenyiOnly, composed
from privacy.ledger.filter import Filter
from privacy.ledger.preset_order import (
    allowance,
    best_order,
    delta_at,
    epsilon_at,
    epsilon_of,
    renyi,
)
from tests.privacy.ledger.helpers import PLAN, gaussian

ADD, REPLACE = "ADD_OR_REMOVE_ONE", "REPLACE_ONE"
SECOND = RenyiOnly()


def walk(book: Filter, requests: list[tuple[str, dict[str, Any]]]) -> list[bool]:
    """Decide and apply, as a ledger does."""
    granted = []
    for kind, event in requests:
        decision = book.release(kind, event, SECOND)
        granted.append(decision.granted)
        if decision.granted:
            book.apply_release({"kind": kind, "event": event, **decision.record})
    return granted


@given(
    st.floats(0.3, 8.0),
    st.lists(st.tuples(st.sampled_from("ab"), st.floats(1.0, 60.0)), max_size=30),
)
def test_what_is_granted_never_passes_the_budget(
    epsilon: float, requests: list[tuple[str, float]]
) -> None:
    book = Filter.fresh(Budget(epsilon))
    events = [(kind, gaussian(scale)) for kind, scale in requests]
    granted = walk(book, events)
    # Composed Gaussians are one Gaussian of mu^2 = sum 1 / sigma^2; its exact epsilon is within.
    mu = math.sqrt(sum(1 / scale**2 for (_, scale), g in zip(requests, granted, strict=True) if g))
    if mu:
        exact = Certified().epsilon(gaussian(1 / mu), Budget(epsilon)).upper
        assert exact <= epsilon
    assert book.committed <= epsilon


@given(st.lists(st.floats(5.0, 60.0), max_size=12))
def test_replaying_the_entries_gives_the_same_state(scales: list[float]) -> None:
    live, again = Filter.fresh(Budget(1.0)), Filter.fresh(Budget(1.0))
    schedule = [{"kind": "a", "event": gaussian(40.0), "count": 3}]
    decision = live.plan(schedule, 2, SECOND)
    entries: list[dict[str, Any]] = [
        {"plan": PLAN, "schedule": schedule, "repeats": 2, **decision.record}
    ]
    live.apply_plan(entries[0])
    for number, scale in enumerate(scales):
        event = gaussian(40.0) if number % 2 else gaussian(scale)
        decided = live.release("a", event, SECOND, plan=PLAN)
        if decided.granted:
            entries.append({"kind": "a", "event": event, "plan": PLAN, **decided.record})
            live.apply_release(entries[-1])
    again.apply_plan(entries[0])
    for entry in entries[1:]:
        again.apply_release(entry)
    assert again == live


def test_a_refusal_changes_nothing() -> None:
    book = Filter.fresh(Budget(1.0))
    before = repr(book)
    assert not book.release("a", gaussian(0.1), SECOND).granted
    assert not book.plan([{"kind": "a", "event": gaussian(0.1), "count": 1}], 1, SECOND).granted
    assert repr(book) == before


def test_a_false_place_in_a_plan_is_refused_on_replay() -> None:
    book = Filter.fresh(Budget(1.0))
    schedule = [{"kind": "a", "event": gaussian(40.0), "count": 2}]
    declared = {"plan": PLAN, "schedule": schedule, "repeats": 1, "filter": "unlimited"}
    book.apply_plan(declared)
    with pytest.raises(CorruptMessageError, match="declared before"):
        book.apply_plan(declared)
    place = {"kind": "a", "event": gaussian(40.0), "filter": "planned", "plan": PLAN}
    for position in (1, 2, -1):
        with pytest.raises(CorruptMessageError, match="not its own"):
            book.apply_release({**place, "position": position})
    with pytest.raises(CorruptMessageError, match="not its own"):
        book.apply_release({**place, "plan": "cd" * 32, "position": 0})


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 4.0, 20.0])
def test_the_allowance_is_where_epsilon_meets_the_budget(epsilon: float) -> None:
    budget = Budget(epsilon)
    order = best_order(budget)
    room = allowance(budget, order)
    assert epsilon_at(room, order, budget.delta) <= epsilon * (1 + 1e-9)
    assert epsilon_at(room * (1 + 1e-6), order, budget.delta) > epsilon


@given(st.floats(0.5, 50.0), st.integers(1, 500), st.sampled_from([ADD, REPLACE]))
@settings(max_examples=40)
def test_the_renyi_road_is_an_upper_bound_of_the_closed_form(
    scale: float, count: int, relation: str
) -> None:
    event = composed([(gaussian(scale), count)])
    budget = Budget(1.0, relation=relation)
    exact = Certified().epsilon(event, budget)
    upper, _ = epsilon_of(event, 1e-5, relation)
    assert upper >= exact.lower
    assert exact.upper > 10 or upper <= 1.2 * exact.upper + 0.2
    assert delta_at(event, exact.lower, relation) >= 1e-5 * (1 - 1e-6)


@pytest.mark.parametrize(("scale", "prob"), [(1.0, 0.01), (2.0, 0.1), (0.8, 0.5)])
def test_sampled_gaussians_agree_with_another_implementation(scale: float, prob: float) -> None:
    other = RdpAccountant([8.0], NeighboringRelation.ADD_OR_REMOVE_ONE)
    other.compose(SelfComposedDpEvent(PoissonSampledDpEvent(prob, GaussianDpEvent(scale)), 7))
    theirs = math.log(1 - 1 / 8) - (math.log(1e-5) + math.log(8)) / 7
    event = {
        "type": "PoissonSampledDpEvent",
        "sampling_probability": prob,
        "event": gaussian(scale),
    }
    ours = renyi(composed([(event, 7)]), 8, ADD)
    assert other.get_epsilon(1e-5) == pytest.approx(max(0.0, ours + theirs), rel=1e-6)


def test_discrete_noise_costs_no_less_than_continuous_and_shares_no_less_than_a_whole() -> None:
    whole = {"type": "DiscreteGaussianDpEvent", "noise_multiplier": 4.0, "radius": 100}
    for contributors in (1, 3, 50):
        shares = {
            "type": "DistributedDiscreteGaussianDpEvent",
            "noise_multiplier": 4.0,
            "radius": 2,
            "dim": 14,
            "contributors": contributors,
        }
        assert renyi(shares, 10, ADD) >= renyi(whole, 10, ADD) == renyi(gaussian(4.0), 10, ADD)
        wide = shares | {"radius": 1000}
        assert renyi(wide, 10, ADD) == pytest.approx(renyi(whole, 10, ADD), rel=1e-9)


def test_a_sampled_discrete_release_costs_what_a_continuous_one_does_and_two_inside_more() -> None:
    inner = {"type": "DiscreteGaussianDpEvent", "noise_multiplier": 4.0, "radius": 100}
    event = {"type": "PoissonSampledDpEvent", "sampling_probability": 0.05}
    discrete = renyi(event | {"event": inner}, 8, ADD)
    assert discrete == pytest.approx(renyi(event | {"event": gaussian(4.0)}, 8, ADD), rel=1e-12)
    assert discrete < renyi(inner, 8, ADD)
    # Where the second may be chosen by the first's outcome no symmetry is left to argue from.
    twice = {"type": "SelfComposedDpEvent", "count": 2, "event": inner}
    as_one = inner | {"noise_multiplier": 4.0 / 2**0.5}
    assert renyi(event | {"event": twice}, 8, ADD) > 1.01 * renyi(event | {"event": as_one}, 8, ADD)


@given(st.floats(0.001, 0.9), st.floats(0.6, 3.0), st.integers(1, 3), st.integers(1, 3))
def test_sampled_shares_cost_no_more_than_said_in_either_direction(
    prob: float, std: float, radius: int, contributors: int
) -> None:
    """Every outcome of integer noise counted, a patient removed and added."""
    x = np.arange(-60, 61)
    share = np.exp(-(x**2) / (2 * std**2))
    noise = share / share.sum()
    for _ in range(contributors - 1):
        noise = np.convolve(noise, share / share.sum())
    without = np.concatenate([noise, np.zeros(radius)])
    with_ = np.concatenate([np.zeros(radius), noise])
    seen = (without > 1e-290) & (with_ > 1e-290)  # the rest would only add
    without, with_ = without[seen], with_[seen]
    mixed = prob * with_ + (1 - prob) * without
    event = {
        "type": "PoissonSampledDpEvent",
        "sampling_probability": prob,
        "event": {
            "type": "DistributedDiscreteGaussianDpEvent",
            "noise_multiplier": std * contributors**0.5 / radius,
            "radius": radius,
            "dim": 1,
            "contributors": contributors,
        },
    }
    for order in (2, 3, 7):
        bound = renyi(event, order, ADD)
        for p, q in ((mixed, without), (without, mixed)):
            found = math.log(np.sum(np.exp(order * np.log(p) - (order - 1) * np.log(q))))
            assert found / (order - 1) <= bound * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize(
    "event",
    [
        {"type": "NonPrivateDpEvent"},
        {"type": "LaplaceDpEvent", "noise_multiplier": 1.0},
        gaussian(0.0),
        {"type": "PoissonSampledDpEvent", "sampling_probability": 0.1, "event": gaussian(0.0)},
    ],
)
def test_what_has_no_proof_here_is_infinite(event: dict[str, Any]) -> None:
    assert renyi(event, 4, ADD) == math.inf
    assert not Filter.fresh(Budget(100.0)).release("a", event, SECOND).granted


def test_sampling_under_replacement_is_not_claimed() -> None:
    event = {"type": "PoissonSampledDpEvent", "sampling_probability": 0.1, "event": gaussian(9.0)}
    assert renyi(event, 4, REPLACE) == math.inf


@pytest.mark.parametrize("shape", [0.0, 0.7, 1.0, 5.0])
@pytest.mark.parametrize("mean", [1.0, 3.0, 60.0])
def test_a_selection_costs_what_both_roads_and_the_library_say(mean: float, shape: float) -> None:
    run = SelfComposedDpEvent(PoissonSampledDpEvent(0.02, GaussianDpEvent(2.0)), 30)
    event = RepeatAndSelectDpEvent(run, mean, shape)
    profile = lower(event, NeighboringRelation.ADD_OR_REMOVE_ONE, "above").parts[0][0]
    library = RdpAccountant(orders=list(range(2, 257)))
    library.compose(event)
    for order in (2, 5, 18, 40):
        found = renyi(to_json(event), order, ADD)
        if mean == 1:
            assert found == renyi(to_json(run), order, ADD)
            continue
        every = log_moments(profile)[order] / (order - 1)  # of all whole orders; here of some
        assert every <= found * (1 + 1e-9)
        assert found <= 1.35 * every
        assert library._rdp[order - 2] <= found * (1 + 1e-6)


@pytest.mark.parametrize(
    ("event", "same", "relation"),
    [
        (RandomAllocationDpEvent(9, GaussianDpEvent(3.0)), GaussianDpEvent(3.0), ADD),
        (RandomAllocationDpEvent(9, GaussianDpEvent(3.0)), GaussianDpEvent(3.0), REPLACE),
        (SeenAllocationDpEvent(9, GaussianDpEvent(3.0)), GaussianDpEvent(3.0), ADD),
        (ZCDpEvent(0.125), GaussianDpEvent(2.0), ADD),
        (ZCDpEvent(0.125), GaussianDpEvent(4.0), REPLACE),
        (SingleEpochTreeAggregationDpEvent(6.0, [2, 9]), GaussianDpEvent(3.0), REPLACE),
        # Here a Gaussian under REPLACE_SPECIAL is priced at twice the distance.
        (SingleEpochTreeAggregationDpEvent(6.0, 15), GaussianDpEvent(6.0), "REPLACE_SPECIAL"),
        (  # where the theorem on shares would say less, and does not hold
            DistributedDiscreteGaussianDpEvent(0.4**0.5, 1, 1, 2),
            DiscreteGaussianDpEvent(0.2**0.5, 1),
            ADD,
        ),
        (
            DistributedDiscreteGaussianDpEvent(0.35 * 3**0.5, 1, 4, 3),
            DiscreteGaussianDpEvent(0.35, 1),
            ADD,
        ),
    ],
)
def test_events_that_are_a_gaussian_by_another_name_cost_one(
    event: DpEvent, same: DpEvent, relation: str
) -> None:
    for order in (2, 7, 30):
        found, one = (renyi(to_json(e), order, relation) for e in (event, same))
        assert found == pytest.approx(one, rel=1e-9)


def test_a_claim_of_concentrated_dp_is_read_whole() -> None:
    for order in (2, 9):
        found = renyi(to_json(ZCDpEvent(0.1, 0.05)), order, ADD)
        assert found == pytest.approx(0.1 * order + 0.05, rel=1e-9)
