"""Passes of random allocation in a ledger: charged at their first release, covered after it."""

import pytest
from dp_accounting import GaussianDpEvent, NeighboringRelation, SelfComposedDpEvent
from hypothesis import given
from hypothesis import strategies as st

from privacy.accounting import epsilon
from privacy.accounting.events import RandomAllocationDpEvent
from privacy.errors import BudgetExceededError, RefusedError
from privacy.ledger import Budget, Ledger, Planned, Release
from privacy.ledger.declared_schedule import DeclaredPlan
from privacy.ledger.samplers import AllPatients, RandomAllocation, Sampler
from tests.privacy.ledger.helpers import PLAN, gaussian

ADD = NeighboringRelation.ADD_OR_REMOVE_ONE


def passes_of(count: int, repeats: int, kind: str = "RandomAllocationDpEvent") -> DeclaredPlan:
    event = {"type": kind, "steps": 4, "event": gaussian(40.0)}
    schedule = [{"kind": "a", "event": event, "count": count}]
    return DeclaredPlan.read({"plan": PLAN, "schedule": schedule, "repeats": repeats})


@pytest.mark.parametrize("kind", ["RandomAllocationDpEvent", "SeenAllocationDpEvent"])
@pytest.mark.parametrize(("count", "repeats"), [(4, 3), (12, 1)])
def test_a_pass_is_charged_with_its_first_release_and_covers_the_others(
    count: int, repeats: int, kind: str
) -> None:
    plan = passes_of(count, repeats, kind)
    event = plan.steps[0].event
    assert [n for _, n in plan.whole] == [3]
    begun = []
    for round_ in range(12):
        place = plan.find("a", event, round_)
        assert place == round_
        plan.position = place + 1
        begun.append(sum(n for _, n in plan.made))
        assert begun[-1] + sum(n for _, n in plan.unmade) == 3
    assert begun == [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]
    assert plan.find("a", event, 12) is None


@given(st.sets(st.integers(0, 11)))
def test_however_rounds_are_skipped_no_pass_is_made_that_is_not_charged(rounds: set[int]) -> None:
    plan = passes_of(4, 3)
    for round_ in sorted(rounds):
        place = plan.find("a", plan.steps[0].event, round_)
        assert place is not None
        plan.position = place + 1
        assert plan.find("a", plan.steps[0].event, round_) is None  # each round once
    made = sum(n for _, n in plan.made)
    assert made >= len({round_ // 4 for round_ in rounds})


def test_passes_that_are_not_whole_are_each_release_a_pass() -> None:
    plan = passes_of(6, 2)
    assert [n for _, n in plan.whole] == [12]
    assert plan.find("a", plan.steps[0].event, 9) == 0


def test_a_ledger_grants_the_steps_of_a_pass_and_charges_one_event() -> None:
    step = RandomAllocationDpEvent(4, GaussianDpEvent(4.0))
    drawn = RandomAllocation(4)
    cost = epsilon(SelfComposedDpEvent(step, 2), delta=1e-5, relation=ADD).upper
    ledger = Ledger.in_memory(budget=Budget(cost * 1.001))
    plan = ledger.declare([Planned("update", step, 4)], repeats=2).content["plan"]

    def release(round_: int, sampler: Sampler = drawn) -> Release:
        return Release("update", step, round=round_, plan=plan,
                       declared_sampler=sampler, actual_sampler=sampler)  # fmt: skip

    for round_ in (0, 1, 3, 6):
        assert ledger.spend(release(round_)).content["position"] == round_
    with pytest.raises(RefusedError, match="but the sampler is"):
        ledger.spend(release(7, AllPatients()))
    for again in (3, 6, 8):  # its pass is over, it was made, or the plan has no such pass
        with pytest.raises(BudgetExceededError):
            ledger.spend(release(again))
    assert ledger.spend(release(7)).content["position"] == 7


def test_a_plan_of_two_passes_in_a_row_is_not_let_through_for_the_price_of_one() -> None:
    step = RandomAllocationDpEvent(4, GaussianDpEvent(4.0))
    cost = epsilon(step, delta=1e-5, relation=ADD).upper
    for count, repeats, fits in ((4, 1, True), (8, 1, False), (4, 2, False)):
        ledger = Ledger.in_memory(budget=Budget(cost * 1.001))
        if fits:
            ledger.declare([Planned("update", step, count)], repeats=repeats)
            continue
        with pytest.raises(BudgetExceededError):
            ledger.declare([Planned("update", step, count)], repeats=repeats)
