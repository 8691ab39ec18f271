"""Crashes, full disks and competing processes: nothing that was promised is lost or doubled."""

import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from privacy.errors import BudgetExceededError, CorruptMessageError, RefusedError
from privacy.ledger import Budget, Ledger, Planned, Release, SigningKey, close
from privacy.ledger.audit.read import read
from tests.privacy.ledger.helpers import KEY, PLAN, gaussian, make, reopen, state
from tests.privacy.ledger.test_verify import BOTH

ROOT = Path(__file__).resolve().parents[3]
STEP = gaussian(40.0)


def problems(path: Path) -> list[str]:
    """What a reader without the key finds wrong."""
    found = read(path, trusted={"north": KEY.public}, wanted=frozenset(), accountants=BOTH)
    return [problem.reason for problem in found.problems]


@contextmanager
def disk_full_at(size: int) -> Iterator[None]:
    """No file may grow beyond ``size`` bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def kill_run(folder: Path, trials: int, seed: int) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.privacy.ledger.killed", str(folder), str(trials), str(seed)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, int] = json.loads(done.stdout)
    return found


def check_kills(found: dict[str, int]) -> None:
    assert found["spent"] >= found["trials"] // 2
    for promise in ("lost", "changed", "orphans", "uncounted"):
        assert found[promise] == 0, promise


def test_kill_minus_nine_at_a_hundred_moments(tmp_path: Path) -> None:
    check_kills(kill_run(tmp_path, 100, seed=1))
    assert problems(tmp_path / "north.jsonl") != []  # not KEY's ledger: the reader does look


@pytest.mark.nightly
def test_kill_minus_nine_at_a_thousand_moments(tmp_path: Path) -> None:
    check_kills(kill_run(tmp_path, 1_000, seed=2))


@pytest.mark.parametrize("kept", [0, 1, 200, -1])
def test_a_torn_last_line_is_set_aside_and_said(tmp_path: Path, kept: int) -> None:
    ledger = make(tmp_path)
    ledger.declare([Planned("update", STEP, 3)], plan=PLAN)
    before = state(ledger)
    path = tmp_path / "north.jsonl"
    whole = path.read_bytes()
    line = ledger.spend(Release("update", STEP, plan=PLAN)).line
    torn = line if kept == -1 else line[:kept]
    path.write_bytes(whole + torn)
    if torn:
        assert any("torn" in reason for reason in problems(path))
    again = reopen(tmp_path)
    assert problems(path) == []
    assert state(again)[2:] == before[2:]
    if torn:
        last = list(again.entries())[-1]
        assert last.kind == "recovered"
        assert (tmp_path / str(last.content["moved_to"])).read_bytes() == torn
    assert again.spend(Release("update", STEP, plan=PLAN)).content["position"] == 0


def test_a_whole_line_that_is_not_an_entry_is_never_recovered(tmp_path: Path) -> None:
    make(tmp_path)
    path = tmp_path / "north.jsonl"
    path.write_bytes(path.read_bytes() + b"{}\n")
    with pytest.raises(CorruptMessageError):
        reopen(tmp_path)


def test_a_ledger_whose_making_was_cut_short_says_so(tmp_path: Path) -> None:
    make(tmp_path)
    path = tmp_path / "north.jsonl"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(CorruptMessageError, match="no whole line"):
        reopen(tmp_path)


@pytest.mark.parametrize("room", [0, 1, 100])
def test_a_full_disk_refuses_and_the_next_opening_goes_on(tmp_path: Path, room: int) -> None:
    ledger = make(tmp_path)
    ledger.declare([Planned("update", STEP, 3)], plan=PLAN)
    before = state(ledger)
    path = tmp_path / "north.jsonl"
    with disk_full_at(path.stat().st_size + room):
        with pytest.raises(RefusedError, match="can't be written"):
            ledger.spend(Release("update", STEP, plan=PLAN))
        with pytest.raises(RefusedError, match="failed before"):
            ledger.spend(Release("update", STEP, plan=PLAN))
    with pytest.raises(RefusedError, match="failed before"):
        ledger.spend(Release("update", STEP, plan=PLAN))
    again = reopen(tmp_path)
    assert state(again)[2:] == before[2:]
    assert again.spend(Release("update", STEP, plan=PLAN)).content["position"] == 0
    assert problems(path) == []


def test_a_disk_without_room_for_the_bytes_keeps_the_release_spent(tmp_path: Path) -> None:
    ledger = make(tmp_path)
    ledger.declare([Planned("update", STEP, 1)], plan=PLAN)
    entry = ledger.spend(Release("update", STEP, plan=PLAN))
    with disk_full_at(1000), pytest.raises(RefusedError, match="must not be sent"):
        ledger.attach(entry, bytes(5000))
    again = reopen(tmp_path)
    assert again.payload(entry) is None
    assert [e.sequence for e in again.pending()] == [entry.sequence]
    assert again.state().left == 0


def waits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each wait for the disk."""
    found: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        found.append(descriptor)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return found


def test_what_is_written_together_waits_once_and_is_all_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, other = make(tmp_path), reopen(tmp_path)
    found, path = waits(monkeypatch), tmp_path / "north.jsonl"
    before = path.read_bytes()
    with ledger.together():
        made = [ledger.spend(Release("update", STEP)) for _ in range(3)]
        with ledger.together():  # the outermost writes
            ledger.attach(made[0], b"bytes")
        assert [e.kind for e in ledger.entries()][-4:] == ["release"] * 3 + ["sealed"]
        assert ledger.payload(made[0]) == b"bytes"
        assert path.read_bytes() == before
        assert found == []
        size = ledger.head().size
    assert len(found) == 3  # payload, its folder, lines
    assert other.head().size == size == reopen(tmp_path).size
    assert other.payload(made[0]) == b"bytes"
    assert state(other) == state(ledger)
    assert problems(path) == []


def test_a_caller_that_fails_on_the_way_loses_nothing_that_was_granted(tmp_path: Path) -> None:
    ledger = make(tmp_path)
    with pytest.raises(BudgetExceededError), ledger.together():
        first = ledger.spend(Release("update", STEP))
        ledger.spend(Release("update", gaussian(0.1)))
    kinds = [e.kind for e in reopen(tmp_path).entries()]
    assert kinds[-2:] == ["release", "refusal"]
    ledger.attach(first, b"bytes")
    assert state(reopen(tmp_path)) == state(ledger)


@pytest.mark.parametrize("large", [False, True], ids=["lines", "a payload"])
def test_what_could_not_be_written_together_counts_nowhere(tmp_path: Path, large: bool) -> None:
    ledger = make(tmp_path)
    entry = ledger.spend(Release("update", STEP))
    path, before = tmp_path / "north.jsonl", state(ledger)
    room = 10**6 if large else path.stat().st_size + 10
    refused = "must not be sent" if large else "can't be written"
    with disk_full_at(room), pytest.raises(RefusedError, match=refused), ledger.together():
        ledger.attach(entry, bytes(2 * 10**6 if large else 10))
        ledger.spend(Release("update", STEP))
    for use in (ledger.head, ledger.state, lambda: ledger.spend(Release("update", STEP))):
        with pytest.raises(RefusedError, match="failed before"):
            use()
    again = reopen(tmp_path)
    assert state(again)[:2] == before[:2] or not large
    assert [e.kind for e in again.entries()].count("release") == 1
    assert [e.sequence for e in again.pending()] == ([entry.sequence] if large else [])
    assert problems(path) == []


def test_a_run_ends_with_as_many_waits_as_ledgers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"h{number}" for number in range(6)]
    keys = {name: SigningKey.generate() for name in names}
    public = {name: key.public for name, key in keys.items()}
    ledgers = [
        Ledger.create(
            tmp_path / f"{name}.jsonl", hospital=name, key=key, budget=Budget(1.0), enrolled=public
        )
        for name, key in keys.items()
    ]
    found = waits(monkeypatch)
    heads = close(ledgers)
    assert len(found) == 3 * len(names)  # its head, all others' heads, and what they said of it
    for ledger, head in zip(ledgers, heads, strict=True):
        assert ledger.countersigned == head
        assert len(ledger.witnessed) == len(names) - 1


def test_a_read_only_disk_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = make(tmp_path)
    real = os.open

    def read_only(path: str, flags: int, *rest: int) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return real(path, flags, *rest)

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(RefusedError, match="Read-only file system"):
        ledger.spend(Release("update", STEP))
    with pytest.raises(RefusedError, match="Read-only file system"):
        make(tmp_path, name="south")


def test_a_failing_disk_is_never_taken_for_a_durable_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = make(tmp_path)

    def failing(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        with pytest.raises(RefusedError, match="Input/output error"):
            ledger.spend(Release("update", STEP))
    with pytest.raises(RefusedError, match="failed before"):
        ledger.spend(Release("update", STEP))
    # The line may have reached the disk or not; here it did, and then it counts as spent.
    assert reopen(tmp_path).state().releases == 1


SPENDER = """
import sys
from pathlib import Path
from privacy.errors import BudgetExceededError
from privacy.ledger import Ledger, Release, SigningKey
from privacy.ledger.accountant import RenyiOnly
key = SigningKey.load(Path(sys.argv[2]))
ledger = Ledger.open(Path(sys.argv[1]), key=key, accountant=RenyiOnly())
granted = 0
try:
    while True:
        ledger.spend(Release("update", {"type": "GaussianDpEvent", "noise_multiplier": 40.0}))
        granted += 1
except BudgetExceededError:
    print(granted)
"""


def test_two_processes_never_spend_the_last_of_it_twice(tmp_path: Path) -> None:
    from privacy.ledger import Budget, SigningKey
    from privacy.ledger.accountant import RenyiOnly

    alone = Ledger.in_memory(budget=Budget(1.0), accountant=RenyiOnly())
    most = 0
    with pytest.raises(BudgetExceededError):
        while True:
            alone.spend(Release("update", STEP))
            most += 1
    path, secret = tmp_path / "north.jsonl", tmp_path / "north.key"
    key = SigningKey.create(secret)
    Ledger.create(path, hospital="north", key=key, budget=Budget(1.0), accountant=RenyiOnly())
    spenders = [
        subprocess.Popen(
            [sys.executable, "-c", SPENDER, str(path), str(secret)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    granted = [int(spender.communicate()[0]) for spender in spenders]
    assert sum(granted) == most
    found = read(path, trusted={"north": key.public}, wanted=frozenset(), accountants=BOTH)
    assert found.problems == []
    assert found.spent[0].releases == most
