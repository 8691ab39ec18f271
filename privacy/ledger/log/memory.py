"""A ledger's place to live in an experiment: a list, which ends with its process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from privacy.ledger.log.store import Torn

__all__ = ["MemoryStore"]


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

    @contextmanager
    def together(self) -> Iterator[None]:
        """Nothing to wait for: memory has no disk."""
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

    def set_aside(self, offset: int) -> Torn | None:
        """Nothing: memory tears no line."""
        return None

    def keep_payload(self, sequence: int, payload: bytes) -> None:
        """Nothing: an experiment has no crash to come back from."""

    def payload(self, sequence: int) -> bytes | None:
        """Nothing is kept."""
        return None
