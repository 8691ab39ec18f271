"""The record of every opened sum: durable before a secret is used, and hash-chained."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from aggregation.sealing.contribution import Contribution
from privacy.errors import CorruptMessageError
from privacy.ledger.log.opening import GENESIS, Opening
from privacy.ledger.log.store import FileStore, MemoryStore, Store
from privacy.names import plain_name

__all__ = ["Opening", "OpeningLog"]


class OpeningLog:
    """Every opening in order, hash-chained; on disk it is durable before a secret is used.

    Guarantees (each is a test in ``tests/aggregation/sealing/test_openings.py``):
      - of all who share a file, in one process or in several, each sees what the others opened
        before it decides, and none opens a contribution that another has opened;
      - a line that a crash cut short was never acted upon: it is set aside, and the log goes on;
      - after a write that failed nothing more is opened until the log is taken up anew.

    Args:
      path: JSON lines, continued if the file exists; None keeps the log in memory (experiments).

    Raises:
      CorruptMessageError: The file is not an unbroken log.
      InvalidInputError: No regular file stands there.
      RefusedError: It can't be locked, read or written.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._store: Store = MemoryStore() if path is None else FileStore.open_or_create(path)
        self._offset = 0
        self._openings: list[Opening] = []
        self._spent: set[tuple[str, str]] = set()
        self._opened: set[str] = set()
        with self.lock():
            pass

    def __len__(self) -> int:
        return len(self._openings)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep all others that share the file out, with all that they have opened taken in.

        Raises:
          CorruptMessageError: What they wrote does not follow.
          RefusedError: Another holds the lock for too long, or the disk refuses.
        """
        with self._store.lock():
            for line in self._store.lines(self._offset):
                self._take(self._read(line), line)
            self._store.set_aside(self._offset)
            yield

    @property
    def openings(self) -> tuple[Opening, ...]:
        """All openings in order, as of the last look at the file."""
        return tuple(self._openings)

    @property
    def _head(self) -> str:
        return self._openings[-1].digest if self._openings else GENESIS

    def spent(self, nonces: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        """Return those that an earlier opening holds, each a hospital and its nonce.

        A nonce is its sender's alone: who repeats another's shuts nobody out.
        """
        return tuple(n for n in nonces if n in self._spent)

    def opened(self, ciphertexts: Sequence[str]) -> tuple[str, ...]:
        """Return those of the sealed updates, by digest, that an earlier opening holds."""
        return tuple(c for c in ciphertexts if c in self._opened)

    def fork(self, name: str) -> "OpeningLog":
        """Return an empty log for another holder: beside this one on disk, or in memory."""
        plain_name(holder=name)
        if self._path is None:
            return OpeningLog()
        return OpeningLog(self._path.with_name(f"{self._path.stem}-{name}{self._path.suffix}"))

    def append(self, contributions: Sequence[Contribution], total: str) -> Opening:
        """Write an opening down, durably, and return it.

        Raises:
          CorruptMessageError: It holds what an earlier one holds, whatever was checked before.
          RefusedError: The disk refuses; the secret must not be used.
        """
        with self.lock():
            first = contributions[0]
            opening = Opening(
                number=len(self._openings),
                run=first.run,
                parameters=first.parameters,
                hospitals=tuple(c.hospital for c in contributions),
                nonces=tuple(c.nonce for c in contributions),
                ciphertexts=tuple(c.ciphertext for c in contributions),
                base_versions=tuple(c.base_version for c in contributions),
                total=total,
                previous=self._head,
            )
            line = opening.to_bytes()
            self._follows(Opening.from_bytes(line))
            self._store.append(line)
            self._take(opening, line)
        return opening

    def _read(self, line: bytes) -> Opening:
        try:
            opening = Opening.from_bytes(line)
            self._follows(opening)
        except CorruptMessageError as error:
            raise CorruptMessageError(
                f"The opening log {self._path} is not unbroken at opening {len(self)}: {error}. An "
                "opener can't go on without knowing what it has opened."
            ) from error
        return opening

    def _follows(self, opening: Opening) -> None:
        if opening.number != len(self) or opening.previous != self._head:
            raise CorruptMessageError("a line was changed or removed before it")
        nonces, bodies = [*zip(opening.hospitals, opening.nonces, strict=True)], opening.ciphertexts
        if len({*nonces}) < len(nonces) or self.spent(nonces) or self.opened(bodies):
            raise CorruptMessageError("it opens a contribution a second time")

    def _take(self, opening: Opening, line: bytes) -> None:
        self._openings.append(opening)
        self._spent.update(zip(opening.hospitals, opening.nonces, strict=True))
        self._opened.update(opening.ciphertexts)
        self._offset += len(line) + 1
