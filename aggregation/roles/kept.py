"""What a hospital finds on its own disk after a restart: what it spent, sealed, sent and learnt."""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregation.roles.messages import pack, unpack
from privacy.errors import CorruptMessageError, RefusedError
from privacy.files import lock_file, make_folder, open_regular, read_regular, write_durably
from privacy.ledger import Ledger, Release
from privacy.ledger.log import canonical
from privacy.ledger.log.entries import Entry

__all__ = ["Kept", "RoundReleases", "read_state", "write_state"]

_LARGEST = 2**31
_MOST_ARRAYS = 64


class Kept:
    """A folder of one hospital's part of one run, beside its ledger; one process at a time has it.

    Guarantees (each is a test in ``tests/aggregation/roles/test_restart.py``):
      - what ``put`` has returned from survives a crash, whole;
      - a second process that is given the folder is refused, as long as the first one lives.

    Args:
      folder: Made if it is not there. It is not for backups: an old copy of it is another past.

    Raises:
      RefusedError: Another process has it, or the disk refuses.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            make_folder(folder)
            self._lock = open_regular(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
            lock_file(self._lock, seconds=0.0)
        except OSError as error:
            raise RefusedError(
                f"The folder {folder} of this run can't be had: {error.strerror}. One process runs "
                "a hospital; end the other one, or wait for it."
            ) from error

    def close(self) -> None:
        """Let another process have the folder."""
        os.close(self._lock)

    def put(self, name: str, content: bytes) -> None:
        """Keep content under a name, in place of what was there; durable when it returns.

        Raises:
          RefusedError: The disk refuses; what depends on it must not leave.
        """
        try:
            write_durably(self._folder / name, content, mode=0o600)
        except OSError as error:
            raise RefusedError(
                f"{name} can't be kept in {self._folder}: {error.strerror}. Nothing was sent: "
                "after a crash it could not be sent again unchanged."
            ) from error

    def get(self, name: str) -> bytes | None:
        """Return what is kept under a name; None: nothing is.

        Raises:
          RefusedError: Something stands there that can't be read.
        """
        try:
            return read_regular(self._folder / name, largest=_LARGEST)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RefusedError(
                f"{name} can't be read in {self._folder}: {error.strerror}. Mend that first."
            ) from error


class RoundReleases:
    """The releases of one plan in a ledger, by round: each is made once, whoever asks again.

    Args:
      ledger: The hospital's.
      plan: Digest of the plan.
    """

    def __init__(self, ledger: Ledger, plan: str) -> None:
        self._ledger = ledger
        self._plan = plan
        self._entries: dict[int, dict[str, Entry]] = {}
        self._sealed: dict[str, str] = {}  # by the digest of the release's entry
        self._seen = 0
        self._look()

    @property
    def last(self) -> int:
        """The last round that something was spent in; -1: nothing was."""
        return max(self._entries, default=-1)

    def spent(self, round_: int) -> bool:
        """Whether something was spent in a round."""
        return round_ in self._entries

    def spend(self, asked: Sequence[Release]) -> list[Entry]:
        """Return the entries of a round's releases; what is missing is spent now.

        Raises:
          RefusedError: As ``Ledger.spend``, or another process has spent for this round.
          BudgetExceededError: As ``Ledger.spend``.
        """
        made = []
        with self._ledger.together():  # one wait for the disk, before any patient is read
            for release in asked:
                ours = release.kind in self._entries.get(release.round, {})
                if self._ledger.size != self._seen:
                    self._look()
                entry = self._entries.get(release.round, {}).get(release.kind)
                if entry is not None and not ours:
                    raise RefusedError(
                        f"Entry {entry.sequence} of {self._ledger.hospital}'s ledger is the "
                        f"{release.kind} of round {release.round} already: another process made "
                        "it. Nothing is released for it here."
                    )
                made.append(entry or self._ledger.spend(release))
                self._seen = self._ledger.size
        # Only now: what the disk refused is not to be taken for spent when it is asked for again.
        for release, entry in zip(asked, made, strict=True):
            self._entries.setdefault(release.round, {})[release.kind] = entry
        return made

    def attach(self, entries: Sequence[Entry], sealed: bytes) -> None:
        """Keep the bytes of a round's releases (``Ledger.attach``)."""
        with self._ledger.together():
            for entry in entries:
                self._ledger.attach(entry, sealed)
            self._seen = self._ledger.size
        for entry in entries:
            self._sealed[entry.digest] = canonical.digest(sealed)

    def sealed(self, round_: int) -> str | None:
        """Return the digest of what a round's releases became; None: nothing yet."""
        digests = [self._sealed.get(e.digest) for e in self._entries.get(round_, {}).values()]
        return next((digest for digest in digests if digest is not None), None)

    def payload(self, round_: int) -> bytes | None:
        """Return the bytes that a round's releases became; None: none were kept."""
        for entry in self._entries.get(round_, {}).values():
            if (found := self._ledger.payload(entry)) is not None:
                return found
        return None

    def _look(self) -> None:
        for entry in self._ledger.entries():
            self._seen = entry.sequence + 1
            content: Mapping[str, Any] = entry.content
            if entry.kind == "sealed":
                self._sealed[content["entry"]] = content["digest"]
            elif entry.kind == "release" and self._plan in (
                content["plan"],
                content["details"].get("plan"),
            ):
                of_round = self._entries.setdefault(content["round"], {})
                of_round.setdefault(content["kind"], entry)


def write_state(head: Mapping[str, Any], arrays: Sequence[NDArray[Any]]) -> bytes:
    """Return plain facts and a rule's arrays as bytes."""
    parts = [canonical.encode(dict(head))]
    for array in arrays:
        file = io.BytesIO()
        np.save(file, np.asarray(array), allow_pickle=False)
        parts.append(file.getvalue())
    return pack(parts)


def read_state(content: bytes) -> tuple[Mapping[str, Any], tuple[NDArray[Any], ...]]:
    """Read what ``write_state`` wrote.

    Raises:
      CorruptMessageError: Something else.
    """
    head, *arrays = unpack(content, most=1 + _MOST_ARRAYS) or (b"",)
    try:
        loaded = tuple(np.load(io.BytesIO(array), allow_pickle=False) for array in arrays)
    except (ValueError, EOFError, OSError) as error:
        raise CorruptMessageError(f"What was kept of a round can't be read: {error}.") from error
    facts = canonical.decode(head)
    if not isinstance(facts, dict) or set(facts) != {"round", "weight"}:
        raise CorruptMessageError("What was kept of a round does not say which, and its weight.")
    return facts, loaded
