"""The three roles of a sealed sum, in three types, so that none can do another's work.

- ``Sealer``: at a hospital; holds public material only.
- ``Adder``: at the aggregator; holds public material only and has no way to open.
- ``Opener``: where the key is (or the shares of it); holds a policy and adds the signed
  ciphertexts again before it opens their sum.

Every scheme derives from these classes and fills in the hooks that begin with an underscore.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from aggregation.sealing import material
from aggregation.sealing.contribution import Contribution
from aggregation.sealing.envelope import Kind, unwrap, wrap
from aggregation.sealing.parameters import Parameters
from aggregation.sealing.policy import Policy
from aggregation.sealing.proposal import Place, Proposal
from privacy.errors import InvalidInputError, RefusedError

__all__ = ["Adder", "KeyScheme", "Opener", "Scheme", "Sealer", "require_total"]


class Sealer(ABC):
    """Seals a hospital's integers; can't open anything, its own updates included.

    Attributes:
      label: Scheme and library version, as every message names them.
      parameters: Public parameters of the run.
      hospital: Who seals.
    """

    label: str

    def __init__(self, parameters: Parameters, hospital: str) -> None:
        self.parameters = parameters
        self.hospital = hospital

    def seal(self, values: NDArray[np.int64], *, round_: int | None = None) -> bytes:
        """Seal one vector ``int64[dim]``; values count modulo ``2 ** parameters.bits``.

        Args:
          values: The integers.
          round_: Whose masks are used, where masks belong to rounds; None: the next round's.

        Raises:
          InvalidInputError: Another shape or type. Never for the size of a value.
          RefusedError: The round's masks were used before.
        """
        self._begin(round_)
        residues = self.parameters.residues(self.parameters.check(values))
        content = self._seal(residues)
        parts = (content,) if isinstance(content, bytes) else content
        return wrap(Kind.UPDATE, self.label, self.parameters.digest, *parts)

    def to_bytes(self) -> bytes:
        """Return this role's material, to be read by ``load_sealer``."""
        return material.join(Kind.SEALER, self.label, self.parameters, self._material())

    def _begin(self, round_: int | None) -> None:
        """Take note of the round, where masks belong to rounds."""
        return

    @abstractmethod
    def _seal(self, residues: NDArray[np.uint64]) -> bytes | Sequence[bytes]:
        """Return the sealed content, whole or in parts that are put together once."""

    def _material(self) -> bytes:
        return b""


class Adder(ABC):
    """Adds sealed updates; there is no secret in it and no method that opens.

    Attributes:
      label: Scheme and library version, as every message names them.
      parameters: Public parameters of the run.
      count: Updates added since the last total.
    """

    label: str

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self.count = 0

    def add(self, sealed: bytes, *, weight: float = 1.0) -> bytes:
        """Add one sealed update to the running sum; return its still sealed content.

        Raises:
          RefusedError: A weight other than 1 (it would scale the hospital's noise too), or more
            updates than the parameters were chosen for.
          CorruptMessageError: Not an update of this run; the sum is as before.
        """
        if weight != 1:
            raise RefusedError(
                f"A sealed update was to be added with weight {weight}; only 1 is accepted, "
                "because "
                "the weight would scale the update's noise too. Hospitals weigh before the noise."
            )
        if self.count >= self.parameters.contributors:
            raise RefusedError(
                f"{self.count} updates are in this sum, as many as its parameters were chosen for. "
                "Take the total and begin another."
            )
        content = self.open_frame(sealed)
        self._add(content)
        self.count += 1
        return content

    def total(self) -> bytes:
        """Return the sealed sum of what was added, and begin anew.

        Raises:
          InvalidInputError: Nothing was added.
        """
        if self.count == 0:
            raise InvalidInputError("There is no sum of no updates; add at least one first.")
        content = self._total()
        self.clear()
        return wrap(Kind.TOTAL, self.label, self.parameters.digest, content)

    def clear(self) -> None:
        """Forget what was added since the last total."""
        self.count = 0
        self._clear()

    def open_frame(self, sealed: bytes) -> bytes:
        """Return the still sealed content of an update whose frame is this run's."""
        return unwrap(
            sealed, Kind.UPDATE, self.label, self.parameters.digest, largest=self._largest()
        )

    def to_bytes(self) -> bytes:
        """Return this role's material, to be read by ``load_adder``."""
        return material.join(Kind.ADDER, self.label, self.parameters, self._material())

    @abstractmethod
    def _add(self, content: bytes) -> None:
        """Parse the content wholly, then add it."""

    @abstractmethod
    def _total(self) -> bytes:
        """Return the sum's content."""

    @abstractmethod
    def _clear(self) -> None:
        """Begin a new sum."""

    @abstractmethod
    def _largest(self) -> int:
        """Most bytes of an update's content."""

    def _material(self) -> bytes:
        return b""


class Opener(ABC):
    """Opens sums that its policy allows, from the signed ciphertexts themselves.

    Attributes:
      parameters: Public parameters of the run.
      policy: What a sum must be to be opened; holds the record of all openings.
    """

    def __init__(self, parameters: Parameters, policy: Policy, adder: Adder) -> None:
        self.parameters = parameters
        self.policy = policy
        self._adder = adder

    def open(
        self, total: bytes, contributions: Sequence[Contribution], place: Place | None = None
    ) -> NDArray[np.int64]:
        """Open the sum of these contributions: ``int64[dim]``, centred modulo ``2 ** bits``.

        ``place`` is its place in a run's chain, where it belongs to one: the very sum that was
        recorded there is opened again, to the same integers, for whoever died before it said them.

        Signatures and policy come first; then the ciphertexts are added again and must give
        ``total``, byte for byte; then the opening is recorded; then the secret is used.

        Raises:
          RefusedError: The policy forbids it, ``total`` is not the sum of the contributions, or
            another sum has this place.
          CorruptMessageError: A contribution is damaged, forged or of another run.
        """
        proposal, recorded = None, False
        if place is not None and contributions:
            proposal = Proposal.of(place, self.parameters.digest, total, contributions)
            recorded = self.policy.log.number_of(proposal.digest) is not None
        if not recorded:
            self.policy.check(contributions, self.parameters)
        self._adder.clear()
        for contribution in contributions:
            self._adder.add(contribution.sealed)
        require_total(self._adder, total)
        if not recorded:
            self.policy.record(contributions, hashlib.sha256(total).hexdigest(), proposal)
        return self.parameters.centre(self._open(total, contributions))

    def to_bytes(self) -> bytes:
        """Return this role's material **with its secret**, to be read by ``load_opener``.

        Keep it where a key is kept; it never travels.
        """
        return material.join(Kind.OPENER, self._adder.label, self.parameters, self._material())

    def _material(self) -> bytes:
        return b""

    def _content(self, total: bytes) -> bytes:
        return unwrap(
            total, Kind.TOTAL, self._adder.label, self.parameters.digest, largest=len(total)
        )

    @abstractmethod
    def _open(self, total: bytes, contributions: Sequence[Contribution]) -> NDArray[np.uint64]:
        """Return the sums of residues, modulo ``2 ** bits`` or unreduced."""


class Scheme(ABC):
    """The roles of one run under one key (or one set of keys), made together.

    Attributes:
      label: Scheme and library version, as every message names them.
      trust: Who must be trusted for what, in one sentence.
      parameters: Public; agreed in the plan.
    """

    label: ClassVar[str]
    trust: ClassVar[str]
    parameters: Parameters

    @property
    def digest(self) -> str:
        """Digest of the parameters, in hex: what contributions sign."""
        return self.parameters.digest

    @abstractmethod
    def sealer(self, hospital: str) -> Sealer:
        """Return the role of one hospital."""

    @abstractmethod
    def adder(self) -> Adder:
        """Return the aggregator's role."""

    @classmethod
    @abstractmethod
    def load_sealer(cls, parameters: Parameters, material: bytes, hospital: str) -> Sealer:
        """Return a hospital's role from its material."""

    @classmethod
    @abstractmethod
    def load_adder(cls, parameters: Parameters, material: bytes) -> Adder:
        """Return the aggregator's role from its material."""


class KeyScheme(Scheme):
    """A scheme under one key, which one party holds."""

    @abstractmethod
    def opener(self, policy: Policy) -> Opener:
        """Return the role of the key holder."""

    @classmethod
    @abstractmethod
    def load_opener(cls, parameters: Parameters, material: bytes, policy: Policy) -> Opener:
        """Return the opener's role from its material."""


def require_total(adder: Adder, total: bytes) -> None:
    """Demand that the signed ciphertexts, added again, give ``total``, byte for byte.

    Raises:
      RefusedError: They give another sum.
    """
    if adder.total() != total:
        raise RefusedError(
            "The aggregator's total is not the sum of the signed contributions, each with weight "
            "1: "
            "something was added, left out, weighed or put in its place. It was not opened."
        )
