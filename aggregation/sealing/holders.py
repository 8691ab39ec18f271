"""Several holders who open together, each of whom checks everything itself.

An opening has two steps, so that no two quorums can be given overlapping sets of contributions:

1. *commit*: each holder checks signatures, policy and sum on its own, writes the opening down and
   signs exactly this set of ciphertexts;
2. *answer*: only with valid commitments of ``threshold`` holders to the same set does it use its
   secret.

Two quorums of t among k share at least 2t - k holders. With more than ``corrupt`` of them, an
honest one is in both, and it never commits to a contribution twice.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from aggregation.sealing import material
from aggregation.sealing.contribution import Contribution
from aggregation.sealing.envelope import Kind
from aggregation.sealing.parameters import Parameters
from aggregation.sealing.policy import Policy
from aggregation.sealing.quorum import HolderSecret, read_quorum
from aggregation.sealing.roles import Adder, Scheme, require_sum
from privacy.errors import CorruptMessageError, RefusedError
from privacy.ledger.log import canonical
from privacy.ledger.log.keys import verifies

__all__ = ["Commitment", "Holder", "QuorumScheme"]


@dataclass(frozen=True)
class Commitment:
    """A holder's signature under one opening.

    Attributes:
      holder: Who signed.
      opening: SHA-256 over run, parameters, nonces, ciphertexts and total, in hex.
      signature: Ed25519, in hex.
    """

    holder: str
    opening: str
    signature: str


class Holder(ABC):
    """One holder's half of an opening that needs no secret: its own policy, and its commitment.

    Guarantees (each is a test in ``tests/aggregation/sealing/test_holders.py``):
      - it commits to a set of contributions only if its own policy allows it and ``total`` is their
        sum, and to each contribution once;
      - it takes an opening for agreed only with commitments of ``threshold`` holders to the very
        set that it committed to itself.

    Args:
      name: Its name in the quorum.
      secret: Its keys.
      policy: Its own policy, with its own log.
      adder: To add the signed ciphertexts again; of the run's parameters.
      held: What it holds beside its keys; each scheme has its own.
    """

    def __init__(
        self, name: str, secret: HolderSecret, policy: Policy, adder: Adder, held: bytes = b""
    ) -> None:
        self.name = name
        self.quorum, public = read_quorum(adder.parameters, adder.label)
        self.policy = policy
        self.key = secret.key
        self._secret, self._held = secret, held
        self._keys = {name: theirs.sign for name, theirs in public.items()}
        self._adder = adder
        self.parameters = adder.parameters
        self._committed: set[str] = set()

    def to_bytes(self) -> bytes:
        """Return this holder's material **with its secret**, to be read by ``load_holder``.

        Keep it where its key is kept; it never travels.
        """
        names = [self.name, self._secret.box.hex(), self._secret.sign.hex()]
        content = canonical.encode(names) + b"\n" + self._held
        return material.join(Kind.OPENER, self._adder.label, self.parameters, content)

    def commit(self, total: bytes, contributions: Sequence[Contribution]) -> Commitment:
        """Check an opening, write it down, and sign it.

        Raises:
          RefusedError: As ``Opener.open``.
          CorruptMessageError: As ``Opener.open``.
        """
        self.policy.check(contributions, self._adder.parameters)
        require_sum(self._adder, total, contributions)
        self._check_pieces(contributions)
        self.policy.record(contributions, hashlib.sha256(total).hexdigest())
        opening = _opening(self._adder.parameters, total, contributions)
        self._committed.add(opening)
        return Commitment(self.name, opening, self.key.sign(_statement(opening)))

    @abstractmethod
    def answer(
        self,
        total: bytes,
        contributions: Sequence[Contribution],
        commitments: Sequence[Commitment],
    ) -> bytes:
        """Return this holder's part of an agreed opening; each scheme has its own."""

    def _check_pieces(self, contributions: Sequence[Contribution]) -> None:
        """Refuse a contribution that this holder could not answer for."""
        return

    def agreed(
        self,
        total: bytes,
        contributions: Sequence[Contribution],
        commitments: Sequence[Commitment],
    ) -> tuple[str, ...]:
        """Return the names of those who committed to this opening, if they are enough.

        Raises:
          RefusedError: This holder did not commit to it, or too few others did.
        """
        opening = _opening(self._adder.parameters, total, contributions)
        if opening not in self._committed:
            raise RefusedError(
                f"Holder {self.name!r} did not commit to this set of contributions, or to another "
                "one with some of them; it answers for what it committed to alone."
            )
        names = {
            c.holder
            for c in commitments
            if c.opening == opening
            and c.holder in self._keys
            and verifies(self._keys[c.holder], c.signature, _statement(opening))
        }
        if len(names) < self.quorum.threshold:
            raise RefusedError(
                f"{len(names)} holders committed to this opening; {self.quorum.threshold} of "
                f"{len(self.quorum.names)} are needed before any of them answers."
            )
        return tuple(n for n in self.quorum.names if n in names)


class QuorumScheme(Scheme):
    """A scheme that several holders open together, each in a place of its own.

    Attributes:
      roles: What adds, and what holds: made from the parameters, and from what a holder was given.
    """

    roles: ClassVar[tuple[Callable[[Parameters], Adder], Callable[..., Holder]]]
    _secrets: Mapping[str, HolderSecret]

    def adder(self) -> Adder:
        """Return the aggregator's role: no key at all."""
        return self.load_adder(self.parameters)

    @classmethod
    def load_adder(cls, parameters: Parameters, material: bytes = b"") -> Adder:
        """Return the aggregator's role: no key at all; all that it needs is in the parameters."""
        return cls.roles[0](parameters)

    def holder(self, name: str, policy: Policy) -> Holder:
        """Return one holder, with a policy of its own."""
        secret, held = self._secrets[name], self._held(name)
        return self.roles[1](name, secret, policy, self.adder(), held)

    def _held(self, name: str) -> bytes:
        """What a holder is given beside its keys."""
        return b""

    def holders(self, policy: Policy) -> dict[str, Holder]:
        """Return all holders, each with a policy and a log of its own."""
        return {name: self.holder(name, policy.fork(name)) for name in self._secrets}

    @classmethod
    def load_holder(cls, parameters: Parameters, material: bytes, policy: Policy) -> Holder:
        """Return one holder from its material.

        Raises:
          CorruptMessageError: Not the material of a holder that the parameters name.
        """
        keys, _, rest = material.partition(b"\n")
        try:
            name, box, sign = canonical.decode(keys)
            secret = HolderSecret(bytes.fromhex(box), bytes.fromhex(sign))
            ours = parameters.settings["keys"][name]
            if ours != {"box": secret.public.box, "sign": secret.public.sign}:
                raise ValueError("the secret does not belong to the public key of its holder")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CorruptMessageError(f"This is not a holder's secret: {error}.") from error
        return cls.roles[1](name, secret, policy, cls.load_adder(parameters), rest)

    @classmethod
    def answering(
        cls,
        parameters: Parameters,
        contributions: Sequence[Contribution],
        committed: Sequence[str],
    ) -> tuple[str, ...]:
        """Return who has to answer, of those who committed: all of them unless a scheme differs."""
        return tuple(committed)

    @classmethod
    @abstractmethod
    def combine(
        cls,
        parameters: Parameters,
        total: bytes,
        contributions: Sequence[Contribution],
        answers: Mapping[str, bytes],
    ) -> NDArray[np.uint64]:
        """Return the sums of residues from a sealed total and all answers; it takes no secret."""


def _opening(parameters: Parameters, total: bytes, contributions: Sequence[Contribution]) -> str:
    content = {
        "parameters": parameters.digest,
        "total": hashlib.sha256(total).hexdigest(),
        "contributions": [[c.nonce, c.ciphertext] for c in contributions],
    }
    return canonical.digest(canonical.encode(content))


def _statement(opening: str) -> bytes:
    return canonical.encode({"domain": "inpatient opening v1", "opening": opening})
