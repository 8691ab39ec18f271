"""The record of every opened sum: durable before a secret is used, and hash-chained."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aggregation.sealing.contribution import Contribution
from privacy.errors import CorruptMessageError
from privacy.ledger.log import canonical

__all__ = ["Opening", "OpeningLog"]

_GENESIS = "0" * 64


@dataclass(frozen=True)
class Opening:
    """One sum that was opened, written before it was.

    Attributes:
      number: From 0.
      run: Name of the run.
      parameters: Digest of the sealing parameters: which key opened it.
      hospitals: Who contributed, in the order of ``nonces``.
      nonces: The contributions.
      ciphertexts: SHA-256 of each sealed update, in hex.
      base_versions: Of each contribution.
      total: SHA-256 of the sealed sum, in hex.
      previous: Digest of the opening before.
    """

    number: int
    run: str
    parameters: str
    hospitals: tuple[str, ...]
    nonces: tuple[str, ...]
    ciphertexts: tuple[str, ...]
    base_versions: tuple[int, ...]
    total: str
    previous: str

    @property
    def digest(self) -> str:
        """SHA-256 of the opening; the next one names it."""
        return canonical.digest(self.to_bytes())

    def to_bytes(self) -> bytes:
        """Return one line of canonical JSON."""
        return canonical.encode(
            {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        )


class OpeningLog:
    """Every opening in order, hash-chained; on disk it is durable before a secret is used.

    Args:
      path: JSON lines, continued if the file exists; None keeps the log in memory (experiments).

    Raises:
      CorruptMessageError: The file is not an unbroken log.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._openings: list[Opening] = []
        self._spent: set[str] = set()
        self._opened: set[str] = set()
        if path is not None and path.exists():
            for line in path.read_bytes().splitlines():
                self._remember(_read(line, self._head, path))

    def __len__(self) -> int:
        return len(self._openings)

    @property
    def openings(self) -> tuple[Opening, ...]:
        """All openings in order."""
        return tuple(self._openings)

    @property
    def _head(self) -> str:
        return self._openings[-1].digest if self._openings else _GENESIS

    def spent(self, nonces: Sequence[str]) -> tuple[str, ...]:
        """Return those of the nonces that an earlier opening holds."""
        return tuple(n for n in nonces if n in self._spent)

    def opened(self, ciphertexts: Sequence[str]) -> tuple[str, ...]:
        """Return those of the sealed updates, by digest, that an earlier opening holds."""
        return tuple(c for c in ciphertexts if c in self._opened)

    def fork(self, name: str) -> "OpeningLog":
        """Return an empty log for another holder: beside this one on disk, or in memory."""
        if self._path is None:
            return OpeningLog()
        return OpeningLog(self._path.with_name(f"{self._path.stem}-{name}{self._path.suffix}"))

    def append(self, contributions: Sequence[Contribution], total: str) -> Opening:
        """Write an opening down, durably, and return it."""
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
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.write(opening.to_bytes() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        self._remember(opening)
        return opening

    def _remember(self, opening: Opening) -> None:
        self._openings.append(opening)
        self._spent.update(opening.nonces)
        self._opened.update(opening.ciphertexts)


def _read(line: bytes, previous: str, path: Path) -> Opening:
    try:
        fields: dict[str, Any] = canonical.decode(line)
        opening = Opening(
            number=int(fields["number"]),
            run=fields["run"],
            parameters=fields["parameters"],
            hospitals=tuple(fields["hospitals"]),
            nonces=tuple(fields["nonces"]),
            ciphertexts=tuple(fields["ciphertexts"]),
            base_versions=tuple(fields["base_versions"]),
            total=fields["total"],
            previous=fields["previous"],
        )
    except (TypeError, KeyError, ValueError, CorruptMessageError) as error:
        raise CorruptMessageError(
            f"The opening log {path} holds a broken line: {error}."
        ) from error
    if opening.previous != previous:
        raise CorruptMessageError(
            f"The opening log {path} is not unbroken at opening {opening.number}: a line was "
            "changed "
            "or removed. An opener can't go on without knowing what it has opened."
        )
    return opening
