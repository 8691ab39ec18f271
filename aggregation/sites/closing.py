"""The end of a run at a hospital: its ledger's head is counter-signed by all others, by messages.

    checkpoint      a hospital's signed head, and why it extends the last one that others signed
    countersigned   another hospital's signature over it, named by the head's digest

Both are empty payloads: what they hold stands in clear beside them, in fields that an auditor knows
(``privacy.ledger.audit.manifest.CLEAR``). What is signed here is in the ledger before it leaves.
"""

from typing import Any

from aggregation.roles.kept import Kept
from aggregation.roles.messages import AGGREGATOR, Message, MessageKind
from privacy._foreign import parse_json
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError
from privacy.ledger import Ledger
from privacy.ledger.log import canonical
from privacy.ledger.log.heads import Extension, Head
from privacy.ledger.witness import checkpoint, collect, countersign, countersignature_holds, witness

__all__ = ["Closing", "head_name"]

_KINDS = (MessageKind.CHECKPOINT, MessageKind.COUNTERSIGNED)
_LARGEST = 1 << 16
_HEAD = "closing"
_SIGNATURE = "closing "  # and the name of who signed


def head_name(head: Head) -> str:
    """Return what counter-signatures name a head by: half of its digest, 32 hex digits."""
    return canonical.digest(head.note)[:32]


class Closing:
    """Three steps of ``privacy.ledger.witness.close``, each durable, each said again when asked.

    Guarantees (each is a test in ``tests/aggregation/sites/test_closing.py``):
      - one checkpoint a run, whenever the site was killed; each head of another is noted once;
      - a head that does not extend the last one seen of that ledger is not counter-signed;
      - a signature that is not an enrolled hospital's over this very head does not count;
      - nobody signs before it has learnt the last sum, durably: a head with all signatures says
        that the run has ended at every hospital;
      - in the end the ledger says that all others have counter-signed it.

    Args:
      run: Name of the run.
      round_: How many sums it opens.
      ledger: The hospital's own, on a disk.
      kept: What a restart finds; None: it has ended everywhere, and others alone may need a
        signature still.
      others: All other hospitals of the run.
    """

    def __init__(
        self, run: str, round_: int, ledger: Ledger, kept: Kept | None, others: tuple[str, ...]
    ) -> None:
        self._run, self._round = run, round_
        self._ledger, self._kept, self._others = ledger, kept, others

    @property
    def done(self) -> bool:
        """Whether all others have counter-signed."""
        head = self._head
        return (
            self._kept is None
            or not self._others
            or (head is not None and self._ledger.countersigned == head)
        )

    def takes(self, message: Message) -> bool:
        """Whether a message is one of these."""
        return message.kind in _KINDS

    def say(self) -> tuple[Message, ...]:
        """Say the checkpoint, which is made now if it was not; nothing once all have signed."""
        if self._kept is None or self.done:
            return ()
        head = self._checkpoint(self._kept)
        public = {"hospital": self._ledger.hospital}
        public["head"] = canonical.encode(head.to_json()).decode()
        if (seen := self._ledger.countersigned) is not None:
            extension = Extension.of(self._ledger.leaves()[: head.size], seen.size, seen.root)
            public["extends"] = canonical.encode(extension.to_json()).decode()
        return (self._message(MessageKind.CHECKPOINT, public),)

    def handle(self, message: Message) -> tuple[Message, ...]:
        """Counter-sign another's head, or take a counter-signature of the own one.

        Raises:
          RefusedError: As ``witness``.
          CorruptMessageError: What came is neither.
        """
        if message.kind is MessageKind.CHECKPOINT:
            return self._witness(message)
        signature, name = message.public.get("signature"), message.public.get("hospital")
        head = self._head
        if self._kept is None or head is None or self.done or message.nonce != head_name(head):
            return ()
        key = self._ledger.enrolled.get(str(name), "")
        if name not in self._others or not countersignature_holds(key, str(signature), head):
            raise CorruptMessageError(
                f"A counter-signature came that is not an enrolled hospital's over the head of "
                f"{self._ledger.hospital}; it does not count."
            )
        self._kept.put({f"{_SIGNATURE}{name}": str(signature).encode()})
        encoded = {other: self._kept.get(f"{_SIGNATURE}{other}") for other in self._others}
        signatures = {other: held.decode() for other, held in encoded.items() if held is not None}
        if len(signatures) == len(self._others):
            collect(self._ledger, head, signatures)
        return ()

    @property
    def _head(self) -> Head | None:
        content = None if self._kept is None else self._kept.get(_HEAD)
        return None if content is None else _read(content.decode(), Head)

    def _checkpoint(self, kept: Kept) -> Head:
        """Return the run's head; noted in the ledger once, whatever was killed in between."""
        head = self._head
        if head is None:
            head = self._ledger.head()
            kept.put({_HEAD: canonical.encode(head.to_json())})
        said = {"size": head.size, "root": head.root}
        entries = self._ledger.entries()
        if not any(entry.kind == "checkpoint" and entry.content == said for entry in entries):
            checkpoint(self._ledger, head)
        return head

    def _witness(self, message: Message) -> tuple[Message, ...]:
        if self._kept is not None and self._head is None:
            return ()  # the last sum is not learnt here: it is asked again
        head = _read(message.public.get("head"), Head)
        proof: tuple[str, ...] = ()
        if "extends" in message.public:
            proof = _read(message.public["extends"], Extension).proof
        if head.hospital not in self._others:
            raise RefusedError(f"A head of {head.hospital!r} came, who is not in this run.")
        if self._ledger.witnessed.get(head.hospital) == head:
            signature = countersign(self._ledger.key, head)  # the same bytes as before
        else:
            signature = witness(self._ledger, head, proof)
        public = {"hospital": self._ledger.hospital, "signature": signature}
        return (self._message(MessageKind.COUNTERSIGNED, public, nonce=head_name(head)),)

    def _message(
        self, kind: MessageKind, public: dict[str, str], *, nonce: str | None = None
    ) -> Message:
        return Message(
            self._ledger.hospital, AGGREGATOR, kind, self._round, b"", public, run=self._run,
            nonce=nonce or canonical.digest(canonical.encode(public))[:32],
        )  # fmt: skip


def _read(content: Any, kind: Any) -> Any:
    if not isinstance(content, str):
        raise CorruptMessageError(f"A {kind.__name__.lower()} was to come, and did not.")
    try:
        parsed = parse_json(content.encode("utf-8", "surrogatepass"), what="It", most=_LARGEST)
        return kind.from_json(parsed)
    except InvalidInputError as error:
        raise CorruptMessageError(f"What came is no {kind.__name__.lower()}: {error}") from error
