"""A ledger's whole life as a state machine: spend, refuse, crash, resume, compete, turn clocks."""

import tempfile
import warnings
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from privacy.errors import (
    BudgetExceededError,
    CostlierPlanWarning,
    InvalidInputError,
    RefusedError,
)
from privacy.ledger import Budget, Entry, Ledger, Planned, Release
from privacy.ledger.accountant import RenyiOnly
from privacy.ledger.audit.read import read
from privacy.ledger.log.store import FileStore
from tests.privacy.ledger.helpers import KEY, gaussian, public, state
from tests.privacy.ledger.test_verify import BOTH

DIGESTS = ["ab" * 32, "cd" * 32]


class Crash(BaseException):
    """The process ends here."""


class LedgerLife(RuleBasedStateMachine):
    """Two handles on one file; either may crash at any byte of a line that it writes."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "north.jsonl"
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.acknowledged: list[str] = []
        self.sent: dict[int, bytes] = {}
        self.waiting: list[Entry] = []
        self.spent = 0.0
        self.declared: dict[str, str] = {}
        self.released = 0

    def clock(self) -> datetime:
        return self.now

    def opened(self) -> Ledger:
        return Ledger.open(self.path, key=KEY, accountant=RenyiOnly(), clock=self.clock)

    @initialize()
    def start(self) -> None:
        first = Ledger.create(
            self.path,
            hospital="north",
            key=KEY,
            budget=Budget(1.0),
            accountant=RenyiOnly(),
            clock=self.clock,
        )
        self.handles = [first, self.opened()]

    @rule(seconds=st.integers(-1000, 1000))
    def turn_the_clock(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(
        which=st.integers(0, 1),
        count=st.integers(1, 5),
        scale=st.sampled_from([5.0, 40.0]),
        plan=st.sampled_from(DIGESTS),
    )
    def declare(self, which: int, count: int, scale: float, plan: str) -> None:
        again = plan in self.declared
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", CostlierPlanWarning)
                entry = self.handles[which].declare(
                    [Planned("update", gaussian(scale), count)], plan=plan
                )
        except BudgetExceededError:
            assert not again
            return
        except RefusedError:  # another schedule, or it was abandoned
            assert again
            return
        if again:
            assert entry.digest == self.declared[plan]
            return
        self.declared[plan] = entry.digest
        self.acknowledged.append(entry.digest)

    @precondition(lambda self: bool(self.declared))
    @rule(which=st.integers(0, 1), plan=st.sampled_from(DIGESTS))
    def abandon(self, which: int, plan: str) -> None:
        before = self.handles[which].state().committed
        try:
            entry = self.handles[which].abandon(plan, reason="the run broke off")
        except InvalidInputError:
            return
        if entry.digest in self.acknowledged:
            return
        self.acknowledged.append(entry.digest)
        # Freed: what is set aside may shrink; by Rényi it may also be told as more than before.
        after = self.handles[which].state().committed
        assert entry.content["filter"] == "adaptive" or after <= before
        self.spent = min(self.spent, after)

    @rule(
        which=st.integers(0, 1),
        scale=st.sampled_from([2.0, 5.0, 40.0, 60.0]),
        plan=st.sampled_from([None, *DIGESTS]),
    )
    def spend(self, which: int, scale: float, plan: str | None) -> None:
        try:
            entry = self.handles[which].spend(Release("update", gaussian(scale), plan=plan))
        except RefusedError:
            return
        self.acknowledged.append(entry.digest)
        self.waiting.append(entry)
        self.released += 1

    @rule(which=st.integers(0, 1))
    def release_something_public(self, which: int) -> None:
        entry = self.handles[which].spend(Release("size", public(), reason="declared"))
        self.acknowledged.append(entry.digest)

    @precondition(lambda self: bool(self.waiting))
    @rule(which=st.integers(0, 1), payload=st.binary(max_size=20))
    def attach(self, which: int, payload: bytes) -> None:
        entry = self.waiting.pop()
        self.acknowledged.append(self.handles[which].attach(entry, payload).digest)
        self.sent[entry.sequence] = payload

    @precondition(lambda self: bool(self.sent))
    @rule(which=st.integers(0, 1), payload=st.binary(min_size=21, max_size=22))
    def a_second_noise_is_refused(self, which: int, payload: bytes) -> None:
        sequence = min(self.sent)
        entry = next(e for e in self.handles[which].entries() if e.sequence == sequence)
        try:
            self.handles[which].attach(entry, payload)
        except RefusedError:
            return
        raise AssertionError("a second noise was accepted")

    @rule(
        which=st.integers(0, 1),
        share=st.floats(0.0, 1.0),
        scale=st.sampled_from([5.0, 40.0]),
        other_goes_on=st.booleans(),
    )
    def crash_while_writing(
        self, which: int, share: float, scale: float, other_goes_on: bool
    ) -> None:
        handle = self.handles[which]
        store = handle._store
        assert isinstance(store, FileStore)

        def torn(line: bytes) -> None:
            with self.path.open("ab") as file:
                file.write(line[: int(share * len(line))])
            raise Crash

        with suppress(Crash), mock.patch.object(store, "append", torn):
            handle.spend(Release("update", gaussian(scale)))
        if other_goes_on:
            self.release_something_public(1 - which)
        self.handles[which] = self.opened()

    @rule(which=st.integers(0, 1))
    def replay(self, which: int) -> None:
        live = state(self.handles[which])
        self.handles[which] = self.opened()
        assert state(self.handles[which]) == live

    @invariant()
    def what_is_spent_never_falls_and_never_passes_the_budget(self) -> None:
        if not hasattr(self, "handles"):
            return
        books = [handle.state() for handle in self.handles]
        assert books[0] == books[1]
        assert self.spent <= books[0].committed <= 1.0
        assert books[0].releases == self.released
        self.spent = books[0].committed

    def teardown(self) -> None:
        if self.path.exists():
            kept = [entry.digest for entry in self.opened().entries()]
            places = [kept.index(digest) for digest in self.acknowledged]
            assert places == sorted(places)
            found = read(
                self.path, trusted={"north": KEY.public}, wanted=frozenset(), accountants=BOTH
            )
            assert found.problems == []
            for handle in self.handles:
                for entry in handle.entries():
                    if entry.sequence in self.sent:
                        assert handle.payload(entry) == self.sent[entry.sequence]
        self.folder.cleanup()


def test_the_life_of_a_ledger() -> None:
    run_state_machine_as_test(
        LedgerLife, settings=settings(max_examples=30, stateful_step_count=20)
    )
