"""How the aggregator has a sum opened: by one opener, or by holders in three steps.

What comes back is checked where it comes in, and judged as everybody else will judge it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from aggregation.roles import Role
from aggregation.roles.evidence import Evidence, Judge
from aggregation.roles.messages import (
    AGGREGATOR,
    OPENER,
    Message,
    MessageKind,
    SetTimer,
    Timer,
    TimerKind,
    holder_address,
    pack,
)
from aggregation.roles.opener import HolderRole, OpenerRole, OpeningAsked, read_answer, read_tried
from aggregation.sealing import Contribution, KeyScheme, Policy, Roster, Scheme
from aggregation.sealing.answers import Answer, Commitment, Parts
from aggregation.sealing.holders import Holder, QuorumScheme
from aggregation.sealing.proposal import Place, Proposal
from aggregation.sealing.quorum import read_quorum
from privacy.errors import CorruptMessageError, RefusedError
from privacy.ledger import SigningKey

__all__ = ["ByHolders", "ByOpener", "LocalOpening", "OpeningRequest", "OpeningVerdict"]

Said = tuple[Message | SetTimer, ...]
Integers = NDArray[np.int64]

_PATIENCE = 60.0  # how long holders may take for a step, in the engine's unit of time


@dataclass(frozen=True)
class OpeningVerdict:
    """An opened sum, and why it is believed.

    Attributes:
      evidence: What everybody judges it by.
      total: The sum, int64 ``[dim]``.
    """

    evidence: Evidence
    total: Integers


@runtime_checkable
class OpeningRequest(Protocol):
    """The aggregator's side of an opening; ``judge`` decides what comes back."""

    judge: Judge

    def ask(self, request: OpeningAsked, now: float) -> Said:
        """Ask for a sum to be opened."""
        ...

    def take(self, message: Message) -> Said | OpeningVerdict:
        """Take what came back: what to say next, or the opened sum."""
        ...

    def late(self, timer: Timer) -> Said:
        """Go on without those who have not answered."""
        ...


class ByOpener:
    """One party has the key.

    Guarantees (each is a test in ``tests/aggregation/roles/test_opening.py``):
      - a sum is told once: the opener's word on it, said again, opens nothing more.

    Args:
      judge: Of what comes back.
    """

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self._asked: OpeningAsked | None = None

    def ask(self, request: OpeningAsked, now: float) -> Said:
        """Send the opener the sum and its contributions."""
        self._asked = request
        payload, number, run = request.to_bytes(), request.place.number, self.judge.run
        return (Message(AGGREGATOR, OPENER, MessageKind.TOTAL, number, payload, run=run),)

    def take(self, message: Message) -> OpeningVerdict:
        """Read the opened sum, which the opener has signed."""
        request = self._asked
        if (
            request is None
            or message.kind is not MessageKind.OPENED
            or message.round != request.place.number
        ):
            raise RefusedError(
                f"A {message.kind.value!r} of round {message.round} came where another word of "
                "the opener, or none, is awaited."
            )
        said = message.public.get("answer")
        if not isinstance(said, str):
            raise CorruptMessageError("The opener told a sum without its signed word on it.")
        proposal = request.proposal(self.judge.parameters.digest)
        evidence = Evidence(proposal, (), (Answer.from_bytes(said.encode()),))
        verdict = OpeningVerdict(
            evidence, self.judge.sum_of(evidence, request.place, message.payload)
        )
        self._asked = None  # said again, it is no other sum
        return verdict

    def late(self, timer: Timer) -> Said:
        """Nobody can stand in for the opener."""
        return ()


class _Step(StrEnum):
    TRY = "try"
    COMMIT = "commit"
    ANSWER = "answer"


class ByHolders:
    """Holders try, commit, and answer once a quorum has committed: nobody has the key.

    Guarantees (each is a test in ``tests/aggregation/roles/test_opening.py``):
      - what its holder did not sign is refused;
      - holders who are silent, or whose box does not open, don't stop it while a quorum goes on;
      - a contribution is left out only if more than ``corrupt`` holders can't answer for it, and
        before anything is written down: it can be in a later sum.

    Args:
      judge: Of what comes back; names the scheme and the parameters.
    """

    def __init__(self, judge: Judge) -> None:
        if judge.scheme is None:
            raise RefusedError("Holders open under a scheme of holders; this judge names none.")
        self.judge = judge
        self._scheme: type[QuorumScheme] = judge.scheme
        self._parameters = judge.parameters
        self._quorum, self._keys = read_quorum(judge.parameters, self._scheme.label)
        self._step = _Step.TRY
        self._asked: OpeningAsked | None = None
        self._proposal: Proposal | None = None
        self._tried: dict[str, tuple[str, ...]] = {}
        self._commitments: dict[str, Commitment] = {}
        self._answers: dict[str, tuple[Answer, Parts]] = {}
        self._awaited: tuple[str, ...] = ()

    def ask(self, request: OpeningAsked, now: float) -> Said:
        """Send every holder the sum and its contributions, to try."""
        self._asked = request
        self._proposal = request.proposal(self._parameters.digest)
        self._tried, self._commitments, self._answers = {}, {}, {}
        return self._tell(_Step.TRY, self._quorum.names, MessageKind.TOTAL, request.to_bytes(), now)

    def take(self, message: Message) -> Said | OpeningVerdict:
        """Take what a holder says in this step; the last answer gives the sum."""
        name = self._signer(message)
        kinds = {
            _Step.TRY: MessageKind.TRIED,
            _Step.COMMIT: MessageKind.COMMITMENT,
            _Step.ANSWER: MessageKind.ANSWER,
        }
        if message.kind is not kinds[self._step] or name not in self._awaited:
            raise RefusedError(f"Holder {name!r} was not asked for a {message.kind.value!r} now.")
        if self._step is _Step.TRY:
            opening, bad = read_tried(message.payload)
            self._require_this(name, name, opening)
            self._tried[name] = bad
            return self._choose(message.time) if self._all(self._tried) else ()
        if self._step is _Step.COMMIT:
            commitment = Commitment.from_bytes(message.payload)
            self._require_this(name, commitment.holder, commitment.opening)
            self._commitments[name] = commitment
            return self._agree(message.time) if self._all(self._commitments) else ()
        answer, parts = read_answer(message.payload, most=len(self._quorum.pieces))
        self._require_this(name, answer.holder, answer.opening)
        self._answers[name] = answer, parts
        return self._verdict() if self._all(self._answers) else ()

    def late(self, timer: Timer) -> Said:
        """Go on with those who have said their word.

        Raises:
          RefusedError: They are fewer than the threshold, or can't stand in for the others.
        """
        if timer.round != self._number or timer.party != self._step:
            return ()
        if self._step is _Step.TRY:
            return self._choose(timer.time)
        if self._step is _Step.COMMIT:
            return self._agree(timer.time)
        silent = [name for name in self._awaited if name not in self._answers]
        if not self._scheme.again or len(self._answers) < self._quorum.threshold:
            raise RefusedError(
                f"Holders {', '.join(silent)} committed to the sum of round {self._number} and did "
                "not answer; without them it can't be told. Wait for them."
            )
        self._commitments = {name: self._commitments[name] for name in self._answers}
        return self._agree(timer.time)

    def _choose(self, now: float) -> Said:
        """Leave out what too many can't answer for; have the others commit."""
        request, proposal = self._whole
        often = Counter(name for bad in self._tried.values() for name in set(bad))
        out = {name for name, count in often.items() if count > self._quorum.corrupt}
        if out & set(proposal.hospitals):
            kept = tuple(c for c in request.contributions if c.hospital not in out)
            if not kept:
                raise RefusedError("No contribution could be answered for; nothing was opened.")
            adder = self._scheme.load_adder(self._parameters)
            for contribution in kept:
                adder.add(contribution.sealed)
            return self.ask(OpeningAsked(request.place, adder.total(), kept), now)
        willing = tuple(n for n in self._quorum.names if self._tried.get(n) == ())
        self._require_enough(willing, "can answer for every contribution of")
        opening = proposal.digest.encode()
        return self._tell(_Step.COMMIT, willing, MessageKind.CHOSEN, opening, now)

    def _agree(self, now: float) -> Said:
        request, _ = self._whole
        committed = tuple(name for name in self._quorum.names if name in self._commitments)
        self._require_enough(committed, "committed to")
        awaited = self._scheme.answering(self._parameters, request.contributions, committed)
        self._answers = {}
        payload = pack([self._commitments[name].to_bytes() for name in committed])
        return self._tell(_Step.ANSWER, awaited, MessageKind.AGREED, payload, now)

    def _verdict(self) -> OpeningVerdict:
        request, proposal = self._whole
        parts: dict[str, bytes] = {}
        for name in self._awaited:
            for part, content in self._answers[name][1].items():
                parts.setdefault(part, content)
        evidence = Evidence(
            proposal,
            tuple(self._commitments.values()),
            tuple(self._answers[name][0] for name in self._awaited),
            request.total,
            parts,
        )
        verdict = OpeningVerdict(evidence, self.judge.sum_of(evidence, request.place))
        self._asked = None  # no answer and no timer of it counts any more
        return verdict

    @property
    def _whole(self) -> tuple[OpeningAsked, Proposal]:
        if self._asked is None or self._proposal is None:
            raise RefusedError("No sum was asked for yet.")
        return self._asked, self._proposal

    @property
    def _number(self) -> int:
        return -1 if self._asked is None else self._asked.place.number

    def _all(self, said: object) -> bool:
        return isinstance(said, dict) and all(name in said for name in self._awaited)

    def _require_enough(self, names: Sequence[str], what: str) -> None:
        if len(names) < self._quorum.threshold:
            reports = ", ".join(
                f"{holder} can't answer for {' and '.join(bad)}"
                for holder, bad in self._tried.items()
                if bad
            )
            raise RefusedError(
                f"{len(names)} of {len(self._quorum.names)} holders {what} the sum of round "
                f"{self._number}; {self._quorum.threshold} are needed to open it."
                + (f" {reports}." if reports else "")
            )

    def _require_this(self, name: str, said_by: str, opening: str) -> None:
        if said_by != name or opening != self._whole[1].digest:
            raise CorruptMessageError(
                f"Holder {name!r} sent another holder's word, or its word on another sum."
            )

    def _tell(
        self, step: _Step, names: Sequence[str], kind: MessageKind, payload: bytes, now: float
    ) -> Said:
        self._step, self._awaited = step, tuple(names)
        number, run = self._number, self.judge.run
        patience = Timer(TimerKind.PATIENCE, number, step.value, now + _PATIENCE)
        return (
            *(
                Message(AGGREGATOR, holder_address(name), kind, number, payload, run=run)
                for name in names
            ),
            SetTimer(patience),
        )

    def _signer(self, message: Message) -> str:
        """Return which holder sent a message of this round, by its signature."""
        by_address = {holder_address(name): name for name in self._quorum.names}
        name, run = by_address.get(message.sender), self.judge.run
        if name is None or message.run != run or message.round != self._number:
            raise RefusedError(
                f"A {message.kind.value!r} of {message.sender!r}, run {message.run!r} and round "
                f"{message.round} came where holders of run {run!r} answer for round "
                f"{self._number}."
            )
        if not message.signed_by(self._keys[name].sign):
            raise CorruptMessageError(
                f"The signature of holder {name!r} does not fit its {message.kind.value}: it "
                "changed on the way, or somebody else sent it."
            )
        return name


class LocalOpening:
    """Whoever opens a scheme's sums, in one process: the same roles, and what they say carried.

    Attributes:
      holders: By name; whoever is taken away is lost. Empty where one party has the key.
      place: Where the chain of openings stands.

    Args:
      scheme: Whose sums are opened.
      policy: Of the opener; each holder has a copy with a log of its own.
    """

    def __init__(self, scheme: Scheme, policy: Policy) -> None:
        self._scheme = scheme
        self.place = Place()
        self.holders: dict[str, Holder] = {}
        self._roles: dict[str, Role] = {}
        run, key = policy.roster.run, SigningKey.generate()
        roster = Roster(run, policy.roster.keys, opener=key.public)
        kind = type(scheme) if isinstance(scheme, QuorumScheme) else None
        self.judge = Judge(roster, scheme.parameters, scheme=kind, repeats=policy.repeats)
        if isinstance(scheme, QuorumScheme):
            self.holders = scheme.holders(policy)
            for name, holder in self.holders.items():
                self.replace(name, holder)
        elif isinstance(scheme, KeyScheme):
            self._roles[OPENER] = OpenerRole(run, scheme.opener(policy), key)

    def open(self, total: bytes, contributions: Sequence[Contribution]) -> Integers:
        """Open the sum of these contributions: ``int64[dim]``, centred modulo ``2 ** bits``.

        Raises:
          RefusedError: A policy forbids it, ``total`` is not the sum of the contributions, or too
            few holders are there: then nobody was asked, and nothing is written down.
          CorruptMessageError: A contribution is damaged, forged or of another run.
        """
        if not contributions:
            raise RefusedError("A sum of no contributions was asked for. Wait for some.")
        request: ByHolders | ByOpener = ByOpener(self.judge)
        if isinstance(self._scheme, QuorumScheme):
            self._require_present(self._scheme, contributions)
            request = ByHolders(self.judge)
        waiting = list(request.ask(OpeningAsked(self.place, total, tuple(contributions)), 0.0))
        timers: list[SetTimer] = []
        while waiting or timers:
            if not waiting:
                waiting += request.late(timers.pop().timer)
                continue
            said = waiting.pop(0)
            if isinstance(said, SetTimer):
                timers.append(said)
                continue
            if said.receiver not in self._present:
                continue
            for answer in self._roles[said.receiver].handle(said):
                if isinstance(answer, Message):
                    taken = request.take(answer)
                    if isinstance(taken, OpeningVerdict):
                        self.place = self.place.after(taken.evidence.proposal.digest)
                        return taken.total
                    waiting += taken
        raise RefusedError("Nobody has anything more to say, and the sum was not opened.")

    def replace(self, name: str, holder: Holder) -> None:
        """Put another in a holder's place: the same one after a restart, say."""
        self.holders[name] = holder
        self._roles[holder_address(name)] = HolderRole(self.judge.run, holder)

    @property
    def _present(self) -> set[str]:
        return {OPENER, *(holder_address(name) for name in self.holders)}

    def _require_present(self, scheme: QuorumScheme, contributions: Sequence[Contribution]) -> None:
        quorum, _ = read_quorum(scheme.parameters, scheme.label)
        if len(self.holders) < quorum.threshold:
            raise RefusedError(
                f"{len(self.holders)} of {len(quorum.names)} holders are there; "
                f"{quorum.threshold} are needed to open a sum. Nothing was opened; try again when "
                "they are back."
            )
        awaited = scheme.answering(scheme.parameters, contributions, tuple(self.holders))
        gone = sorted(set(awaited) - self.holders.keys())
        if gone:
            raise RefusedError(
                f"Seats {', '.join(gone)} have sent and are gone: without their own masks this sum "
                "can't be opened. Run the round again."
            )
