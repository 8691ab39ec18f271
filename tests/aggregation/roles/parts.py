"""Whoever opens, for tests: an opener that signs what a test says, and holders by messages."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregation.plan import Plan
from aggregation.roles import Role
from aggregation.roles.evidence import Evidence, Judge
from aggregation.roles.hospital import Hospital
from aggregation.roles.messages import (
    AGGREGATOR,
    OPENER,
    Message,
    MessageKind,
    SetTimer,
    Timer,
    TimerKind,
    holder_address,
)
from aggregation.roles.opener import HolderRole, OpeningAsked
from aggregation.roles.opening import ByHolders, OpeningVerdict
from aggregation.sealing import Contribution, OpeningLog, Parameters, Policy, Roster, make_scheme
from aggregation.sealing.answers import SUM, Answer, Question, Witnessed
from aggregation.sealing.holders import QuorumScheme
from aggregation.sealing.proposal import Place, Proposal
from privacy.ledger import Head, SigningKey


class Witness:
    """Whoever has the key of a run under the scheme ``plain``."""

    def __init__(self, made: Plan, parameters: Parameters) -> None:
        self.key = SigningKey.generate()
        self.parameters = parameters
        members = {name: SigningKey.generate().public for name in made.hospitals}
        self.roster = Roster(made.run, members, opener=self.key.public)
        self.judge = Judge(self.roster, parameters)
        self.plan = replace(made, sealing=parameters.digest, roster=self.roster.digest)
        self.place = Place(made.digest)
        self.seen: dict[str, Head] = {}

    def says(
        self,
        opened: NDArray[np.int64],
        sent: Mapping[str, Contribution],
        *,
        hospitals: tuple[str, ...] | None = None,
    ) -> list[Message]:
        """Evidence and sum, as the aggregator relays them; what others sent is made up."""
        self.seen |= {c.hospital: c.head for c in sent.values() if c.head is not None}
        names = self.plan.hospitals if hospitals is None else hospitals
        number = self.place.number
        base = {n: sent[n].base_version if n in sent else number for n in names}
        proposal = Proposal(
            run=self.plan.run,
            plan=self.place.plan,
            number=number,
            previous=self.place.previous,
            parameters=self.parameters.digest,
            hospitals=names,
            nonces=tuple(sent[n].nonce if n in sent else f"{number}" for n in names),
            ciphertexts=tuple(sent[n].ciphertext if n in sent else "ab" * 32 for n in names),
            base_versions=tuple(base.values()),
            total="cd" * 32,
        )
        payload = opened.astype("<i8").tobytes()
        answer = Answer.sign(self.key, OPENER, proposal.digest, (OPENER,), {SUM: payload})
        self.place = self.place.after(proposal.digest)
        evidence = Evidence(proposal, (), (answer,)).to_bytes()
        return [
            Message(AGGREGATOR, "north", kind, number, content, run=self.plan.run)
            for kind, content in ((MessageKind.EVIDENCE, evidence), (MessageKind.OPENED, payload))
        ]

    def word(self, asked: Message) -> Message:
        """The answer to a hospital that was restarted, as the aggregator relays it."""
        question = Question.read(asked.public)
        head = self.seen.get(question.hospital)
        said = Witnessed(OPENER, self.plan.run, question.hospital, question.nonce, head)
        payload = said.signed(self.key).to_bytes()
        return Message(AGGREGATOR, asked.sender, MessageKind.WITNESSED, asked.round, payload)

    def answered(self, member: Hospital, ask: Message) -> Message:
        """What a hospital answers to a model in the end, asked for its ledger's head or not."""
        (said,) = member.handle(ask)
        if said.kind is MessageKind.RETURNED:
            (said,) = member.handle(self.word(said))
        return said

    def tells(
        self, member: Hospital, opened: NDArray[np.int64], *sent: Contribution, others: bool = True
    ) -> None:
        """Have a hospital learn a sum that holds what it sent, if it sent anything."""
        own = {c.hospital: c for c in sent}
        names = tuple(n for n in self.plan.hospitals if n in own or (others and n != member.name))
        for message in self.says(opened, own, hospitals=names):
            assert member.handle(message) == ()


NAMES = ("a", "b", "c", "d")


class Parts:
    """Four hospitals' contributions under a scheme, and both sides of its opening."""

    def __init__(self, scheme: str = "shares", logs: Path | None = None, **rules: Any) -> None:
        made = make_scheme(scheme, dim=3, contributors=4, bound=1_000)
        assert isinstance(made, QuorumScheme)
        keys = {name: SigningKey.generate() for name in NAMES}
        roster = Roster("run", {name: key.public for name, key in keys.items()})
        adder, contributions = made.adder(), []
        for number, name in enumerate(NAMES):
            sealed = made.sealer(name).seal(np.full(3, 10**number, dtype=np.int64) % 1_000)
            adder.add(sealed)
            contributions.append(
                Contribution.sign(
                    keys[name], sealed, run="run", hospital=name, base_version=0,
                    parameters=made.digest,
                )
            )  # fmt: skip
        self.policy = Policy(
            roster,
            log=None if logs is None else OpeningLog(logs / "log.jsonl"),
            **{"min_honest": 3, "c_assumed": 1, **rules},
        )
        holders = made.holders(self.policy)
        self.scheme, self.holders = made, holders
        self.total, self.contributions = adder.total(), contributions
        self.roles: dict[str, Role] = {
            holder_address(name): HolderRole("run", holder) for name, holder in holders.items()
        }
        self.judge = Judge(roster, made.parameters, scheme=type(made), least=4)
        self.side = ByHolders(self.judge)
        self.asked = OpeningAsked(Place(), self.total, tuple(contributions))

    @staticmethod
    def patience(step: str) -> Timer:
        return Timer(TimerKind.PATIENCE, 0, step)

    def ask(self) -> list[Message]:
        """Have all holders try, and return what asks them to commit."""
        said = self.side.ask(self.asked, 0.0)
        assert [type(s) for s in said].count(SetTimer) == 1
        tried = self.answers(sent(said))
        return [m for one in tried for m in sent(self.side.take(one))]

    def answers(self, asked: list[Message]) -> list[Message]:
        found = [said for m in asked for said in self.roles[m.receiver].handle(m)]
        return [said for said in found if isinstance(said, Message)]

    def finish(self, agreed: list[Message]) -> NDArray[np.int64]:
        for answer in self.answers(agreed):
            said = self.side.take(answer)
        assert isinstance(said, OpeningVerdict)
        return said.total


def sent(said: object) -> list[Message]:
    assert isinstance(said, tuple)
    return [s for s in said if isinstance(s, Message)]
