"""Plans across runs: whose place is whose, declaring again, and giving up what was not made."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.errors import (
    BudgetExceededError,
    CostlierPlanWarning,
    InvalidInputError,
    RefusedError,
)
from privacy.ledger import Budget, Entry, Ledger, Planned, Release
from privacy.ledger.accountant import Certified, RenyiOnly
from privacy.ledger.audit.read import read
from privacy.ledger.declared_schedule import DeclaredPlan
from privacy.ledger.filter import Filter
from privacy.ledger.log.canonical import to_number
from privacy.ledger.preset_order import epsilon_at, renyi
from tests.privacy.ledger.helpers import KEY, PLAN, gaussian, make, reopen, state
from tests.privacy.ledger.test_verify import BOTH

OTHER = "cd" * 32
THIRD = "ef" * 32
STEP = gaussian(40.0)


def memory(epsilon: float = 1.0, accountant: Any = None) -> Ledger:
    return Ledger.in_memory(budget=Budget(epsilon), accountant=accountant or RenyiOnly())


def kinds(ledger: Ledger) -> list[str]:
    return [entry.kind for entry in ledger.entries()]


def verified(path: Path) -> None:
    found = read(path, trusted={"north": KEY.public}, wanted=frozenset(), accountants=BOTH)
    assert found.problems == []


# Whose place


def test_another_runs_release_does_not_take_a_planned_place() -> None:
    ledger = memory()
    ledger.declare([Planned("update", STEP, 2)], plan=PLAN)
    stranger = ledger.spend(Release("update", STEP, plan=OTHER))
    lone = ledger.spend(Release("update", STEP))
    assert [e.content["filter"] for e in (stranger, lone)] == ["adaptive", "adaptive"]
    own = ledger.spend(Release("update", STEP, plan=PLAN))
    assert (own.content["filter"], own.content["position"]) == ("planned", 0)
    assert ledger.state().left == 1


def test_two_plans_are_walked_side_by_side() -> None:
    ledger = memory()
    for plan in (PLAN, OTHER):
        ledger.declare([Planned("update", STEP, 2)], plan=plan)
    order = [OTHER, PLAN, OTHER, PLAN]
    entries = [ledger.spend(Release("update", STEP, plan=plan)) for plan in order]
    assert [e.content["position"] for e in entries] == [0, 0, 1, 1]
    assert {e.content["filter"] for e in entries} == {"planned"}


# Declaring again


def test_a_plan_declared_again_after_a_restart_changes_nothing(tmp_path: Path) -> None:
    ledger = make(tmp_path)
    entry = ledger.declare([Planned("update", STEP, 3)], plan=PLAN)
    ledger.spend(Release("update", STEP, plan=PLAN))
    again = reopen(tmp_path)
    before = state(again)
    assert again.declare([Planned("update", STEP, 3)], plan=PLAN).digest == entry.digest
    assert state(again) == before
    assert again.spend(Release("update", STEP, plan=PLAN)).content["position"] == 1


def test_one_digest_never_stands_for_two_schedules() -> None:
    ledger = memory()
    ledger.declare([Planned("update", STEP, 3)], plan=PLAN)
    for schedule, repeats in (([Planned("update", STEP, 4)], 1), ([Planned("update", STEP, 3)], 2)):
        with pytest.raises(RefusedError, match="another schedule"):
            ledger.declare(schedule, repeats=repeats, plan=PLAN)
    assert kinds(ledger) == ["opening", "plan", "refusal", "refusal"]
    assert ledger.state().left == 3


def test_without_a_digest_a_plan_is_called_by_what_it_asks() -> None:
    ledger = memory()
    first = ledger.declare([Planned("update", STEP, 3)])
    assert ledger.declare([Planned("update", STEP, 3)]).digest == first.digest
    other = ledger.declare([Planned("update", STEP, 3)], context={"run": "b"})
    assert other.content["plan"] != first.content["plan"]
    assert ledger.state().left == 6


# A second plan


def test_a_second_plan_after_a_release_costs_more_and_that_is_said() -> None:
    ledger = Ledger.in_memory(budget=Budget(1.0), accountant=Certified())
    ledger.declare([Planned("update", STEP, 5)], plan=PLAN)
    ledger.spend(Release("update", STEP, plan=PLAN))
    with pytest.warns(CostlierPlanWarning) as told:
        late = ledger.declare([Planned("update", STEP, 5)], plan=OTHER)
    together = Ledger.in_memory(budget=Budget(1.0), accountant=Certified())
    for plan in (PLAN, OTHER):
        best = together.declare([Planned("update", STEP, 5)], plan=plan)
    at_once = to_number(best.content["interval"]["upper"])
    assert at_once < late.content["epsilon"]
    assert f"{at_once:.3f}"[:4] in str(told[0].message)


def test_a_second_plan_that_is_refused_says_why_it_would_have_fitted_before() -> None:
    ledger = Ledger.in_memory(budget=Budget(1.0), accountant=Certified())
    ledger.declare([Planned("update", STEP, 60)], plan=PLAN)
    ledger.spend(Release("update", STEP, plan=PLAN))
    with pytest.raises(BudgetExceededError, match="all plans declared together before it"):
        ledger.declare([Planned("update", STEP, 50)], plan=OTHER)


# Giving up


def test_before_any_release_an_abandoned_plan_is_as_if_never_declared(tmp_path: Path) -> None:
    ledger = make(tmp_path)
    ledger.declare([Planned("update", STEP, 5)], plan=PLAN)
    alone = ledger.state().committed
    ledger.declare([Planned("update", STEP, 30)], plan=OTHER)
    entry = ledger.abandon(OTHER, reason="the coordinator withdrew it")
    assert entry.content["filter"] == "fixed schedule"
    assert ledger.state().committed == alone
    third = ledger.declare([Planned("update", STEP, 30)], plan=THIRD)
    assert third.content["filter"] == "fixed schedule"
    ledger.abandon(PLAN, reason="r")
    ledger.abandon(THIRD, reason="r")
    assert ledger.state().committed == 0.0
    assert state(reopen(tmp_path)) == state(ledger)
    verified(tmp_path / "north.jsonl")


def test_after_a_release_what_was_made_is_counted_by_renyi_from_then_on(tmp_path: Path) -> None:
    ledger = make(tmp_path)
    ledger.declare([Planned("update", STEP, 40)], repeats=1, plan=PLAN)
    for round_ in range(3):
        ledger.spend(Release("update", STEP, round=round_, plan=PLAN))
    entry = ledger.abandon(PLAN, reason="the run broke off")
    book = ledger.state()
    made = 3 * renyi(STEP, book.order, "ADD_OR_REMOVE_ONE")
    assert entry.content["filter"] == "adaptive"
    assert made <= book.divergence <= made * (1 + 1e-9)
    assert book.left == 0
    with pytest.warns(CostlierPlanWarning):
        ledger.declare([Planned("update", STEP, 40)], plan=OTHER)  # only what was freed lets it
    assert state(reopen(tmp_path)) == state(ledger)
    verified(tmp_path / "north.jsonl")


def test_a_plan_that_renyi_does_not_cover_in_full_frees_nothing(tmp_path: Path) -> None:
    # Within the budget as a fixed schedule, beyond it by Rényi: the course on which it is walked to
    # its end and the one on which it is given up are covered by two proofs, and delta would double.
    path = tmp_path / "north.jsonl"
    ledger = Ledger.create(
        path, hospital="north", key=KEY, budget=Budget(1.0), accountant=Certified()
    )
    ledger.declare([Planned("update", STEP, 110)], plan=PLAN)
    before = ledger.state().committed
    ledger.spend(Release("update", STEP, plan=PLAN))
    entry = ledger.abandon(PLAN, reason="the run broke off")
    assert entry.content["filter"] == "kept"
    assert ledger.state().committed == before
    assert ledger.state().left == 0
    with pytest.raises(BudgetExceededError):
        ledger.declare([Planned("update", STEP, 1)], plan=OTHER)
    found = read(
        path,
        trusted={"north": KEY.public},
        wanted=frozenset(),
        accountants=(Certified(), RenyiOnly()),
    )
    assert found.problems == []


def test_an_abandoned_plan_is_neither_walked_nor_declared_again() -> None:
    ledger = memory()
    ledger.declare([Planned("update", STEP, 4)], plan=PLAN)
    ledger.spend(Release("update", STEP, plan=PLAN))
    entry = ledger.abandon(PLAN, reason="r")
    assert ledger.abandon(PLAN, reason="again").digest == entry.digest
    with pytest.raises(RefusedError, match="was abandoned"):
        ledger.spend(Release("update", STEP, plan=PLAN))
    with pytest.raises(RefusedError, match="was abandoned"):
        ledger.declare([Planned("update", STEP, 4)], plan=PLAN)


def test_there_must_be_something_to_abandon() -> None:
    ledger = memory()
    with pytest.raises(InvalidInputError, match="no plan"):
        ledger.abandon(PLAN, reason="r")
    ledger.declare([Planned("update", STEP, 1)], plan=PLAN)
    ledger.spend(Release("update", STEP, plan=PLAN))
    with pytest.raises(InvalidInputError, match="places left"):
        ledger.abandon(PLAN, reason="r")
    with pytest.raises(InvalidInputError):
        ledger.abandon(PLAN, reason="")
    assert kinds(ledger) == ["opening", "plan", "release"]


def test_under_no_promise_abandoning_forfeits_and_frees_nothing() -> None:
    ledger = memory(math.inf)
    ledger.declare([Planned("update", STEP, 2)], plan=PLAN)
    assert ledger.abandon(PLAN, reason="r").content["filter"] == "unlimited"
    with pytest.raises(RefusedError, match="abandoned"):
        ledger.spend(Release("update", STEP, plan=PLAN))


# What is made and what is not


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.integers(1, 4),
    st.floats(0, 1),
)
def test_made_and_unmade_add_up_to_the_whole(counts: list[int], repeats: int, share: float) -> None:
    schedule = [
        {"kind": f"k{i}", "event": gaussian(i + 1.0), "count": c} for i, c in enumerate(counts)
    ]
    plan = DeclaredPlan.read({"plan": PLAN, "schedule": schedule, "repeats": repeats})
    plan.position = round(share * plan.size)
    walked = [i for _ in range(repeats) for i, c in enumerate(counts) for _ in range(c)]
    for parts, places in (
        (plan.made, walked[: plan.position]),
        (plan.unmade, walked[plan.position :]),
        (plan.whole, walked),
    ):
        told = {event["noise_multiplier"]: count for event, count in parts}
        assert told == {i + 1.0: places.count(i) for i in set(places)}


# The filter across runs, with a shadow accountant

_SCALES = [15.0, 25.0, 40.0, 80.0]
_STEPS = st.one_of(
    st.tuples(st.just("declare"), st.integers(0, 3), st.sampled_from(_SCALES), st.integers(1, 30)),
    st.tuples(st.just("spend"), st.integers(-1, 3), st.sampled_from(_SCALES), st.integers(1, 12)),
    st.tuples(st.just("abandon"), st.integers(0, 3), st.just(0.0), st.just(0)),
    st.tuples(st.just("restart"), st.just(0), st.just(0.0), st.just(0)),
)


class Shadow:
    """An account of its own: Gaussians of mu^2 = sum 1 / sigma^2 are one, of known epsilon."""

    def __init__(self) -> None:
        self.released: list[float] = []

    @property
    def epsilon(self) -> float:
        mu = math.sqrt(math.fsum(1 / scale**2 for scale in self.released))
        return Certified().epsilon(gaussian(1 / mu), Budget(1.0)).lower if mu else 0.0


def perform(ledger: Ledger, step: tuple[str, int, float, int], shadow: Shadow) -> Entry | None:
    what, number, scale, count = step
    digest = f"{number:064x}"
    try:
        match what:
            case "declare":
                return ledger.declare([Planned("update", gaussian(scale), count)], plan=digest)
            case "spend":
                for _ in range(count):
                    plan = digest if number >= 0 else None
                    ledger.spend(Release("update", gaussian(scale), plan=plan))
                    shadow.released.append(scale)
            case "abandon":
                return ledger.abandon(digest, reason="r")
    except (RefusedError, InvalidInputError):
        return None
    return None


@pytest.mark.filterwarnings("ignore::privacy.errors.CostlierPlanWarning")
@given(st.lists(_STEPS, max_size=14), st.floats(0.3, 3.0))
@settings(max_examples=60)
def test_whatever_is_declared_spent_abandoned_and_restarted_keeps_the_budget(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, int, float, int]],
    epsilon: float,
) -> None:
    path = tmp_path_factory.mktemp("life") / "north.jsonl"
    ledger = Ledger.create(
        path, hospital="north", key=KEY, budget=Budget(epsilon), accountant=RenyiOnly()
    )
    shadow = Shadow()
    for step in steps:
        if step[0] == "restart":
            before = state(ledger)
            ledger = Ledger.open(path, key=KEY, accountant=RenyiOnly())
            assert state(ledger) == before
        perform(ledger, step, shadow)
        book = ledger.state()
        assert shadow.epsilon <= epsilon
        assert book.committed <= epsilon
        counted = math.fsum(
            renyi(gaussian(scale), book.order, "ADD_OR_REMOVE_ONE") for scale in shadow.released
        )
        if book.adaptive:  # what was released is in the filter, and so is what may still come
            to_come = math.fsum(
                p.left * renyi(p.steps[0].event, book.order, "ADD_OR_REMOVE_ONE")
                for p in book.plans
            )
            assert book.divergence * (1 + 1e-12) >= counted + to_come
            assert epsilon_at(counted + to_come, book.order, 1e-5) <= epsilon
    found = read(path, trusted={"north": KEY.public}, wanted=frozenset(), accountants=BOTH)
    assert found.problems == []
    assert found.spent[0].releases == len(shadow.released)
    assert found.spent[0].left == ledger.state().left


@given(
    st.lists(st.tuples(st.sampled_from(_SCALES), st.integers(1, 60)), min_size=1, max_size=3),
    st.integers(0, 2),
    st.integers(1, 20),
)
@settings(max_examples=60)
def test_every_course_that_was_open_is_covered_by_one_proof(
    plans: list[tuple[float, int]], which: int, made: int
) -> None:
    """The choice to abandon may depend on what was released, so the other choice counts as well."""
    book = Filter.fresh(Budget(1.0))
    second = Certified()
    for number, (scale, count) in enumerate(plans):
        schedule = [{"kind": "a", "event": gaussian(scale), "count": count}]
        decision = book.plan(schedule, 1, second)
        if decision.granted:
            digest = f"{number:064x}"
            book.apply_plan({"plan": digest, "schedule": schedule, "repeats": 1, **decision.record})
    if not book.plans:
        return
    plan = book.plans[which % len(book.plans)]
    event = plan.steps[0].event
    for _ in range(min(made, plan.size - 1)):
        granted = book.release("a", event, second, plan=plan.digest)
        book.apply_release({"kind": "a", "event": event, "plan": plan.digest, **granted.record})
    whole = math.fsum(
        count * renyi(event, book.order, "ADD_OR_REMOVE_ONE") for event, count in book.planned
    )
    if not plan.left or not book.releases:
        return
    decision = book.abandon(plan.digest, second)
    by_renyi = epsilon_at(whole, book.order, 1e-5) <= 1.0
    assert decision.record["filter"] == ("adaptive" if by_renyi else "kept")
