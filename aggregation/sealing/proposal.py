"""The sum that somebody is asked to open, spelled out: what holders commit to, once a number.

All openings of a run form one chain: each names its number and the digest of the one before. Two
quorums share an honest holder, and it commits to one sum under a number: so two sums can't both be
"the sum of round r", and whoever checks commitments needs to believe nobody who relays them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from aggregation.sealing.contribution import Contribution
from privacy.errors import CorruptMessageError, InvalidInputError
from privacy.ledger.forms import Form, hexadecimal, listed, name, optional, ruled, text, whole
from privacy.ledger.log import canonical
from privacy.ledger.log.opened import GENESIS

__all__ = ["Place", "Proposal"]

_MOST = 1 << 16


@dataclass(frozen=True)
class Place(Form):
    """Where a sum stands in the chain of a run's openings.

    Attributes:
      plan: Digest of the run's plan, in hex; None where sums are opened without one.
      number: Sums opened before it.
      previous: ``Proposal.digest`` of the one before; zeros before the first.
    """

    plan: str | None = ruled(optional(hexadecimal(64)), None)
    number: int = ruled(whole(0, 2**53), 0)
    previous: str = ruled(hexadecimal(64), GENESIS)

    def after(self, digest: str) -> "Place":
        """Return the place behind the opening with this digest."""
        return Place(self.plan, self.number + 1, digest)


@dataclass(frozen=True)
class Proposal(Form):
    """A sum to be opened, at its place in the chain.

    Attributes:
      run: Name of the run.
      plan: Digest of the plan, in hex, or None.
      number: Sums opened before it.
      previous: Digest of the proposal before it.
      parameters: Digest of the sealing parameters.
      hospitals: Who contributed, in the order of ``nonces``.
      nonces: Of the contributions.
      ciphertexts: SHA-256 of each sealed update.
      base_versions: Of each contribution.
      total: SHA-256 of the sealed sum.
    """

    run: str = ruled(name())
    plan: str | None = ruled(optional(hexadecimal(64)))
    number: int = ruled(whole(0, 2**53))
    previous: str = ruled(hexadecimal(64))
    parameters: str = ruled(hexadecimal(64))
    hospitals: tuple[str, ...] = ruled(listed(text(), least=1, most=_MOST))
    nonces: tuple[str, ...] = ruled(listed(text(), least=1, most=_MOST))
    ciphertexts: tuple[str, ...] = ruled(listed(hexadecimal(64), least=1, most=_MOST))
    base_versions: tuple[int, ...] = ruled(listed(whole(0, 2**53), least=1, most=_MOST))
    total: str = ruled(hexadecimal(64))

    def __post_init__(self) -> None:
        super().__post_init__()
        lists = (self.hospitals, self.nonces, self.ciphertexts, self.base_versions)
        if len({len(values) for values in lists}) != 1:
            raise InvalidInputError("A proposal names another number of hospitals than of updates.")

    @classmethod
    def of(
        cls, place: Place, parameters: str, total: bytes, contributions: Sequence[Contribution]
    ) -> "Proposal":
        """Return what is proposed when a total of these contributions is to be opened.

        Raises:
          InvalidInputError: No contributions.
        """
        return cls(
            run=contributions[0].run if contributions else "",
            plan=place.plan,
            number=place.number,
            previous=place.previous,
            parameters=parameters,
            hospitals=tuple(c.hospital for c in contributions),
            nonces=tuple(c.nonce for c in contributions),
            ciphertexts=tuple(c.ciphertext for c in contributions),
            base_versions=tuple(c.base_version for c in contributions),
            total=hashlib.sha256(total).hexdigest(),
        )

    def to_bytes(self) -> bytes:
        """Return canonical JSON."""
        return canonical.encode(self.to_json())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of it, in hex: what commitments and answers sign."""
        return canonical.digest(self.to_bytes())

    @classmethod
    def from_bytes(cls, content: bytes) -> "Proposal":
        """Read what ``to_bytes`` wrote.

        Raises:
          CorruptMessageError: Any departure from it.
        """
        try:
            return cls.from_json(canonical.decode(content))
        except InvalidInputError as error:
            raise CorruptMessageError(f"These bytes propose no sum: {error}") from error
