"""What roles say to each other: messages that stand alone as bytes, and times that have come.

    magic 4 | version 1 | length of the header 4 | header, canonical JSON | payload

The header names run, sender, receiver, kind, round and nonce, holds what travels in clear beside
the payload, and has a place for the sender's signature over all of it. Sizes are checked before
anything is parsed.

>>> message = Message("aggregator", "cleveland", MessageKind.MODEL, 0, b"1234", run="demo")
>>> Message.from_bytes(message.to_bytes(), largest=100) == message
True
"""

import hashlib
import secrets
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.errors import CorruptMessageError, InvalidInputError
from privacy.ledger.log import canonical
from privacy.ledger.log.keys import SigningKey, verifies

__all__ = [
    "AGGREGATOR",
    "OPENER",
    "Json",
    "Message",
    "MessageKind",
    "SetTimer",
    "Timer",
    "TimerKind",
    "holder_address",
    "pack",
    "read_integers",
    "read_model",
    "unpack",
]

AGGREGATOR = "aggregator"
OPENER = "opener"

Json = str | int | float | bool | None

_MAGIC = b"INPM"
_VERSION = 1
_HEAD = struct.Struct("<4sBI")
_LENGTH = struct.Struct("<Q")
_LARGEST_HEADER = 1 << 16
_FIELDS = frozenset(
    ("run", "sender", "receiver", "kind", "round", "nonce", "public", "payload", "signature")
)


class MessageKind(StrEnum):
    """What a message is; one meaning each.

    ``plan``, ``model``, ``opened``: to hospitals. ``update``: a hospital's sealed, signed integers.
    ``total``: a sealed sum with the contributions it is made of, to whoever opens. ``tried``,
    ``chosen``, ``commitment``, ``agreed``, ``answer``: how holders open together. ``evidence``: the
    signed words of those who opened, to hospitals, before the sum itself. ``returned``: a
    hospital with a ledger from a disk asks those who open which head of it they saw last;
    ``witnessed``: their answer. ``checkpoint``, ``countersigned``: how ledgers are closed between
    machines.
    """

    PLAN = "plan"
    MODEL = "model"
    UPDATE = "update"
    TOTAL = "total"
    TRIED = "tried"
    CHOSEN = "chosen"
    COMMITMENT = "commitment"
    AGREED = "agreed"
    ANSWER = "answer"
    EVIDENCE = "evidence"
    OPENED = "opened"
    RETURNED = "returned"
    WITNESSED = "witnessed"
    CHECKPOINT = "checkpoint"
    COUNTERSIGNED = "countersigned"


@dataclass(frozen=True)
class Message:
    """One message between two parties.

    Attributes:
      sender: Name of a hospital, ``aggregator``, ``opener``, or a holder's address.
      receiver: Likewise.
      kind: What it is.
      round: The round it belongs to.
      payload: The bytes as sent.
      public: Plain values that travel in clear beside the payload.
      run: Name of the run.
      nonce: 32 hex digits, drawn once a message; a message sent again keeps its own.
      signature: Ed25519 of the sender over all of the above, in hex; empty: unsigned.
      sequence: Place in the transcript, from 0; the engine's, not the sender's.
      time: When it passed, in the engine's unit of time, 0 where time is not simulated.
    """

    sender: str
    receiver: str
    kind: MessageKind
    round: int
    payload: bytes = field(repr=False)
    public: Mapping[str, Json] = field(default_factory=dict)
    run: str = ""
    nonce: str = field(default_factory=lambda: secrets.token_hex(16))
    signature: str = field(default="", repr=False)
    sequence: int = 0
    time: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "public", MappingProxyType(dict(self.public)))

    @property
    def size(self) -> int:
        """Bytes of the payload."""
        return len(self.payload)

    @property
    def statement(self) -> bytes:
        """The bytes that a signature covers: canonical JSON, with a domain of its own."""
        header = {name: value for name, value in self._header().items() if name != "signature"}
        return canonical.encode({"domain": "inpatient message v1", **header})

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the payload, in hex."""
        return hashlib.sha256(self.payload).hexdigest()

    def repeatable(self) -> "Message":
        """Return it with a nonce that follows from it: said again, it is the same message."""
        said = f"{self.kind.value} {self.round} {self.digest}"
        return self._beside(nonce=canonical.digest(said.encode())[:32])

    def signed(self, key: SigningKey) -> "Message":
        """Return this message with a signature."""
        return self._beside(signature=key.sign(self.statement))

    def _beside(self, **fields: str) -> "Message":
        """Return it with other fields beside the same payload, whose digest is taken once."""
        made = replace(self, **fields)  # type: ignore[arg-type]  # fields by name
        vars(made)["digest"] = self.digest
        return made

    def signed_by(self, public_key: str) -> bool:
        """Whether this key signed exactly this message."""
        return verifies(public_key, self.signature, self.statement)

    def to_bytes(self) -> bytes:
        """Return what travels; the place in a transcript and the time do not."""
        header = canonical.encode(self._header())
        if len(header) > _LARGEST_HEADER:
            raise InvalidInputError(
                f"A message's header has {len(header)} bytes, more than {_LARGEST_HEADER}: put "
                "what is large into the payload."
            )
        return _HEAD.pack(_MAGIC, _VERSION, len(header)) + header + self.payload

    @classmethod
    def from_bytes(cls, content: bytes, *, largest: int) -> "Message":
        """Read what ``to_bytes`` wrote.

        Args:
          content: The bytes as they arrived.
          largest: Most bytes that the payload may have.

        Raises:
          CorruptMessageError: Too long, truncated, damaged, or not a message of this version.
        """
        if len(content) > _HEAD.size + _LARGEST_HEADER + largest:
            raise CorruptMessageError(
                f"A message of {len(content)} bytes came where at most {largest} are expected; it "
                "was not parsed."
            )
        if len(content) < _HEAD.size:
            raise CorruptMessageError(f"{len(content)} bytes are too few for a message.")
        magic, version, length = _HEAD.unpack_from(content)
        if magic != _MAGIC or version != _VERSION or length > _LARGEST_HEADER:
            raise CorruptMessageError(
                f"These bytes are not a message of version {_VERSION}. Run the same release of "
                "inpatient everywhere."
            )
        header = canonical.decode(content[_HEAD.size : _HEAD.size + length])
        payload = content[_HEAD.size + length :]
        if not isinstance(header, dict) or header.keys() != _FIELDS:
            raise CorruptMessageError("A message's header lacks a field, or has one of its own.")
        digest = hashlib.sha256(payload).hexdigest()
        if header["payload"] != digest or len(payload) > largest:
            raise CorruptMessageError(
                "A message's payload is not the one that its header names; send it again."
            )
        read = cls(
            kind=_kind(header["kind"]),
            round=_round(header["round"]),
            payload=payload,
            public=_public(header["public"]),
            run=_text("run", header["run"]),
            sender=_text("sender", header["sender"]),
            receiver=_text("receiver", header["receiver"]),
            nonce=_text("nonce", header["nonce"]),
            signature=_text("signature", header["signature"]),
        )
        vars(read)["digest"] = digest
        return read

    def _header(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "sender": self.sender,
            "receiver": self.receiver,
            "kind": self.kind.value,
            "round": self.round,
            "nonce": self.nonce,
            "public": dict(self.public),
            "payload": self.digest,
            "signature": self.signature,
        }


class TimerKind(StrEnum):
    """What a role wants to be woken for."""

    START = "start"
    MODEL = "model"  # the time to send a hospital the model
    PATIENCE = "patience"  # the time to go on without those who have not answered


@dataclass(frozen=True)
class Timer:
    """A time that has come.

    Attributes:
      kind: What for.
      round: The round it belongs to.
      party: Whom it concerns, if anybody.
      time: When, in the engine's unit.
    """

    kind: TimerKind
    round: int = 0
    party: str = ""
    time: float = 0.0


@dataclass(frozen=True)
class SetTimer:
    """A role's wish to be handed a timer when its time has come."""

    timer: Timer


def holder_address(name: str) -> str:
    """Return where messages to a holder go: a hospital that holds is two parties."""
    return f"holder {name}"


def pack(parts: Sequence[bytes]) -> bytes:
    """Put several byte strings into one payload, each behind its length."""
    return b"".join(piece for part in parts for piece in (_LENGTH.pack(len(part)), part))


def unpack(payload: bytes, *, most: int) -> tuple[bytes, ...]:
    """Read what ``pack`` wrote.

    Raises:
      CorruptMessageError: Truncated, or more than ``most`` parts.
    """
    parts: list[bytes] = []
    place = 0
    while place < len(payload):
        start = place + _LENGTH.size
        if len(parts) >= most or start > len(payload):
            raise CorruptMessageError(f"A payload is truncated or has more than {most} parts.")
        (length,) = _LENGTH.unpack_from(payload, place)
        place = start + length
        if place > len(payload):
            raise CorruptMessageError("A payload is truncated: a part is shorter than it says.")
        parts.append(payload[start:place])
    return tuple(parts)


def read_model(payload: bytes, dim: int) -> NDArray[np.float64]:
    """Read a parameter vector: float64, little-endian.

    Raises:
      CorruptMessageError: Another number of values.
    """
    return np.frombuffer(_sized(payload, dim, "A model"), dtype="<f8").astype(np.float64)


def read_integers(payload: bytes, dim: int) -> NDArray[np.int64]:
    """Read an opened sum: int64, little-endian.

    Raises:
      CorruptMessageError: Another number of values.
    """
    return np.frombuffer(_sized(payload, dim, "An opened sum"), dtype="<i8").astype(np.int64)


def _sized(payload: bytes, dim: int, what: str) -> bytes:
    if len(payload) != 8 * dim:
        raise CorruptMessageError(
            f"{what} of {dim} values has {8 * dim} bytes; this one has {len(payload)}."
        )
    return payload


def _kind(value: object) -> MessageKind:
    if not isinstance(value, str) or value not in set(MessageKind):
        raise CorruptMessageError(f"Unknown kind of message {value!r}.")
    return MessageKind(value)


def _round(value: object) -> int:
    if type(value) is not int or value < 0:
        raise CorruptMessageError(f"A message has round {value!r}; expected a number from 0.")
    return value


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise CorruptMessageError(f"A message needs {name} as text, got {value!r}.")
    return value


def _public(value: object) -> dict[str, Json]:
    if not isinstance(value, dict) or not all(
        v is None or isinstance(v, str | int | float) for v in value.values()
    ):
        raise CorruptMessageError("What stands in clear beside a payload is plain values only.")
    return value
