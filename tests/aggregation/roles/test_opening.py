"""Holders open by messages: signed, agreed, and not stopped by the silence of a few."""

import dataclasses

import numpy as np
import pytest

from aggregation.roles import Role
from aggregation.roles.messages import (
    AGGREGATOR,
    Message,
    MessageKind,
    SetTimer,
    Timer,
    TimerKind,
    holder_address,
)
from aggregation.roles.opener import HolderRole
from aggregation.roles.opening import ByHolders, ByOpener
from aggregation.sealing import Contribution, Policy, Roster, make_scheme
from aggregation.sealing.holders import QuorumScheme
from privacy.errors import CorruptMessageError, RefusedError
from privacy.ledger import SigningKey

NAMES = ("a", "b", "c", "d")


class Parts:
    """Four hospitals' contributions under a scheme, and both sides of its opening."""

    def __init__(self, scheme: str = "shares") -> None:
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
        holders = made.holders(Policy(roster, min_honest=3, c_assumed=1))
        self.total, self.contributions = adder.total(), contributions
        self.roles: dict[str, Role] = {
            holder_address(name): HolderRole("run", holder) for name, holder in holders.items()
        }
        self.side = ByHolders("run", type(made), made.parameters)

    def ask(self) -> list[Message]:
        said = self.side.ask(0, self.total, self.contributions, 0.0)
        assert [type(s) for s in said].count(SetTimer) == 1
        return [s for s in said if isinstance(s, Message)]

    def answers(self, asked: list[Message]) -> list[Message]:
        found = [said for m in asked for said in self.roles[m.receiver].handle(m)]
        return [said for said in found if isinstance(said, Message)]

    def finish(self, agreed: list[Message]) -> np.ndarray:
        for answer in self.answers(agreed):
            said = self.side.take(answer)
        assert isinstance(said, np.ndarray)
        return said


def sent(said: object) -> list[Message]:
    assert isinstance(said, tuple)
    return [s for s in said if isinstance(s, Message)]


@pytest.mark.parametrize("scheme", ["shares", "threshold", "pairwise"])
def test_holders_open_by_messages_what_one_process_opens(scheme: str) -> None:
    parts = Parts(scheme)
    *early, last = parts.answers(parts.ask())
    for commitment in early:
        assert parts.side.take(commitment) == ()
    assert parts.finish(sent(parts.side.take(last))).tolist() == [111] * 3


def test_a_forged_or_relabelled_word_of_a_holder_is_refused() -> None:
    parts = Parts()
    commitments = parts.answers(parts.ask())
    first, second = commitments[:2]
    forged = dataclasses.replace(first, payload=second.payload)
    with pytest.raises(CorruptMessageError, match="does not fit"):
        parts.side.take(forged)
    with pytest.raises(CorruptMessageError, match="does not fit"):
        parts.side.take(dataclasses.replace(first, sender=second.sender))
    for stranger in ({"sender": "north"}, {"run": "another"}, {"round": 1}):
        with pytest.raises(RefusedError, match="answer for round 0"):
            parts.side.take(dataclasses.replace(first, **stranger))
    agreed = [sent(parts.side.take(c)) for c in commitments][-1]
    answer, *_ = parts.answers(agreed)
    with pytest.raises(CorruptMessageError, match="does not fit"):
        parts.side.take(dataclasses.replace(answer, payload=answer.payload[:-1] + b"\0\1"))
    with pytest.raises(RefusedError, match="not asked"):
        parts.side.take(first)


def test_a_silent_holder_does_not_stop_it_and_two_do() -> None:
    parts = Parts()
    patience = Timer(TimerKind.PATIENCE, 0)
    first, second, third, _ = parts.answers(parts.ask())
    for commitment in (first, second):
        parts.side.take(commitment)
    with pytest.raises(RefusedError, match="2 of 4 holders"):
        parts.side.late(patience)
    parts.side.take(third)
    assert parts.side.late(Timer(TimerKind.PATIENCE, 7)) == ()  # of another round
    agreed = sent(parts.side.late(patience))
    assert [m.kind for m in agreed] == [MessageKind.AGREED] * 3
    assert parts.side.late(patience) == ()
    assert parts.finish(agreed).tolist() == [111] * 3


def test_a_holder_answers_for_what_it_committed_to_alone() -> None:
    parts = Parts()
    asked = parts.ask()
    commitments = parts.answers(asked)
    agreed = [sent(parts.side.take(c)) for c in commitments][-1]
    with pytest.raises(RefusedError, match="committed to no opening of round 5"):
        parts.answers([dataclasses.replace(agreed[0], round=5)])
    with pytest.raises(RefusedError, match="alone"):
        wrong = Message(AGGREGATOR, agreed[0].receiver, MessageKind.MODEL, 0, b"")
        parts.answers([wrong])
    fewer = dataclasses.replace(agreed[0], payload=b"")
    with pytest.raises(RefusedError, match="0 holders committed"):
        parts.answers([fewer])


def test_an_opener_is_heard_for_the_round_that_waits() -> None:
    side = ByOpener("run", 2)
    parts = Parts()
    (asked,) = side.ask(4, parts.total, parts.contributions, 0.0)
    assert isinstance(asked, Message) and asked.kind is MessageKind.TOTAL
    payload = np.array([5, 6]).astype("<i8").tobytes()
    opened = Message("opener", AGGREGATOR, MessageKind.OPENED, 4, payload, run="run")
    assert side.take(opened).tolist() == [5, 6]
    with pytest.raises(RefusedError, match="awaited"):
        side.take(dataclasses.replace(opened, round=3))
