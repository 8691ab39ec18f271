"""The promises of ``aggregation.roles.journal``."""

import os
from pathlib import Path

import pytest

from aggregation.roles.journal import Journal
from aggregation.roles.kept import Kept
from privacy.errors import RefusedError
from tests.aggregation.power import DiedError, Disk
from tests.privacy.test_files import disk_full_at

RECORDS = [b"one", b"", bytes(5000), b"four"]


def contents(path: Path) -> list[bytes]:
    journal = Journal(path)
    found = [record for _, record in journal.records()]
    journal.close()
    return found


def test_records_are_found_again_whole_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "run" / "kept"
    journal = Journal(path)
    places = [journal.append(record) for record in RECORDS]
    assert [journal.read(place) for place in places] == RECORDS
    assert [*journal.records()] == [*zip(places, RECORDS, strict=True)]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    with pytest.raises(RefusedError, match="One process runs a party"):
        Journal(path)
    journal.close()
    path.chmod(0o644)  # by whoever copied it
    assert contents(path) == RECORDS
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_a_crash_cut_short_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    journal = Journal(path)
    ends = [0]
    for record in RECORDS:
        journal.append(record)
        ends.append(path.stat().st_size)
    journal.close()
    whole = path.read_bytes()
    for cut in [*range(ends[2]), ends[2] + 1, ends[3] - 1, ends[3], len(whole) - 1, len(whole)]:
        path.write_bytes(whole[:cut])
        assert contents(path) == RECORDS[: sum(end <= cut for end in ends) - 1], cut
        assert path.stat().st_size == max(end for end in ends if end <= cut)
    for place in (0, 9, 41, ends[1] + 3):  # a page that was never written, or a byte that turned
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert contents(path) == RECORDS[: sum(end <= place for end in ends) - 1]
    path.write_bytes(whole[: ends[2]] + b"\xff" * 100)  # a length beyond all files
    assert contents(path) == RECORDS[:2]


def test_what_did_not_wait_is_safe_with_the_next_that_does(tmp_path: Path) -> None:
    path, disk = tmp_path / "kept", Disk(tmp_path)
    with disk.dying():
        journal = Journal(path)
        journal.append(b"one")
        journal.append(b"two", durable=False)
        journal.close()
        disk.loses()
        assert contents(path) == [b"one"]
        journal = Journal(path)
        journal.append(b"two", durable=False)
        journal.append(b"three")
        journal.append(b"four", durable=False)
        journal.close()
        disk.loses()
        assert contents(path) == [b"one", b"two", b"three"]


def test_after_a_write_that_failed_nothing_more_is_appended(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    journal = Journal(path)
    journal.append(b"one")
    with disk_full_at(path.stat().st_size + 10), pytest.raises(RefusedError, match="can't be writ"):
        journal.append(bytes(1000))
    with pytest.raises(RefusedError, match="could not be written before"):
        journal.append(b"two")
    journal.close()
    assert contents(path) == [b"one"]


def test_a_file_that_was_changed_meanwhile_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    journal = Journal(path)
    place = journal.append(b"one")
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    with pytest.raises(RefusedError, match="was changed at byte 0"):
        journal.read(place)
    journal.close()
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(RefusedError, match="symbolic link"):
        Journal(tmp_path / "link")


def test_a_process_that_died_has_no_more_to_say(tmp_path: Path) -> None:
    """Of the machine that the other tests use: the dead write nothing."""
    disk = Disk(tmp_path)
    with disk.dying(1):
        journal = Journal(tmp_path / "kept")
        journal.append(b"one")
        for _ in range(2):
            with pytest.raises(DiedError):
                journal.append(b"two")
        journal.close()
    assert disk.writes == 2
    assert contents(tmp_path / "kept") == [b"one"]


def test_of_what_may_be_lost_one_thing_at_most_is(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    with disk.dying():
        kept = Kept(tmp_path / "run")
        for name in "abc":
            kept.put({name: b"told"}, soon=True)
        kept.close()
    disk.loses()
    again = Kept(tmp_path / "run")
    assert [again.get(name) for name in "abc"] == [b"told", b"told", None]
    again.close()
