"""A sum is believed for the signed words of those who opened it, whoever relays them."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from aggregation.roles.evidence import Evidence, Judge
from aggregation.roles.messages import Message
from aggregation.roles.opening import OpeningVerdict
from aggregation.sealing import make_scheme
from aggregation.sealing.answers import Answer, Commitment
from aggregation.sealing.proposal import Place
from aggregation.sealing.shares import Shares
from privacy.errors import CorruptMessageError, RefusedError
from tests.aggregation.roles.parts import Parts, sent

SCHEMES = ("shares", "threshold", "pairwise")


def opened(parts: Parts) -> Evidence:
    """What was said about the sum of all four, by all four."""
    agreed = [m for one in parts.answers(parts.ask()) for m in sent(parts.side.take(one))]
    for answer in parts.answers(agreed):
        said = parts.side.take(answer)
    assert isinstance(said, OpeningVerdict)
    return said.evidence


@pytest.mark.parametrize("scheme", SCHEMES)
def test_whoever_judges_combines_the_sum_from_what_travelled(scheme: str) -> None:
    parts = Parts(scheme)
    evidence = Evidence.from_bytes(opened(parts).to_bytes())
    assert parts.judge.sum_of(evidence, Place()).tolist() == [111] * 3
    made_up = np.full(3, 112).astype("<i8").tobytes()
    with pytest.raises(RefusedError, match="not the one that the holders' answers give"):
        parts.judge.sum_of(evidence, Place(), made_up)


def test_a_kept_answer_is_of_the_same_bytes_place_and_words() -> None:
    """Whoever asks after somebody else gets the answer to what he asks, and can't change it."""
    parts = Parts("shares")
    content = opened(parts).to_bytes()
    said = np.full(3, 111).astype("<i8").tobytes()
    first, total = parts.judge.judged(content, Place(), said)
    again, same = parts.judge.judged(content, Place(), said)
    assert again is first and same is total
    with pytest.raises(ValueError, match="read-only"):
        total[0] = 0
    with pytest.raises(RefusedError, match="not the one that the holders' answers give"):
        parts.judge.judged(content, Place(), np.full(3, 112).astype("<i8").tobytes())
    with pytest.raises(RefusedError, match="whose number is 0"):
        parts.judge.judged(content, Place(None, 1), said)
    with pytest.raises(CorruptMessageError):
        parts.judge.judged(content[:-1], Place(), said)


Change = Callable[[Evidence], Evidence]


def proposal(**fields: Any) -> Change:
    def change(evidence: Evidence) -> Evidence:
        return dataclasses.replace(
            evidence, proposal=dataclasses.replace(evidence.proposal, **fields)
        )

    return change


def changed(**fields: Callable[[Evidence], Any]) -> Change:
    return lambda e: dataclasses.replace(e, **{name: of(e) for name, of in fields.items()})


def without_a_part(evidence: Evidence) -> Mapping[str, bytes]:
    return dict(list(evidence.parts.items())[1:])


def shifted(evidence: Evidence) -> Mapping[str, bytes]:
    (first, content), *_ = evidence.parts.items()
    return {**evidence.parts, first: bytes([content[0] ^ 1]) + content[1:]}


def relabelled(evidence: Evidence) -> tuple[Answer, ...]:
    first, second, *others = evidence.answers
    swapped = dataclasses.replace(first, parts=second.parts)
    return (swapped, second, *others)


def unsigned(evidence: Evidence) -> tuple[Commitment, ...]:
    return tuple(dataclasses.replace(c, signature="") for c in evidence.commitments)


def of_few(evidence: Evidence) -> tuple[Answer, ...]:
    return tuple(dataclasses.replace(a, present=a.present[:1]) for a in evidence.answers)


WRONG = {
    "another run": (proposal(run="another"), RefusedError, "whose run is 'another'"),
    "another plan": (proposal(plan="ab" * 32), RefusedError, "whose plan is"),
    "another number": (proposal(number=1), RefusedError, "whose number is 1"),
    "another past": (proposal(previous="ab" * 32), RefusedError, "whose previous is"),
    "other keys": (proposal(parameters="ab" * 32), RefusedError, "whose parameters is"),
    "one twice": (proposal(hospitals=("a", "b", "c", "c")), RefusedError, "3 distinct hospitals"),
    "other nonces": (proposal(nonces=("1", "2", "3", "4")), RefusedError, "0 holders have validly"),
    "others": (proposal(hospitals=("a", "b", "c", "e")), RefusedError, "0 holders have validly"),
    "other bytes": (proposal(ciphertexts=("ab" * 32,) * 4), RefusedError, "0 holders have validly"),
    "other bases": (proposal(base_versions=(0, 0, 0, 1)), RefusedError, "0 holders have validly"),
    "other total": (changed(total=lambda e: e.total + b"0"), CorruptMessageError, "sealed sum is"),
    "its digest": (proposal(total="ab" * 32), CorruptMessageError, "sealed sum is"),
    "no commitments": (changed(commitments=lambda _: ()), RefusedError, "0 holders have validly"),
    "unsigned": (changed(commitments=unsigned), RefusedError, "0 holders have validly"),
    "one often": (
        changed(commitments=lambda e: e.commitments[:1] * 4), RefusedError, "1 holders have"
    ),
    "two committed": (
        changed(commitments=lambda e: e.commitments[:2]), RefusedError, "2 holders have validly"
    ),
    "three committed": (
        changed(commitments=lambda e: e.commitments[:3]), RefusedError, "no quorum of those who"
    ),
    "no answers": (changed(answers=lambda _: ()), RefusedError, "nobody together"),
    "one is missing": (changed(answers=lambda e: e.answers[1:]), RefusedError, "missing|nobody"),
    "relabelled": (changed(answers=relabelled), CorruptMessageError, "not its signed word"),
    "of few": (changed(answers=of_few), RefusedError, "no quorum of those who committed"),
    "part missing": (changed(parts=without_a_part), CorruptMessageError, "missing, or changed"),
    "part shifted": (changed(parts=shifted), CorruptMessageError, "missing, or changed"),
}  # fmt: skip


@pytest.mark.parametrize("scheme", SCHEMES)
def test_whatever_is_changed_on_the_way_is_refused_and_named(scheme: str) -> None:
    parts = Parts(scheme)
    right = opened(parts)
    for name, (change, error, words) in WRONG.items():
        with pytest.raises(error, match=words):
            parts.judge.sum_of(change(right), Place())
            pytest.fail(name)
    assert parts.judge.sum_of(right, Place()).tolist() == [111] * 3


def test_evidence_of_one_opening_is_none_of_the_next() -> None:
    parts = Parts()
    first = opened(parts)
    with pytest.raises(RefusedError, match="whose number is 0; here 1"):
        parts.judge.sum_of(first, Place().after(first.proposal.digest))


class Liar(Parts):
    """One holder signs other words than its own for one of its pieces."""

    liar = "holder 2"

    def answers(self, asked: list[Message]) -> list[Message]:
        holder = self.holders[self.liar]
        honest = type(holder)._answer

        def lie(*given: Any) -> tuple[tuple[str, ...], dict[str, bytes]]:
            present, said = honest(holder, *given)
            *others, (part, content) = said.items()
            return present, {**dict(others), part: bytes([content[0] ^ 1]) + content[1:]}

        holder._answer = lie  # type: ignore[method-assign,assignment]
        return super().answers(asked)


def test_a_lie_is_seen_where_one_more_than_the_corrupt_answer_for_each_piece() -> None:
    with pytest.raises(RefusedError, match=r"answered differently for part .*nobody is shut out"):
        opened(Liar())


def test_a_lie_of_the_only_one_who_answers_for_a_piece_is_not_seen() -> None:
    # Three of four answer: some pieces are with one of them alone, and nothing contradicts it.
    parts = Liar()
    asked = parts.side.ask(parts.asked, 0.0)
    del parts.roles["holder holder 1"]
    tried = [r for m in sent(asked) if m.receiver in parts.roles for r in parts.answers([m])]
    assert all(parts.side.take(one) == () for one in tried)
    commit = sent(parts.side.late(parts.patience("try")))
    agreed = [m for c in parts.answers(commit) for m in sent(parts.side.take(c))]
    assert parts.finish(agreed).tolist() != [111] * 3


def test_copies_can_be_demanded_so_that_a_lie_is_seen_or_nothing_is_opened() -> None:
    parts = Liar()
    known = parts.judge.roster, parts.scheme.parameters
    parts.side.judge = Judge(*known, scheme=type(parts.scheme), least=4, detects=True)
    asked = parts.side.ask(parts.asked, 0.0)
    del parts.roles["holder holder 1"]
    tried = [r for m in sent(asked) if m.receiver in parts.roles for r in parts.answers([m])]
    assert all(parts.side.take(one) == () for one in tried)
    commit = sent(parts.side.late(parts.patience("try")))
    agreed = [m for c in parts.answers(commit) for m in sent(parts.side.take(c))]
    with pytest.raises(RefusedError, match=r"alone answered for part .*; 2 holders are demanded"):
        parts.finish(agreed)
    whole = Parts()
    right = opened(whole)
    known = whole.judge.roster, whole.scheme.parameters
    strict = Judge(*known, scheme=type(whole.scheme), least=4, detects=True)
    assert strict.sum_of(right, Place()).tolist() == [111] * 3


def test_copies_are_demanded_only_where_there_are_any() -> None:
    for name in ("threshold", "pairwise"):
        parts = Parts(name)
        known = parts.judge.roster, parts.scheme.parameters
        with pytest.raises(RefusedError, match="no two parties say the same thing"):
            Judge(*known, scheme=type(parts.scheme), detects=True)
    with pytest.raises(RefusedError, match="no two parties say the same thing"):
        Judge(*known, detects=True)
    few = make_scheme(
        "shares", dim=3, contributors=4, bound=9, holders=tuple("abcde"), threshold=4, corrupt=2
    )
    with pytest.raises(RefusedError, match=r"2 of 5 holders; to see a lie of 2 it takes 3. Take 7"):
        Judge(known[0], few.parameters, scheme=Shares, detects=True)


def test_a_lie_in_a_smudged_share_is_not_seen() -> None:
    parts = Liar("threshold")
    evidence = opened(parts)
    assert parts.judge.sum_of(evidence, Place()).tolist() != [111] * 3


def test_a_sum_of_too_few_or_of_one_twice_is_refused_whoever_opened_it() -> None:
    parts = Parts()
    right = opened(parts)
    known = parts.judge.roster, parts.scheme.parameters
    strict = Judge(*known, scheme=type(parts.scheme), least=5)
    with pytest.raises(RefusedError, match="5 or more are needed"):
        strict.sum_of(right, Place())
    lenient = Judge(*known, scheme=type(parts.scheme), least=1)
    twice = proposal(hospitals=("a", "b", "c", "c"))(right)
    with pytest.raises(RefusedError, match="each of them 1 times at most"):
        lenient.sum_of(twice, Place())
    again = Judge(*known, scheme=type(parts.scheme), least=1, repeats=2)
    with pytest.raises(RefusedError, match="0 holders have validly"):
        again.sum_of(twice, Place())


def test_answers_that_were_made_for_different_quorums_are_not_put_together() -> None:
    parts = Parts()
    right = opened(parts)
    first, *others = right.answers
    holder = parts.holders[first.holder]
    told = tuple(first.present[:3])
    own = {part: right.parts[part] for part in first.parts}
    other = Answer.sign(holder.key, first.holder, first.opening, told, own)
    mixed = dataclasses.replace(right, answers=(*others, other))
    with pytest.raises(RefusedError, match="their parts don't belong together"):
        parts.judge.sum_of(mixed, Place())
