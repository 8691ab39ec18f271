"""Where the lines of a ledger live: a file that survives a crash, or memory for experiments.

A store knows bytes, not entries. ``append`` returns when the line is on disk, or raises; what a
crash cuts short is a last line without its newline, and that line was never acknowledged.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

import filelock

from privacy.errors import InvalidInputError, RefusedError

__all__ = ["FileStore", "MemoryStore", "Store", "payload_folder", "write_durably"]

_LOCK_SECONDS = 30.0


@runtime_checkable
class Store(Protocol):
    """What a ledger needs from a place to live."""

    durable: bool

    def lock(self) -> AbstractContextManager[None]:
        """Exclude all other writers, in this process and in others."""

    def append(self, line: bytes) -> None:
        """Keep one line; return when it cannot be lost."""

    def lines(self, offset: int = 0) -> Iterator[bytes]:
        """Whole lines from a byte offset on, without their newlines."""

    def keep_payload(self, sequence: int, payload: bytes) -> None:
        """Keep the bytes of a release; return when they cannot be lost."""

    def payload(self, sequence: int) -> bytes | None:
        """The bytes kept for a release."""


class MemoryStore:
    """Lines in a list: for experiments; nothing survives the process.

    Of payloads only the digests that their entries hold are kept.
    """

    durable = False

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._offsets: dict[int, int] = {0: 0}
        self._end = 0
        self._lock = threading.RLock()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Exclude other threads."""
        with self._lock:
            yield

    def append(self, line: bytes) -> None:
        """Keep one line."""
        self._lines.append(line)
        self._end += len(line) + 1
        self._offsets[self._end] = len(self._lines)

    def lines(self, offset: int = 0) -> Iterator[bytes]:
        """Lines from a byte offset on."""
        yield from self._lines[self._offsets[offset] :]

    def keep_payload(self, sequence: int, payload: bytes) -> None:
        """Nothing: an experiment has no crash to come back from."""

    def payload(self, sequence: int) -> bytes | None:
        """Nothing is kept."""
        return None


class FileStore:
    """One line an entry in one file, a lock beside it, payloads in a folder beside it.

    Guarantees (tests in ``tests/privacy/ledger/test_store.py`` and ``test_crash.py``):
      - when ``append`` returns, the line is on disk (``fsync``);
      - when it raises, this store refuses all further appends until it is opened anew;
      - two holders of the lock never overlap.
    """

    durable = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = filelock.FileLock(path.with_name(path.name + ".lock"), timeout=_LOCK_SECONDS)
        self._broken = ""

    @classmethod
    def create(cls, path: Path) -> "FileStore":
        """Make an empty file.

        Raises:
          InvalidInputError: The file exists already.
          RefusedError: The disk refuses.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
            _sync_folder(path.parent)
        except FileExistsError as error:
            raise InvalidInputError(
                f"A ledger stands at {path} already, and a ledger is never overwritten. Open it, "
                "or choose another folder."
            ) from error
        except OSError as error:
            raise RefusedError(
                f"No ledger can be kept at {path}: {error.strerror}. Nothing is released without "
                "one; choose a folder that can be written."
            ) from error
        return cls(path)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Exclude other threads and processes.

        Raises:
          RefusedError: Another holds the lock for too long, or the disk can't be written.
        """
        try:
            self._lock.acquire()
        except filelock.Timeout as error:
            raise RefusedError(
                f"Another process has held the ledger {self.path} for {_LOCK_SECONDS:.0f} s; "
                "nothing was read. Wait for it, or end it."
            ) from error
        except OSError as error:
            raise RefusedError(
                f"The ledger {self.path} can't be locked: {error.strerror}; nothing was read. Make "
                "its folder writable."
            ) from error
        try:
            yield
        finally:
            self._lock.release()

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self.path.stat().st_size

    def append(self, line: bytes) -> None:
        """Write one line and wait until the disk has it.

        Raises:
          RefusedError: The disk is full, read-only or failing; the caller must not release.
        """
        if self._broken:
            raise RefusedError(
                f"The ledger {self.path} failed before ({self._broken}); nothing was read. Open it "
                "anew when the disk is well again."
            )
        content = line + b"\n"
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
            try:
                written = os.write(descriptor, content)
                if written != len(content):
                    raise OSError(28, f"only {written} of {len(content)} bytes were written")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            self._broken = str(error.strerror)
            raise RefusedError(
                f"The ledger {self.path} can't be written: {error.strerror}. What it can't record "
                "is not released; nothing was read. Free the disk and open the ledger anew."
            ) from error

    def lines(self, offset: int = 0) -> Iterator[bytes]:
        """Whole lines from a byte offset on; a torn last line is left out."""
        with self.path.open("rb") as file:
            file.seek(offset)
            for line in file:
                if line.endswith(b"\n"):
                    yield line[:-1]

    def torn(self) -> bytes:
        """What follows the last newline: a line that a crash cut short."""
        with self.path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            tail = b""
            while end and b"\n" not in tail:
                start = max(0, end - 65536)
                file.seek(start)
                tail = file.read(end - start) + tail
                end = start
        return tail.rpartition(b"\n")[2]

    def set_aside(self, size: int, torn: bytes) -> str:
        """Copy a torn line to a file of its own, cut it off at byte ``size``, return that name.

        Raises:
          RefusedError: The disk refuses.
        """
        aside = self.path.with_name(f"{self.path.name}.torn-{size}")
        try:
            write_durably(aside, torn)
            with self.path.open("r+b") as file:
                file.truncate(size)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RefusedError(
                f"The torn last line of {self.path} can't be set aside: {error.strerror}. Make its "
                "folder writable."
            ) from error
        return aside.name

    def keep_payload(self, sequence: int, payload: bytes) -> None:
        """Write the bytes of a release beside its entry, whole or not at all.

        Raises:
          RefusedError: The disk refuses.
        """
        folder = payload_folder(self.path)
        try:
            folder.mkdir(exist_ok=True)
            write_durably(folder / f"{sequence:09d}.bin", payload)
        except OSError as error:
            raise RefusedError(
                f"The bytes of release {sequence} can't be kept in {folder}: {error.strerror}. "
                "They must not be sent: after a crash they could not be sent again unchanged."
            ) from error

    def payload(self, sequence: int) -> bytes | None:
        """The bytes kept for a release, None if there are none."""
        try:
            return (payload_folder(self.path) / f"{sequence:09d}.bin").read_bytes()
        except FileNotFoundError:
            return None


def payload_folder(path: Path) -> Path:
    """Where the payloads of the ledger at ``path`` are."""
    return path.with_suffix(".payloads")


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file so that a crash leaves the old or the new one, whole."""
    partial = path.with_name(path.name + ".tmp")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    partial.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
