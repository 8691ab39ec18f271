"""The store's promises: one writer at a time under whatever name, and errors in words."""

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from privacy.errors import CorruptMessageError, InpatientError, InvalidInputError, RefusedError
from privacy.files import lock_file
from privacy.ledger import Ledger, Release
from privacy.ledger.log import store as module
from privacy.ledger.log.store import LONGEST_LINE, FileStore
from tests.privacy.ledger.helpers import KEY, gaussian, make, reopen, state
from tests.privacy.test_files import disk_full_at, lay

ROOT = Path(__file__).resolve().parents[3]
STEP = gaussian(40.0)


def test_a_ledger_needs_no_other_file_that_could_be_deleted(tmp_path: Path) -> None:
    make(tmp_path).spend(Release("update", STEP))
    assert [path.name for path in tmp_path.iterdir()] == ["north.jsonl"]


def test_appending_keeps_lines_and_a_second_store_sees_them(tmp_path: Path) -> None:
    first = FileStore.create(tmp_path / "log")
    second = FileStore.open(tmp_path / "log")
    first.append(b"one")
    second.append(b"two")
    assert list(first.lines()) == list(second.lines()) == [b"one", b"two"]
    assert list(first.lines(4)) == [b"two"]
    assert list(first.lines(8)) == []


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "broken link", "loop"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    lay(kind, tmp_path / "north.jsonl")
    began = time.monotonic()
    with pytest.raises(InpatientError):
        reopen(tmp_path)
    with pytest.raises(InvalidInputError, match="never overwritten"):
        make(tmp_path)
    assert time.monotonic() - began < 2


ALIASED = """
import sys
from pathlib import Path
from privacy.errors import InpatientError
from privacy.ledger import Ledger, Release, SigningKey
from privacy.ledger.accountant import RenyiOnly
key = SigningKey.load(Path(sys.argv[2]))
try:
    ledger = Ledger.open(Path(sys.argv[1]), key=key, accountant=RenyiOnly())
    ledger.spend(Release("update", {"type": "GaussianDpEvent", "noise_multiplier": 40.0}))
except InpatientError as error:
    print(error)
"""


@pytest.mark.parametrize("kind", ["symbolic", "hard"])
def test_another_process_through_another_name_is_refused_and_forks_nothing(
    tmp_path: Path, kind: str
) -> None:
    from privacy.ledger import Budget, SigningKey

    key = SigningKey.create(tmp_path / "key")
    path, alias = tmp_path / "north.jsonl", tmp_path / "elsewhere" / "north.jsonl"
    ledger = Ledger.create(path, hospital="north", key=key, budget=Budget(1.0))
    alias.parent.mkdir()
    if kind == "hard":
        alias.hardlink_to(path)
    else:
        alias.symlink_to(path)
    done = subprocess.run(
        [sys.executable, "-c", ALIASED, str(alias), str(tmp_path / "key")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    told = {"symbolic": "symbolic link", "hard": "2 names"}[kind]
    assert told in done.stdout
    if kind == "hard":  # the first name is no better than the second
        with pytest.raises(RefusedError, match="2 names"):
            ledger.spend(Release("update", STEP))
        alias.unlink()
    assert ledger.spend(Release("update", STEP)).sequence == 1


def test_a_folder_may_be_a_link_because_both_ways_lead_to_one_file(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    ledger = make(tmp_path / "real")
    other = reopen(tmp_path / "link")
    other.spend(Release("update", STEP))
    ledger.spend(Release("update", STEP))
    assert state(other) == state(ledger)
    assert other.size == 3


def test_a_file_put_in_its_place_is_not_taken_for_it(tmp_path: Path) -> None:
    ledger = make(tmp_path)
    path = tmp_path / "north.jsonl"
    copy = tmp_path / "copy"
    copy.write_bytes(path.read_bytes())
    ledger.spend(Release("update", STEP))
    copy.replace(path)  # a restored backup, under the feet of who has the ledger open
    with pytest.raises(RefusedError, match="another file"):
        ledger.spend(Release("update", STEP))
    with pytest.raises(RefusedError, match="another file"):
        list(ledger.entries())
    path.unlink()
    with pytest.raises(RefusedError):
        ledger.head()


def test_a_file_that_lost_lines_is_not_gone_on_with(tmp_path: Path) -> None:
    ledger = make(tmp_path)
    ledger.spend(Release("update", STEP))
    path = tmp_path / "north.jsonl"
    os.truncate(path, path.stat().st_size - 10)
    with pytest.raises(CorruptMessageError, match="lost lines"):
        ledger.spend(Release("update", STEP))


def test_a_file_exchanged_between_opening_and_locking_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore.create(tmp_path / "log")
    (tmp_path / "other").write_bytes(b"")

    def slow(descriptor: int, *, seconds: float) -> None:
        lock_file(descriptor, seconds=seconds)
        (tmp_path / "other").replace(tmp_path / "log")

    monkeypatch.setattr(module, "lock_file", slow)
    with pytest.raises(RefusedError, match="another file was put in its place"):
        store.append(b"line")
    assert (tmp_path / "log").read_bytes() == b""


def test_what_cannot_be_locked_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    ledger = make(tmp_path)
    before = (tmp_path / "north.jsonl").read_bytes()

    def none(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(RefusedError, match="file system can't lock it"):
        ledger.spend(Release("update", STEP))
    with pytest.raises(RefusedError, match="file system can't lock it"):
        reopen(tmp_path)
    with pytest.raises(RefusedError, match="file system can't lock it"):
        make(tmp_path, name="south")
    assert (tmp_path / "north.jsonl").read_bytes() == before


def test_a_lock_that_another_holds_is_waited_for_and_then_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOCK_SECONDS", 0.05)
    first = FileStore.create(tmp_path / "log")
    second = FileStore.open(tmp_path / "log")
    failed: list[str] = []

    def attempt(store: FileStore) -> None:
        try:
            store.append(b"line")
        except RefusedError as error:
            failed.append(str(error))

    with first.lock():
        first.append(b"mine")  # who holds it may take it again
        attempt(second)
        thread = threading.Thread(target=attempt, args=(first,))
        thread.start()
        thread.join()
    assert len(failed) == 2
    assert all("has held" in told for told in failed)
    second.append(b"theirs")
    assert list(first.lines()) == [b"mine", b"theirs"]


@pytest.mark.parametrize("shared", [True, False], ids=["one store", "a store each"])
def test_threads_exclude_each_other(tmp_path: Path, shared: bool) -> None:
    FileStore.create(tmp_path / "log")
    common = FileStore.open(tmp_path / "log")
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        store = common if shared else FileStore.open(tmp_path / "log")
        for _ in range(20):
            with store.lock():
                inside += 1
                most = max(most, inside)
                time.sleep(0.0005)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_a_lock_is_let_go_when_its_holder_fails(tmp_path: Path) -> None:
    store = FileStore.create(tmp_path / "log")
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), store.lock():
            raise ZeroDivisionError
    FileStore.open(tmp_path / "log").append(b"line")
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before


def test_a_line_too_long_is_neither_written_nor_read(tmp_path: Path) -> None:
    store = FileStore.create(tmp_path / "log")
    store.append(bytes(LONGEST_LINE).replace(b"\0", b"x"))
    with pytest.raises(InvalidInputError, match="longest"):
        store.append(bytes(LONGEST_LINE + 1).replace(b"\0", b"x"))
    assert [len(line) for line in store.lines()] == [LONGEST_LINE]
    with (tmp_path / "log").open("ab") as file:
        file.truncate(1 << 40)  # a terabyte of zeros without a newline
    began = time.monotonic()
    with pytest.raises(CorruptMessageError, match="no writer of ours"):
        list(store.lines())
    with pytest.raises(CorruptMessageError, match="no writer of ours"):
        store.set_aside(LONGEST_LINE + 1)
    assert time.monotonic() - began < 2


def test_two_torn_lines_at_one_place_are_both_kept(tmp_path: Path) -> None:
    store = FileStore.create(tmp_path / "log")
    names = []
    for torn in (b"on", b"tw"):
        with (tmp_path / "log").open("ab") as file:
            file.write(torn)
        found = store.set_aside(0)
        assert found is not None
        assert found.content == (tmp_path / found.moved_to).read_bytes() == torn
        names.append(found.moved_to)
    assert len(set(names)) == 2
    assert store.set_aside(0) is None
    assert list(store.lines()) == []


def test_a_store_that_failed_once_changes_nothing_more(tmp_path: Path) -> None:
    store = FileStore.create(tmp_path / "log")
    store.append(b"one")
    with disk_full_at(5), pytest.raises(RefusedError, match="can't be written"):
        store.append(b"two")
    before = (tmp_path / "log").read_bytes()
    with pytest.raises(RefusedError, match="failed before"):
        store.append(b"two")
    with pytest.raises(RefusedError, match="failed before"):
        store.set_aside(4)
    assert (tmp_path / "log").read_bytes() == before
    again = FileStore.open(tmp_path / "log")
    assert again.set_aside(4) is not None
    again.append(b"two")
    assert list(again.lines()) == [b"one", b"two"]


def _keep(folder: Path) -> None:
    FileStore.open(folder / "north.jsonl").keep_payload(1, b"x")


@pytest.mark.parametrize(
    "asked",
    [
        lambda folder: make(folder, name="south"),
        lambda folder: make(folder / "new", name="south"),
        reopen,
        _keep,
    ],
    ids=["create", "create in a new folder", "open", "keep a payload"],
)
@pytest.mark.parametrize("reason", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EIO])
def test_what_the_disk_refuses_is_said_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Callable[[Path], object], reason: int
) -> None:
    make(tmp_path)
    real = os.open

    def refusing(path: str, flags: int, *rest: int) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(reason, os.strerror(reason), path)
        return real(path, flags, *rest)

    monkeypatch.setattr(os, "open", refusing)
    with pytest.raises(RefusedError, match=os.strerror(reason)):
        asked(tmp_path)


def test_a_folder_that_may_not_be_entered_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RefusedError, match="file stands where its folder"):
        make(tmp_path / "file")
    with pytest.raises(InpatientError):
        reopen(tmp_path / "file")
    with pytest.raises(RefusedError):
        Ledger.open(tmp_path / ("x" * 300), key=KEY)
    with pytest.raises(RefusedError, match="no file can have this name"):
        Ledger.open(tmp_path / "a\0b", key=KEY)


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_a_payload_that_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    ledger = make(tmp_path)
    entry = ledger.spend(Release("update", STEP))
    place = tmp_path / "north.payloads" / f"{entry.sequence:09d}.bin"
    place.parent.mkdir()
    lay(kind, place)
    with pytest.raises(RefusedError, match="not a regular file"):
        ledger.payload(entry)
    with pytest.raises(RefusedError, match="not a regular file"):
        ledger.attach(entry, b"sealed")


def test_a_payload_too_large_is_neither_kept_nor_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LARGEST_PAYLOAD", 10)
    ledger = make(tmp_path)
    entry = ledger.spend(Release("update", STEP))
    with pytest.raises(InvalidInputError, match="largest has 10"):
        ledger.attach(entry, bytes(11))
    place = tmp_path / "north.payloads" / f"{entry.sequence:09d}.bin"
    place.parent.mkdir()
    place.write_bytes(bytes(11))
    with pytest.raises(RefusedError, match="larger than the 10 bytes"):
        ledger.payload(entry)


def test_two_who_make_a_log_at_once_get_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FileStore.open_or_create(tmp_path / "log").append(b"one")
    monkeypatch.setattr(Path, "exists", lambda _: False)  # the other was faster
    again = FileStore.open_or_create(tmp_path / "log")
    again.append(b"two")
    assert list(again.lines()) == [b"one", b"two"]
