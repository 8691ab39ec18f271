"""One line of a ledger: canonical JSON, linked to the line before it, signed by its hospital.

A line is ``{"body":{...},"signature":"..."}``: the signature covers the very bytes of the body,
and the body names the SHA-256 of the whole line before it. So the signature of the last line
covers all lines.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from privacy.errors import CorruptMessageError
from privacy.ledger.log.canonical import decode, digest, encode
from privacy.ledger.log.keys import SigningKey, verifies

__all__ = ["GENESIS", "KINDS", "VERSION", "Entry", "Head", "compose", "parse"]

VERSION = 1
GENESIS = "0" * 64

# What each kind of entry records. Old ledgers must stay readable: a kind's meaning never changes.
KINDS = {
    "opening": "who keeps this ledger, its budgets, and who may counter-sign it",
    "plan": "a schedule of releases, its total checked once against the budget",
    "release": "a release, spent before any patient's record is read",
    "sealed": "size and digest of the bytes that a release became",
    "refusal": "a release or a plan that was refused; nothing was read",
    "recovered": "a torn line that a crash left, moved aside",
    "checkpoint": "root of all lines before this one, for others to counter-sign",
    "witness": "another hospital's checkpoint, seen and counter-signed here",
    "countersigned": "the counter-signatures of a checkpoint of this ledger",
}

_BODY = {"version", "sequence", "time", "hospital", "kind", "previous", "content"}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_HEX = re.compile(r"[0-9a-f]{64}")
_DOMAIN = b"inpatient ledger entry 1\x00"
_HEAD_DOMAIN = b"inpatient ledger head 1\x00"
_START, _MIDDLE, _END = b'{"body":', b',"signature":"', b'"}'
_TAIL = len(_MIDDLE) + 128 + len(_END)


@dataclass(frozen=True)
class Entry:
    """One entry as it stands in the ledger.

    Attributes:
      sequence: Place in the ledger, from 0.
      time: Coordinated universal time, by the writer's clock.
      hospital: Who keeps the ledger.
      kind: One of ``KINDS``.
      content: What the kind records.
      previous: Digest of the line before; zeros for the first.
      signature: The hospital's, over the body's bytes.
      line: The whole line, without its newline.
    """

    sequence: int
    time: str
    hospital: str
    kind: str
    content: Mapping[str, Any]
    previous: str
    signature: str
    line: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of the line, in hex: what the next entry names."""
        return digest(self.line)

    def signed_by(self, public: str) -> bool:
        """Whether the signature is that key's."""
        return verifies(public, self.signature, _DOMAIN + self.line[len(_START) : -_TAIL])


@dataclass(frozen=True)
class Head:
    """A hospital's signed word on how long its ledger is and what it holds.

    Attributes:
      hospital: Who keeps the ledger.
      ledger: The ledger's identity: digest of its first line.
      size: Number of lines.
      root: RFC 6962 Merkle root of these lines, in hex.
      signature: The hospital's, over the four others.
    """

    hospital: str
    ledger: str
    size: int
    root: str
    signature: str

    @classmethod
    def sign(cls, key: SigningKey, hospital: str, ledger: str, size: int, root: str) -> "Head":
        """Sign a head."""
        unsigned = cls(hospital, ledger, size, root, "")
        return cls(hospital, ledger, size, root, key.sign(_HEAD_DOMAIN + unsigned.note))

    @property
    def note(self) -> bytes:
        """The canonical bytes that are signed, and counter-signed."""
        return encode(
            {
                "hospital": self.hospital,
                "ledger": self.ledger,
                "root": self.root,
                "size": self.size,
            }
        )

    def signed_by(self, public: str) -> bool:
        """Whether the signature is that key's."""
        return verifies(public, self.signature, _HEAD_DOMAIN + self.note)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "hospital": self.hospital,
            "ledger": self.ledger,
            "size": self.size,
            "root": self.root,
            "signature": self.signature,
        }

    @classmethod
    def from_json(cls, fields: Any) -> "Head":
        """Read what ``to_json`` wrote.

        Raises:
          CorruptMessageError: Not a head.
        """
        try:
            head = cls(**fields)
        except TypeError as error:
            raise CorruptMessageError(f"Expected a ledger's head: {error}.") from error
        texts = (head.hospital, head.ledger, head.root, head.signature)
        if not all(isinstance(text, str) for text in texts) or type(head.size) is not int:
            raise CorruptMessageError(f"Expected a ledger's head, got {fields!r}.")
        return head


def compose(
    key: SigningKey,
    *,
    sequence: int,
    time: str,
    hospital: str,
    kind: str,
    content: Mapping[str, Any],
    previous: str,
) -> Entry:
    """Write and sign an entry."""
    body = encode(
        {
            "version": VERSION,
            "sequence": sequence,
            "time": time,
            "hospital": hospital,
            "kind": kind,
            "content": content,
            "previous": previous,
        }
    )
    signature = key.sign(_DOMAIN + body)
    line = _START + body + _MIDDLE + signature.encode() + _END
    return Entry(sequence, time, hospital, kind, content, previous, signature, line)


def parse(line: bytes) -> Entry:
    """Read one line; its signature is not checked here.

    Raises:
      CorruptMessageError: Any departure from what ``compose`` writes.
    """
    whole = decode(line)
    if not isinstance(whole, dict) or set(whole) != {"body", "signature"}:
        raise CorruptMessageError("Expected an entry with a body and a signature.")
    body, signature = whole["body"], whole["signature"]
    if not isinstance(body, dict) or set(body) != _BODY:
        raise CorruptMessageError(f"Expected an entry with the fields {sorted(_BODY)}.")
    if body["version"] != VERSION:
        raise CorruptMessageError(
            f"The entry has version {body['version']!r}; this program reads version {VERSION}."
        )
    sound = (
        type(body["sequence"]) is int
        and isinstance(body["time"], str)
        and _TIME.fullmatch(body["time"])
        and isinstance(body["hospital"], str)
        and isinstance(body["kind"], str)
        and body["kind"] in KINDS
        and isinstance(body["content"], dict)
        and isinstance(body["previous"], str)
        and _HEX.fullmatch(body["previous"])
        and isinstance(signature, str)
        and len(signature) == 128
    )
    if not sound:
        raise CorruptMessageError("An entry's field has a value that its meaning forbids.")
    return Entry(
        body["sequence"],
        body["time"],
        body["hospital"],
        body["kind"],
        body["content"],
        body["previous"],
        signature,
        line,
    )
