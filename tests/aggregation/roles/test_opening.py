"""Holders open by messages: signed, agreed, and not stopped by the silence of a few."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregation.roles.evidence import Judge
from aggregation.roles.messages import (
    AGGREGATOR,
    Message,
    MessageKind,
    Timer,
    TimerKind,
    holder_address,
    pack,
)
from aggregation.roles.opener import HolderRole, OpenerRole, OpeningAsked
from aggregation.roles.opening import ByOpener, OpeningVerdict
from aggregation.sealing import Contribution, KeyScheme, OpeningLog, Policy, Roster, make_scheme
from aggregation.sealing.proposal import Place
from privacy.errors import CorruptMessageError, RefusedError
from privacy.ledger import SigningKey
from tests.aggregation.roles.parts import NAMES, Parts, sent


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
    with pytest.raises(RefusedError, match="was not asked for a 'commitment' now"):
        parts.side.take(first)


def test_a_silent_holder_does_not_stop_it_and_two_do() -> None:
    parts = Parts()
    patience = Timer(TimerKind.PATIENCE, 0, "commit")
    first, second, third, _ = parts.answers(parts.ask())
    for commitment in (first, second):
        parts.side.take(commitment)
    with pytest.raises(RefusedError, match="2 of 4 holders"):
        parts.side.late(patience)
    parts.side.take(third)
    assert parts.side.late(Timer(TimerKind.PATIENCE, 7, "commit")) == ()  # of another round
    agreed = sent(parts.side.late(patience))
    assert [m.kind for m in agreed] == [MessageKind.AGREED] * 3
    assert parts.side.late(patience) == ()
    assert parts.finish(agreed).tolist() == [111] * 3


def test_a_holder_answers_for_what_it_committed_to_alone() -> None:
    parts = Parts()
    asked = parts.ask()
    commitments = parts.answers(asked)
    agreed = [sent(parts.side.take(c)) for c in commitments][-1]
    with pytest.raises(RefusedError, match="was not asked for opening 5"):
        parts.answers([dataclasses.replace(agreed[0], round=5)])
    with pytest.raises(RefusedError, match="alone"):
        wrong = Message(AGGREGATOR, agreed[0].receiver, MessageKind.MODEL, 0, b"")
        parts.answers([wrong])
    fewer = dataclasses.replace(agreed[0], payload=b"")
    with pytest.raises(RefusedError, match="0 holders committed"):
        parts.answers([fewer])


def test_an_opener_is_heard_for_the_round_that_waits_and_for_what_it_signed() -> None:
    made, key = make_scheme("plain", dim=3, contributors=4, bound=1_000), SigningKey.generate()
    assert isinstance(made, KeyScheme)
    keys = {name: SigningKey.generate() for name in NAMES}
    public = {name: key.public for name, key in keys.items()}
    roster = Roster("run", public, opener=key.public)
    adder, contributions = made.adder(), []
    for name in NAMES:
        sealed = made.sealer(name).seal(np.full(3, 5, dtype=np.int64))
        adder.add(sealed)
        contributions.append(
            Contribution.sign(
                keys[name], sealed, run="run", hospital=name, base_version=4,
                parameters=made.digest,
            )
        )  # fmt: skip
    side = ByOpener(Judge(roster, made.parameters))
    asked = OpeningAsked(Place(None, 4), adder.total(), tuple(contributions))
    (request,) = side.ask(asked, 0.0)
    assert isinstance(request, Message) and request.kind is MessageKind.TOTAL
    role = OpenerRole("run", made.opener(Policy(roster, min_honest=3, c_assumed=1)), key)
    (opened,) = role.handle(request)
    assert role.handle(request) == (opened,)  # asked again, it says the same bytes
    with pytest.raises(RefusedError, match="awaited"):
        side.take(dataclasses.replace(opened, round=3))
    shifted = np.array([21, 20, 20]).astype("<i8").tobytes()
    with pytest.raises(CorruptMessageError, match="is not the one that the opener signed"):
        side.take(dataclasses.replace(opened, payload=shifted))
    with pytest.raises(CorruptMessageError, match="without its signed word"):
        side.take(dataclasses.replace(opened, public={}))
    verdict = side.take(opened)
    assert verdict.total.tolist() == [20] * 3
    with pytest.raises(RefusedError, match="awaited"):
        side.take(opened)  # replayed, or asked for twice: the model must not step a second time


def test_half_a_contribution_is_refused() -> None:
    payload = Parts().asked.to_bytes() + pack([b"more"])
    with pytest.raises(CorruptMessageError, match="or with half of one"):
        OpeningAsked.from_bytes(payload, contributors=9)


def harmed(parts: Parts, hospital: int, *holders: str) -> None:
    """Have the boxes of one hospital not open at these holders."""
    bad = parts.contributions[hospital].hospital
    for name in holders:
        holder = parts.holders[name]
        whole = holder._open_piece

        def open_piece(
            contribution: Contribution, content: bytes, place: Place, whole: Any = whole
        ) -> Any:
            if contribution.hospital == bad:
                raise CorruptMessageError("The box does not open.")
            return whole(contribution, content, place)

        holder._open_piece = open_piece  # type: ignore[method-assign]


def test_one_bad_box_costs_one_holders_word_and_nothing_else() -> None:
    parts = Parts()
    harmed(parts, 0, "holder 3")
    chosen = parts.ask()
    assert [m.receiver for m in chosen] == [f"holder holder {i}" for i in (1, 2, 4)]
    assert not any(len(holder.policy.log) for holder in parts.holders.values())
    agreed = [m for c in parts.answers(chosen) for m in sent(parts.side.take(c))]
    assert parts.finish(agreed).tolist() == [111] * 3


@pytest.mark.parametrize(("scheme", "corrupt"), [("shares", 1), ("threshold", 1), ("pairwise", 0)])
def test_nobody_is_left_out_for_fewer_reports_than_one_more_than_may_lie(
    scheme: str, corrupt: int
) -> None:
    """Corrupt holders alone shut no hospital out, whatever they say; they stand back themselves."""
    parts = Parts(scheme, min_honest=2)
    parts.judge._least = 3
    assert parts.side._quorum.corrupt == corrupt
    names = list(parts.holders)
    harmed(parts, 2, *names[1 : 1 + corrupt])
    chosen = parts.ask()
    assert {m.kind for m in chosen} == {MessageKind.CHOSEN}
    willing = {holder_address(n) for n in names if n not in names[1 : 1 + corrupt]}
    assert {m.receiver for m in chosen} == willing
    assert parts.side._proposal is not None and parts.side._proposal.hospitals == NAMES
    more = Parts(scheme, min_honest=2)
    more.judge._least = 3
    harmed(more, 2, *names[: corrupt + 1])
    again = more.ask()
    assert {m.kind for m in again} == {MessageKind.TOTAL}
    assert more.side._proposal is not None and more.side._proposal.hospitals == ("a", "b", "d")


def test_a_hospital_with_more_bad_boxes_than_holders_may_lie_is_left_out() -> None:
    parts = Parts(min_honest=2)
    parts.judge._least = 3
    harmed(parts, 1, "holder 3", "holder 1")
    again = parts.ask()
    assert {m.kind for m in again} == {MessageKind.TOTAL}
    chosen = [m for one in parts.answers(again) for m in sent(parts.side.take(one))]
    assert len(chosen) == 4
    agreed = [m for c in parts.answers(chosen) for m in sent(parts.side.take(c))]
    assert parts.finish(agreed).tolist() == [101] * 3
    spent = parts.holders["holder 1"].policy.log.spent
    left_out = parts.contributions[1]
    assert spent([(left_out.hospital, left_out.nonce)]) == ()  # it may be in a later sum


def test_where_the_noise_needs_all_a_hospital_with_bad_boxes_stops_the_round_cleanly() -> None:
    parts = Parts()  # all four are needed
    harmed(parts, 1, "holder 3", "holder 1")
    again = parts.ask()
    with pytest.raises(RefusedError, match="3 distinct hospitals; 4 are"):
        parts.answers(again)
    assert not any(len(holder.policy.log) for holder in parts.holders.values())


def test_too_few_who_can_answer_open_nothing_and_say_whose_boxes() -> None:
    parts = Parts()
    harmed(parts, 0, "holder 1")
    harmed(parts, 1, "holder 2")  # nobody's boxes fail at more than one: nobody is left out
    with pytest.raises(RefusedError, match=r"2 of 4 holders can answer .* 1 can't answer for"):
        parts.ask()
    assert not any(len(holder.policy.log) for holder in parts.holders.values())


def test_another_quorum_answers_where_one_that_committed_is_silent() -> None:
    parts = Parts()
    agreed = [m for c in parts.answers(parts.ask()) for m in sent(parts.side.take(c))]
    answers = parts.answers(agreed)
    for answer in answers[1:]:  # holder 1 is gone
        assert parts.side.take(answer) == ()
    again = sent(parts.side.late(parts.patience("answer")))
    assert len(again) == 3 and {m.kind for m in again} == {MessageKind.AGREED}
    assert parts.finish(again).tolist() == [111] * 3
    few = Parts("threshold")  # answers once: what is missing is waited for
    agreed = [m for c in few.answers(few.ask()) for m in sent(few.side.take(c))]
    for answer in few.answers(agreed)[1:]:
        few.side.take(answer)
    with pytest.raises(RefusedError, match=r"holder 1 committed to the sum .* did not answer"):
        few.side.late(few.patience("answer"))


@pytest.mark.parametrize("scheme", ["shares", "threshold", "pairwise"])
def test_a_holder_restarted_at_any_step_says_the_same_bytes(scheme: str, tmp_path: Path) -> None:
    parts = Parts(scheme, tmp_path)
    name, *_ = parts.holders
    said: list[tuple[Message, ...]] = []
    told: object = parts.side.ask(parts.asked, 0.0)
    for _step in range(3):
        here = [m for m in sent(told) if m.receiver == holder_address(name)]
        first = parts.answers(here)
        fresh = HolderRole("run", parts.scheme.holder(name, parts.policy.fork(name)))
        if here[0].kind is not MessageKind.TOTAL:
            with pytest.raises(RefusedError, match="again after a restart"):
                fresh.handle(here[0])
            fresh.handle(Message(AGGREGATOR, here[0].receiver, MessageKind.TOTAL, 0,
                                 parts.asked.to_bytes(), run="run"))  # fmt: skip
        again = fresh.handle(here[0])
        assert again == tuple(first)
        said.append(again)
        parts.roles[here[0].receiver] = fresh
        others = parts.answers([m for m in sent(told) if m not in here])
        for word in [*again, *others]:
            told = parts.side.take(word)
    assert isinstance(told, OpeningVerdict) and told.total.tolist() == [111] * 3
    log = OpeningLog(tmp_path / f"log-{name}.jsonl")
    assert len(log) == 1


def test_two_sums_are_never_both_the_first(tmp_path: Path) -> None:
    parts = Parts(min_honest=1, c_assumed=0)
    holder = parts.holders["holder 1"]
    adders = [parts.scheme.adder() for _ in range(2)]
    halves = parts.contributions[:2], parts.contributions[2:]
    for adder, half in zip(adders, halves, strict=True):
        for contribution in half:
            adder.add(contribution.sealed)
    totals = [adder.total() for adder in adders]
    first = holder.commit(totals[0], halves[0], Place())
    with pytest.raises(RefusedError, match="two sums can't both be that"):
        holder.commit(totals[1], halves[1], Place())
    with pytest.raises(RefusedError, match="One run has one chain"):
        holder.commit(totals[1], halves[1], Place(None, 1, "ab" * 32))
    assert holder.commit(totals[1], halves[1], Place(None, 1, first.opening))
