"""When a run has ended at every hospital, what could open its sums is deleted, and a mark says so.

Until then a holder has to answer again for whoever was cut off. That all have ended is known from
the last message of a run: a hospital counter-signs another's ledger once it has learnt the last sum
itself (``closing``), so that a ledger with everybody's signature says it under everybody's key.
Whoever opens alone needs no such word: once all sums are opened its key opens nothing more, and
what it has answered lies beside its log.

First the mark is durable, then what it speaks of is deleted: whenever a site is killed it either
has all of it and goes on, or has the mark, and deletes the rest when it is started.

Deleted is what the file system deletes. A drive that moves what it writes (every SSD), a journal, a
snapshot or a backup may keep it: an encrypted disk, whose key can be destroyed, is what helps.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from aggregation.roles.messages import Message, MessageKind, Timer
from aggregation.sealing import Contribution, Opener
from aggregation.sealing.proposal import Place
from aggregation.sites.agreed import Agreed
from privacy._foreign import parse_json, read_file
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError
from privacy.files import sync_folder, write_durably
from privacy.ledger.forms import Form, constant, hexadecimal, name, ruled
from privacy.ledger.log import canonical

__all__ = ["EndedRole", "SpentOpener", "forget", "has_forgotten"]

_MARK = "ended.json"
_TOLD_AGAIN = (
    MessageKind.PLAN,
    MessageKind.EVIDENCE,
    MessageKind.OPENED,
    MessageKind.WITNESSED,
)


@dataclass(frozen=True)
class _Ended(Form):
    """The mark: which run has ended.

    Attributes:
      run: Its name.
      agreed: Digest of what its sites had agreed on.
      version: Of this form.
    """

    run: str = ruled(name())
    agreed: str = ruled(hexadecimal(64))
    version: int = ruled(constant(1), 1)


def has_forgotten(folder: Path, agreed: Agreed) -> bool:
    """Whether a site's folder bears the mark of this run's end.

    Raises:
      CorruptMessageError: What lies there is none.
      RefusedError: It is of another run.
    """
    path = folder / _MARK
    if not path.exists():
        return False
    try:
        mark = _Ended.from_json(parse_json(read_file(path, most=1 << 12), what=_MARK))
    except InvalidInputError as error:
        raise CorruptMessageError(f"{path} does not say which run has ended: {error}") from error
    if mark != _Ended(agreed.plan.run, agreed.digest):
        raise RefusedError(
            f"{path} says that run {mark.run!r} has ended here, and what is agreed on is another. "
            "One folder serves one run: begin the other one in a folder of its own."
        )
    return True


def forget(folder: Path, agreed: Agreed, files: Sequence[str]) -> None:
    """Mark a run as ended, durably, and delete what only it needed; again, the rest of it.

    Args:
      folder: The site's.
      agreed: What has ended.
      files: Names of files and folders that are deleted.

    Raises:
      RefusedError: The disk refuses: something of it may be there still.
    """
    try:
        mark = _Ended(agreed.plan.run, agreed.digest)
        write_durably(folder / _MARK, canonical.encode(mark.to_json()))
        for file in files:
            path = folder / file
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        sync_folder(folder)
    except OSError as error:
        raise RefusedError(
            f"The run has ended, and what could open its sums can't be deleted from {folder}: "
            f"{error.strerror}. Mend that, and start the site again."
        ) from error


class EndedRole:
    """In place of a hospital or holder whose run has ended: it opens and computes nothing more.

    Args:
      run: Name of the run.
    """

    def __init__(self, run: str) -> None:
        self._run = run

    def handle(self, incoming: Message | Timer) -> tuple[Message, ...]:
        """Do nothing at what is told again, and refuse whatever would have it work.

        Raises:
          RefusedError: The run has ended.
        """
        if isinstance(incoming, Message) and incoming.kind not in _TOLD_AGAIN:
            _refuse(self._run)
        return ()


class SpentOpener(Opener):
    """In place of an opener that has opened every sum: its record is there, and its key is not."""

    def open(
        self, total: bytes, contributions: Sequence[Contribution], place: Place | None = None
    ) -> NDArray[np.int64]:
        """Refuse.

        Raises:
          RefusedError: Always.
        """
        _refuse(self.policy.roster.run)

    def _open(self, total: bytes, contributions: Sequence[Contribution]) -> NDArray[np.uint64]:
        _refuse(self.policy.roster.run)


def _refuse(run: str) -> NoReturn:
    raise RefusedError(
        f"Every sum of run {run!r} is opened, and what could open more is deleted here: the run "
        "has ended. Nothing of it is computed or opened again."
    )
