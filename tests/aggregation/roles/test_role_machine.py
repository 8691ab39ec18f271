"""All roles of a run: a bad network, a liar of each kind, and death at will.

Under ``bfv`` the one who opens is believed, so that it dies and comes back, and does not lie.
"""

import hashlib
from collections import Counter
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aggregation.roles.hospital import Hospital
from aggregation.roles.messages import (
    AGGREGATOR,
    OPENER,
    Message,
    MessageKind,
    Timer,
    TimerKind,
    holder_address,
)
from aggregation.roles.opener import OpeningAsked
from aggregation.sealing import Contribution
from aggregation.sealing.proposal import Place
from privacy.errors import InpatientError
from privacy.ledger import Head
from tests.aggregation.roles.world import HONEST, LIAR, NAMES, RESTORED, ROUNDS, World


class Network(World, RuleBasedStateMachine):
    """Messages in any order, twice, lost or forged; parties killed, and made anew from disk."""

    @initialize()
    def begin(self) -> None:
        self.set_up()

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            for kept in self.folders.values():
                kept.close()
            self.folder.cleanup()

    # -- what happens ---------------------------------------------------------------------------

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), keep=st.booleans())
    def delivered(self, data: st.DataObject, keep: bool) -> None:
        """Any message arrives next, perhaps not for the last time."""
        place = data.draw(st.integers(0, len(self.waiting) - 1))
        message = self.waiting[place] if keep else self.waiting.pop(place)
        self.say(message.receiver, message)

    @rule()
    def calm(self) -> None:
        """For a while everything arrives, in order."""
        for _ in range(60):
            if not self.waiting:
                break
            message = self.waiting.pop(0)
            self.say(message.receiver, message)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def lost(self, data: st.DataObject) -> None:
        """A message is lost, or all of them."""
        if data.draw(st.booleans()):
            self.waiting.clear()
        else:
            self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))

    @rule()
    def nudged(self) -> None:
        """Whoever runs the server has it ask again."""
        self.say(AGGREGATOR, Timer(TimerKind.START))

    @precondition(lambda self: self.timers)
    @rule()
    def late(self) -> None:
        """The server's patience ends."""
        self.say(AGGREGATOR, self.timers.pop())

    @rule(data=st.data())
    def dies(self, data: st.DataObject) -> None:
        """A process is gone; nobody learns of it."""
        self.killed(data.draw(st.sampled_from([AGGREGATOR, *NAMES, *self.openers])))

    @rule()
    def backed_up(self) -> None:
        """One hospital's disk is copied: ledger, payloads and the run's folder."""
        self.copy(self.disk, self.disk / "backup")
        self.backup = True

    @precondition(lambda self: self.backup)
    @rule()
    def restored(self) -> None:
        """That hospital's machine goes on from the copy, knowing nothing of it."""
        self.killed(RESTORED)
        self.copy(self.disk / "backup", self.disk)
        self.sizes[RESTORED] = 0

    # -- who lies -------------------------------------------------------------------------------

    @rule(lying=st.booleans())
    def turned(self, lying: bool) -> None:
        """One holder begins to lie in its answers, or leaves off."""
        self.lying = lying

    @precondition(lambda self: self.past)
    @rule(data=st.data(), spoil=st.booleans())
    def forged(self, data: st.DataObject, spoil: bool) -> None:
        """The relay sends an old message to whom it likes, as somebody else's, or spoilt."""
        message = data.draw(st.sampled_from(self.past))
        everybody = [AGGREGATOR, *NAMES, *self.openers]
        payload = bytearray(message.payload)
        if spoil and payload:
            payload[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
        changed = replace(
            message,
            payload=bytes(payload),
            sender=data.draw(st.sampled_from([message.sender, *everybody])),
            receiver=data.draw(st.sampled_from([message.receiver, *everybody])),
            round=data.draw(st.sampled_from([message.round, 0, 1])),
        )
        if changed.kind is MessageKind.UPDATE and changed.sender in NAMES:
            public = dict(changed.public) | {"hospital": changed.sender}
            changed = replace(changed, public=public)
        self.say(changed.receiver, changed)

    @rule(data=st.data(), round_=st.integers(0, ROUNDS - 1), boxed=st.booleans())
    def made_up(self, data: st.DataObject, round_: int, boxed: bool) -> None:
        """The lying hospital sends what it likes, some boxes of which do not open."""
        values = np.full(3, data.draw(st.integers(-1000, 1000)), dtype=np.int64)
        sealed = bytearray(self.sealer(LIAR).seal(values, round_=round_))
        if not boxed:
            other = self.sealer("north")  # boxes of another name, another's seat
            sealed = bytearray(other.seal(values, round_=round_))
        head = Head.sign(self.keys[LIAR], LIAR, "ab" * 32, 1 + len(self.past), "cd" * 32)
        contribution = Contribution.sign(
            self.keys[LIAR], bytes(sealed), run="test", hospital=LIAR, base_version=round_,
            parameters=self.scheme.digest, head=head, model=self.model_of(round_),
        )  # fmt: skip
        said = Message(
            LIAR, AGGREGATOR, MessageKind.UPDATE, round_, contribution.sealed,
            contribution.public, run="test",
        )  # fmt: skip
        self.past.append(said)
        self.say(AGGREGATOR, said)

    @rule(data=st.data())
    def asked_for(self, data: st.DataObject) -> None:
        """The server asks a holder for a sum of its own choice, at a place of its own choice."""
        updates = [m for m in self.past if m.kind is MessageKind.UPDATE]
        if not updates:
            return
        chosen = data.draw(st.lists(st.sampled_from(updates), min_size=1, max_size=4))
        contributions = []
        adder = self.scheme.adder()
        try:
            for message in chosen:
                contributions.append(Contribution.from_message(message.payload, message.public))
                adder.add(message.payload)
            place = Place(self.plan.digest, data.draw(st.integers(0, 1)))
            asked = OpeningAsked(place, adder.total(), tuple(contributions))
            opening = asked.proposal(self.scheme.digest).digest
        except InpatientError:
            return
        address = data.draw(st.sampled_from(self.openers))
        for kind, payload in (
            (MessageKind.TOTAL, asked.to_bytes()),
            (MessageKind.CHOSEN, opening.encode()),
        ):
            self.say(address, Message(AGGREGATOR, address, kind, place.number, payload, run="test"))

    # -- what holds -----------------------------------------------------------------------------

    @invariant()
    def no_sum_of_few_and_no_update_in_two(self) -> None:
        if not hasattr(self, "disk"):
            return
        committed: Counter[tuple[str, ...]] = Counter()
        for log in self.logs().values():
            for opening in log.openings:
                assert len(set(opening.hospitals)) == len(opening.hospitals) == 4
                committed[opening.ciphertexts] += 1
            assert len(log._places) == len(log)
        agreed = [set(sum_) for sum_, count in committed.items() if count >= self.agree]
        assert sum(map(len, agreed)) == len(set().union(*agreed))

    @invariant()
    def no_second_noise_and_no_refund(self) -> None:
        for (name, _), said in getattr(self, "updates", {}).items():
            assert len(said) == 1 or (name == RESTORED and self.backup)
            assert len(self.agreed().intersection(said.values())) <= 1
        for name in HONEST:
            member = getattr(self, "processes", {}).get(name)
            if not isinstance(member, Hospital):
                continue
            made = [e.content for e in member.ledger.entries() if e.kind == "release"]
            assert max(Counter(c["round"] for c in made).values(), default=1) == 1
            assert member.ledger.size >= self.sizes[name]
            self.sizes[name] = member.ledger.size

    @invariant()
    def the_honest_agree_on_every_model(self) -> None:
        for name in HONEST:
            member = getattr(self, "processes", {}).get(name)
            if isinstance(member, Hospital):
                path = member._path
                known = self.models.setdefault(path.version, set())
                known.add(hashlib.sha256(path.params.tobytes()).digest())
                assert len(known) == 1


class Smudged(Network):
    """The same under ``threshold``, whose answers are made once and can't be compared."""

    sealing = "threshold"


class Masked(Network):
    """The same under ``pairwise``, whose masks belong to rounds: nobody's are taken up twice."""

    sealing = "pairwise"
    options: ClassVar[dict[str, Any]] = {}
    openers: ClassVar[tuple[str, ...]] = tuple(holder_address(str(seat)) for seat in range(4))
    lying_opener = holder_address("3")


class Trusted(Network):
    """The same under ``bfv``: one party opens."""

    sealing = "bfv"
    options: ClassVar[dict[str, Any]] = {}
    openers: ClassVar[tuple[str, ...]] = (OPENER,)
    lying_opener = ""
    agree = 1


PLAYED = settings(
    max_examples=4 if settings().derandomize else settings().max_examples,
    stateful_step_count=40,
    suppress_health_check=list(HealthCheck),
)
TestNetwork = Network.TestCase
TestNetwork.settings = PLAYED
TestSmudged = Smudged.TestCase
TestSmudged.settings = PLAYED
TestMasked = Masked.TestCase
TestMasked.settings = PLAYED
TestTrusted = Trusted.TestCase
TestTrusted.settings = PLAYED
ALL = [Network, Smudged, Masked, Trusted]
KINDS = pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.sealing)


@KINDS
def test_without_harm_the_run_comes_to_its_end(kind: type[Network]) -> None:
    """What the machine plays is a run that works."""
    network = kind()
    network.begin()
    for _ in range(8 * ROUNDS):
        network.calm()
    for name in HONEST:
        member = network.role(name)
        assert isinstance(member, Hospital) and member._path.version == ROUNDS
    assert {len(log) for log in network.logs().values()} == {ROUNDS}
    network.no_second_noise_and_no_refund()
    network.no_sum_of_few_and_no_update_in_two()
    network.the_honest_agree_on_every_model()
    network.teardown()


@KINDS
def test_whoever_dies_at_whichever_message_the_run_comes_to_its_end(kind: type[Network]) -> None:
    parties = [AGGREGATOR, "north", LIAR, kind.openers[len(kind.openers) // 2]]
    for number in range(4):
        network = kind()
        network.begin()
        for step in range(12 * ROUNDS):
            for _ in range(number % 7 + 4):
                if network.waiting:
                    message = network.waiting.pop(0)
                    network.say(message.receiver, message)
            network.killed(parties[(number + step) % len(parties)])
            network.nudged()
            network.calm()
            network.no_second_noise_and_no_refund()
            network.the_honest_agree_on_every_model()
            if len(network.told) == ROUNDS:
                break
        network.no_sum_of_few_and_no_update_in_two()
        assert len(network.told) == ROUNDS, number
        network.teardown()
