"""Records in one file, each whole or not there: what a party writes down as it goes on.

length 8 | SHA-256 of the content 32 | content
"""

import errno
import hashlib
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from privacy.errors import RefusedError
from privacy.files import lock_file, make_folder, open_regular, sync_folder

__all__ = ["Journal"]

_HEAD = struct.Struct("<Q32s")
_LARGEST = 2**31  # bytes of a record


class Journal:
    """An append-only file of records; one process at a time has it.

    Guarantees (each is a test in ``tests/aggregation/roles/test_journal.py``):
      - what was appended with ``durable`` survives a crash, and so does all that was before it;
      - a record that a crash cut short is not there, nor is what lies behind it;
      - after a write that failed nothing more is appended;
      - another process that is given the file is refused, as long as the first one lives.

    Args:
      path: Made, with its folder (mode 700), if it is not there; the file has mode 600.

    Raises:
      RefusedError: Another process has it, or the disk refuses.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._broken = False
        self._descriptor = -1
        try:
            make_folder(path.parent, mode=0o700)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
            self._descriptor = open_regular(path, flags, 0o600)
            lock_file(self._descriptor, seconds=0.0)
            os.fchmod(self._descriptor, 0o600)  # whatever the umask
            sync_folder(path.parent)
            self._places = self._whole()
        except OSError as error:
            self.close()
            raise RefusedError(
                f"{path} of this run can't be had: {error.strerror}. One process runs a party; end "
                "the other one, or wait for it."
            ) from error

    def records(self) -> Iterator[tuple[int, bytes]]:
        """All records in order with their places, read from the disk one by one."""
        return ((place, self.read(place)) for place in list(self._places))

    def close(self) -> None:
        """Let another process have it."""
        with suppress(OSError):
            os.close(self._descriptor)
        self._descriptor = -1

    def append(self, content: bytes, *, durable: bool = True) -> int:
        """Write a record down, and return its place.

        Args:
          content: Of the record.
          durable: Whether to wait for the disk. A record that does not wait is on disk when a later
            one is that does; a crash before that may lose it.

        Raises:
          RefusedError: The disk refuses, or has refused before; what depends on the record must not
            leave.
        """
        if self._broken:
            raise RefusedError(f"{self._path} could not be written before. Start this party anew.")
        record = _HEAD.pack(len(content), hashlib.sha256(content).digest()) + content
        place = self._end
        try:
            self._write(record)
            if durable:
                os.fsync(self._descriptor)
        except OSError as error:
            self._broken = True  # half a record may stand there: what came behind it would be lost
            raise RefusedError(
                f"{self._path} can't be written: {error.strerror}. Nothing was sent: after a crash "
                "it could not be sent again unchanged."
            ) from error
        self._places.append(place)
        self._end += len(record)
        return place

    def sync(self) -> None:
        """Wait for the disk, for all that was appended.

        Raises:
          RefusedError: The disk refuses; nothing more is appended.
        """
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            self._broken = True
            raise RefusedError(f"{self._path} can't be written: {error.strerror}.") from error

    def read(self, place: int) -> bytes:
        """Return the record at a place.

        Raises:
          RefusedError: It can't be read, or is another by now.
        """
        try:
            content = self._read(place)
        except OSError as error:
            raise RefusedError(
                f"{self._path} can't be read: {error.strerror}. Mend that first."
            ) from error
        if content is None:
            raise RefusedError(f"{self._path} was changed at byte {place}. Restore it.")
        return content

    def _write(self, record: bytes) -> None:
        written = os.write(self._descriptor, record)
        if written != len(record):
            raise OSError(errno.ENOSPC, f"only {written} of {len(record)} bytes were written")

    def _read(self, place: int) -> bytes | None:
        """Return the record at a place; None: there is none, or it is not whole."""
        head = os.pread(self._descriptor, _HEAD.size, place)
        if len(head) < _HEAD.size:
            return None
        length, digest = _HEAD.unpack(head)
        if length > min(_LARGEST, os.fstat(self._descriptor).st_size):
            return None
        content = os.pread(self._descriptor, length, place + _HEAD.size)
        return content if hashlib.sha256(content).digest() == digest else None

    def _whole(self) -> list[int]:
        """Return where the whole records begin, and cut off what follows them."""
        places, self._end = [], 0
        while (content := self._read(self._end)) is not None:
            places.append(self._end)
            self._end += _HEAD.size + len(content)
        if os.fstat(self._descriptor).st_size > self._end:
            # Nothing behind it was acted upon: whoever waits for the disk waits for all before.
            os.ftruncate(self._descriptor, self._end)
            os.fsync(self._descriptor)
        return places
