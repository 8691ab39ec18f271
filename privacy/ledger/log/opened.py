"""One opened sum as it stands in the log of whoever opens: canonical JSON, hash-chained.

The log itself is kept where sums are opened; its form stands here, so that an auditor reads it by
the parser that wrote it.
"""

import re
from dataclasses import asdict, dataclass
from typing import Any

from privacy.errors import CorruptMessageError
from privacy.ledger.log import canonical

__all__ = ["GENESIS", "Opening"]

GENESIS = "0" * 64
_HEX = re.compile(r"[0-9a-f]{64}")
_TEXTS = ("hospitals", "nonces", "ciphertexts")


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

    @classmethod
    def from_bytes(cls, line: bytes) -> "Opening":
        """Read what ``to_bytes`` wrote.

        Raises:
          CorruptMessageError: Any departure from it.
        """
        fields: dict[str, Any] = canonical.decode(line)
        if not isinstance(fields, dict) or set(fields) != set(cls.__dataclass_fields__):
            raise CorruptMessageError("it has not the fields of an opening")
        lists = [fields[name] for name in (*_TEXTS, "base_versions")]
        if not all(isinstance(values, list) and values for values in lists):
            raise CorruptMessageError("it names no contributions")
        texts = [text for values in lists[:-1] for text in values]
        numbers = [fields["number"], *fields["base_versions"]]
        digests = [fields[name] for name in ("parameters", "total", "previous")]
        sound = (
            len({len(values) for values in lists}) == 1
            and all(isinstance(text, str) for text in [fields["run"], *texts])
            and all(type(number) is int and number >= 0 for number in numbers)
            and all(isinstance(d, str) and _HEX.fullmatch(d) for d in digests)
        )
        if not sound:
            raise CorruptMessageError("a field has a value that its meaning forbids")
        whole = {name: tuple(fields[name]) for name in (*_TEXTS, "base_versions")}
        return cls(**(fields | whole))
