"""All parties of a run on one disk: made, killed and made anew from it; messages kept, not sent."""

import hashlib
import math
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from aggregation.models import Logistic
from aggregation.noise_kind import NoiseKind
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
from aggregation.roles.opener import HolderRole, OpenerRole
from aggregation.roles.opening import ByHolders, ByOpener, OpeningRequest
from aggregation.sealing import (
    KeyScheme,
    OpeningLog,
    Policy,
    Roster,
    Sealer,
    load_holder,
    load_sealer,
    make_scheme,
)
from aggregation.sealing.holders import QuorumScheme
from privacy.errors import InpatientError
from privacy.ledger import Budget, Ledger, SigningKey
from privacy.mechanisms import OperatingSystem
from tests.aggregation.parts import patients

NAMES = ("north", "east", "south", "west")
LIAR = "west"  # hospital and holder: the adversary has its keys
HONEST = NAMES[:3]
RESTORED = "east"  # whose disk may be put back to an older one
THRESHOLD = 3
ROUNDS = 3


class World:
    """The parties, what is on its way, and what was seen of it."""

    sealing = "shares"
    options: ClassVar[dict[str, Any]] = {"holders": NAMES, "threshold": THRESHOLD}
    openers: ClassVar[tuple[str, ...]] = tuple(map(holder_address, NAMES))
    lying_opener = holder_address(LIAR)
    agree = THRESHOLD - 1  # honest ones who make up a quorum with the liar

    def set_up(self) -> None:
        """Agree on a run, hand everybody what is theirs, and wake the server."""
        self.folder = TemporaryDirectory()
        self.disk = Path(self.folder.name)
        keys = {name: SigningKey.generate() for name in NAMES}
        scheme = make_scheme(self.sealing, dim=3, contributors=4, bound=2**30, **self.options)
        self.keys, self.opener = keys, SigningKey.generate()
        self.scheme = scheme
        self.given: dict[str, bytes] = {}  # what each party was handed, on its disk
        if isinstance(scheme, QuorumScheme):
            self.scheme = scheme = scheme.vouched("test", keys)
            nobody = Policy(Roster("test", {"a": keys["east"].public}), min_honest=1, c_assumed=0)
            for name, holder in scheme.holders(nobody).items():
                self.given[holder_address(name)] = holder.to_bytes()
            self.given |= {name: scheme.sealer(name).to_bytes() for name in NAMES}
        public = {name: key.public for name, key in keys.items()}
        self.roster = Roster("test", public, opener=self.opener.public)
        self.plan = Plan(
            run="test",
            model=Logistic(2),
            hospitals=NAMES,
            declared_sizes=(5,) * 4,
            rounds=ROUNDS,
            learning_rate=0.5,
            noise=NoiseKind.SHARED,
            scheme=self.sealing,
            clip_norm=1.0,
            radius=64,
            noise_multiplier=2.0,
            colluders=1,
            sealing=self.scheme.digest,
            roster=self.roster.digest,
        )
        kind = type(scheme) if isinstance(scheme, QuorumScheme) else None
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

    def role(self, address: str) -> Role:
        """The process at an address, made anew from its disk if it is not there."""
        if address not in self.processes:
            self.processes[address] = self.made(address)
        return self.processes[address]

    def made(self, address: str) -> Role:
        if address == AGGREGATOR:
            holders = self.judge.scheme is not None
            side: OpeningRequest = ByHolders(self.judge) if holders else ByOpener(self.judge)
            made = Aggregator(self.plan, self.scheme.adder(), self.roster, side)
            for said in (self.told[n] for n in sorted(self.told)):
                made.resume(said[MessageKind.EVIDENCE], said[MessageKind.OPENED])
            return made
        if address in self.openers:
            return self.made_opener(address)
        file, key = self.disk / f"{address}.jsonl", self.keys[address]
        if file.exists():
            ledger = Ledger.open(file, key=key)
        else:
            budget = Budget(epsilon=math.inf)
            ledger = Ledger.create(file, hospital=address, key=key, budget=budget)
        self.folders[address] = Kept(self.disk / f"{address} run")
        return Hospital(
            address, patients(NAMES.index(address), 5, 2), plan=self.plan,
            sealer=self.sealer(address), judge=self.judge, ledger=ledger, key=key,
            source=OperatingSystem(), kept=self.folders[address],
        )  # fmt: skip

    def sealer(self, name: str) -> Sealer:
        """A hospital's sealer, as it was handed out, however often it was taken up since."""
        given = self.given.get(name)
        return self.scheme.sealer(name) if given is None else load_sealer(given, name)

    def made_opener(self, address: str) -> Role:
        log = OpeningLog(self.disk / f"log-{address}.jsonl")
        policy = Policy(self.roster, min_honest=3, c_assumed=1, log=log, require_ledger_head=True)
        if isinstance(self.scheme, KeyScheme):
            return OpenerRole("test", self.scheme.opener(policy), self.opener)
        holder = load_holder(self.given[address], policy)
        if address == self.lying_opener:
            honest = holder._answer

            def lie(*given: Any) -> tuple[tuple[str, ...], Mapping[str, bytes]]:
                present, parts = honest(*given)
                if not self.lying:
                    return present, parts
                return present, {n: bytes([c[0] ^ 1]) + c[1:] for n, c in parts.items()}

            holder._answer = lie  # type: ignore[method-assign,assignment]
        return HolderRole("test", holder)

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

    def killed(self, party: str) -> None:
        self.processes.pop(party, None)
        if party in self.folders:
            self.folders.pop(party).close()

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

    def model_of(self, round_: int) -> str | None:
        """What a liar says that it computed on: what the server sent, where it has."""
        server = self.processes.get(AGGREGATOR)
        if not isinstance(server, Aggregator) or round_ >= len(server.models):
            return None
        return hashlib.sha256(server.models[round_].tobytes()).hexdigest()

    def logs(self) -> dict[str, OpeningLog]:
        honest = [address for address in self.openers if address != self.lying_opener]
        paths = {address: self.disk / f"log-{address}.jsonl" for address in honest}
        return {name: OpeningLog(path) for name, path in paths.items() if path.exists()}

    def agreed(self) -> set[str]:
        """Updates that so many honest holders committed to as a quorum has, with the liar."""
        often = Counter(
            c for log in self.logs().values() for o in log.openings for c in o.ciphertexts
        )
        return {ciphertext for ciphertext, count in often.items() if count >= self.agree}
