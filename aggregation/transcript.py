"""Every message of a federation in order: the only thing that an adversary's view is made from.

A message is what crossed a wall: who sent it, to whom, what kind, and the very bytes. What is
public beside the bytes (round, declared sizes, scales) is in ``public``, as plain JSON values.

>>> transcript = Transcript()
>>> _ = transcript.send("aggregator", "cleveland", "model", b"1234", round_=0)
>>> [(m.sender, m.receiver, m.size) for m in transcript]
[('aggregator', 'cleveland', 4)]
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from privacy.errors import CorruptMessageError

__all__ = ["AGGREGATOR", "OPENER", "Message", "Transcript"]

AGGREGATOR = "aggregator"
OPENER = "opener"

Json = str | int | float | bool | None


@dataclass(frozen=True)
class Message:
    """One message that crossed a wall.

    Attributes:
      sequence: Place in the transcript, from 0.
      sender: Name of a hospital, ``aggregator`` or ``opener``.
      receiver: Likewise.
      kind: ``model``, ``update``, ``total``, ``opened`` or another word; one meaning each.
      round: The round it belongs to.
      payload: The bytes as sent.
      public: Plain values that travel in clear beside the payload.
      time: Simulated time in the federation's own unit, 0 where time is not simulated.
    """

    sequence: int
    sender: str
    receiver: str
    kind: str
    round: int
    payload: bytes
    public: Mapping[str, Json] = field(default_factory=dict)
    time: float = 0.0

    @property
    def size(self) -> int:
        """Bytes of the payload."""
        return len(self.payload)


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
        """Append a message and return it."""
        kept = MappingProxyType(dict(public or {}))
        message = Message(
            len(self._messages), sender, receiver, kind, round_, bytes(payload), kept, time
        )
        self._messages.append(message)
        return message

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
        """Write ``messages.jsonl`` (one line a message) and ``payloads.bin`` into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        offset = 0
        lines = []
        for m in self._messages:
            lines.append(
                json.dumps(
                    {
                        "sequence": m.sequence,
                        "sender": m.sender,
                        "receiver": m.receiver,
                        "kind": m.kind,
                        "round": m.round,
                        "time": m.time,
                        "public": dict(m.public),
                        "offset": offset,
                        "size": m.size,
                    },
                    sort_keys=True,
                )
            )
            offset += m.size
        _replace(folder / "payloads.bin", b"".join(m.payload for m in self._messages))
        _replace(folder / "messages.jsonl", "".join(f"{line}\n" for line in lines).encode())

    @classmethod
    def load(cls, folder: Path) -> "Transcript":
        """Read what ``save`` wrote.

        Raises:
          CorruptMessageError: A file is missing, truncated or not what ``save`` writes.
        """
        transcript = cls()
        try:
            payloads = (folder / "payloads.bin").read_bytes()
            lines = (folder / "messages.jsonl").read_text(encoding="utf-8").splitlines()
            for number, line in enumerate(lines):
                head = json.loads(line)
                start, size = head["offset"], head["size"]
                if head["sequence"] != number or start + size > len(payloads):
                    raise ValueError(f"line {number + 1} does not fit its neighbours")
                transcript.send(
                    head["sender"],
                    head["receiver"],
                    head["kind"],
                    payloads[start : start + size],
                    round_=head["round"],
                    public=head["public"],
                    time=head["time"],
                )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CorruptMessageError(
                f"The transcript in {folder} can't be read: {error}. It needs messages.jsonl and "
                "payloads.bin as the run wrote them; copy the run's folder again."
            ) from error
        return transcript


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_suffix(path.suffix + ".tmp")
    partial.write_bytes(content)
    partial.replace(path)
