"""All roles of a run that holders open: a bad network, a liar of each kind, and death at will.

``pairwise`` is not played: its masks are handed out once, so that nobody comes back there.
"""

import hashlib
import math
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aggregation.models import Logistic
from aggregation.plan import Plan
from aggregation.roles import Role
from aggregation.roles.aggregator import Aggregator
from aggregation.roles.evidence import Judge
from aggregation.roles.hospital import Hospital
from aggregation.roles.kept import Kept
from aggregation.roles.messages import (
    AGGREGATOR,
    Message,
    MessageKind,
    SetTimer,
    Timer,
    TimerKind,
    holder_address,
)
from aggregation.roles.opener import Asked, HolderRole
from aggregation.roles.opening import ByHolders
from aggregation.sealing import Contribution, OpeningLog, Policy, Roster, make_scheme
from aggregation.sealing.holders import QuorumScheme
from aggregation.sealing.proposal import Place
from privacy.errors import InpatientError
from privacy.ledger import Budget, Head, Ledger, SigningKey
from privacy.mechanisms import OperatingSystem
from tests.aggregation.parts import patients

NAMES = ("north", "east", "south", "west")
LIAR = "west"  # hospital and holder: the adversary has its keys
HONEST = NAMES[:3]
RESTORED = "east"  # whose disk may be put back to an older one
THRESHOLD = 3
ROUNDS = 3


class Network(RuleBasedStateMachine):
    """Messages in any order, twice, lost or forged; parties killed, and made anew from disk."""

    sealing = "shares"

    @initialize()
    def begin(self) -> None:
        self.folder = TemporaryDirectory()
        self.disk = Path(self.folder.name)
        keys = {name: SigningKey.generate() for name in NAMES}
        scheme = make_scheme(
            self.sealing, dim=3, contributors=4, bound=2**30, holders=NAMES, threshold=THRESHOLD
        )
        assert isinstance(scheme, QuorumScheme)
        self.keys, self.scheme = keys, scheme.vouched("test", keys)
        self.roster = Roster("test", {name: key.public for name, key in keys.items()})
        self.plan = Plan(
            run="test", model=Logistic(2), hospitals=NAMES, declared_sizes=(5,) * 4, rounds=ROUNDS,
            learning_rate=0.5, noise="shared", scheme=self.sealing, clip_norm=1.0, radius=64,
            noise_multiplier=2.0, colluders=1, sealing=self.scheme.digest,
            roster=self.roster.digest,
        )  # fmt: skip
        kind = type(self.scheme)
        self.judge = Judge(self.roster, self.scheme.parameters, scheme=kind, least=4)
        self.processes: dict[str, Role] = {}
        self.folders: dict[str, Kept] = {}
        self.waiting: list[Message] = []
        self.past: list[Message] = []
        self.timers: list[Timer] = []
        self.updates: dict[tuple[str, int], dict[bytes, str]] = {}
        self.backup = False
        self.models: dict[int, set[bytes]] = {}
        self.sizes: Counter[str] = Counter()
        self.told: dict[int, dict[MessageKind, bytes]] = {}
        self.lying = False
        self.say(AGGREGATOR, Timer(TimerKind.START))

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            for kept in self.folders.values():
                kept.close()
            self.folder.cleanup()

    # -- parties --------------------------------------------------------------------------------

    def role(self, address: str) -> Role:
        """The process at an address, made anew from its disk if it is not there."""
        if address not in self.processes:
            self.processes[address] = self.made(address)
        return self.processes[address]

    def made(self, address: str) -> Role:
        if address == AGGREGATOR:
            side = ByHolders(self.judge)
            made = Aggregator(self.plan, self.scheme.adder(), self.roster, side)
            for said in (self.told[n] for n in sorted(self.told)):
                made.resume(said[MessageKind.EVIDENCE], said[MessageKind.OPENED])
            return made
        if address.startswith("holder "):
            return HolderRole("test", self.holder(address.removeprefix("holder ")))
        file, key = self.disk / f"{address}.jsonl", self.keys[address]
        if file.exists():
            ledger = Ledger.open(file, key=key)
        else:
            budget = Budget(epsilon=math.inf)
            ledger = Ledger.create(file, hospital=address, key=key, budget=budget)
        self.folders[address] = Kept(self.disk / f"{address} run")
        return Hospital(
            address, patients(NAMES.index(address), 5, 2), plan=self.plan,
            sealer=self.scheme.sealer(address), judge=self.judge, ledger=ledger, key=key,
            source=OperatingSystem(), kept=self.folders[address],
        )  # fmt: skip

    def holder(self, name: str) -> Any:
        log = OpeningLog(self.disk / f"log-{name}.jsonl")
        policy = Policy(self.roster, min_honest=3, c_assumed=1, log=log, require_ledger_head=True)
        holder = self.scheme.holder(name, policy)
        if name == LIAR:
            honest = holder._answer

            def lie(*given: Any) -> tuple[tuple[str, ...], Mapping[str, bytes]]:
                present, parts = honest(*given)
                if not self.lying:
                    return present, parts
                return present, {n: bytes([c[0] ^ 1]) + c[1:] for n, c in parts.items()}

            holder._answer = lie  # type: ignore[method-assign,assignment]
        return holder

    def say(self, address: str, incoming: Message | Timer) -> None:
        try:
            said = self.role(address).handle(incoming)
        except InpatientError:
            return  # refused: the role is as it was
        for one in said:
            if isinstance(one, SetTimer):
                self.timers.append(one.timer)
                continue
            self.waiting.append(one)
            self.past.append(one)
            if one.kind is MessageKind.UPDATE and one.sender in HONEST:
                known = self.updates.setdefault((one.sender, one.round), {})
                if one.to_bytes() not in known and one.sender == RESTORED:
                    # Taken back by a backup is what nobody saw, and nothing else.
                    assert not self.agreed().intersection(known.values())
                known[one.to_bytes()] = hashlib.sha256(one.payload).hexdigest()
            if one.sender == AGGREGATOR and one.kind in (MessageKind.EVIDENCE, MessageKind.OPENED):
                self.told.setdefault(one.round, {})[one.kind] = one.payload

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

    @rule(party=st.sampled_from([AGGREGATOR, *NAMES, *map(holder_address, NAMES)]))
    def killed(self, party: str) -> None:
        """A process is gone; nobody learns of it."""
        self.processes.pop(party, None)
        if party in self.folders:
            self.folders.pop(party).close()

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

    @staticmethod
    def copy(source: Path, to: Path) -> None:
        to.mkdir(exist_ok=True)
        for name in (f"{RESTORED}.jsonl", f"{RESTORED}.payloads", f"{RESTORED} run"):
            shutil.rmtree(to / name, ignore_errors=True)
            (to / name).unlink(missing_ok=True)
            if (source / name).is_dir():
                shutil.copytree(source / name, to / name)
            elif (source / name).exists():
                shutil.copyfile(source / name, to / name)

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
        everybody = [AGGREGATOR, *NAMES, *map(holder_address, NAMES)]
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
        sealed = bytearray(self.scheme.sealer(LIAR).seal(values))
        if not boxed:
            sealed = bytearray(self.scheme.sealer("north").seal(values))  # boxes of another name
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

    def model_of(self, round_: int) -> str | None:
        """What a liar says that it computed on: what the server sent, where it has."""
        server = self.processes.get(AGGREGATOR)
        if not isinstance(server, Aggregator) or round_ >= len(server.models):
            return None
        return hashlib.sha256(server.models[round_].tobytes()).hexdigest()

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
            asked = Asked(place, adder.total(), tuple(contributions))
            opening = asked.proposal(self.scheme.digest).digest
        except InpatientError:
            return
        address = holder_address(data.draw(st.sampled_from(NAMES)))
        for kind, payload in (
            (MessageKind.TOTAL, asked.to_bytes()),
            (MessageKind.CHOSEN, opening.encode()),
        ):
            self.say(address, Message(AGGREGATOR, address, kind, place.number, payload, run="test"))

    # -- what holds -----------------------------------------------------------------------------

    def logs(self) -> dict[str, OpeningLog]:
        paths = {name: self.disk / f"log-{name}.jsonl" for name in HONEST}
        return {name: OpeningLog(path) for name, path in paths.items() if path.exists()}

    def agreed(self) -> set[str]:
        """Updates that so many honest holders committed to as a quorum has, with the liar."""
        often = Counter(
            c for log in self.logs().values() for o in log.openings for c in o.ciphertexts
        )
        return {ciphertext for ciphertext, count in often.items() if count >= THRESHOLD - 1}

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
        # With the liar's, the words of so many honest holders would be a quorum.
        agreed = [set(sum_) for sum_, count in committed.items() if count >= THRESHOLD - 1]
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


PLAYED = settings(
    max_examples=4 if settings().derandomize else settings().max_examples,
    stateful_step_count=40,
    suppress_health_check=list(HealthCheck),
)
TestNetwork = Network.TestCase
TestNetwork.settings = PLAYED
TestSmudged = Smudged.TestCase
TestSmudged.settings = PLAYED
KINDS = pytest.mark.parametrize("kind", [Network, Smudged], ids=lambda kind: kind.sealing)


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
    parties = [AGGREGATOR, "north", LIAR, holder_address("east")]
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
