"""One line of a ledger: canonical JSON, linked to the line before it, signed by its hospital.

What is written is what is read: ``compose`` and ``parse`` hold the content against one form.

A line is ``{"body":{...},"signature":"..."}``: the signature covers the very bytes of the body,
and the body names the SHA-256 of the whole line before it. So the signature of the last line
covers all lines.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privacy._foreign import quoted, within_depth
from privacy.errors import CorruptMessageError, InvalidInputError
from privacy.files import open_regular
from privacy.ledger import forms
from privacy.ledger.contents import MOST_ENTRIES, checked
from privacy.ledger.log.canonical import decode, digest, encode
from privacy.ledger.log.keys import SigningKey, verifies
from privacy.ledger.log.store import LONGEST_LINE

__all__ = ["GENESIS", "KINDS", "VERSION", "Entry", "compose", "parse", "read_lines"]

VERSION = 2
GENESIS = "0" * 64

# What each kind of entry records; its form is in ``privacy.ledger.contents``.
KINDS = {
    "opening": "who keeps this ledger, its budget, and who may counter-sign it",
    "enrolled": "more hospitals that may counter-sign it",
    "plan": "a schedule of releases, its total checked once against the budget",
    "abandoned": "a plan whose remaining places are forfeited, and what became free",
    "release": "a release, spent before any patient's record is read",
    "imported": "what was released about the same patients elsewhere, entered by the operator",
    "sealed": "size and digest of the bytes that a release became",
    "refusal": "a release or a plan that was refused; nothing was read",
    "recovered": "a torn line that a crash left, moved aside",
    "checkpoint": "root of all lines before this one, for others to counter-sign",
    "witness": "another hospital's checkpoint, seen and counter-signed here",
    "countersigned": "the counter-signatures of a checkpoint of this ledger",
}

_LARGEST = 2**30  # bytes of a ledger
_SIGNATURE = forms.hexadecimal(128)
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
_DOMAIN = b"inpatient ledger entry 2\x00"
_START, _MIDDLE, _END = b'{"body":', b',"signature":"', b'"}'
_TAIL = len(_MIDDLE) + 128 + len(_END)


def _time(name: str, value: Any) -> str:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        forms.refuse(name, value, "a time such as 2026-01-31T23:59:59.000000Z")
    return value


def _content(name: str, value: Any) -> Any:
    if not isinstance(value, dict):
        forms.refuse(name, value, "an object")
    return value


@dataclass(frozen=True)
class _Body(forms.Form):
    """What is signed."""

    version: int = forms.ruled(forms.constant(VERSION))
    sequence: int = forms.ruled(forms.whole(0, MOST_ENTRIES))
    time: str = forms.ruled(forms.FieldRule(_time))
    hospital: str = forms.ruled(forms.name())
    kind: str = forms.ruled(forms.one_of(*KINDS))
    content: Mapping[str, Any] = forms.ruled(forms.FieldRule(_content))
    previous: str = forms.ruled(forms.hexadecimal(64))


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
    """Write and sign an entry.

    Raises:
      InvalidInputError: The content is not of its kind's form, or too long for one line.
    """
    body = _Body(VERSION, sequence, time, hospital, kind, checked(kind, content), previous)
    spelt = encode(body.to_json())
    if not within_depth(spelt, body.content):
        raise InvalidInputError("The event is nested too deep for an entry; say it more flatly.")
    signature = key.sign(_DOMAIN + spelt)
    line = _START + spelt + _MIDDLE + signature.encode() + _END
    if len(line) > LONGEST_LINE:
        raise InvalidInputError(
            f"An entry of {len(line)} bytes is too long; at most {LONGEST_LINE} are read. Declare "
            "a shorter schedule."
        )
    return Entry(sequence, time, hospital, kind, body.content, previous, signature, line)


def parse(line: bytes) -> Entry:
    """Read one line; its signature is not checked here.

    Raises:
      CorruptMessageError: Any departure from what ``compose`` writes.
    """
    if len(line) > LONGEST_LINE:
        raise CorruptMessageError(
            f"An entry of {len(line)} bytes is not read; at most {LONGEST_LINE} are."
        )
    whole = decode(line)
    if not within_depth(line, whole):
        raise CorruptMessageError("An entry is nested too deep.")
    if not isinstance(whole, dict) or set(whole) != {"body", "signature"}:
        raise CorruptMessageError("Expected an entry with a body and a signature.")
    body_json = whole["body"]
    version = body_json.get("version") if isinstance(body_json, dict) else None
    if version != VERSION:
        raise CorruptMessageError(
            f"The entry has version {quoted(version)}; this program reads version {VERSION}."
        )
    try:
        body = _Body.from_json(body_json)
        signature = _SIGNATURE.check("signature", whole["signature"])
        content = checked(body.kind, body.content)
    except InvalidInputError as error:
        raise CorruptMessageError(f"It is not of its form: {error}") from error
    return Entry(
        body.sequence,
        body.time,
        body.hospital,
        body.kind,
        content,
        body.previous,
        signature,
        line,
    )


def read_lines(path: Path) -> Iterator[bytes]:
    """Lines of a ledger's file that anybody may have written, without their newlines.

    Raises:
      CorruptMessageError: It is no plain file, too large, or its last line is torn.
    """
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            if os.fstat(file.fileno()).st_size > _LARGEST:
                raise CorruptMessageError(f"it has over {_LARGEST} bytes")
            while line := file.readline(LONGEST_LINE + 1):
                if not line.endswith(b"\n"):
                    if len(line) > LONGEST_LINE:
                        raise CorruptMessageError(f"a line has over {LONGEST_LINE} bytes")
                    raise CorruptMessageError(
                        "the last line is torn; the hospital's next opening sets it aside"
                    )
                yield line[:-1]
    except OSError as error:
        raise CorruptMessageError(f"it can't be read: {error.strerror}") from error
