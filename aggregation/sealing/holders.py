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
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from aggregation.sealing import material
from aggregation.sealing.contribution import Contribution
from aggregation.sealing.envelope import Kind
from aggregation.sealing.parameters import Parameters
from aggregation.sealing.policy import Policy
from aggregation.sealing.roles import Adder, Scheme, require_sum
from privacy._validate import natural
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError
from privacy.ledger.log import canonical
from privacy.ledger.log.keys import SigningKey, verifies
from privacy.names import distinct_names

__all__ = [
    "Commitment",
    "Holder",
    "HolderPublic",
    "HolderSecret",
    "Quorum",
    "QuorumScheme",
    "quorum_settings",
    "read_quorum",
]


@dataclass(frozen=True)
class HolderPublic:
    """A holder's public keys, in hex.

    Attributes:
      box: X25519: to send it something that it alone can read.
      sign: Ed25519: to verify its commitments.
    """

    box: str
    sign: str


@dataclass(frozen=True)
class HolderSecret:
    """A holder's private keys, 32 bytes each; they never leave it.

    Attributes:
      box: X25519.
      sign: Ed25519.
    """

    box: bytes = field(repr=False)
    sign: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> "HolderSecret":
        """Draw both from the operating system."""
        return cls(os.urandom(32), os.urandom(32))

    @property
    def key(self) -> SigningKey:
        """What commitments are signed with."""
        return SigningKey(Ed25519PrivateKey.from_private_bytes(self.sign))

    @property
    def public(self) -> HolderPublic:
        """The public half."""
        box = X25519PrivateKey.from_private_bytes(self.box).public_key()
        return HolderPublic(box.public_bytes_raw().hex(), self.key.public)


@dataclass(frozen=True)
class Quorum:
    """Who holds what, and how many are needed.

    A secret is dealt in pieces, one for each set of ``threshold - 1`` holders; the members of that
    set are those who do *not* get the piece. Any ``threshold`` holders then know every piece, and
    ``threshold - 1`` of them lack one (replicated secret sharing, Ito, Saito and Nishizeki 1987).

    Attributes:
      names: The holders, in order.
      threshold: Holders that open together.
      corrupt: Holders that may break the protocol with the server.

    Raises:
      InvalidInputError: ``threshold <= corrupt`` (they could open alone) or
        ``2 threshold <= holders + corrupt`` (two quorums without a common honest holder).
    """

    names: tuple[str, ...]
    threshold: int
    corrupt: int

    def __post_init__(self) -> None:
        k, t = len(self.names), self.threshold
        natural(threshold=t, least=1)
        natural(corrupt=self.corrupt)
        distinct_names(holders=self.names)
        if len(set(self.names)) != k or t > k:
            raise InvalidInputError(f"Expected at least {t} distinct holders, got {self.names}.")
        if t <= self.corrupt or 2 * t <= k + self.corrupt:
            raise InvalidInputError(
                f"{t} of {k} holders with {self.corrupt} corrupt is unsafe: expected threshold > "
                "corrupt and 2 threshold > holders + corrupt, or two quorums could open "
                f"overlapping sums. Raise the threshold to {(k + self.corrupt) // 2 + 1} or more."
            )

    @property
    def pieces(self) -> tuple[tuple[str, ...], ...]:
        """The sets of holders that lack each piece, in order."""
        return tuple(combinations(self.names, self.threshold - 1))

    def held_by(self, name: str) -> tuple[int, ...]:
        """Return the numbers of the pieces that a holder has."""
        return tuple(i for i, without in enumerate(self.pieces) if name not in without)

    def assigned(self, name: str, present: Sequence[str]) -> tuple[int, ...]:
        """Return the pieces that a holder answers for when ``present`` answer together.

        Each piece is answered for by the first of the present that has it, so by exactly one.
        """
        order = [n for n in self.names if n in set(present)]
        return tuple(
            i
            for i, without in enumerate(self.pieces)
            if next((n for n in order if n not in without), None) == name
        )


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
    """

    def __init__(self, name: str, secret: HolderSecret, policy: Policy, adder: Adder) -> None:
        self.name = name
        self.quorum, public = read_quorum(adder.parameters, adder.label)
        self.policy = policy
        self.key = secret.key
        self._secret = secret
        self._keys = {name: theirs.sign for name, theirs in public.items()}
        self._adder = adder
        self.parameters = adder.parameters
        self._committed: set[str] = set()

    def to_bytes(self) -> bytes:
        """Return this holder's material **with its secret**, to be read by ``load_holder``.

        Keep it where its key is kept; it never travels.
        """
        names = [self.name, self._secret.box.hex(), self._secret.sign.hex()]
        content = canonical.encode(names) + b"\n" + self._material()
        return material.join(Kind.OPENER, self._adder.label, self.parameters, content)

    def _material(self) -> bytes:
        """What it holds beside its keys."""
        return b""

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
    """A scheme that several holders open together, each in a place of its own."""

    _secrets: Mapping[str, HolderSecret]

    def adder(self) -> Adder:
        """Return the aggregator's role: no key at all."""
        return self.load_adder(self.parameters, b"")

    @abstractmethod
    def holder(self, name: str, policy: Policy) -> Holder:
        """Return one holder, with a policy of its own."""

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
        return cls._holder(name, secret, rest, parameters, policy)

    @classmethod
    @abstractmethod
    def _holder(
        cls,
        name: str,
        secret: HolderSecret,
        material: bytes,
        parameters: Parameters,
        policy: Policy,
    ) -> Holder:
        """Return a holder from its keys and what it holds beside them."""

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


def quorum_settings(quorum: Quorum, public: Mapping[str, HolderPublic]) -> dict[str, Any]:
    """Return a quorum and its public keys as settings of the parameters."""
    return {
        "holders": list(quorum.names),
        "threshold": quorum.threshold,
        "corrupt": quorum.corrupt,
        "keys": {
            name: {"box": public[name].box, "sign": public[name].sign} for name in quorum.names
        },
    }


def read_quorum(parameters: Parameters, label: str) -> tuple[Quorum, dict[str, HolderPublic]]:
    """Read what ``quorum_settings`` wrote.

    Raises:
      CorruptMessageError: Not such settings, an unsafe quorum, or of another version.
    """
    settings = parameters.settings
    try:
        if settings["library"] != label:
            raise ValueError(f"made by {settings['library']!r}, not {label!r}")
        quorum = Quorum(tuple(settings["holders"]), settings["threshold"], settings["corrupt"])
        keys = {n: HolderPublic(**settings["keys"][n]) for n in quorum.names}
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptMessageError(f"These parameters name no safe quorum: {error}") from error
    return quorum, keys


def _opening(parameters: Parameters, total: bytes, contributions: Sequence[Contribution]) -> str:
    content = {
        "parameters": parameters.digest,
        "total": hashlib.sha256(total).hexdigest(),
        "contributions": [[c.nonce, c.ciphertext] for c in contributions],
    }
    return canonical.digest(canonical.encode(content))


def _statement(opening: str) -> bytes:
    return canonical.encode({"domain": "inpatient opening v1", "opening": opening})
