"""The transcript of a real run on disk, as it grows: the server finds there what it had received.

A record is: time | digest of the payload | the message without its payload, as it travelled |
payload. What goes to many is kept once: a payload that an earlier record has is left out.
"""

import struct
from pathlib import Path

from aggregation.roles.aggregator import Aggregator
from aggregation.roles.journal import Journal
from aggregation.roles.messages import AGGREGATOR, Message, MessageKind, pack, unpack
from aggregation.transcript import Transcript
from privacy.errors import CorruptMessageError
from privacy.ledger.log import canonical

__all__ = ["Carried"]

_TIME = struct.Struct("<d")
_LARGEST = 2**31


class Carried:
    """Every message that passed the server, found again after a restart.

    Guarantees (each is a test in ``tests/aggregation/engines/test_carried.py``):
      - what was added is in ``transcript`` of whoever opens the file next, byte for byte, but for
        what came last before a crash;
      - an opened sum, and all that passed before it, is durable before anybody is told of it.

    Attributes:
      transcript: What the file held when it was opened.

    Args:
      path: The file; made if it is not there.

    Raises:
      RefusedError: Another process has it, or the disk refuses.
      CorruptMessageError: A record is whole and no message.
    """

    def __init__(self, path: Path) -> None:
        self._journal = Journal(path)
        self._payloads: dict[str, bytes] = {}
        self._opened = -1
        self.transcript = Transcript()
        for _, record in self._journal.records():
            time, message = self._read(record)
            self.transcript.carry(message, time=time)

    def close(self) -> None:
        """Let another process have the file."""
        self._journal.close()

    def add(self, message: Message) -> None:
        """Write a message down.

        Raises:
          RefusedError: The disk refuses; nobody may be told of it.
        """
        digest = canonical.digest(message.payload)
        stored = digest in self._payloads
        self._payloads.setdefault(digest, message.payload)
        bare = message.to_bytes()[: -message.size or None]
        body = b"" if stored else message.payload
        parts = [_TIME.pack(message.time), bytes.fromhex(digest), bare, body]
        # All else is said again by those who said it: hospitals and holders keep their words. A
        # sum that was told and forgotten would leave behind those who have learnt from it.
        sum_ = message.sender == AGGREGATOR and message.kind is MessageKind.OPENED
        first = sum_ and message.round > self._opened
        self._journal.append(pack(parts), durable=first)
        if first:
            self._opened = message.round

    def told(self) -> list[tuple[bytes, bytes]]:
        """Return evidence and sum of each opening that was told, in order."""
        openings: dict[int, dict[MessageKind, bytes]] = {}
        for message in self.transcript.select(sender=AGGREGATOR):
            if message.kind in (MessageKind.EVIDENCE, MessageKind.OPENED):
                openings.setdefault(message.round, {}).setdefault(message.kind, message.payload)
        whole = [openings[number] for number in sorted(openings) if len(openings[number]) == 2]
        return [(said[MessageKind.EVIDENCE], said[MessageKind.OPENED]) for said in whole]

    def take_up(self, aggregator: Aggregator) -> tuple[int, float]:
        """Have an aggregator that was made anew go on from here; return its round, and when it was.

        Raises:
          RefusedError: As ``Aggregator.resume`` and ``receive_again``.
          CorruptMessageError: Likewise.
        """
        for evidence, said in self.told():
            aggregator.resume(evidence, said)
        aggregator.receive_again(self.transcript.select(kind=MessageKind.UPDATE))
        return aggregator.round, max((message.time for message in self.transcript), default=0.0)

    def _read(self, record: bytes) -> tuple[float, Message]:
        parts = unpack(record, most=4)
        if len(parts) != 4 or len(parts[0]) != _TIME.size:
            raise CorruptMessageError("A record of what passed the server is no message.")
        (time,) = _TIME.unpack(parts[0])
        payload = self._payloads.setdefault(parts[1].hex(), parts[3])
        return time, Message.from_bytes(parts[2] + payload, largest=_LARGEST)
