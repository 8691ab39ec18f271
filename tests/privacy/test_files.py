"""Files laid by an adversary, cut by a crash, refused by a disk: no hang, no half a file."""

import errno
import os
import resource
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from privacy.files import (
    create_durably,
    identity_of,
    lock_file,
    make_folder,
    open_regular,
    read_regular,
    write_durably,
)


@contextmanager
def disk_full_at(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def lay(kind: str, path: Path) -> None:
    """Put something at a path that is no regular file."""
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "socket":
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(path.name)  # relative: a socket's path is short
        case "device":
            path.symlink_to("/dev/zero")
        case "broken link":
            path.symlink_to(path.with_name("nowhere"))
        case "loop":
            path.symlink_to(path)


@pytest.mark.parametrize("kind", ["pipe", "folder", "socket", "device", "broken link", "loop"])
def test_nothing_but_a_regular_file_is_read_and_nothing_is_waited_for(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "laid"
    lay(kind, path)
    with pytest.raises(OSError) as caught:
        read_regular(path, largest=100)
    assert caught.value.strerror
    with pytest.raises(OSError):
        open_regular(path, os.O_RDWR | os.O_NOFOLLOW)


@pytest.mark.parametrize("name", ["a\0b", "\udcff" * 300, "x" * 300])
def test_a_name_that_no_file_can_have_is_an_error_of_the_same_kind(
    tmp_path: Path, name: str
) -> None:
    for tried in (
        lambda: read_regular(tmp_path / name, largest=1),
        lambda: make_folder(tmp_path / name),
        lambda: create_durably(tmp_path / name, b""),
    ):
        with pytest.raises(OSError) as caught:
            tried()
        assert caught.value.strerror


def test_a_file_is_read_to_its_cap_and_not_beyond(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_regular(path, largest=5) == b"12345"
    with pytest.raises(OSError, match="larger than the 4 bytes"):
        read_regular(path, largest=4)
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match="larger"):
        read_regular(path, largest=1 << 20)


def test_a_file_that_lies_about_its_size_is_counted(tmp_path: Path) -> None:
    lying = Path("/proc/self/status")
    assert lying.stat().st_size == 0
    with pytest.raises(OSError, match="larger"):
        read_regular(lying, largest=10)


def test_a_link_may_be_read_but_not_where_it_is_forbidden(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link", largest=10) == b"content"
    with pytest.raises(OSError, match="symbolic link"):
        open_regular(tmp_path / "link", os.O_RDONLY | os.O_NOFOLLOW)


def test_a_replaced_file_is_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_durably(path, b"old", mode=0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    write_durably(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_durably(path, b"old")
    with disk_full_at(10):
        with pytest.raises(OSError, match="File too large"):
            write_durably(path, bytes(1000))
        with pytest.raises(OSError, match="File too large"):
            create_durably(tmp_path / "other", bytes(1000))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_stands_there_is_not_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(FileExistsError):
        create_durably(path, b"new")
    assert path.read_bytes() == b"old"
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        create_durably(tmp_path / "link", b"new")
    assert not (tmp_path / "nowhere").exists()


def test_replacing_a_folder_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_durably(tmp_path / "folder", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_write_is_not_acknowledged_before_file_and_folder_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bool] = []

    def spy(descriptor: int) -> None:
        synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))

    monkeypatch.setattr(os, "fsync", spy)
    write_durably(tmp_path / "file", b"content")
    assert synced[0] is False
    assert synced[-1] is True


def test_the_lock_belongs_to_the_file_under_every_name(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    (tmp_path / "hard").hardlink_to(path)
    (tmp_path / "soft").symlink_to("file")
    first = open_regular(path, os.O_RDWR)
    lock_file(first, seconds=0.0)
    for name in ("file", "hard", "soft"):
        second = open_regular(tmp_path / name, os.O_RDWR)
        with pytest.raises(TimeoutError):
            lock_file(second, seconds=0.01)
        os.close(second)
    os.close(first)
    again = open_regular(path, os.O_RDWR)
    lock_file(again, seconds=0.0)
    os.close(again)


def test_a_path_that_stands_for_another_file_by_now_is_told_from_the_open_one(
    tmp_path: Path,
) -> None:
    path, other = tmp_path / "file", tmp_path / "other"
    path.write_bytes(b"")
    other.write_bytes(b"")
    held = open_regular(path)
    assert identity_of(held, path) == identity_of(held, path)
    other.replace(path)
    with pytest.raises(OSError, match="another file"):
        identity_of(held, path)
    path.unlink()
    with pytest.raises(OSError, match="taken away"):
        identity_of(held, path)
    os.close(held)
    path.write_bytes(b"")
    held = open_regular(path)
    other.hardlink_to(path)
    with pytest.raises(OSError, match="2 names"):
        identity_of(held, path)
    os.close(held)


@pytest.mark.parametrize("reason", [errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_is_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    import fcntl

    def none(descriptor: int, operation: int) -> None:
        raise OSError(reason, os.strerror(reason))

    path = tmp_path / "file"
    path.write_bytes(b"")
    held = open_regular(path, os.O_RDWR)
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", none)
        with pytest.raises(OSError, match="can't lock it"):
            lock_file(held, seconds=10.0)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "fcntl", None)
        with pytest.raises(OSError, match="this system can't lock"):
            lock_file(held, seconds=10.0)
    os.close(held)
