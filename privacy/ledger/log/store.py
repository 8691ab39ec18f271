"""Where the lines of a ledger live: a file that survives a crash.

A store knows bytes, not entries. ``append`` returns when the line is on disk, or raises; what a
crash cuts short is a last line without its newline, and that line was never acknowledged.
"""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError
from privacy.files import (
    create_durably,
    identity_of,
    lock_file,
    open_regular,
    read_regular,
    write_durably,
)
from privacy.ledger.log.canonical import digest

__all__ = [
    "LARGEST_PAYLOAD",
    "LONGEST_LINE",
    "FileStore",
    "Store",
    "Torn",
    "payload_folder",
    "whole_lines",
]

LONGEST_LINE = 1 << 20  # bytes; what is longer is neither written nor read
LARGEST_PAYLOAD = 1 << 30
_LOCK_SECONDS = 30.0


@dataclass(frozen=True)
class Torn:
    """What a crash left of a line, moved out of the way.

    Attributes:
      content: The bytes.
      moved_to: Name of the file that holds them now, beside the one that they were cut from.
    """

    content: bytes
    moved_to: str


@runtime_checkable
class Store(Protocol):
    """What a ledger needs from a place to live."""

    durable: bool

    def lock(self) -> AbstractContextManager[None]:
        """Exclude all other writers, in this process and in others."""

    def together(self) -> AbstractContextManager[None]:
        """Have what is kept within become safe at its end, payloads first, by one wait."""

    def append(self, line: bytes) -> None:
        """Keep one line; return when it cannot be lost, or leave that to ``together``."""

    def lines(self, offset: int = 0) -> Iterator[bytes]:
        """Whole lines from a byte offset on, without their newlines."""

    def set_aside(self, offset: int) -> Torn | None:
        """Move what follows the last whole line, which ends at ``offset``, out of the way."""

    def keep_payload(self, sequence: int, payload: bytes) -> None:
        """Keep the bytes of a release; return when they cannot be lost."""

    def payload(self, sequence: int) -> bytes | None:
        """The bytes kept for a release."""


class FileStore:
    """One line an entry in one file, payloads in a folder beside it.

    The file itself is locked, so that neither another name for it nor a deleted lock file lets two
    writers in at once.

    Guarantees (tests in ``tests/privacy/ledger/test_store.py`` and ``test_crash.py``):
      - when ``append`` returns, the line is on disk (``fsync``); within ``together``, when it ends;
      - when it raises, this store refuses all further appends until it is opened anew;
      - two holders of the lock never overlap, in one process or in several, by whatever names they
        know the file; a file that can't be locked is refused;
      - a symbolic link, a file with a second name (a hard link), a pipe, a device and a folder are
        refused, and nothing waits for them;
      - a file that was put in this one's place is never taken for it;
      - no line is longer than ``LONGEST_LINE``, written or read;
      - whatever the disk refuses is an ``InpatientError``.
    """

    durable = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self._identity: tuple[int, int] | None = None
        self._threads = threading.RLock()
        self._depth = 0
        self._descriptor = -1
        self._broken = ""
        self._together = False
        self._lines: list[bytes] = []  # what waits for the end of ``together``
        self._payloads: dict[int, bytes] = {}

    @classmethod
    def create(cls, path: Path) -> "FileStore":
        """Make an empty file.

        Raises:
          InvalidInputError: The file exists already.
          RefusedError: The disk refuses.
        """
        try:
            create_durably(path, b"")
        except FileExistsError as error:
            raise InvalidInputError(
                f"Something stands at {path} already, and a ledger is never overwritten. Open it, "
                "or choose another folder."
            ) from error
        except OSError as error:
            raise RefusedError(
                f"Nothing can be kept at {path}: {error.strerror}. Nothing is released without a "
                "record; choose a folder that can be written."
            ) from error
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> "FileStore":
        """Take up a file that is there.

        Raises:
          InvalidInputError: There is none, or no regular file of one name.
          RefusedError: It can't be locked, read or written.
        """
        store = cls(path)
        with store.lock():
            return store

    @classmethod
    def open_or_create(cls, path: Path) -> "FileStore":
        """Take up a file, or make it where there is none; of two who make it, both get the same.

        Raises:
          InvalidInputError: As ``open``.
          RefusedError: As ``create`` and ``open``.
        """
        if not path.exists():
            with suppress(InvalidInputError):  # another was faster
                return cls.create(path)
        return cls.open(path)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Exclude other threads, other stores on the same file, and other processes.

        Who holds it may take it again.

        Raises:
          InvalidInputError: There is no such file.
          RefusedError: Another holds the lock for too long, the file is not the one that was opened
            or has a second name, or the system refuses.
        """
        if not self._threads.acquire(timeout=_LOCK_SECONDS):
            raise self._held_too_long()
        try:
            if self._depth == 0:
                self._descriptor = self._locked()
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if self._depth == 0:
                    with suppress(OSError):  # what was written was synced before
                        os.close(self._descriptor)  # which also ends the lock
        finally:
            self._threads.release()

    def _locked(self) -> int:
        """Open and lock the file; only then is it sure which file the path stands for."""
        flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW
        descriptor = -1
        try:
            descriptor = open_regular(self.path, flags)
            lock_file(descriptor, seconds=_LOCK_SECONDS)
            self._recognise(descriptor)
        except OSError as error:
            if descriptor >= 0:
                os.close(descriptor)
            if isinstance(error, TimeoutError):
                raise self._held_too_long() from error
            if isinstance(error, FileNotFoundError) and self._identity is None:
                raise InvalidInputError(f"There is no ledger or log at {self.path}.") from error
            raise self._refused("be opened and locked", error) from error
        return descriptor

    def _recognise(self, descriptor: int) -> None:
        identity = identity_of(descriptor, self.path)
        if self._identity not in (None, identity):
            raise OSError(errno.ESTALE, "it is another file than the one that was opened")
        self._identity = identity

    def _held_too_long(self) -> RefusedError:
        return RefusedError(
            f"Another process or thread has held {self.path} for {_LOCK_SECONDS:.0f} s; no patient "
            "was read. Wait for it, or end it."
        )

    def _refused(self, what: str, error: OSError) -> RefusedError:
        return RefusedError(
            f"{self.path} can't {what}: {error.strerror}. What can't be recorded is not released; "
            "no patient was read. Mend that and open it anew."
        )

    def _require_sound(self) -> None:
        if self._broken:
            raise RefusedError(
                f"{self.path} failed before ({self._broken}); no patient was read. Open it anew "
                "when the disk is well again."
            )

    @contextmanager
    def together(self) -> Iterator[None]:
        """Hold payloads and lines back, and write all at the end: lines by one write and one wait.

        What was held back is written even where the caller failed on the way: its entries count.

        Raises:
          RefusedError: As ``append`` and ``keep_payload``; then this store is of no use any more,
            for what its reader has taken in is not on disk.
        """
        with self.lock():
            if self._together:  # the outermost writes
                yield
                return
            self._together = True
            try:
                yield
            finally:
                self._together = False
                payloads, lines = self._payloads, self._lines
                self._payloads, self._lines = {}, []
                try:
                    # Payloads first, as one by one: a line says that its payload is there. A crash
                    # on the way leaves some of the lines, each whole, the first ones first.
                    for sequence, payload in payloads.items():
                        self.keep_payload(sequence, payload)
                    if lines:
                        self._write(b"".join(line + b"\n" for line in lines))
                except RefusedError:
                    self._broken = self._broken or "what it was given together was not kept"
                    raise

    def append(self, line: bytes) -> None:
        """Write one line and wait until the disk has it.

        Raises:
          InvalidInputError: The line is longer than ``LONGEST_LINE``; nothing was written.
          RefusedError: The disk is full, read-only or failing; the caller must not release.
        """
        self._require_sound()
        if len(line) > LONGEST_LINE:
            raise InvalidInputError(
                f"A line of {len(line)} bytes was to be kept in {self.path}; the longest has "
                f"{LONGEST_LINE}. Nothing was recorded; ask for less at once."
            )
        if self._together:
            self._lines.append(line)
        else:
            self._write(line + b"\n")

    def _write(self, content: bytes) -> None:
        self._require_sound()
        with self.lock():
            try:
                written = os.write(self._descriptor, content)
                if written != len(content):
                    raise OSError(
                        errno.ENOSPC, f"only {written} of {len(content)} bytes were written"
                    )
                os.fsync(self._descriptor)
            except OSError as error:
                self._broken = str(error.strerror)
                raise self._refused("be written", error) from error

    def lines(self, offset: int = 0) -> Iterator[bytes]:
        """Whole lines from a byte offset on; a torn last line is left out.

        Raises:
          CorruptMessageError: The file ends before the offset, or a line is too long to be one.
          RefusedError: It can't be read, is another file than the one that was opened, or a write
            of it has failed.
        """
        self._require_sound()
        try:
            descriptor = open_regular(self.path, os.O_RDONLY | os.O_NOFOLLOW)
            with os.fdopen(descriptor, "rb") as file:
                self._recognise(descriptor)
                size = os.fstat(descriptor).st_size
                if size < offset:
                    raise CorruptMessageError(
                        f"{self.path} has lost lines that were durable: {size} bytes of {offset} "
                        "are left. Nothing is released; restore the file."
                    )
                file.seek(offset)
                yield from whole_lines(file, self.path)
                yield from self._lines
        except OSError as error:
            raise self._refused("be read", error) from error

    def set_aside(self, offset: int) -> Torn | None:
        """Move what a dead writer left of a line to a file of its own and cut it off.

        Args:
          offset: Where the last whole line ends; what follows was never acknowledged.

        Returns:
          What was moved; None if nothing follows.

        Raises:
          CorruptMessageError: What follows is too long to be a line.
          RefusedError: The disk refuses.
        """
        self._require_sound()
        with self.lock():
            try:
                torn = os.pread(self._descriptor, LONGEST_LINE + 1, offset)
                if not torn:
                    return None
                if len(torn) > LONGEST_LINE:
                    raise CorruptMessageError(_too_long(self.path))
                torn_line = Torn(torn, f"{self.path.name}.torn-{offset}-{digest(torn)[:8]}")
                write_durably(self.path.with_name(torn_line.moved_to), torn)
                os.ftruncate(self._descriptor, offset)
                os.fsync(self._descriptor)
            except OSError as error:
                raise self._refused("be freed of its torn last line", error) from error
        return torn_line

    def keep_payload(self, sequence: int, payload: bytes) -> None:
        """Write the bytes of a release beside its entry, whole or not at all.

        Raises:
          InvalidInputError: There are more than ``LARGEST_PAYLOAD``.
          RefusedError: The disk refuses.
        """
        if len(payload) > LARGEST_PAYLOAD:
            raise InvalidInputError(
                f"A release of {len(payload)} bytes was to be kept; the largest has "
                f"{LARGEST_PAYLOAD}. It must not be sent."
            )
        if self._together:
            self._payloads[sequence] = payload
            return
        place = self._place(sequence)
        try:
            write_durably(place, payload)
        except OSError as error:
            raise RefusedError(
                f"The bytes of release {sequence} can't be kept at {place}: {error.strerror}. "
                "They must not be sent: after a crash they could not be sent again unchanged."
            ) from error

    def payload(self, sequence: int) -> bytes | None:
        """The bytes kept for a release, None if there are none.

        Raises:
          RefusedError: Something stands in their place that can't be read.
        """
        if sequence in self._payloads:
            return self._payloads[sequence]
        place = self._place(sequence)
        try:
            return read_regular(place, largest=LARGEST_PAYLOAD)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RefusedError(
                f"The bytes of release {sequence} can't be read at {place}: {error.strerror}. "
                "Nothing is sent in their stead."
            ) from error

    def _place(self, sequence: int) -> Path:
        return payload_folder(self.path) / f"{sequence:09d}.bin"


def payload_folder(path: Path) -> Path:
    """Where the payloads of the ledger at ``path`` are."""
    return path.with_suffix(".payloads")


def whole_lines(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """Lines of a file without their newlines; one that lacks it at the end is left out.

    Raises:
      CorruptMessageError: A line is longer than ``LONGEST_LINE``; it was not read to its end.
    """
    while line := file.readline(LONGEST_LINE + 2):
        if line.endswith(b"\n"):
            yield line[:-1]
        elif len(line) > LONGEST_LINE:
            raise CorruptMessageError(_too_long(path))


def _too_long(path: Path) -> str:
    return f"{path} holds a line of more than {LONGEST_LINE} bytes, which no writer of ours makes."
