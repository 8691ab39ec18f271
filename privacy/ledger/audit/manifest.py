"""What left each hospital, message by message: evidence to hold against the ledgers.

The upper layer writes a manifest from its transcript; this module owns its form. Every row is
signed by its sender, every hospital signs how many rows are its own, and every receiver that has a
key signs what it got. So a row that is cut out, put in or changed shows, and nobody can put a row
into another's mouth.

What travels in clear beside a payload has a type and a length (``CLEAR``); anything else is told
by its size alone, and is a leak.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from privacy._foreign import parse_json, printable, read_file
from privacy.errors import CorruptMessageError, InpatientError, InvalidInputError
from privacy.files import write_durably
from privacy.ledger.contents import MOST_BYTES, MOST_HOSPITALS
from privacy.ledger.forms import (
    NAME,
    FieldRule,
    Form,
    constant,
    form,
    hexadecimal,
    listed,
    mapping,
    number,
    optional,
    refuse,
    ruled,
    text,
    whole,
)
from privacy.ledger.log.canonical import digest, encode
from privacy.ledger.log.heads import Extension, Head
from privacy.ledger.log.keys import SigningKey, verifies
from privacy.ledger.requests import MOST_COUNT

__all__ = [
    "CLEAR",
    "Manifest",
    "MessageLike",
    "Outbound",
    "Receipt",
    "Received",
    "Sent",
    "outbound",
]

_LARGEST = 2**27  # bytes of a manifest
_MOST_ROWS = 100_000
_ROW, _SENT, _RECEIPT = (
    f"inpatient manifest {word} 1\x00".encode() for word in ("message", "sent", "receipt")
)


def _extension(name: str, value: Any) -> str:
    """Check that a text is a proof as a head needs it, in the one spelling that it has."""
    if not isinstance(value, str):
        refuse(name, value, "a proof that a ledger head extends another, as JSON text")
    proof = parse_json(value.encode("utf-8", "surrogatepass"), what="A proof")
    if encode(Extension.from_json(proof).to_json()).decode() != value:
        refuse(name, value, "canonical JSON")
    return value


# Fields that may travel in clear beside a payload, and what each may hold: it follows from public
# values, from bytes that are accounted for, or is random. ``head`` stands beside them.
CLEAR: Mapping[str, FieldRule] = {
    "run": text(),  # a name that all parties agreed on
    "hospital": text(),  # the sender's name
    "base_version": whole(0, MOST_COUNT),  # number of the model that the update is based on
    "nonce": hexadecimal(32),  # random
    "weight": number(0.0, 1.0),  # applied before the noise: as the release's entry has it
    "parameters": hexadecimal(64),  # digest of the sealing scheme's public parameters
    "ledger_head": hexadecimal(64),  # digest of the sender's ledger head
    "extends": FieldRule(_extension),  # hashes of its ledger: what the head grew from
    "model": hexadecimal(64),  # digest of the model that all were sent
    "signature": hexadecimal(128),  # over the sealed bytes and the fields above
    "digest": hexadecimal(64),  # of the sealed bytes
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


def _clear(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not set(value) <= set(CLEAR):
        refuse(name, value, f"an object with fields among {', '.join(CLEAR)}")
    return {field: CLEAR[field].check(f"{name}.{field}", value[field]) for field in sorted(value)}


@dataclass(frozen=True)
class Outbound(Form):
    """One message that left a hospital.

    Attributes:
      sequence: Place in the transcript.
      sender: The hospital.
      receiver: To whom it went.
      kind: As in the release's entry.
      round: The round it belongs to.
      bytes: Size of the payload.
      digest: SHA-256 of the payload, in hex.
      clear: The fields in clear that ``CLEAR`` knows, with their values.
      other: Size in bytes of each other field in clear (name and value, as canonical JSON).
      head: The sender's signed ledger head that travelled with it, as the receiver kept it.
      signature: The sender's, over all of the above and the run's name; None: not signed.
    """

    sequence: int = ruled(whole(0, 2**32))
    sender: str = ruled(text())
    receiver: str = ruled(text())
    kind: str = ruled(text())
    round: int = ruled(whole(0, MOST_COUNT))
    bytes: int = ruled(whole(0, MOST_BYTES))
    digest: str = ruled(hexadecimal(64))
    clear: Mapping[str, Any] = ruled(FieldRule(_clear))
    other: Mapping[str, int] = ruled(mapping(text(), whole(0, MOST_BYTES), most=NAME))
    head: Head | None = ruled(optional(form(Head)))
    signature: str | None = ruled(optional(hexadecimal(128)), None)

    @classmethod
    def of(cls, message: MessageLike) -> "Outbound":
        """Describe a message, without a signature."""
        clear: dict[str, Any] = {}
        other: dict[str, int] = {}
        head: Head | None = None
        for name, value in message.public.items():
            try:
                if name == "head":
                    head = _head(value)
                else:
                    clear[name] = CLEAR[name].check(name, value)
            except (KeyError, InpatientError):
                short = printable(name)[:NAME] or "?"
                other[short] = other.get(short, 0) + _size(name, value)
        return cls(
            message.sequence,
            message.sender,
            message.receiver,
            message.kind,
            message.round,
            len(message.payload),
            digest(message.payload),
            clear,
            other,
            head,
        )

    @property
    def clear_bytes(self) -> int:
        """Bytes of the fields in clear that ``CLEAR`` knows, and of the head."""
        size = sum(_size(name, value) for name, value in self.clear.items())
        return size + (_size("head", encode(self.head.to_json()).decode()) if self.head else 0)

    @property
    def objection(self) -> str:
        """What its own fields say against each other; empty if nothing."""
        expected = {"hospital": self.sender, "digest": self.digest}
        expected["ledger_head"] = digest(self.head.note) if self.head else "none that came with it"
        for name, value in expected.items():
            if self.clear.get(name, value) != value:
                return f"its field {name!r} is not the {name.replace('_', ' ')} of this message"
        if self.head is not None and self.head.hospital != self.sender:
            return f"it carries a ledger head of {self.head.hospital!r}"
        return ""

    def signed(self, run: str, key: SigningKey) -> "Outbound":
        """Return the message with its sender's signature."""
        return replace(self, signature=key.sign(_message(run, self)))

    def signed_by(self, run: str, public: str) -> bool:
        """Whether that key signed this message of this run."""
        return verifies(public, self.signature or "", _message(run, self))

    @property
    def name(self) -> str:
        """SHA-256 of the row, in hex: what statements and receipts name."""
        return digest(encode(self.to_json()))


def _message(run: str, row: Outbound) -> bytes:
    return _ROW + encode({"run": run, "message": row.to_json() | {"signature": None}})


@dataclass(frozen=True)
class Sent(Form):
    """A hospital's word that these are all its messages of a run, and no others.

    Attributes:
      hospital: Whose word.
      messages: How many.
      digest: SHA-256 over the names of its rows, in order.
      signature: The hospital's.
    """

    hospital: str = ruled(text())
    messages: int = ruled(whole(0, _MOST_ROWS))
    digest: str = ruled(hexadecimal(64))
    signature: str = ruled(hexadecimal(128))

    @classmethod
    def sign(cls, run: str, hospital: str, rows: Iterable[Outbound], key: SigningKey) -> "Sent":
        """Sign all rows of a hospital."""
        names = [row.name for row in rows if row.sender == hospital]
        total = digest("".join(names).encode())
        statement = _sent(run, hospital, len(names), total)
        return cls(hospital, len(names), total, key.sign(statement))

    def signed_by(self, run: str, public: str) -> bool:
        """Whether that key signed it."""
        statement = _sent(run, self.hospital, self.messages, self.digest)
        return verifies(public, self.signature, statement)

    def covers(self, rows: Iterable[Outbound]) -> bool:
        """Whether the rows of that hospital are the ones that were signed."""
        names = [row.name for row in rows if row.sender == self.hospital]
        return len(names) == self.messages and digest("".join(names).encode()) == self.digest


def _sent(run: str, hospital: str, messages: int, total: str) -> bytes:
    fields = {"run": run, "hospital": hospital, "messages": messages, "digest": total}
    return _SENT + encode(fields)


@dataclass(frozen=True)
class Received(Form):
    """A row that arrived: whose, and its name."""

    sender: str = ruled(text())
    row: str = ruled(hexadecimal(64))


@dataclass(frozen=True)
class Receipt(Form):
    """A receiver's word on what it got in a run.

    Attributes:
      receiver: Whose word.
      received: The rows, in order of arrival.
      signature: The receiver's.
    """

    receiver: str = ruled(text())
    received: tuple[Received, ...] = ruled(listed(form(Received), least=0, most=_MOST_ROWS))
    signature: str = ruled(hexadecimal(128))

    @classmethod
    def sign(cls, run: str, receiver: str, rows: Iterable[Outbound], key: SigningKey) -> "Receipt":
        """Sign all rows that went to a receiver."""
        got = tuple(Received(row.sender, row.name) for row in rows if row.receiver == receiver)
        return cls(receiver, got, key.sign(_received(run, receiver, got)))

    def signed_by(self, run: str, public: str) -> bool:
        """Whether that key signed it."""
        return verifies(public, self.signature, _received(run, self.receiver, self.received))


def _received(run: str, receiver: str, got: Iterable[Received]) -> bytes:
    rows = [row.to_json() for row in got]
    return _RECEIPT + encode({"run": run, "receiver": receiver, "received": rows})


@dataclass(frozen=True)
class Manifest(Form):
    """All outbound messages of a run, in order, and who signs for them.

    Attributes:
      run: Name of the run.
      messages: What left the hospitals.
      sent: Each hospital's word on its own.
      receipts: What receivers say that they got.
      version: Of this form.
      evidence: What this file is.
    """

    run: str = ruled(text())
    messages: tuple[Outbound, ...] = ruled(listed(form(Outbound), least=0, most=_MOST_ROWS))
    sent: tuple[Sent, ...] = ruled(listed(form(Sent), least=0, most=MOST_HOSPITALS), ())
    receipts: tuple[Receipt, ...] = ruled(listed(form(Receipt), least=0, most=MOST_HOSPITALS), ())
    version: int = ruled(constant(2), 2)
    evidence: str = ruled(constant("manifest"), "manifest")

    @classmethod
    def of(
        cls,
        run: str,
        messages: Iterable[MessageLike],
        hospitals: Mapping[str, SigningKey],
        receivers: Mapping[str, SigningKey] | None = None,
    ) -> "Manifest":
        """Describe what a transcript's hospitals sent; what others sent is not outbound.

        For parties in one process. Between machines each row is signed when it is sent, and kept
        with its signature by who receives it.

        Args:
          run: Name of the run.
          messages: All messages, in order.
          hospitals: Who is behind a wall, with the key of its ledger.
          receivers: Who signs for what it got.
        """
        rows = [row.signed(run, hospitals[row.sender]) for row in outbound(messages, hospitals)]
        sent = [Sent.sign(run, name, rows, key) for name, key in hospitals.items()]
        receipts = [Receipt.sign(run, n, rows, key) for n, key in (receivers or {}).items()]
        return cls(run, tuple(rows), tuple(sent), tuple(receipts))

    @classmethod
    def joined(cls, parts: Sequence["Manifest"]) -> "Manifest":
        """Put together what the parties of one run have each kept: every row and word once.

        Between machines a hospital has its own rows and its word on them, and a receiver has the
        rows that arrived and its receipt. A hospital numbers its own rows: their order is its own.

        Raises:
          InvalidInputError: They are of several runs, or of none.
        """
        if len({part.run for part in parts}) != 1:
            raise InvalidInputError("Manifests are joined that are of one run; these are not.")
        rows = {row.name: row for part in parts for row in part.messages}
        ordered = sorted(rows.values(), key=lambda row: (row.sequence, row.sender, row.name))
        sent = dict.fromkeys(word for part in parts for word in part.sent)
        receipts = dict.fromkeys(word for part in parts for word in part.receipts)
        return cls(parts[0].run, tuple(ordered), tuple(sent), tuple(receipts))

    def save(self, path: Path) -> None:
        """Write the manifest, by custom ``manifest.json`` in the run's folder.

        Raises:
          InvalidInputError: The disk refuses.
        """
        try:
            write_durably(path, encode(self.to_json()) + b"\n")
        except OSError as error:
            raise InvalidInputError(
                f"The manifest {path} can't be written: {error.strerror}."
            ) from error

    @classmethod
    def load(cls, path: Path) -> "Manifest":
        """Read what ``save`` wrote.

        Raises:
          CorruptMessageError: Missing, or of another form.
        """
        what = "The manifest"
        content = parse_json(read_file(path, most=_LARGEST, what=what), what=what, most=_LARGEST)
        try:
            return cls.from_json(content)
        except InvalidInputError as error:
            raise CorruptMessageError(f"The manifest {path.name} can't be read: {error}") from error


def outbound(messages: Iterable[MessageLike], hospitals: Iterable[str]) -> tuple[Outbound, ...]:
    """Describe the messages that hospitals sent, without signatures."""
    walls = set(hospitals)
    return tuple(Outbound.of(m) for m in messages if m.sender in walls)


def _head(value: Any) -> Head:
    if not isinstance(value, str):
        refuse("head", value, "a signed ledger head, as JSON text")
    return Head.from_json(parse_json(value.encode("utf-8", "surrogatepass"), what="A head"))


def _size(name: str, value: Any) -> int:
    try:
        return len(encode({name: value}))
    except InvalidInputError:
        return len(repr(name)) + len(repr(value))
