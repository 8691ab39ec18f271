"""What opens a sum, signed: holders' commitments and answers, or the opener's word.

An answer has *parts*, each on its own: a piece's streams, a holder's share of a decryption, or the
sum itself where one party has the key. What is signed are the parts' digests, so that several
holders' words about one part are compared without carrying it more than once.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from privacy.errors import CorruptMessageError, InvalidInputError
from privacy.ledger.forms import (
    Form,
    form,
    hexadecimal,
    listed,
    mapping,
    name,
    optional,
    ruled,
    text,
)
from privacy.ledger.log import canonical
from privacy.ledger.log.heads import Head
from privacy.ledger.log.keys import SigningKey, verifies

__all__ = ["SUM", "Answer", "Commitment", "Parts", "Question", "Witnessed", "digests_of"]

SUM = "sum"
"""The one part of the answer of an opener that has the key."""

Parts = Mapping[str, bytes]

_Signed = TypeVar("_Signed", bound="Signed")

_MOST = 1 << 12


@dataclass(frozen=True)
class Signed(Form):
    """A record with a signature; the domain says what kind."""

    @property
    def statement(self) -> bytes:
        """The bytes that the signature covers: canonical JSON, with a domain of its own."""
        domain = f"inpatient {type(self).__name__.lower()} v2"
        return canonical.encode(self.to_json() | {"signature": "", "domain": domain})

    def verifies(self, public_key: str) -> bool:
        """Whether this key signed exactly this."""
        return verifies(public_key, str(self.to_json()["signature"]), self.statement)

    def to_bytes(self) -> bytes:
        """Return canonical JSON."""
        return canonical.encode(self.to_json())

    @classmethod
    def from_json(cls: type[_Signed], content: Any) -> _Signed:
        """Read what ``to_json`` wrote.

        Raises:
          CorruptMessageError: Any departure from it.
        """
        try:
            return super().from_json(content)
        except InvalidInputError as error:
            what = cls.__name__.lower()
            raise CorruptMessageError(f"These bytes are no {what} of a holder: {error}") from error

    @classmethod
    def from_bytes(cls: type[_Signed], content: bytes) -> _Signed:
        """Read what ``to_bytes`` wrote.

        Raises:
          CorruptMessageError: Any departure from it.
        """
        return cls.from_json(canonical.decode(content))


@dataclass(frozen=True)
class Commitment(Signed):
    """A holder's signature under one proposal.

    Attributes:
      holder: Who signed.
      opening: ``Proposal.digest``.
      signature: Ed25519, in hex.
    """

    holder: str = ruled(text())
    opening: str = ruled(hexadecimal(64))
    signature: str = ruled(text(128, least=0), "")

    @classmethod
    def sign(cls, key: SigningKey, holder: str, opening: str) -> "Commitment":
        """Sign a proposal's digest."""
        bare = cls(holder, opening)
        return replace(bare, signature=key.sign(bare.statement))


@dataclass(frozen=True)
class Answer(Signed):
    """What one party answered to one proposal.

    Attributes:
      holder: Who answers.
      opening: ``Proposal.digest``.
      present: The holders that had committed, as the server told this one.
      parts: SHA-256 of each part, by name.
      signature: Ed25519, in hex.
    """

    holder: str = ruled(text())
    opening: str = ruled(hexadecimal(64))
    present: tuple[str, ...] = ruled(listed(text(), least=1, most=_MOST))
    parts: Mapping[str, str] = ruled(mapping(text(), hexadecimal(64), most=_MOST))
    signature: str = ruled(text(128, least=0), "")

    @classmethod
    def sign(
        cls, key: SigningKey, holder: str, opening: str, present: tuple[str, ...], parts: Parts
    ) -> "Answer":
        """Sign the digests of these parts."""
        bare = cls(holder, opening, present, digests_of(parts))
        return replace(bare, signature=key.sign(bare.statement))


@dataclass(frozen=True)
class Question(Form):
    """What a restarted hospital asks whoever opens: which head of its ledger they saw last.

    It travels in clear, beside no payload.

    Attributes:
      hospital: Who asks.
      nonce: Drawn for this one question, in hex.
    """

    hospital: str = ruled(name())
    nonce: str = ruled(hexadecimal(32))

    @classmethod
    def read(cls, public: Mapping[str, Any]) -> "Question":
        """Read what ``to_json`` wrote.

        Raises:
          CorruptMessageError: Any departure from it.
        """
        try:
            return cls.from_json(public)
        except InvalidInputError as error:
            raise CorruptMessageError(f"Nobody asks for a ledger's head: {error}") from error


@dataclass(frozen=True)
class Witnessed(Signed):
    """What whoever opens says to a hospital that was restarted: the newest head it saw of it.

    Attributes:
      holder: Who says it.
      run: Name of the run.
      hospital: Whose ledger.
      nonce: The question's: no answer to an older one will do.
      head: The newest head of that ledger in a sum that was opened; None: none was seen.
      signature: Ed25519, in hex.
    """

    holder: str = ruled(text())
    run: str = ruled(name())
    hospital: str = ruled(name())
    nonce: str = ruled(hexadecimal(32))
    head: Head | None = ruled(optional(form(Head)), None)
    signature: str = ruled(text(128, least=0), "")

    def signed(self, key: SigningKey) -> "Witnessed":
        """Return it with a signature."""
        return replace(self, signature=key.sign(self.statement))


def digests_of(parts: Parts) -> dict[str, str]:
    """Return the SHA-256 of each part, in hex."""
    return {part: hashlib.sha256(content).hexdigest() for part, content in parts.items()}
