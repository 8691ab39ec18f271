"""Every message of a federation in order: the only thing that an adversary's view is made from.

A message is what crossed a wall: who sent it, to whom, what kind, and the very bytes. What is
public beside the bytes (round, declared sizes, scales) is in ``public``, as plain JSON values.

>>> transcript = Transcript()
>>> _ = transcript.send("aggregator", "cleveland", "model", b"1234", round_=0)
>>> [(m.sender, m.receiver, m.size) for m in transcript]
[('aggregator', 'cleveland', 4)]
"""

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from aggregation.roles.messages import (
    AGGREGATOR,
    OPENER,
    Json,
    Message,
    MessageKind,
    pack,
    unpack,
)
from privacy._foreign import read_file
from privacy.errors import CorruptMessageError, InvalidInputError
from privacy.files import write_durably

__all__ = ["AGGREGATOR", "OPENER", "Message", "Transcript"]


class Transcript:
    """Append-only list of messages.

    Guarantees (each is a test in ``tests/aggregation/test_transcript.py``):
      - messages keep the order in which they were sent, and can be neither changed nor removed;
      - ``load(save(t))`` equals ``t``, byte for byte.
    """

    def __init__(self) -> None:
        self._messages: list[Message] = []

    def send(
        self,
        sender: str,
        receiver: str,
        kind: str,
        payload: bytes,
        *,
        round_: int,
        public: Mapping[str, Json] | None = None,
        time: float = 0.0,
    ) -> Message:
        """Append a message made of these values and return it."""
        kind = MessageKind(kind)
        message = Message(sender, receiver, kind, round_, bytes(payload), public or {})
        return self.carry(message, time=time)

    def carry(self, message: Message, *, time: float = 0.0) -> Message:
        """Append a message that passes now, and return it with its place and time."""
        kept = replace(message, sequence=len(self._messages), time=time)
        self._messages.append(kept)
        return kept

    def __iter__(self) -> Iterator[Message]:
        return iter(tuple(self._messages))

    def __len__(self) -> int:
        return len(self._messages)

    def select(
        self,
        *,
        kind: str | None = None,
        sender: str | None = None,
        receiver: str | None = None,
        round_: int | None = None,
    ) -> tuple[Message, ...]:
        """Return the messages that fit all the given values, in order."""
        return tuple(
            m
            for m in self._messages
            if (kind is None or m.kind == kind)
            and (sender is None or m.sender == sender)
            and (receiver is None or m.receiver == receiver)
            and (round_ is None or m.round == round_)
        )

    def save(self, folder: Path) -> None:
        """Write ``messages.bin`` into ``folder``: each message with its time, as it travelled.

        Raises:
          InvalidInputError: The disk refuses.
        """
        parts = [_TIME.pack(m.time) + m.to_bytes() for m in self._messages]
        try:
            write_durably(folder / _FILE, pack(parts))
        except OSError as error:
            raise InvalidInputError(
                f"The transcript can't be written to {folder}: {error.strerror}."
            ) from error

    @classmethod
    def load(cls, folder: Path) -> "Transcript":
        """Read what ``save`` wrote.

        Raises:
          CorruptMessageError: The file is missing, truncated or not what ``save`` writes.
        """
        transcript = cls()
        try:
            content = read_file(folder / _FILE, most=_LARGEST, what="The transcript")
            for part in unpack(content, most=_MOST_MESSAGES):
                if len(part) < _TIME.size:
                    raise CorruptMessageError("A message has no time.")
                (time,) = _TIME.unpack_from(part)
                message = Message.from_bytes(part[_TIME.size :], largest=_LARGEST)
                if not math.isfinite(time):
                    raise CorruptMessageError("A message passed at no time.")
                transcript.carry(message, time=time)
        except CorruptMessageError as error:
            raise CorruptMessageError(
                f"The transcript in {folder} can't be read: {error} Copy the run's folder again."
            ) from error
        return transcript


_FILE = "messages.bin"
_TIME = struct.Struct("<d")
_LARGEST = 2**32  # bytes of a transcript
_MOST_MESSAGES = 10_000_000
