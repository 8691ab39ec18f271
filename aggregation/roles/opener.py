"""Whoever opens: one opener with the key, or holders who try, commit, and answer then."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aggregation.roles.messages import (
    AGGREGATOR,
    OPENER,
    Json,
    Message,
    MessageKind,
    Timer,
    holder_address,
    pack,
    unpack,
)
from aggregation.sealing import Contribution, Opener, OpeningLog
from aggregation.sealing.answers import SUM, Answer, Commitment, Parts, Question, Witnessed
from aggregation.sealing.holders import Holder
from aggregation.sealing.proposal import Place, Proposal
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError
from privacy.ledger import SigningKey
from privacy.ledger.log import canonical

__all__ = ["HolderRole", "OpenerRole", "OpeningAsked", "read_answer", "read_tried"]


@dataclass(frozen=True)
class OpeningAsked:
    """A sum that somebody is asked to open.

    Attributes:
      place: In the run's chain of openings.
      total: The sealed sum.
      contributions: What it is made of.
    """

    place: Place
    total: bytes
    contributions: tuple[Contribution, ...]

    def to_bytes(self) -> bytes:
        """Return one payload."""
        parts = [
            part for c in self.contributions for part in (canonical.encode(c.public), c.sealed)
        ]
        return pack([canonical.encode(self.place.to_json()), self.total, *parts])

    @classmethod
    def from_bytes(cls, payload: bytes, *, contributors: int) -> "OpeningAsked":
        """Read what ``to_bytes`` wrote.

        Raises:
          CorruptMessageError: Truncated, more than ``contributors``, or not contributions.
        """
        parts = unpack(payload, most=2 + 2 * contributors)
        if len(parts) % 2 or len(parts) < 4:
            raise CorruptMessageError("A total came without contributions, or with half of one.")
        try:
            place = Place.from_json(canonical.decode(parts[0]))
        except InvalidInputError as error:
            raise CorruptMessageError(f"A total has no place in a run: {error}") from error
        contributions = []
        for public, sealed in zip(parts[2::2], parts[3::2], strict=True):
            fields = canonical.decode(public)
            if not isinstance(fields, dict):
                raise CorruptMessageError("A contribution's public values are not a JSON object.")
            contributions.append(Contribution.from_message(sealed, fields))
        return cls(place, parts[1], tuple(contributions))

    def proposal(self, parameters: str) -> Proposal:
        """Return it spelled out, under the parameters with this digest."""
        return Proposal.of(self.place, parameters, self.total, self.contributions)


class OpenerRole:
    """One party that holds the key: opens what its policy allows, and signs the sum.

    Guarantees (each is a test in ``tests/aggregation/roles/test_opening.py``):
      - asked again for what it has opened, also after a restart, it says the same bytes.

    Args:
      run: Name of the run.
      opener: The scheme's opener, with its policy.
      key: Signs what it says; its public half is known to all parties.
    """

    def __init__(self, run: str, opener: Opener, key: SigningKey) -> None:
        self._run = run
        self._opener = opener
        self._key = key

    def has_opened(self, sums: int) -> bool:
        """Whether it has opened so many sums, and kept all answers: it needs no key to say them."""
        log = self._opener.policy.log
        done = len(log.openings) == sums
        return done and all(log.kept(one.number) is not None for one in log.openings)

    def handle(self, incoming: Message | Timer) -> tuple[Message, ...]:
        """Answer a sealed total with the opened sum, and who asks for it with a ledger's head."""
        message = _of_kind(incoming, MessageKind.TOTAL, MessageKind.RETURNED)
        opener, log = self._opener, self._opener.policy.log
        if message.kind is MessageKind.RETURNED:
            word = _witnessed(self._key, OPENER, self._run, message, log)
            return (_message(OPENER, MessageKind.WITNESSED, message.round, word, self._run, {}),)
        request = OpeningAsked.from_bytes(
            message.payload, contributors=opener.parameters.contributors
        )
        proposal = request.proposal(opener.parameters.digest)
        number = log.number_of(proposal.digest)
        payload = None if number is None else log.kept(number)
        if payload is None:
            opened = opener.open(request.total, request.contributions, request.place)
            payload = opened.astype("<i8").tobytes()
            number = log.number_of(proposal.digest)
            log.keep(len(log) - 1 if number is None else number, payload)
        answer = Answer.sign(self._key, OPENER, proposal.digest, (OPENER,), {SUM: payload})
        public = {"answer": answer.to_bytes().decode()}
        return (_message(OPENER, MessageKind.OPENED, message.round, payload, self._run, public),)


class HolderRole:
    """One holder: tries a set of contributions, commits to it, and answers once enough others have.

    Guarantees (each is a test in ``tests/aggregation/roles/test_opening.py``):
      - it answers only for the opening that it committed to, with commitments of a quorum;
      - every message of its is signed with its own key;
      - asked again, also after a restart, it commits and answers as before, with the same bytes;
      - what it tells a hospital that was restarted is the newest head in its own log, for that one
        question.

    Args:
      run: Name of the run.
      holder: The scheme's holder, with its policy and its log.
    """

    def __init__(self, run: str, holder: Holder) -> None:
        self._run = run
        self._holder = holder
        self._asked: OpeningAsked | None = None

    def handle(self, incoming: Message | Timer) -> tuple[Message, ...]:
        """Try a total, commit to the one that was chosen, answer when enough have.

        A hospital that asks for it is told the newest head of its ledger that was seen here.
        """
        message = _of_kind(
            incoming,
            MessageKind.TOTAL,
            MessageKind.CHOSEN,
            MessageKind.AGREED,
            MessageKind.RETURNED,
        )
        holder = self._holder
        if message.kind is MessageKind.RETURNED:
            given = holder.key, holder.name, self._run, message, holder.policy.log
            return (self._say(MessageKind.WITNESSED, message.round, _witnessed(*given)),)
        if message.kind is MessageKind.TOTAL:
            most = holder.parameters.contributors
            request = OpeningAsked.from_bytes(message.payload, contributors=most)
            if request.place.number != message.round:
                raise RefusedError(
                    f"A sum to be opened as number {request.place.number} came in round "
                    f"{message.round}."
                )
            bad = holder.try_(request.total, request.contributions, request.place)
            self._asked = request
            opening = holder.proposal(request.total, request.contributions, request.place).digest
            tried = canonical.encode({"opening": opening, "bad": list(bad)})
            return (self._say(MessageKind.TRIED, message.round, tried),)
        asked_last = self._asked
        if asked_last is None or asked_last.place.number != message.round:
            raise RefusedError(
                f"Holder {holder.name!r} was not asked for opening {message.round}; it needs the "
                "sealed sum and its contributions first, again after a restart."
            )
        whole = asked_last.total, asked_last.contributions
        if message.kind is MessageKind.CHOSEN:
            opening = holder.proposal(*whole, asked_last.place).digest
            if message.payload.decode("ascii", "replace") != opening:
                raise RefusedError(f"Holder {holder.name!r} tried another sum than the one chosen.")
            commitment = holder.commit(*whole, asked_last.place)
            return (self._say(MessageKind.COMMITMENT, message.round, commitment.to_bytes()),)
        parts = unpack(message.payload, most=len(holder.quorum.names))
        commitments = [Commitment.from_bytes(part) for part in parts]
        answer, contents = holder.answer(*whole, commitments, asked_last.place)
        payload = pack([answer.to_bytes(), *(contents[part] for part in sorted(contents))])
        return (self._say(MessageKind.ANSWER, message.round, payload),)

    def _say(self, kind: MessageKind, round_: int, payload: bytes) -> Message:
        message = _message(holder_address(self._holder.name), kind, round_, payload, self._run, {})
        return message.signed(self._holder.key)


def read_tried(payload: bytes) -> tuple[str, tuple[str, ...]]:
    """Read what a holder says it tried: a proposal's digest, and whose boxes don't open.

    Raises:
      CorruptMessageError: Something else.
    """
    fields: Any = canonical.decode(payload)
    if (
        not isinstance(fields, dict)
        or fields.keys() != {"opening", "bad"}
        or not isinstance(fields["opening"], str)
        or not isinstance(fields["bad"], list)
        or not all(isinstance(name, str) for name in fields["bad"])
    ):
        raise CorruptMessageError("These bytes don't say what a holder tried.")
    return fields["opening"], tuple(fields["bad"])


def read_answer(payload: bytes, *, most: int) -> tuple[Answer, Parts]:
    """Read a holder's answer and its parts, of which there are at most ``most``.

    Raises:
      CorruptMessageError: Something else, or another number of parts than the answer signs.
    """
    said, *contents = unpack(payload, most=1 + most) or (b"",)
    answer = Answer.from_bytes(said)
    if len(contents) != len(answer.parts):
        raise CorruptMessageError(
            f"An answer signs {len(answer.parts)} parts and brings {len(contents)}."
        )
    return answer, dict(zip(sorted(answer.parts), contents, strict=True))


def _witnessed(key: SigningKey, name: str, run: str, message: Message, log: OpeningLog) -> bytes:
    """Answer a question for a ledger's newest head that was seen in an opened sum."""
    question = Question.read(message.public)
    with log.lock():
        head = log.seen(question.hospital)
    word = Witnessed(name, run, question.hospital, question.nonce, head)
    return word.signed(key).to_bytes()


def _message(
    sender: str,
    kind: MessageKind,
    round_: int,
    payload: bytes,
    run: str,
    public: Mapping[str, Json],
) -> Message:
    return Message(sender, AGGREGATOR, kind, round_, payload, public, run=run).repeatable()


def _of_kind(incoming: Message | Timer, *kinds: MessageKind) -> Message:
    if not isinstance(incoming, Message) or incoming.kind not in kinds:
        raise RefusedError(
            f"Whoever opens takes {' and '.join(kinds)} alone; got {incoming.kind.value!r}."
        )
    return incoming
