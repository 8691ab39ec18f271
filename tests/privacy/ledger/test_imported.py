"""What was spent elsewhere always counts and only adds up; past the budget nothing leaves."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import (
    BudgetExceededError,
    CostlierPlanWarning,
    InvalidInputError,
    RefusedError,
)
from privacy.ledger import Budget, Cost, Ledger, Planned, Release, SigningKey, close, verify
from privacy.ledger.accountant import Certified, RenyiOnly, composed
from privacy.ledger.audit.read import read
from privacy.ledger.filter import Filter
from privacy.ledger.imported import Guarantee, Imported
from privacy.ledger.log.canonical import to_number
from privacy.ledger.preset_order import epsilon_at, renyi
from tests.privacy.ledger.helpers import KEY, PLAN, forge, gaussian, make, reopen, state
from tests.privacy.ledger.test_verify import BOTH

STEP = gaussian(40.0)


def past(scale: float = 20.0, count: int = 1, *claims: Guarantee, **fields: Any) -> Imported:
    schedule = (Planned("update", gaussian(scale), count),) if count else ()
    told = {"same_patients": True} | fields
    return Imported("a training of last year", "Dr. Lin", schedule, tuple(claims), **told)


def verified(path: Path) -> Any:
    return read(path, trusted={"north": KEY.public}, wanted=frozenset(), accountants=BOTH)


# Past the budget


def test_past_the_budget_planned_releases_are_refused_too(tmp_path: Path) -> None:
    ledger = make(tmp_path)
    ledger.declare([Planned("update", STEP, 3)], plan=PLAN)
    ledger.spend(Release("update", STEP, plan=PLAN))
    ledger.enter(past(0.5))
    assert ledger.state().passed
    for plan in (PLAN, None):
        with pytest.raises(BudgetExceededError):
            ledger.spend(Release("update", STEP, plan=plan))
    with pytest.raises(BudgetExceededError):
        ledger.declare([Planned("update", gaussian(500.0))])
    ledger.spend(Release("size", {"type": "NoOpDpEvent"}, reason="depends on no patient"))
    reading = verified(tmp_path / "north.jsonl")
    assert any("allowed" in problem.reason for problem in reading.problems)
    assert any("no filter's guarantee" in problem.reason for problem in reading.problems)
    verdict = verify([tmp_path / "north.jsonl"], {"north": KEY.public}, accountants=BOTH)
    assert not verdict.ok and verdict.blames("north")


def test_within_the_budget_all_goes_on_and_verifies(tmp_path: Path) -> None:
    ledger = make(tmp_path)
    ledger.enter(past(20.0))
    with pytest.warns(CostlierPlanWarning):
        ledger.declare([Planned("update", STEP, 3)], plan=PLAN)
    for _ in range(3):
        ledger.spend(Release("update", STEP, plan=PLAN))
    reading = verified(tmp_path / "north.jsonl")
    assert reading.problems == []
    assert any("nobody here can check" in note for note in reading.notes)
    (spent,) = reading.spent
    assert spent.interval.upper == pytest.approx(ledger.state().committed)


# What it counts


def test_the_first_of_all_counts_as_a_schedule_that_was_fixed() -> None:
    ledger = Ledger.in_memory(budget=Budget(1.0), accountant=RenyiOnly())
    entry = ledger.enter(past(20.0, 9))
    alone = RenyiOnly().epsilon(composed([(gaussian(20.0), 9)]), Budget(1.0)).upper
    assert entry.content["filter"] == "fixed schedule"
    assert ledger.state().committed == alone


def test_after_anything_else_it_adds_divergence() -> None:
    ledger = Ledger.in_memory(budget=Budget(1.0), accountant=RenyiOnly())
    ledger.spend(Release("update", STEP))
    before = ledger.state().divergence
    entry = ledger.enter(past(20.0, 2))
    order = ledger.state().order
    added = 2 * renyi(gaussian(20.0), order, "ADD_OR_REMOVE_ONE")
    assert to_number(entry.content["divergence"]) == pytest.approx(before + added, rel=1e-12)
    later = ledger.spend(Release("update", STEP)).content
    assert to_number(later["divergence"]) > before + added


def test_a_plan_beside_it_is_never_cheaper_than_both_together() -> None:
    """Whoever knew its outcome chose the plan: a schedule's bound does not hold for the two."""
    ledger = Ledger.in_memory(budget=Budget(2.0), accountant=Certified())
    ledger.enter(past(8.0))
    with pytest.warns(CostlierPlanWarning, match="Rényi"):
        ledger.declare([Planned("update", gaussian(8.0))])
    exact = Certified().epsilon(composed([(gaussian(8.0), 2)]), Budget(2.0))
    assert ledger.state().committed >= exact.upper


@given(st.floats(0.01, 3.0), st.floats(0.0, 2e-5), st.floats(5.0, 60.0))
def test_a_bare_claim_is_added_as_it_stands(epsilon: float, delta: float, scale: float) -> None:
    book, budget = Filter.fresh(Budget(5.0)), Budget(5.0)
    divergence = renyi(gaussian(scale), book.order, "ADD_OR_REMOVE_ONE")
    decision = book.enter([(gaussian(scale), 1)], [(epsilon, delta)], RenyiOnly())
    found = to_number(decision.record["epsilon"])
    if delta >= budget.delta:
        assert found == math.inf
    else:
        basic = epsilon + epsilon_at(divergence, book.order, budget.delta - delta)
        assert basic <= found <= basic * (1 + 1e-9)


def test_claims_lower_what_is_left_for_good() -> None:
    ledger = Ledger.in_memory(budget=Budget(1.0), accountant=RenyiOnly())
    ledger.enter(past(1.0, 0, Guarantee(0.2, 1e-6)))
    ledger.spend(Release("update", gaussian(20.0)))
    assert 0.6 < ledger.state().committed <= 1.0
    with pytest.raises(BudgetExceededError):
        ledger.spend(Release("update", gaussian(5.0)))
    ledger.enter(past(1.0, 0, Guarantee(0.5, 0.0)))
    assert ledger.state().passed


@given(st.lists(st.tuples(st.floats(5.0, 80.0), st.floats(0.01, 0.3)), min_size=1, max_size=6))
def test_corrections_only_raise(more: list[tuple[float, float]]) -> None:
    ledger = Ledger.in_memory(budget=Budget(1.0), accountant=RenyiOnly())
    first = ledger.enter(past(40.0, 1, Guarantee(0.01, 1e-8)))
    told = ledger.state().committed
    for scale, claimed in more:
        ledger.enter(past(scale, 1, Guarantee(claimed, 0.0), corrects=first.sequence))
        assert ledger.state().committed > told
        told = ledger.state().committed


def test_what_nobody_can_price_costs_everything() -> None:
    class Broken:
        def epsilon(self, event: Any, budget: Budget) -> Cost:
            raise ArithmeticError

        def divergence(self, event: Any, order: int, budget: Budget) -> float:
            raise ArithmeticError

    ledger = Ledger.in_memory(budget=Budget(1.0), accountant=Broken())
    entry = ledger.enter(past())
    assert entry.content["epsilon"] == "inf" and ledger.state().passed
    ledger = Ledger.in_memory(budget=Budget(1.0), accountant=RenyiOnly())
    bare = (Planned("update", {"type": "NonPrivateDpEvent"}),)
    ledger.enter(Imported("unprotected", "Dr. Lin", bare, same_patients=True))
    assert ledger.state().passed


# Whose it is


def test_it_is_about_the_patients_of_this_ledger_by_the_operators_word(tmp_path: Path) -> None:
    ledger = make(tmp_path)
    with pytest.raises(InvalidInputError, match="--same-patients"):
        ledger.enter(past(same_patients=False))
    with pytest.raises(InvalidInputError, match="true or false"):
        Imported.from_json(past().to_json() | {"same_patients": "yes"})
    assert ledger.size == 1
    ledger.enter(past())
    forge(tmp_path / "north.jsonl", KEY, 1, same_patients=False)
    (problem,) = verified(tmp_path / "north.jsonl").problems
    assert "nobody states" in problem.reason


def test_no_bytes_can_be_attached_to_it() -> None:
    ledger = Ledger.in_memory(budget=Budget(1.0), accountant=RenyiOnly())
    entry = ledger.enter(past())
    with pytest.raises(RefusedError, match="not a release"):
        ledger.attach(entry, b"bytes")
    assert ledger.pending() == ()


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"relation": "REPLACE_ONE"}, "REPLACE_ONE"),
        ({"unit": "hospital"}, "hospital"),
        ({"corrects": 0}, "corrected"),
    ],
)
def test_another_unit_or_relation_is_refused_and_nothing_is_written(
    fields: dict[str, Any], why: str
) -> None:
    ledger = Ledger.in_memory(budget=Budget(1.0), accountant=RenyiOnly())
    before = state(ledger)
    with pytest.raises(InvalidInputError, match=why):
        ledger.enter(past(20.0, 1, **fields))
    assert state(ledger) == before


def test_nothing_at_all_is_no_import() -> None:
    with pytest.raises(InvalidInputError, match="Nothing was spent"):
        past(1.0, 0)


def test_it_is_there_after_a_restart(tmp_path: Path) -> None:
    ledger = make(tmp_path)
    ledger.enter(past(20.0, 2, Guarantee(0.1, 1e-7)))
    ledger.enter(past(30.0))
    again = reopen(tmp_path)
    assert state(again) == state(ledger)
    assert again.state().committed == ledger.state().committed
    assert again.state().claimed == [(0.1, 1e-7)]


# A lone hospital


def test_a_lone_hospital_s_ledger_closes_and_verifies(tmp_path: Path) -> None:
    key = SigningKey.generate()
    ledger = Ledger.create(
        tmp_path / "north.jsonl",
        hospital="north",
        key=key,
        budget=Budget(1.0),
        accountant=RenyiOnly(),
    )
    ledger.spend(Release("update", STEP))
    (head,) = close([ledger])
    assert head.hospital == "north" and list(ledger.entries())[-1].kind == "checkpoint"
    verdict = verify([tmp_path / "north.jsonl"], {"north": key.public}, accountants=BOTH)
    assert verdict.status == 0
    assert any("not counter-signed" in finding.reason for finding in verdict.findings)
