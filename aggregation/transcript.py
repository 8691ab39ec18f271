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
from dataclasses import replace
from pathlib import Path

from aggregation.roles.messages import AGGREGATOR, OPENER, Json, Message, MessageKind
from privacy.errors import CorruptMessageError

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
                        "run": m.run,
                        "nonce": m.nonce,
                        "signature": m.signature,
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
                message = Message(
                    sender=head["sender"],
                    receiver=head["receiver"],
                    kind=MessageKind(head["kind"]),
                    round=head["round"],
                    payload=payloads[start : start + size],
                    public=head["public"],
                    run=head["run"],
                    nonce=head["nonce"],
                    signature=head["signature"],
                )
                transcript.carry(message, time=head["time"])
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
