"""Whoever opens: one opener with the key, or holders who commit first and answer then."""

from collections.abc import Sequence

from aggregation.roles.messages import (
    AGGREGATOR,
    OPENER,
    Message,
    MessageKind,
    Timer,
    holder_address,
    pack,
    unpack,
)
from aggregation.sealing import Contribution, Opener
from aggregation.sealing.holders import Commitment, Holder
from privacy.errors import CorruptMessageError, RefusedError
from privacy.ledger.log import canonical

__all__ = [
    "HolderRole",
    "OpenerRole",
    "pack_total",
    "read_commitment",
    "read_total",
    "write_commitment",
]


class OpenerRole:
    """One party that holds the key: opens what its policy allows, and says the sum.

    Args:
      run: Name of the run.
      opener: The scheme's opener, with its policy.
    """

    def __init__(self, run: str, opener: Opener) -> None:
        self._run = run
        self._opener = opener

    def handle(self, incoming: Message | Timer) -> tuple[Message, ...]:
        """Answer a sealed total with the opened sum, for the aggregator."""
        message = _of_kind(incoming, MessageKind.TOTAL)
        total, contributions = read_total(message.payload, self._opener.parameters.contributors)
        opened = self._opener.open(total, contributions)
        payload = opened.astype("<i8").tobytes()
        return (
            Message(OPENER, AGGREGATOR, MessageKind.OPENED, message.round, payload, run=self._run),
        )


class HolderRole:
    """One holder: commits to a set of contributions, and answers once enough others have.

    Guarantees (each is a test in ``tests/aggregation/roles/test_opening.py``):
      - it answers only for the opening that it committed to, with commitments of a quorum;
      - every message of its is signed with its own key.

    Args:
      run: Name of the run.
      holder: The scheme's holder, with its policy and its log.
    """

    def __init__(self, run: str, holder: Holder) -> None:
        self._run = run
        self._holder = holder
        self._asked: dict[int, tuple[bytes, tuple[Contribution, ...]]] = {}

    def handle(self, incoming: Message | Timer) -> tuple[Message, ...]:
        """Answer a sealed total with a commitment, and agreed commitments with an answer."""
        message = _of_kind(incoming, MessageKind.TOTAL, MessageKind.AGREED)
        holder, round_ = self._holder, message.round
        if message.kind is MessageKind.TOTAL:
            most = holder.parameters.contributors
            total, contributions = read_total(message.payload, most)
            commitment = holder.commit(total, contributions)
            self._asked[round_] = total, contributions
            return (self._say(MessageKind.COMMITMENT, round_, write_commitment(commitment)),)
        if round_ not in self._asked:
            raise RefusedError(
                f"Holder {holder.name!r} committed to no opening of round {round_}; it answers for "
                "what it committed to alone."
            )
        total, contributions = self._asked[round_]
        parts = unpack(message.payload, most=len(holder.quorum.names))
        answer = holder.answer(total, contributions, [read_commitment(part) for part in parts])
        return (self._say(MessageKind.ANSWER, round_, answer),)

    def _say(self, kind: MessageKind, round_: int, payload: bytes) -> Message:
        sender = holder_address(self._holder.name)
        message = Message(sender, AGGREGATOR, kind, round_, payload, run=self._run)
        return message.signed(self._holder.key)


def pack_total(total: bytes, contributions: Sequence[Contribution]) -> bytes:
    """Return a sealed sum and the signed contributions that it is made of, as one payload."""
    parts = [part for c in contributions for part in (canonical.encode(c.public), c.sealed)]
    return pack([total, *parts])


def read_total(payload: bytes, contributors: int) -> tuple[bytes, tuple[Contribution, ...]]:
    """Read what ``pack_total`` wrote.

    Raises:
      CorruptMessageError: Truncated, more than ``contributors``, or not contributions.
    """
    parts = unpack(payload, most=1 + 2 * contributors)
    if len(parts) % 2 == 0:
        raise CorruptMessageError("A total came without its contributions, or with half of one.")
    contributions = []
    for public, sealed in zip(parts[1::2], parts[2::2], strict=True):
        fields = canonical.decode(public)
        if not isinstance(fields, dict):
            raise CorruptMessageError("A contribution's public values are not a JSON object.")
        contributions.append(Contribution.from_message(sealed, fields))
    return parts[0], tuple(contributions)


def write_commitment(commitment: Commitment) -> bytes:
    """Return a commitment as canonical JSON."""
    return canonical.encode(
        {
            "holder": commitment.holder,
            "opening": commitment.opening,
            "signature": commitment.signature,
        }
    )


def read_commitment(payload: bytes) -> Commitment:
    """Read what ``write_commitment`` wrote.

    Raises:
      CorruptMessageError: Not a commitment.
    """
    fields = canonical.decode(payload)
    names = {"holder", "opening", "signature"}
    if (
        not isinstance(fields, dict)
        or fields.keys() != names
        or not all(isinstance(value, str) for value in fields.values())
    ):
        raise CorruptMessageError("These bytes are not a holder's commitment.")
    return Commitment(**fields)


def _of_kind(incoming: Message | Timer, *kinds: MessageKind) -> Message:
    if not isinstance(incoming, Message) or incoming.kind not in kinds:
        raise RefusedError(
            f"Whoever opens takes {' and '.join(kinds)} alone; got {incoming.kind.value!r}."
        )
    return incoming
