"""The record of every opened sum: durable before a secret is used, and hash-chained."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from aggregation.sealing.contribution import Contribution
from aggregation.sealing.proposal import Proposal
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError
from privacy.ledger.log import canonical
from privacy.ledger.log.heads import Head
from privacy.ledger.log.memory import MemoryStore
from privacy.ledger.log.opened import GENESIS, Opening
from privacy.ledger.log.store import FileStore, Store
from privacy.names import plain_name

__all__ = ["Opening", "OpeningLog"]


class OpeningLog:
    """Every opening in order, hash-chained; on disk it is durable before a secret is used.

    Guarantees (each is a test in ``tests/aggregation/sealing/test_openings.py``):
      - of all who share a file, in one process or in several, each sees what the others opened
        before it decides, and none opens a contribution that another has opened;
      - a line that a crash cut short was never acted upon: it is set aside, and the log goes on;
      - what an opening was of, and what it was answered with, is found again after a restart;
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
        self._notes: dict[int, bytes] = {}  # of a log in memory
        self._numbers: dict[str, int] = {}
        self._places: dict[tuple[str, str | None, int], str] = {}
        self._spent: set[tuple[str, str]] = set()
        self._uploads: set[tuple[str, str, int]] = set()
        self._heads: dict[str, Head] = {}
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
                opening = self._read(line)
                self._take(opening, line, *self._beside(opening))
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

    def uploads(self, run: str, uploads: Iterable[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
        """Return those that an earlier opening of a run holds, each a hospital and its version."""
        return tuple(u for u in uploads if (run, *u) in self._uploads)

    def seen(self, hospital: str) -> Head | None:
        """Return the newest head of a hospital's ledger that came with what was opened here."""
        return self._heads.get(hospital)

    def take_heads(self, heads: Iterable[Head]) -> None:
        """Take note of heads that were seen before this log began: in earlier runs, say."""
        for head in heads:
            newest_head = self._heads.get(head.hospital)
            if newest_head is None or newest_head.size < head.size:
                self._heads[head.hospital] = head

    def opened(self, ciphertexts: Sequence[str]) -> tuple[str, ...]:
        """Return those of the sealed updates, by digest, that an earlier opening holds."""
        return tuple(c for c in ciphertexts if c in self._opened)

    def number_of(self, proposal: str) -> int | None:
        """Return which of the openings is that of a proposal, by its digest; None: none is."""
        return self._numbers.get(proposal)

    def require_place(self, proposal: Proposal) -> None:
        """Refuse a second sum under a run's number, and one that does not follow the last here.

        Raises:
          RefusedError: Another is written down under its number, or another before it.
        """
        run, plan, number = proposal.run, proposal.plan, proposal.number
        there = self._places.get((run, plan, number), proposal.digest)
        if there != proposal.digest:
            raise RefusedError(
                f"Another sum ({there[:12]}) is written down as opening {number} of run {run!r}: "
                "two sums can't both be that. Open the one that is written down."
            )
        before = self._places.get((run, plan, number - 1), proposal.previous)
        if before != proposal.previous:
            raise RefusedError(
                f"Opening {number} of run {run!r} was said to follow {proposal.previous[:12]}, and "
                f"{before[:12]} is written down before it. One run has one chain of openings."
            )

    def keep(self, number: int, answer: bytes) -> None:
        """Keep what an opening was answered with, durably, before it leaves: it is sent again.

        Raises:
          RefusedError: The disk refuses; the answer must not be sent.
        """
        self._keep(2 * number + 1, answer)

    def kept(self, number: int) -> bytes | None:
        """Return what an opening was answered with; None: nothing was kept."""
        return self._kept(2 * number + 1)

    def _keep(self, place: int, content: bytes) -> None:
        if self._path is None:
            self._notes[place] = content
        else:
            self._store.keep_payload(place, content)

    def _kept(self, place: int) -> bytes | None:
        return self._notes.get(place) if self._path is None else self._store.payload(place)

    def fork(self, name: str) -> "OpeningLog":
        """Return an empty log for another holder: beside this one on disk, or in memory."""
        plain_name(holder=name)
        if self._path is None:
            return OpeningLog()
        return OpeningLog(self._path.with_name(f"{self._path.stem}-{name}{self._path.suffix}"))

    def append(
        self, contributions: Sequence[Contribution], total: str, proposal: Proposal | None = None
    ) -> Opening:
        """Write an opening down, durably, and return it.

        Args:
          contributions: What was opened.
          total: SHA-256 of the sealed sum.
          proposal: Kept beside the line, and found again after a restart; None: no run's chain.

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
            if proposal is not None:
                self.require_place(proposal)
            heads = [c.head for c in contributions if c.head is not None]
            if proposal is not None or heads:  # first: a line without them would forget
                note = {
                    "proposal": proposal and proposal.to_json(),
                    "heads": [head.to_json() for head in heads],
                }
                self._keep(2 * opening.number, canonical.encode(note))
            self._store.append(line)
            self._take(opening, line, proposal, heads)
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

    def _beside(self, opening: Opening) -> tuple[Proposal | None, tuple[Head, ...]]:
        """Return what is kept beside a line: what was proposed, and the ledger heads in it."""
        note = self._kept(2 * opening.number)
        proposal, heads = _read_note(note) if note else (None, ())
        if proposal is not None and (
            proposal.total != opening.total or proposal.nonces != opening.nonces
        ):
            raise CorruptMessageError(
                f"What lies beside opening {opening.number} of the log {self._path} is the "
                "proposal of another. An opener can't go on without knowing what it has opened."
            )
        return proposal, heads

    def _take(
        self, opening: Opening, line: bytes, proposal: Proposal | None, heads: Iterable[Head]
    ) -> None:
        if proposal is not None:
            self._numbers[proposal.digest] = opening.number
            self._places[proposal.run, proposal.plan, proposal.number] = proposal.digest
        self.take_heads(heads)
        self._openings.append(opening)
        uploads = zip(opening.hospitals, opening.base_versions, strict=True)
        self._uploads.update((opening.run, *upload) for upload in uploads)
        self._spent.update(zip(opening.hospitals, opening.nonces, strict=True))
        self._opened.update(opening.ciphertexts)
        self._offset += len(line) + 1


def _read_note(note: bytes) -> tuple[Proposal | None, tuple[Head, ...]]:
    """Read what is kept beside an opening: what was proposed, and the ledger heads in it."""
    fields = canonical.decode(note)
    try:
        if not isinstance(fields, dict) or fields.keys() != {"proposal", "heads"}:
            raise InvalidInputError("it has other fields")
        proposal, heads = fields["proposal"], fields["heads"]
        if not isinstance(heads, list):
            raise InvalidInputError("its heads are no list")
        return (
            None if proposal is None else Proposal.from_json(proposal),
            tuple(Head.from_json(head) for head in heads),
        )
    except InvalidInputError as error:
        raise CorruptMessageError(f"What lies beside an opening can't be read: {error}") from error
