"""A hospital with a ledger from a disk releases nothing before others have said what they saw."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregation.federation import Federation
from aggregation.roles import Role
from aggregation.roles.aggregator import Aggregator
from aggregation.roles.evidence import Evidence, Judge
from aggregation.roles.hospital import Hospital
from aggregation.roles.kept import Kept
from aggregation.roles.messages import (
    AGGREGATOR,
    Message,
    MessageKind,
    Timer,
    TimerKind,
    holder_address,
)
from aggregation.roles.opener import HolderRole, OpenerRole, OpeningAsked
from aggregation.roles.opening import ByHolders, ByOpener
from aggregation.roles.witnessed import WitnessedLedger
from aggregation.sealing import Contribution, KeyScheme, OpeningLog, Policy, Roster, make_scheme
from aggregation.sealing.answers import Answer, Question, Witnessed
from aggregation.sealing.holders import QuorumScheme
from aggregation.sealing.proposal import Place
from privacy.errors import CorruptMessageError, RefusedError
from privacy.ledger import Budget, Head, Ledger, SigningKey
from privacy.mechanisms import OperatingSystem
from tests.aggregation.parts import HOSPITALS, cohort, patients, plan
from tests.aggregation.roles.parts import sent

MADE = plan(noise_multiplier=60.0)


class Run:
    """A whole run by messages, in order; each hospital has a disk."""

    def __init__(self, folder: Path, scheme: str) -> None:
        self.folder = folder
        self.keys = {name: SigningKey.generate() for name in HOSPITALS}
        opener = SigningKey.generate()
        public = {name: key.public for name, key in self.keys.items()}
        self.roster = Roster(MADE.run, public, opener=opener.public)
        names = {"holders": HOSPITALS, "threshold": 3} if scheme in ("shares", "threshold") else {}
        made = make_scheme(scheme, dim=MADE.dim, contributors=3, bound=2**40, **names)
        self.scheme = made.vouched(MADE.run, self.keys) if isinstance(made, QuorumScheme) else made
        self.plan = replace(
            MADE, scheme=scheme, sealing=self.scheme.digest, roster=self.roster.digest
        )
        kind = type(self.scheme) if isinstance(self.scheme, QuorumScheme) else None
        self.judge = Judge(self.roster, self.scheme.parameters, scheme=kind, least=3)
        log = OpeningLog(folder / "log.jsonl")
        rules = {"min_honest": 2, "c_assumed": 1, "require_ledger_head": True}
        policy = Policy(self.roster, log=log, **rules)  # type: ignore[arg-type]
        self.roles: dict[str, HolderRole | OpenerRole] = {}
        side: ByHolders | ByOpener = ByOpener(self.judge)
        if isinstance(self.scheme, QuorumScheme):
            side = ByHolders(self.judge)
            for name, holder in self.scheme.holders(policy).items():
                self.roles[holder_address(name)] = HolderRole(self.plan.run, holder)
        elif isinstance(self.scheme, KeyScheme):
            self.roles["opener"] = OpenerRole(self.plan.run, self.scheme.opener(policy), opener)
        self.aggregator = Aggregator(self.plan, self.scheme.adder(), self.roster, side)
        self.hospitals = {name: self.hospital(name) for name in HOSPITALS}
        self.updates: list[Message] = []

    def hospital(self, name: str) -> Hospital:
        file = self.folder / name / "ledger.jsonl"
        budget = Budget(epsilon=math.inf)
        if file.exists():
            ledger = Ledger.open(file, key=self.keys[name])
        else:
            ledger = Ledger.create(file, hospital=name, key=self.keys[name], budget=budget)
        made = Hospital(
            name, patients(HOSPITALS.index(name)), plan=self.plan, sealer=self.scheme.sealer(name),
            judge=self.judge, ledger=ledger, key=self.keys[name], source=OperatingSystem(),
            kept=Kept(self.folder / name / "run"),
        )  # fmt: skip
        made.join()
        return made

    def dies(self, name: str) -> None:
        kept = self.hospitals.pop(name)._kept
        assert kept is not None
        kept.close()

    def carry(self, waiting: list[Message], stop: int = 99) -> None:
        """Deliver all messages in order but models of round ``stop`` and later."""
        while waiting:
            message = waiting.pop(0)
            if message.kind is MessageKind.UPDATE:
                self.updates.append(message)
            if message.kind is MessageKind.MODEL and message.round >= stop:
                continue
            if message.receiver == AGGREGATOR:
                waiting += sent(self.aggregator.handle(message))
            elif message.receiver in self.roles:
                waiting += self.roles[message.receiver].handle(message)
            elif message.receiver in self.hospitals:
                waiting += self.hospitals[message.receiver].handle(message)

    def goes_on(self, stop: int = 99) -> None:
        self.carry(sent(self.aggregator.handle(Timer(TimerKind.START))), stop)

    def model(self, round_: int) -> Message:
        payload = self.aggregator.models[round_].astype("<f8").tobytes()
        return Message(AGGREGATOR, "north", MessageKind.MODEL, round_, payload, run=self.plan.run)

    def put_back(self, copy: Path) -> Hospital:
        """A copy of the hospital's disk in the place of the disk, and a process on it."""
        self.dies("north")
        shutil.rmtree(self.folder / "north")
        shutil.copytree(copy, self.folder / "north")
        self.hospitals["north"] = self.hospital("north")
        return self.hospitals["north"]

    def copy(self, name: str) -> Path:
        return Path(shutil.copytree(self.folder / "north", self.folder / name))

    def word(self, by: str, question: Question, head: Head | None, **fields: str) -> Message:
        """What a holder says, or is made to say."""
        said = Witnessed(by, self.plan.run, question.hospital, question.nonce, head)
        role = self.roles[holder_address(by)]
        assert isinstance(role, HolderRole)
        payload = replace(said, **fields).signed(role._holder.key).to_bytes()  # type: ignore[arg-type]
        return Message(AGGREGATOR, "north", MessageKind.WITNESSED, 0, payload)


SCHEMES = ["bfv", "shares", "threshold", "pairwise"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_restored_backup_releases_nothing_and_the_newest_copy_goes_on(
    scheme: str, tmp_path: Path
) -> None:
    run = Run(tmp_path, scheme)
    run.goes_on(stop=1)
    backup = run.copy("backup")
    run.goes_on(stop=2)
    assert run.aggregator.round == 2
    newest, before = run.copy("newest"), len(run.updates)
    old = run.put_back(backup)
    with pytest.raises(RefusedError, match=r"does not extend its own signed head of \d+ entries"):
        run.carry([run.model(1)])
    for _ in range(2):
        with pytest.raises(RefusedError, match="Nothing is released from it"):
            old.handle(run.model(1))
        with pytest.raises(RefusedError, match="Nothing is released from it"):
            old.contribute(run.aggregator.models[1], round_=1)
    assert len(run.updates) == before
    assert {e.content["round"] for e in old.ledger.entries() if e.kind == "release"} == {0}
    run.put_back(newest)
    run.goes_on()
    assert run.aggregator.round == 3


def test_a_hospital_that_lost_its_ledger_does_not_go_on_with_another(tmp_path: Path) -> None:
    run = Run(tmp_path, "shares")
    run.goes_on(stop=1)
    run.dies("north")
    (tmp_path / "north" / "ledger.jsonl").unlink()
    shutil.rmtree(tmp_path / "north" / "ledger.payloads")
    with pytest.raises(RefusedError, match="an upload under the name of north that it never sent"):
        run.hospital("north")


def test_holders_that_keep_the_newest_head_back_hide_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path, "shares")  # three of three answer, and one of them may lie
    run.goes_on(stop=1)
    backup = run.copy("backup")
    run.goes_on(stop=2)
    old = run.put_back(backup)
    (asked,) = old.handle(run.model(1))
    question = Question.read(asked.public)
    assert old.handle(run.word("east", question, None)) == ()
    honest = [holder_address(name) for name in HOSPITALS if name != "east"]
    with pytest.raises(RefusedError, match=r"that (north|south) saw in an opened sum"):
        run.carry([replace(asked, sender=AGGREGATOR, receiver=address) for address in honest])


def test_two_copies_of_one_site_have_one_upload_opened(tmp_path: Path) -> None:
    """A cloned machine: the clone's upload of the same round is in no second sum."""
    run = Run(tmp_path, "shares")
    run.goes_on(stop=1)
    clone = run.copy("clone")
    mine = run.put_back(clone)
    run.goes_on(stop=2)
    assert run.aggregator.round == 2
    run.dies("north")
    shutil.rmtree(tmp_path / "north")
    shutil.copytree(clone, tmp_path / "north")
    twin = run.hospitals["north"] = run.hospital("north")
    assert twin is not mine
    twin._witnessed.open = True  # as if nobody had been asked
    (second,) = twin.handle(run.model(1))
    first = next(m for m in run.updates if m.sender == "north" and m.round == 1)
    assert second.payload != first.payload
    run.aggregator._bases["north"] = 1  # a server that would have it in the next sum
    run.aggregator._contributions.clear()
    run.updates.clear()
    others = [m for m in models(run) if m.receiver != "north"]
    with pytest.raises(RefusedError, match="Another upload of north on version 1"):
        run.carry([second, *others])


def models(run: Run) -> list[Message]:
    said = sent(run.aggregator.handle(Timer(TimerKind.START)))
    return [m for m in said if m.kind is MessageKind.MODEL]


def test_who_has_not_answered_this_question_does_not_count(tmp_path: Path) -> None:
    run = Run(tmp_path, "shares")
    run.goes_on(stop=1)
    back = run.put_back(run.copy("same"))
    (asked,) = back.handle(run.model(1))
    assert asked.kind is MessageKind.RETURNED and asked.payload == b""
    assert back.handle(run.model(1)) == (asked,)  # asked again, it asks the same
    question = Question.read(asked.public)
    own = run.keys["north"]
    seen = run.hospitals["north"].ledger.head()
    other = Head.sign(run.keys["east"], "north", seen.ledger, 10**6, seen.root)
    stranger = Head.sign(own, "east", seen.ledger, 10**6, seen.root)
    for wrong, words in [
        (run.word("north", question, None, nonce="ab" * 16), "not its signed answer to this"),
        (run.word("north", question, None, run="another"), "not its signed answer to this"),
        (run.word("north", question, None, hospital="east"), "not its signed answer to this"),
        (run.word("north", question, None, holder="east"), "not its signed answer to this"),
        (run.word("north", question, None, holder="nobody"), "not its signed answer to this"),
        (run.word("north", question, other), "was not signed with this hospital's key"),
        (run.word("north", question, stranger), "was not signed with this hospital's key"),
    ]:
        with pytest.raises(CorruptMessageError, match=words):
            back.handle(wrong)
    for _ in range(3):  # one alone, often
        assert back.handle(run.word("north", question, None)) == ()
    assert back.handle(run.word("east", question, None)) == ()
    with pytest.raises(RefusedError, match="2 of the 3"):
        back.contribute(run.aggregator.models[1], round_=1)
    (update,) = back.handle(run.word("south", question, None))
    assert update.kind is MessageKind.UPDATE
    assert back.handle(run.word("south", question, None)) == ()
    ahead = Head.sign(own, "north", seen.ledger, 10**6, seen.root)
    with pytest.raises(RefusedError, match="an old copy"):  # whoever shows it, whenever
        back.handle(run.word("south", question, ahead))
    assert back.handle(run.model(1)) == (update,)  # what was sent is sent again: the same bytes
    with pytest.raises(RefusedError, match="an old copy"):
        back._witnessed.require_open()


def test_a_fork_of_the_same_size_or_of_another_beginning_is_seen(tmp_path: Path) -> None:
    key = SigningKey.generate()
    run = Run(tmp_path, "shares")
    ledger = run.hospitals["north"].ledger
    ledger.taken_up = True
    head = ledger.head()
    for wrong in (
        Head.sign(run.keys["north"], "north", head.ledger, head.size, "ab" * 32),
        Head.sign(run.keys["north"], "north", "ab" * 32, head.size, head.root),
        Head.sign(run.keys["north"], "north", head.ledger, head.size - 1, head.root),
    ):
        past = WitnessedLedger(ledger, run.judge)
        question, (last, *others) = past.question(), HOSPITALS
        for name in others:
            past.take(run.word(name, question, None).payload)
        with pytest.raises(RefusedError, match="an old copy"):
            past.take(run.word(last, question, wrong).payload)
        assert not past.open
    assert not ledger.countersigned and key.public


def test_the_aggregator_carries_questions_and_answers_and_nothing_else(tmp_path: Path) -> None:
    run = Run(tmp_path, "shares")
    run.goes_on(stop=1)
    back = run.put_back(run.copy("same"))
    (asked,) = back.handle(run.model(1))
    carried = sent(run.aggregator.handle(asked))
    assert [m.receiver for m in carried] == [holder_address(name) for name in HOSPITALS]
    assert {dict(m.public)["nonce"] for m in carried} == {asked.nonce}
    (answer,) = run.roles[carried[1].receiver].handle(carried[1])
    (told,) = run.aggregator.handle(answer)
    assert isinstance(told, Message) and told.receiver == "north"
    word = Witnessed.from_bytes(told.payload)
    update = next(m for m in run.updates if m.sender == "north")
    assert word.head is not None and word.head.size < back.ledger.size + 1
    assert word.head.to_json() == json.loads(str(update.public["head"]))
    nobody = run.word("east", Question("nobody", "ab" * 16), None)
    with pytest.raises(RefusedError, match="'nobody', who is to be told of it"):
        run.aggregator.handle(nobody)
    with pytest.raises(CorruptMessageError, match="Nobody asks for a ledger's head"):
        run.roles[holder_address("east")].handle(replace(asked, public={"hospital": "north"}))


@pytest.mark.filterwarnings("ignore::privacy.errors.CostlierPlanWarning")
def test_what_hospitals_counter_signed_in_earlier_runs_is_seen_in_the_next(tmp_path: Path) -> None:
    made = plan(scheme="shares", noise_multiplier=120.0)
    home, old = tmp_path / "home", tmp_path / "old"

    def run(name: str) -> Federation:
        used = replace(made, run=name)
        return Federation.real(
            used, cohort(), out=tmp_path / name, target_epsilon=3.0, ledgers=home
        )

    run("first").run()
    shutil.copytree(home, old)
    run("second").run()
    (home / "ledgers" / "north.jsonl").write_bytes((old / "ledgers" / "north.jsonl").read_bytes())
    with pytest.raises(RefusedError, match=r"The ledger of north has .* an old copy"):
        run("third").run()
    north = SigningKey.load(home / "keys" / "north.key")
    restored = Ledger.open(home / "ledgers" / "north.jsonl", key=north)
    made_in = [e.content["plan"] for e in restored.entries() if e.kind == "release"]
    assert len(made_in) == made.rounds and len(set(made_in)) == 1  # the first run's alone


@pytest.mark.filterwarnings("ignore::privacy.errors.CostlierPlanWarning")
def test_a_ledger_that_was_begun_anew_between_runs_is_in_no_sum(tmp_path: Path) -> None:
    made = plan(scheme="shares", noise_multiplier=120.0)
    home = tmp_path / "home"
    options: dict[str, Any] = {"target_epsilon": 3.0, "ledgers": home}
    Federation.real(replace(made, run="one"), cohort(), out=tmp_path / "one", **options).run()
    (home / "ledgers" / "north.jsonl").unlink()
    shutil.rmtree(home / "ledgers" / "north.payloads")
    two = Federation.real(replace(made, run="two"), cohort(), out=tmp_path / "two", **options)
    assert not two.ledger("north").taken_up  # nothing tells it that it is not the first
    with pytest.raises(RefusedError, match="2 distinct hospitals; 3 are needed"):
        two.run()


def test_who_was_told_two_sums_is_in_no_sum_together(tmp_path: Path) -> None:
    """A smudged answer can't be compared: a liar with the server tells each its own."""
    run = Run(tmp_path, "threshold")
    told: list[Message] = []
    waiting = sent(run.aggregator.handle(Timer(TimerKind.START)))
    while waiting:  # all of round 0, but what is told of its sum
        message = waiting.pop(0)
        if message.kind in (MessageKind.EVIDENCE, MessageKind.OPENED):
            told.append(message)
        elif message.kind is not MessageKind.MODEL or message.round == 0:
            waiting += sent(role_of(run, message.receiver).handle(message))
    right = Evidence.from_bytes(told[0].payload)
    liar = run.roles[holder_address("south")]
    assert isinstance(liar, HolderRole)
    key = liar._holder.key
    (part,) = next(a for a in right.answers if a.holder == "south").parts
    shifted = {part: bytes([right.parts[part][0] ^ 1]) + right.parts[part][1:]}
    present = right.answers[0].present
    lie = Answer.sign(key, "south", right.proposal.digest, present, shifted)
    answers = tuple(lie if a.holder == "south" else a for a in right.answers)
    other = replace(right, answers=answers, parts={**right.parts, **shifted})
    total = run.judge.sum_of(other, Place(run.plan.digest))
    for message in told:
        if message.receiver == "north":
            payload = total.astype("<i8").tobytes()
            if message.kind is MessageKind.EVIDENCE:
                payload = other.to_bytes()
            message = replace(message, payload=payload)
        run.hospitals[message.receiver].handle(message)
    north, east = run.hospitals["north"], run.hospitals["east"]
    assert not np.array_equal(north._path.params, east._path.params)
    updates: list[Message] = []
    for name, member in run.hospitals.items():
        model = member._path.params.astype("<f8").tobytes()
        ask = Message(AGGREGATOR, name, MessageKind.MODEL, 1, model, run=run.plan.run)
        updates += member.handle(ask)
    with pytest.raises(RefusedError, match="'north' has computed its update on another model"):
        run.aggregator.handle(updates[0])
    mine = [Contribution.from_message(m.payload, m.public) for m in updates]
    adder = run.scheme.adder()
    for contribution in mine:
        adder.add(contribution.sealed)
    place = Place(run.plan.digest).after(right.proposal.digest)
    payload = OpeningAsked(place, adder.total(), tuple(mine)).to_bytes()
    for name in HOSPITALS:
        address = holder_address(name)
        ask = Message(AGGREGATOR, address, MessageKind.TOTAL, 1, payload, run=run.plan.run)
        with pytest.raises(RefusedError, match=r"'north' and 'east' have computed .* version 1"):
            run.roles[address].handle(ask)


def role_of(run: Run, address: str) -> Role:
    if address == AGGREGATOR:
        return run.aggregator
    return run.roles[address] if address in run.roles else run.hospitals[address]
