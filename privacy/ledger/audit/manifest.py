"""What left each hospital, message by message: evidence to hold against the ledgers.

The upper layer writes a manifest from its transcript; this module owns its form. Every outbound
payload has to be the sealed bytes of a release in its sender's ledger, every word beside it one of
the fields below. "0 bytes of raw data" is then a computation:

>>> Manifest("run", ()).to_json()["version"]
1
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from privacy.errors import CorruptMessageError, InpatientError
from privacy.ledger.log.canonical import digest, encode
from privacy.ledger.log.heads import Head

__all__ = ["ACCOUNTED_FIELDS", "Manifest", "MessageLike", "Outbound"]

# Fields that may travel in clear beside a payload: each follows from public values or from bytes
# that are accounted for already. Any other field is an unaccounted leak until it is argued here.
ACCOUNTED_FIELDS = {
    "run": "a name that all parties agreed on",
    "hospital": "the sender's name",
    "base_version": "number of the model that the update is based on",
    "nonce": "random",
    "weight": "1: weights are applied before the noise",
    "parameters": "digest of the sealing scheme's public parameters",
    "ledger_head": "digest of the sender's ledger head",
    "head": "the sender's signed ledger head",
    "signature": "over the sealed bytes and the fields above",
    "digest": "of the sealed bytes",
}


@runtime_checkable
class MessageLike(Protocol):
    """The part of a transcript's message that a manifest is made from."""

    @property
    def sequence(self) -> int:
        """Place in the transcript."""

    @property
    def sender(self) -> str:
        """Who sent it."""

    @property
    def receiver(self) -> str:
        """To whom."""

    @property
    def kind(self) -> str:
        """What it is."""

    @property
    def round(self) -> int:
        """The round it belongs to."""

    @property
    def payload(self) -> bytes:
        """The bytes as sent."""

    @property
    def public(self) -> Mapping[str, Any]:
        """Plain values in clear beside the payload."""


@dataclass(frozen=True)
class Outbound:
    """One message that left a hospital.

    Attributes:
      sequence: Place in the transcript.
      sender: The hospital.
      receiver: To whom it went.
      kind: As in the release's entry.
      round: The round it belongs to.
      bytes: Size of the payload.
      digest: SHA-256 of the payload, in hex.
      fields: Size in bytes of each field in clear (name and value, as canonical JSON).
      head: The sender's signed ledger head that travelled with it, as the receiver kept it.
    """

    sequence: int
    sender: str
    receiver: str
    kind: str
    round: int
    bytes: int
    digest: str
    fields: Mapping[str, int]
    head: Head | None = None

    @classmethod
    def of(cls, message: MessageLike) -> "Outbound":
        """Describe a message."""
        head = message.public.get("head")
        return cls(
            message.sequence,
            message.sender,
            message.receiver,
            message.kind,
            message.round,
            len(message.payload),
            digest(message.payload),
            {name: len(encode({name: value})) for name, value in message.public.items()},
            Head.from_json(json.loads(head)) if isinstance(head, str) else None,
        )

    @property
    def unaccounted_fields(self) -> dict[str, int]:
        """Fields in clear that nothing accounts for, with their sizes."""
        return {n: size for n, size in self.fields.items() if n not in ACCOUNTED_FIELDS}


@dataclass(frozen=True)
class Manifest:
    """All outbound messages of a run, in order.

    Attributes:
      run: Name of the run.
      messages: What left the hospitals.
    """

    run: str
    messages: tuple[Outbound, ...]

    @classmethod
    def of(cls, run: str, messages: Iterable[MessageLike], hospitals: Iterable[str]) -> "Manifest":
        """Describe what a transcript's hospitals sent; what others sent is not outbound."""
        walls = set(hospitals)
        return cls(run, tuple(Outbound.of(m) for m in messages if m.sender in walls))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        rows = [
            asdict(m) | {"fields": dict(m.fields), "head": m.head.to_json() if m.head else None}
            for m in self.messages
        ]
        return {"version": 1, "evidence": "manifest", "run": self.run, "messages": rows}

    def save(self, path: Path) -> None:
        """Write the manifest, by custom ``manifest.json`` in the run's folder."""
        partial = path.with_name(path.name + ".tmp")
        partial.write_bytes(encode(self.to_json()) + b"\n")
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> "Manifest":
        """Read what ``save`` wrote.

        Raises:
          CorruptMessageError: Missing, or of another form.
        """
        try:
            content = json.loads(path.read_bytes())
            if content["version"] != 1 or content["evidence"] != "manifest":
                raise ValueError("it is not a manifest of version 1")
            rows = tuple(
                Outbound(**(row | {"head": Head.from_json(row["head"]) if row["head"] else None}))
                for row in content["messages"]
            )
            for row in rows:
                _check(row)
            return cls(str(content["run"]), rows)
        except (OSError, ValueError, KeyError, TypeError, InpatientError) as error:
            raise CorruptMessageError(f"The manifest {path} can't be read: {error}.") from error


def _check(row: Outbound) -> None:
    sizes = (row.sequence, row.round, row.bytes, *dict(row.fields).values())
    texts = (row.sender, row.receiver, row.kind, row.digest, *row.fields)
    if not all(type(s) is int and s >= 0 for s in sizes) or not all(
        isinstance(t, str) for t in texts
    ):
        raise ValueError(f"message {row.sequence!r} has a field of the wrong type")
