"""A machine for tests that dies at any write, and whose disk then holds what was waited for."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aggregation.roles.journal import Journal
from privacy import files
from privacy.ledger.log import store as store_module
from privacy.ledger.log.store import FileStore

__all__ = ["DiedError", "Disk"]


class DiedError(BaseException):
    """The process is gone: nothing in it may catch this."""


class Disk:
    """Counts writes, dies at one of them, and loses what nobody waited for.

    Attributes:
      writes: How many there were.

    Args:
      folder: Where all of it lies.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.writes = 0
        self.dead = False
        self._safe: dict[int, int] = {}  # bytes that were waited for, by the file's number

    @contextmanager
    def dying(self, at: int = -1, *, after: bool = False) -> Iterator[None]:
        """Have the process die at the n-th write, before it or when it is done, and for good."""
        self.writes, self.dead = 0, False
        for path in self._files():  # what was there before is safe
            found = path.stat()
            self._safe.setdefault(found.st_ino, found.st_size)

        def wrapped(write: Callable[..., Any]) -> Callable[..., Any]:
            def writes(*given: Any, **named: Any) -> Any:
                if self.dead:
                    raise DiedError
                self.writes += 1
                self.dead = self.writes - 1 == at
                if not self.dead or after:
                    write(*given, **named)
                if self.dead:
                    raise DiedError

            return writes

        real = os.fsync

        def fsync(descriptor: int) -> None:
            if self.dead and not after:
                raise DiedError
            real(descriptor)
            found = os.fstat(descriptor)
            self._safe[found.st_ino] = found.st_size

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store_module, "write_durably", wrapped(files.write_durably))
            patch.setattr(FileStore, "_write", wrapped(FileStore._write))
            patch.setattr(Journal, "_write", wrapped(Journal._write))
            patch.setattr(os, "fsync", fsync)
            yield

    def loses(self) -> None:
        """Cut every file to what was waited for."""
        for path in self._files():
            found = path.stat()
            safe = self._safe.get(found.st_ino, 0)
            if found.st_size > safe:
                os.truncate(path, safe)

    def _files(self) -> list[Path]:
        return [path for path in self._folder.rglob("*") if path.is_file()]
