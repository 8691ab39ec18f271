"""What a hospital finds on its own disk after a restart, beside its ledger."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregation.roles.journal import Journal
from aggregation.roles.messages import pack, unpack
from privacy.errors import CorruptMessageError, RefusedError
from privacy.files import read_regular, write_durably
from privacy.ledger.log import canonical

__all__ = ["Kept", "read_state", "write_state"]

_MOST_ARRAYS = 64
_MOST_NAMES = 16
_LARGEST = 2**31  # bytes of what is replaced


class Kept:
    """A folder of one hospital's part of one run, beside its ledger; one process at a time has it.

    Guarantees (each is a test in ``test_restart.py`` or ``test_journal.py``):
      - what ``put`` has returned from survives a crash, all of it or, before it returns, none;
      - of what is put ``soon`` one thing at most can be lost, and that is the last;
      - what ``replace`` replaced lies in the folder no more;
      - a second process that is given the folder is refused, as long as the first one lives.

    Args:
      folder: Made if it is not there, with mode 700. It is not for backups: an old copy of it is
        another past.

    Raises:
      RefusedError: Another process has it, or the disk refuses.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._journal = Journal(folder / "kept")
        self._places: dict[str, tuple[int, int]] = {}
        self._waits = False
        for place, record in self._journal.records():
            self._note(place, unpack(record, most=2 * _MOST_NAMES)[::2])

    def close(self) -> None:
        """Let another process have the folder."""
        self._journal.close()

    def put(self, contents: Mapping[str, bytes], *, soon: bool = False) -> None:
        """Keep contents under names, in place of what was there: all of them or none.

        Args:
          contents: By name.
          soon: Whether they may be lost in a crash, as what others send again. Of two that are put
            one after the other the first never is.

        Raises:
          RefusedError: The disk refuses; what depends on it must not leave.
        """
        parts = [part for name, content in contents.items() for part in (name.encode(), content)]
        place = self._journal.append(pack(parts), durable=not soon or self._waits)
        self._waits = soon and not self._waits
        self._note(place, parts[::2])

    def get(self, name: str) -> bytes | None:
        """Return what is kept under a name; None: nothing is.

        Raises:
          RefusedError: It can't be read.
        """
        if name not in self._places:
            return None
        place, part = self._places[name]
        return unpack(self._journal.read(place), most=2 * _MOST_NAMES)[part]

    def replace(self, name: str, content: bytes) -> None:
        """Keep content in a file of its own, durably, so that what stood there before is gone.

        For secrets that are dangerous for longer than they are needed: a journal keeps all of them.

        Raises:
          RefusedError: The disk refuses; what depends on it must not leave.
        """
        try:
            write_durably(self._folder / f"{name}.now", content, mode=0o600)
        except OSError as error:
            raise RefusedError(
                f"{name} can't be kept in {self._folder}: {error.strerror}. Nothing was released."
            ) from error

    def latest(self, name: str) -> bytes | None:
        """Return what ``replace`` wrote last; None: nothing yet.

        Raises:
          RefusedError: It can't be read, or others may have read it.
        """
        path = self._folder / f"{name}.now"
        try:
            return read_regular(path, largest=_LARGEST, secret=True) if path.exists() else None
        except OSError as error:
            raise RefusedError(
                f"{path} of this run can't be had: {error.strerror or error}. Mend that first."
            ) from error

    def _note(self, place: int, names: Sequence[bytes]) -> None:
        for number, name in enumerate(names):
            self._places[name.decode()] = place, 2 * number + 1


def write_state(round_: int, arrays: Sequence[NDArray[Any]]) -> bytes:
    """Return a round and a rule's arrays as bytes."""
    parts = [canonical.encode({"round": round_})]
    for array in arrays:
        file = io.BytesIO()
        np.save(file, np.asarray(array), allow_pickle=False)
        parts.append(file.getvalue())
    return pack(parts)


def read_state(content: bytes) -> tuple[int, tuple[NDArray[Any], ...]]:
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
    if not isinstance(facts, dict) or set(facts) != {"round"} or type(facts["round"]) is not int:
        raise CorruptMessageError("What was kept of a round does not say which.")
    return facts["round"], loaded
