"""The frame around every sealed message: what it is, checked before its content is touched.

    magic 4 | frame version 1 | kind 1 | label length 1 | label | parameters digest 32
    | content length 8 | SHA-256 of the content 32 | content

The label names the scheme and the library that made the content (``bfv/tenseal-0.3.18``), so that a
message of another version is refused by name. The inner digest catches damage; who sent a message
is the business of its signature.
"""

import hashlib
import struct
from enum import IntEnum

from privacy.errors import CorruptMessageError

__all__ = ["Kind", "overhead", "peek_label", "unwrap", "wrap"]

_MAGIC = b"INPS"
_VERSION = 1
_FIXED = struct.Struct("<4sBBB")
_TAIL = struct.Struct("<32sQ32s")


class Kind(IntEnum):
    """What a message is."""

    UPDATE = 1
    TOTAL = 2
    ANSWER = 3
    SEALER = 4
    ADDER = 5
    OPENER = 6


def overhead(label: str) -> int:
    """Bytes that the frame adds to a content."""
    return _FIXED.size + len(label) + _TAIL.size


def wrap(kind: Kind, label: str, parameters_digest: str, *content: bytes) -> bytes:
    """Frame a content, given whole or in parts, which are put together once."""
    head = _FIXED.pack(_MAGIC, _VERSION, kind, len(label)) + label.encode("ascii")
    digest, size = hashlib.sha256(), sum(map(len, content))
    for part in content:
        digest.update(part)
    tail = _TAIL.pack(bytes.fromhex(parameters_digest), size, digest.digest())
    return b"".join((head, tail, *content))


def unwrap(
    message: bytes, kind: Kind, label: str, parameters_digest: str | None, *, largest: int
) -> bytes:
    """Return the content of a frame that is what it should be.

    The size is checked first, then the header, then the digest; only then does a parser see the
    content.

    Args:
      message: The bytes as they arrived.
      kind: What was expected.
      label: Scheme and library that were expected.
      parameters_digest: The run's; None where the frame itself brings the parameters.
      largest: Most bytes that the content may have.

    Raises:
      CorruptMessageError: Too long, truncated, damaged, or of another kind, version, scheme or run.
    """
    what = f"This sealed message ({kind.name.lower()})"
    if len(message) > largest + overhead(label):
        raise CorruptMessageError(
            f"{what} has {len(message)} bytes; the run's parameters allow at most "
            f"{largest + overhead(label)}. It was not parsed."
        )
    try:
        magic, version, got_kind, length = _FIXED.unpack_from(message)
        start = _FIXED.size + length
        got_label = message[_FIXED.size : start].decode("ascii")
        got_parameters, size, digest = _TAIL.unpack_from(message, start)
    except (struct.error, UnicodeDecodeError) as error:
        raise CorruptMessageError(
            f"{what} of {len(message)} bytes has no readable header: it is truncated or not a "
            "sealed message at all. Ask the sender to send it again."
        ) from error
    if magic != _MAGIC:
        raise CorruptMessageError(f"{what} does not begin with {_MAGIC!r}; it is something else.")
    if version != _VERSION:
        raise CorruptMessageError(
            f"{what} has frame version {version}; this program reads version {_VERSION}. Run the "
            "same release of inpatient everywhere."
        )
    if got_kind != kind:
        name = Kind(got_kind).name.lower() if got_kind in set(Kind) else f"kind {got_kind}"
        raise CorruptMessageError(f"{what} was expected, but the frame says {name}.")
    if got_label != label:
        raise CorruptMessageError(
            f"{what} was made by {got_label!r}; this run uses {label!r}, and the two do not read "
            "each other. Install the release that the plan names."
        )
    if parameters_digest is not None and got_parameters.hex() != parameters_digest:
        raise CorruptMessageError(
            f"{what} was made under parameters or a key of another run "
            f"({got_parameters.hex()[:12]}; this run has {parameters_digest[:12]}). Take the "
            "public "
            "material of this run and seal again."
        )
    content = message[start + _TAIL.size :]
    if len(content) != size or hashlib.sha256(content).digest() != digest:
        raise CorruptMessageError(
            f"{what} is damaged: {len(content)} of {size} bytes arrived, or some changed on the "
            "way. Ask the sender to send it again."
        )
    return content


def peek_label(message: bytes) -> str:
    """Return the label of a frame without checking anything else.

    Raises:
      CorruptMessageError: There is no readable header.
    """
    try:
        magic, _, _, length = _FIXED.unpack_from(message)
        label = message[_FIXED.size : _FIXED.size + length].decode("ascii")
    except (struct.error, UnicodeDecodeError):
        magic, label = b"", ""
    if magic != _MAGIC or not label:
        raise CorruptMessageError(
            f"These {len(message)} bytes do not begin with the header of a sealed message."
        )
    return label
