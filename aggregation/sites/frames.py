"""What a courier and a site's daemon say on a Unix socket: frames, each with its length in front.

    length of the body 8 | kind 1 | body

The length is checked before a byte of the body is read. A connection begins with a greeting each
way: who speaks another version, or serves another agreement, is refused before anything else.
"""

import os
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from aggregation.roles.messages import unpack
from privacy._foreign import parse_json
from privacy.errors import CorruptMessageError, RefusedError
from privacy.ledger.log import canonical

__all__ = ["VERSION", "FrameKind", "Greeting", "read_reply", "receive", "send", "socket_place"]

VERSION = 1
"""Of frames and messages together; two sites with different ones don't talk."""

SMALL = 1 << 16
"""Most bytes of a frame that is no message: greetings, questions, states."""

_HEAD = struct.Struct("<QB")
_MOST_MESSAGES = 1 << 16


class FrameKind(IntEnum):
    """What a frame is: of a courier, then of a site."""

    GREETING = 1
    DELIVER = 2  # a message, and the row beside it
    WAKE = 3  # say again what is outstanding
    DUE = 4  # say what it is time for
    STATUS = 5
    REPLY = 6
    REFUSED = 7  # why stands in the site's own log, and does not leave


@dataclass(frozen=True)
class Greeting:
    """What a site says of itself to whoever connects.

    Attributes:
      name: The site's.
      addresses: Where messages to it go.
      agreed: Digest of what it has agreed to.
      process: Random hex digits of this process: others after a restart.
      largest: Most bytes of a message that it reads.
    """

    name: str
    addresses: tuple[str, ...]
    agreed: str
    process: str
    largest: int

    def to_bytes(self) -> bytes:
        """Return what travels."""
        return canonical.encode(
            {
                "version": VERSION,
                "name": self.name,
                "addresses": list(self.addresses),
                "agreed": self.agreed,
                "process": self.process,
                "largest": self.largest,
            }
        )

    @classmethod
    def from_bytes(cls, content: bytes) -> "Greeting":
        """Read what ``to_bytes`` wrote.

        Raises:
          RefusedError: It is of another version.
          CorruptMessageError: Something else.
        """
        fields = parse_json(content, what="A greeting", most=SMALL)
        if isinstance(fields, dict) and fields.get("version") != VERSION:
            raise RefusedError(
                f"A site speaks version {str(fields.get('version'))[:20]!r} and not {VERSION}. "
                "Install the same release of inpatient everywhere."
            )
        kinds: Mapping[str, type] = {
            "version": int, "name": str, "addresses": list, "agreed": str, "process": str,
            "largest": int,
        }  # fmt: skip
        if (
            not isinstance(fields, dict)
            or fields.keys() != kinds.keys()
            or not all(type(fields[name]) is kind for name, kind in kinds.items())
            or not all(isinstance(address, str) for address in fields["addresses"])
        ):
            raise CorruptMessageError("What came as a site's greeting is none.")
        fields.pop("version")
        return cls(**fields | {"addresses": tuple(fields["addresses"])})


def send(connection: socket.socket, kind: FrameKind, body: bytes = b"") -> None:
    """Write one frame.

    Raises:
      OSError: The other end is gone.
    """
    connection.sendall(_HEAD.pack(len(body), kind))
    connection.sendall(body)


def receive(connection: socket.socket, largest: int) -> tuple[FrameKind, bytes]:
    """Read one frame, whose body has at most ``largest`` bytes.

    Raises:
      ConnectionError: The other end is gone.
      OSError: It is silent for longer than the connection's time-out.
      CorruptMessageError: A larger body, which is not read, or no kind of frame.
    """
    length, kind = _HEAD.unpack(_exactly(connection, _HEAD.size))
    if kind not in set(FrameKind):
        raise CorruptMessageError(f"There is no kind {kind} of frame.")
    if length > largest:
        raise CorruptMessageError(
            f"A frame of {length} bytes came where at most {largest} are read; it was not."
        )
    return FrameKind(kind), _exactly(connection, length)


def read_reply(body: bytes) -> tuple[dict[str, Any], list[tuple[str, bytes]]]:
    """Read a site's reply: its public state, and what leaves it, each with its address.

    Raises:
      CorruptMessageError: Something else.
    """
    parts = unpack(body, most=1 + 2 * _MOST_MESSAGES)
    if len(parts) % 2 == 0:
        raise CorruptMessageError("A site's reply is truncated.")
    state = parse_json(parts[0], what="A site's state", most=SMALL)
    if not isinstance(state, dict):
        raise CorruptMessageError("A site's state is no object.")
    try:
        addresses = [part.decode() for part in parts[1::2]]
    except UnicodeDecodeError as error:
        raise CorruptMessageError("A site's reply has an address that is no text.") from error
    return state, list(zip(addresses, parts[2::2], strict=True))


@contextmanager
def socket_place(path: Path) -> Iterator[str]:
    """Yield a short name for a socket's path: a Unix socket's has 107 bytes at most.

    Raises:
      OSError: Its folder is not there.
    """
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _exactly(connection: socket.socket, count: int) -> bytes:
    parts, missing = [], count
    while missing:
        part = connection.recv(min(missing, 1 << 20))
        if not part:
            raise ConnectionError("the other end is gone")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
