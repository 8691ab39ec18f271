"""The one way to change a ledger: its lines on disk, taken in under their lock, and one more."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from privacy.errors import InvalidInputError
from privacy.ledger.log.canonical import digest
from privacy.ledger.log.entries import Entry, compose, parse
from privacy.ledger.log.keys import SigningKey
from privacy.ledger.log.store import Store
from privacy.ledger.state import State

__all__ = ["Chain", "Clock", "now"]

Clock = Callable[[], datetime]


def now() -> datetime:
    """The time, by this machine's clock."""
    return datetime.now(UTC)


class Chain:
    """A ledger's lines, and the state that they add up to.

    Args:
      store: Where the lines are kept.
      key: The hospital's signing key.
      clock: Source of the time.
    """

    def __init__(self, store: Store, key: SigningKey, clock: Clock) -> None:
        self.key = key
        self.store = store
        self.state = State()
        self._clock = clock
        self._ahead = False  # whether the state has lines that wait for the end of ``together``

    @contextmanager
    def lock(self) -> Iterator[State]:
        """Keep others out, with all that they wrote taken in; yields the state.

        Raises:
          CorruptMessageError: A line does not follow the one before.
          InvalidInputError: The last line is not signed by this key.
          RefusedError: Another holds the lock for too long, or the disk refuses.
        """
        with self.store.lock():
            if not self._ahead:
                self._catch_up()
            yield self.state

    @contextmanager
    def together(self) -> Iterator[None]:
        """Keep others out, and have what is appended be durable at the end, by one wait.

        Raises:
          RefusedError: The disk refuses: none of it counts, and this handle is of no use any more.
        """
        with self.lock(), self.store.together():
            before, self._ahead = self._ahead, True
            try:
                yield
            finally:
                self._ahead = before

    def start(self, hospital: str, content: Mapping[str, Any]) -> Entry:
        """Write the opening of a hospital's ledger into an empty store."""
        with self.store.lock():
            return self._append(hospital, "opening", content)

    def append(self, kind: str, content: Mapping[str, Any]) -> Entry:
        """Write an entry durably and take it in; the lock is held."""
        return self._append(self.state.hospital, kind, content)

    def entries(self) -> Iterator[Entry]:
        """All entries in order, read from where they are kept."""
        return (parse(line) for line in self.store.lines())

    def _append(self, hospital: str, kind: str, content: Mapping[str, Any]) -> Entry:
        entry = compose(
            self.key,
            sequence=self.state.tree.size,
            time=self._clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            hospital=hospital,
            kind=kind,
            content=content,
            previous=self.state.last,
        )
        self.store.append(entry.line)
        self.state.apply(entry)
        return entry

    def _catch_up(self) -> None:
        """Take in what other handles have written since, checking links and the last signature.

        The lock is held: what then follows the last whole line is what a dead writer left.
        """
        start = self.state.offset
        newest = deque(self.store.lines(start), maxlen=1)
        if newest and not parse(newest[0]).signed_by(self.key.public):
            raise InvalidInputError(
                "The ledger's last entry is not signed by this key (public key "
                f"{self.key.public[:16]}...). Use the key that it was opened with; if this is it, "
                "run `inpatient ledger verify` on the file."
            )
        if newest:
            for line in self.store.lines(start):
                self.state.apply(parse(line))
        torn = self.store.set_aside(self.state.offset) if self.state.identity else None
        if torn is not None:
            content = {"bytes": len(torn.content), "digest": digest(torn.content)}
            self.append("recovered", content | {"moved_to": torn.moved_to})
