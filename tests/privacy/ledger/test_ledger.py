"""The promises of spending: check, subtract, run; nothing refunds; reload equals live."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from privacy.errors import (
    BudgetExceededError,
    CorruptMessageError,
    CostlierPlanWarning,
    InvalidInputError,
    RefusedError,
)
from privacy.ledger import Budget, Entry, Ledger, Planned, Release, SigningKey
from privacy.ledger.accountant import Accountant, Certified, Cost, RenyiOnly
from privacy.unit import Unit
from tests.privacy.ledger.helpers import KEY, PLAN, gaussian, make, public, reopen, state, ticking

STEP = gaussian(40.0)


class Counting(RenyiOnly):
    """Counts how often the accountant is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def epsilon(self, event: Mapping[str, Any], budget: Budget) -> Cost:
        self.asked += 1
        return super().epsilon(event, budget)

    def divergence(self, event: Mapping[str, Any], order: int, budget: Budget) -> float:
        self.asked += 1
        return super().divergence(event, order, budget)


def kinds(ledger: Ledger) -> list[str]:
    return [entry.kind for entry in ledger.entries()]


def test_a_planned_release_is_spent_without_asking_the_accountant_again() -> None:
    accountant = Counting()
    ledger = Ledger.in_memory(budget=Budget(1.0), accountant=accountant)
    ledger.declare([Planned("update", STEP, 10)], plan=PLAN)
    before = accountant.asked
    for number in range(10):
        entry = ledger.spend(Release("update", STEP, plan=PLAN, round=number))
        assert entry.content["filter"] == "planned"
        assert entry.content["position"] == number
    assert accountant.asked == before
    assert ledger.state().left == 0


def test_an_entry_is_on_disk_before_spend_returns(tmp_path: Path) -> None:
    ledger = make(tmp_path)
    ledger.declare([Planned("update", STEP, 2)], plan=PLAN)
    entry = ledger.spend(Release("update", STEP, plan=PLAN))
    lines = (tmp_path / "north.jsonl").read_bytes().splitlines()
    assert lines[-1] == entry.line
    assert entry.signed_by(KEY.public)


def test_over_budget_is_refused_recorded_and_changes_nothing_else(tmp_path: Path) -> None:
    ledger = make(tmp_path)
    ledger.declare([Planned("update", STEP, 2)], plan=PLAN)
    before = state(ledger)[2:]
    with pytest.raises(BudgetExceededError) as caught:
        ledger.spend(Release("update", gaussian(0.5), plan=PLAN))
    error = caught.value
    assert error.asked > error.allowed == 1.0
    assert "No record was read" in str(error)
    assert kinds(ledger) == ["opening", "plan", "refusal"]
    assert state(ledger)[2:] == before
    assert state(reopen(tmp_path)) == state(ledger)


@pytest.mark.parametrize("accountant", [RenyiOnly(), Certified()], ids=["renyi", "certified"])
@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (gaussian(0.0), r"noise_multiplier=0\.0"),
        (gaussian(math.nan), "noise_multiplier=nan"),
        (
            {"type": "PoissonSampledDpEvent", "sampling_probability": 1.5, "event": STEP},
            r"sampling_probability=1\.5",
        ),
        ({"type": "SelfComposedDpEvent", "count": 2**53 + 1, "event": STEP}, "count=90071992547"),
        ({"type": "UnsupportedDpEvent"}, "UnsupportedDpEvent"),
    ],
)
def test_an_event_that_cannot_be_accounted_for_deep_inside_a_tree_leaves_everything_as_it_was(
    tmp_path: Path, accountant: Accountant, bad: dict[str, Any], told: str
) -> None:
    ledger = Ledger.create(
        tmp_path / "north.jsonl",
        hospital="north",
        key=KEY,
        budget=Budget(1.0),
        accountant=accountant,
        clock=ticking(),
    )
    ledger.declare([Planned("update", STEP, 2)])
    before = state(ledger)
    content = (tmp_path / "north.jsonl").read_bytes()
    inner = {"type": "SelfComposedDpEvent", "count": 3, "event": bad}
    event = {"type": "ComposedDpEvent", "events": [STEP, inner]}
    with pytest.raises(InvalidInputError, match=rf"event\.events\[1\]\.event.*{told}"):
        ledger.spend(Release("update", event))
    with pytest.raises(InvalidInputError, match=rf"event\.events\[1\]\.event.*{told}"):
        ledger.declare([Planned("update", event, 2)])
    assert state(ledger) == before
    assert (tmp_path / "north.jsonl").read_bytes() == content


def test_a_plan_over_budget_is_refused_and_recorded(tmp_path: Path) -> None:
    ledger = make(tmp_path)
    with pytest.raises(BudgetExceededError):
        ledger.declare([Planned("update", gaussian(1.0), 100)], plan=PLAN)
    assert kinds(ledger) == ["opening", "refusal"]
    assert ledger.state().committed == 0.0


def test_unplanned_releases_pass_the_adaptive_filter_until_the_budget_is_gone() -> None:
    ledger = Ledger.in_memory(budget=Budget(1.0), accountant=RenyiOnly())
    granted = 0
    with pytest.raises(BudgetExceededError):
        for number in range(1000):
            entry = ledger.spend(Release("update", STEP, round=number))
            assert entry.content["filter"] == "adaptive"
            granted += 1
    # epsilon at delta 1e-5 of 40 / sqrt(granted): the exact cost of what was granted is in budget.
    assert 50 < granted < 113  # 113 = (40 / 3.7306)^2 by the exact Gaussian
    assert ledger.state().committed <= 1.0


def test_after_a_plan_an_adaptive_release_counts_the_whole_plan() -> None:
    ledger = Ledger.in_memory(budget=Budget(1.0), accountant=RenyiOnly())
    ledger.declare([Planned("update", STEP, 50)], plan=PLAN)
    before = ledger.state().committed
    ledger.spend(Release("statistic", STEP))
    assert ledger.state().adaptive
    assert ledger.state().committed > before
    with pytest.raises(BudgetExceededError):
        for _ in range(60):
            ledger.spend(Release("statistic", STEP))
    for number in range(50):  # what was planned is still granted
        ledger.spend(Release("update", STEP, plan=PLAN, round=number))


def test_a_later_plan_is_adaptive() -> None:
    ledger = Ledger.in_memory(budget=Budget(1.0), accountant=RenyiOnly())
    ledger.declare([Planned("update", STEP, 5)], plan=PLAN)
    second = ledger.declare([Planned("update", STEP, 5)], plan="cd" * 32)
    assert second.content["filter"] == "fixed schedule"
    ledger.spend(Release("update", STEP, plan=PLAN))
    with pytest.warns(CostlierPlanWarning, match="declared together before it"):
        third = ledger.declare([Planned("update", STEP, 5)], plan="ef" * 32)
    assert third.content["filter"] == "adaptive"


def test_a_plan_is_walked_in_its_order_and_what_is_skipped_is_forfeited() -> None:
    ledger = Ledger.in_memory(budget=Budget(1.0), accountant=RenyiOnly())
    count = gaussian(60.0)
    ledger.declare([Planned("update", STEP), Planned("statistic", count)], repeats=3, plan=PLAN)
    ledger.spend(Release("statistic", count, plan=PLAN))
    assert ledger.state().left == 4
    assert ledger.spend(Release("update", STEP, plan=PLAN)).content["position"] == 2
    assert ledger.spend(Release("update", STEP, plan=PLAN)).content["position"] == 4
    assert ledger.spend(Release("update", STEP, plan=PLAN)).content["filter"] == "adaptive"


def test_unprotected_releases_need_a_budget_without_a_promise() -> None:
    nothing = {"type": "NonPrivateDpEvent"}
    with pytest.raises(BudgetExceededError) as caught:
        Ledger.in_memory(budget=Budget(8.0)).spend(Release("update", nothing))
    assert caught.value.asked == math.inf
    open_ = Ledger.in_memory(budget=Budget(math.inf))
    entry = open_.spend(Release("update", nothing, noise_source="none"))
    assert entry.content["filter"] == "unlimited"
    assert entry.content["event"] == nothing
    assert open_.state().committed == math.inf


def test_public_releases_cost_nothing_but_need_a_reason() -> None:
    ledger = Ledger.in_memory(budget=Budget(1.0))
    with pytest.raises(RefusedError, match="needs a reason"):
        ledger.spend(Release("metadata", public()))
    entry = ledger.spend(Release("metadata", public(), reason="declared size, a constant"))
    assert entry.content["filter"] == "public"
    assert ledger.state().committed == 0.0


def test_an_event_that_claims_noise_needs_noise() -> None:
    ledger = Ledger.in_memory(budget=Budget(1.0), accountant=RenyiOnly())
    with pytest.raises(RefusedError, match="no noise is added"):
        ledger.spend(Release("update", STEP, noise_source="none"))


def test_a_clip_norm_that_follows_the_data_is_refused() -> None:
    ledger = Ledger.in_memory(budget=Budget(1.0))
    with pytest.raises(RefusedError, match="median of the batch"):
        ledger.spend(Release("update", STEP, clip_norm=1.0, clip_norm_source="median of the batch"))


def test_seeded_noise_is_refused_by_a_durable_ledger_alone(tmp_path: Path) -> None:
    release = Release("update", STEP, noise_source="seeded")
    with pytest.raises(RefusedError, match="seed"):
        make(tmp_path).spend(release)
    memory = Ledger.in_memory(budget=Budget(1.0), accountant=RenyiOnly())
    assert memory.spend(release).content["noise_source"] == "seeded"
    assert not memory.durable
    assert make(tmp_path, name="south").durable


def test_a_ledger_has_one_unit_because_another_would_go_uncounted() -> None:
    with pytest.raises(RefusedError, match="no budget for the unit"):
        Ledger.in_memory(budget=Budget(1.0)).spend(Release("update", STEP, unit=Unit.HOSPITAL))


def test_attached_bytes_are_kept_and_never_replaced(tmp_path: Path) -> None:
    ledger = make(tmp_path)
    entry = ledger.spend(Release("update", STEP))
    assert [e.sequence for e in ledger.pending()] == [entry.sequence]
    sealed = ledger.attach(entry, b"sealed")
    assert ledger.pending() == ()
    assert ledger.payload(entry) == b"sealed"
    assert ledger.attach(entry, b"sealed").digest == sealed.digest
    with pytest.raises(RefusedError, match="second noise"):
        ledger.attach(entry, b"other noise")
    again = reopen(tmp_path)
    assert again.payload(entry) == b"sealed"
    with pytest.raises(RefusedError, match="second noise"):
        again.attach(entry, b"other noise")


def test_bytes_that_another_process_kept_unrecorded_are_not_replaced(
    tmp_path: Path,
) -> None:
    ledger = make(tmp_path)
    entry = ledger.spend(Release("update", STEP))
    ledger._chain.store.keep_payload(entry.sequence, b"sealed")
    with pytest.raises(RefusedError, match="second noise"):
        ledger.attach(entry, b"other noise")
    assert ledger.payload(entry) == b"sealed"
    assert ledger.attach(entry, b"sealed").kind == "sealed"


def test_bytes_kept_before_a_crash_cut_off_their_entry_are_sent_again(tmp_path: Path) -> None:
    ledger = make(tmp_path)
    entry = ledger.spend(Release("update", STEP))
    ledger._store.keep_payload(entry.sequence, b"sealed")
    again = reopen(tmp_path)
    assert again.payload(entry) == b"sealed"
    assert again.pending() == ()
    assert kinds(again)[-1] == "sealed"


def test_killed_between_entry_and_bytes_means_spent(tmp_path: Path) -> None:
    ledger = make(tmp_path)
    ledger.declare([Planned("update", STEP, 1)], plan=PLAN)
    entry = ledger.spend(Release("update", STEP, plan=PLAN))
    again = reopen(tmp_path)
    assert again.payload(entry) is None
    assert [e.sequence for e in again.pending()] == [entry.sequence]
    assert again.state().left == 0


def test_reload_equals_live(tmp_path: Path) -> None:
    ledger = make(tmp_path)
    ledger.declare([Planned("update", STEP, 3)], plan=PLAN)
    entry = ledger.spend(Release("update", STEP, plan=PLAN))
    ledger.attach(entry, b"sealed")
    ledger.spend(Release("statistic", gaussian(90.0)))
    assert state(reopen(tmp_path)) == state(ledger)


def test_two_handles_share_one_budget(tmp_path: Path) -> None:
    first = make(tmp_path)
    first.declare([Planned("update", STEP, 3)], plan=PLAN)
    second = reopen(tmp_path)
    positions = [
        handle.spend(Release("update", STEP, plan=PLAN)).content["position"]
        for handle in (first, second, first)
    ]
    assert positions == [0, 1, 2]
    assert state(first) == state(second)


def test_a_ledger_is_never_overwritten_and_needs_its_own_key(tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(InvalidInputError, match="never overwritten"):
        make(tmp_path)
    with pytest.raises(InvalidInputError, match="not signed by this key"):
        Ledger.open(tmp_path / "north.jsonl", key=SigningKey.generate())
    with pytest.raises(InvalidInputError, match="no ledger or log at"):
        Ledger.open(tmp_path / "absent.jsonl", key=KEY)


def test_lost_durable_entries_stop_everything(tmp_path: Path) -> None:
    ledger = make(tmp_path)
    ledger.spend(Release("update", STEP))
    path = tmp_path / "north.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(CorruptMessageError, match="lost lines"):
        ledger.spend(Release("update", STEP))


def test_the_private_key_is_nowhere_beside_the_ledger(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "north.key"
    key = SigningKey.create(path)
    ledger = Ledger.create(
        tmp_path / "ledgers" / "north.jsonl", hospital="north", key=key, budget=Budget(1.0)
    )
    ledger.attach(ledger.spend(Release("x", public(), reason="constant")), b"bytes")
    seed = key._private.private_bytes_raw()
    pem = path.read_bytes().splitlines()[1]
    for file in (tmp_path / "ledgers").rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert seed not in content and seed.hex().encode() not in content
            assert pem not in content


def test_a_head_is_signed_and_names_everything_before_it(tmp_path: Path) -> None:
    ledger = make(tmp_path)
    head = ledger.head()
    assert head.signed_by(KEY.public)
    assert head.size == 1
    ledger.spend(Release("update", STEP))
    assert ledger.head().root != head.root
    assert ledger.head().ledger == head.ledger


def test_entries_keep_what_happened_not_what_it_cost() -> None:
    ledger = Ledger.in_memory(budget=Budget(1.0), accountant=RenyiOnly())
    entry: Entry = ledger.spend(
        Release("tuning", STEP, round=7, clip_norm=0.5, details={"cohort": "ab12"})
    )
    assert entry.content["event"] == STEP
    assert entry.content["clip_norm"] == 0.5
    assert entry.content["round"] == 7
    assert entry.content["details"] == {"cohort": "ab12"}


def test_a_unit_is_told_by_its_word_and_held_as_its_member() -> None:
    told = Budget.from_json(Budget(1.0, unit=Unit.HOSPITAL).to_json())
    assert told.unit is Unit.HOSPITAL and told.to_json()["unit"] == "hospital"
    with pytest.raises(InvalidInputError, match="unit='ward' to be one of patient, hospital"):
        Budget.from_json(told.to_json() | {"unit": "ward"})
    with pytest.raises(InvalidInputError, match="one of patient, hospital"):
        Budget.from_json(told.to_json() | {"unit": 7})
