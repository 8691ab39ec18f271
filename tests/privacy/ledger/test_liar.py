"""One hospital lies: with its own key it does to its files and messages whatever it likes.

A shadow that shares no code with the verifier reads the raw files: verification may pass only if

  (a) every byte that the aggregator signed for is the sealed form of exactly one release entry,
  (b) these releases are the ones that the plan has, and what all entries declare, by the exact
      formula for Gaussians, is within the budget,
  (c) and it never blames another hospital.
"""

import json
import math
import shutil
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from scipy.stats import norm

from privacy.errors import InpatientError
from privacy.ledger import Head, Ledger, Manifest, Release, SigningKey
from privacy.ledger import verify as verify_
from privacy.ledger.accountant import RenyiOnly
from privacy.ledger.audit.manifest import Outbound, Receipt, Received, Sent
from privacy.ledger.audit.manifest import _received as receipt_statement
from privacy.ledger.log.canonical import digest
from privacy.ledger.log.keys import Trust
from privacy.ledger.log.merkle import Frontier
from tests.privacy.ledger.helpers import forged_line, gaussian, public
from tests.privacy.ledger.test_verify import STEP, run_federation

BOTH = (RenyiOnly(), RenyiOnly())
ROUNDS = 3
RAW = b"age 63, male, cholesterol 233"
EVENTS: list[Any] = [
    STEP,
    gaussian(1000.0),
    gaussian(0.5),
    public(),
    {"type": "SelfComposedDpEvent", "count": -10, "event": STEP},
    {"type": "SelfComposedDpEvent", "count": 0, "event": STEP},
    {"type": "SelfComposedDpEvent", "count": 0.5, "event": STEP},
    {"type": "SelfComposedDpEvent", "count": 3, "event": STEP},
    {"type": "ComposedDpEvent", "events": []},
    {"type": "PoissonSampledDpEvent", "sampling_probability": 0.001, "event": STEP},
    {"type": "GaussianDpEvent", "noise_multiplier": "40"},
]
CHANGES: list[dict[str, Any]] = [
    *({"event": event} for event in EVENTS),
    *({"schedule": [{"kind": "update", "event": event, "count": 3}]} for event in EVENTS),
    *({"schedule": [{"kind": "update", "event": STEP, "count": n}]} for n in (-10, 0.1, 4, 300)),
    {"repeats": -1},
    {"repeats": 100},
    {"filter": "public"},
    {"filter": "unlimited"},
    {"filter": "adaptive", "order": 18, "divergence": 0.0, "epsilon": 0.0},
    {"position": 0},
    {"plan": 1},
    {"plan": None},
    {"plan": "cd" * 32},
    {"reason": "a constant"},
    {"kind": "statistic"},
    {"noise_source": "none"},
    {"release": 2},
    {"bytes": 0},
    {"digest": digest(RAW)},
    {"others": {}},
    {"others": {"south": "0" * 64, "west": "0" * 64}},
    {"context": {"run": "another", "plan": "ab" * 32}},
    {"context": {"run": "r", "plan": "cd" * 32}},
    {"enrolled": {}},
    {"budgets": [{"epsilon": 50, "delta": 1e-5, "unit": "patient", "order": 2,
                  "relation": "ADD_OR_REMOVE_ONE"}]},
    {"signatures": {"south": "0" * 128}},
]  # fmt: skip


def exact_epsilon(noise_multipliers: list[float], delta: float) -> float:
    """Epsilon of Gaussians together, by bisection on the exact delta (Balle, Wang 2018, Thm 8)."""
    if not noise_multipliers:
        return 0.0
    mu = math.sqrt(sum(1 / z**2 for z in noise_multipliers))

    def at(epsilon: float) -> float:
        first = norm.cdf(mu / 2 - epsilon / mu)
        return float(first - math.exp(min(epsilon, 700)) * norm.cdf(-mu / 2 - epsilon / mu))

    low, high = 0.0, 1e4
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle) > delta else (low, middle)
    return low


class Liar(RuleBasedStateMachine):
    """North holds its key, its ledger, its payloads, and its rows of the manifest."""

    base: Path
    trust: Trust
    keys: dict[str, SigningKey]
    judged: ClassVar[Counter[bool]] = Counter()  # verdicts on states that are not the honest one

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.out = Path(self.folder.name) / "run"
        self.key = self.keys["north"]
        self.aggregator = self.keys["aggregator"]

    @initialize()
    def start(self) -> None:
        shutil.copytree(self.base, self.out)
        self.path = self.out / "ledgers" / "north.jsonl"
        self.bodies = [json.loads(line)["body"] for line in self.path.read_bytes().splitlines()]
        self.manifest = Manifest.load(self.out / "manifest.json")
        self.extra: list[Outbound] = []  # what north sent beyond the honest run
        self.hidden: set[int] = set()
        self.honest_statement = True
        self.lied = False
        self.more_receipts: list[Receipt] = []
        self.judge()
        self.lied = True

    # -- writing what north wants ------------------------------------------------------------------

    def write_ledger(self, *, consistent: bool) -> None:
        tree = Frontier()
        lines: list[bytes] = []
        for place, body in enumerate(self.bodies):
            content = body["content"]
            if consistent:
                body["sequence"] = place
                release = content.get("release")
                if body["kind"] == "sealed" and isinstance(release, int) and 0 <= release < place:
                    content["entry"] = digest(lines[release])
                if body["kind"] == "checkpoint":
                    content |= {"size": place, "root": tree.root().hex()}
            body["previous"] = digest(lines[-1]) if lines else "0" * 64
            lines.append(forged_line(self.key, body))
            tree.append(lines[-1])
        self.path.write_bytes(b"".join(line + b"\n" for line in lines))

    def write_manifest(self) -> None:
        honest = self.manifest
        received = [*honest.messages, *self.extra]  # the aggregator is honest: it keeps everything
        rows = [row for row in received if row.sequence not in self.hidden]
        own = Sent.sign("r", "north", rows if self.honest_statement else received, self.key)
        sent = [own, *(word for word in honest.sent if word.hospital != "north")]
        receipt = Receipt.sign("r", "aggregator", received, self.aggregator)
        changed = replace(
            honest,
            messages=tuple(rows),
            sent=tuple(sent),
            receipts=(receipt, *self.more_receipts),
        )
        changed.save(self.out / "manifest.json")

    # -- lies --------------------------------------------------------------------------------------

    @rule(place=st.integers(0, 20), change=st.sampled_from(CHANGES), consistent=st.booleans())
    def forge(self, place: int, change: dict[str, Any], consistent: bool) -> None:
        if self.bodies:
            body = self.bodies[place % len(self.bodies)]
            known = {k: v for k, v in change.items() if k in body["content"]} or change
            body["content"] |= json.loads(json.dumps(known))
            self.write_ledger(consistent=consistent)
        self.judge()

    @rule(place=st.integers(0, 20), consistent=st.booleans())
    def omit(self, place: int, consistent: bool) -> None:
        if len(self.bodies) > 1:
            del self.bodies[place % len(self.bodies)]
            self.write_ledger(consistent=consistent)
        self.judge()

    @rule(left=st.integers(0, 20))
    def roll_back(self, left: int) -> None:
        self.bodies = self.bodies[:left]
        self.write_ledger(consistent=True)
        self.judge()

    @rule(place=st.integers(0, 20), to=st.integers(0, 20), whose=st.sampled_from(["north", "west"]))
    def splice(self, place: int, to: int, whose: str) -> None:
        lines = (self.base / "ledgers" / f"{whose}.jsonl").read_bytes().splitlines()
        body = json.loads(lines[place % len(lines)])["body"] | {"hospital": "north"}
        self.bodies.insert(to % (len(self.bodies) + 1), body)
        self.write_ledger(consistent=True)
        self.judge()

    @rule(event=st.sampled_from(EVENTS), where=st.integers(0, 20), filter_=st.sampled_from(
        [{"filter": "public"}, {"filter": "planned", "position": 0},
         {"filter": "adaptive", "order": 18, "divergence": 0.0, "epsilon": 0.0}]
    ))  # fmt: skip
    def refund_or_release(self, event: Any, where: int, filter_: dict[str, Any]) -> None:
        lines = (self.base / "ledgers" / "north.jsonl").read_bytes().splitlines()
        body = json.loads(lines[2])["body"]
        asked = {k: v for k, v in body["content"].items() if k not in ("filter", "position")}
        body["content"] = asked | {"event": event, "reason": "a constant"} | filter_
        self.bodies.insert(max(1, where % (len(self.bodies) + 1)), body)
        self.write_ledger(consistent=True)
        self.judge()

    @rule(
        where=st.integers(0, 20),
        plan=st.sampled_from(["ab" * 32, "cd" * 32]),
        filter_=st.sampled_from(
            [
                {"filter": "kept"},
                {"filter": "unlimited"},
                {"filter": "adaptive", "order": 21, "divergence": 0.0, "epsilon": 0.0},
            ]
        ),
    )
    def abandon(self, where: int, plan: str, filter_: dict[str, Any]) -> None:
        body = json.loads((self.base / "ledgers" / "north.jsonl").read_bytes().splitlines()[2])
        content = {"unit": "patient", "plan": plan, "reason": "r", **filter_}
        body = body["body"] | {"kind": "abandoned", "content": content}
        self.bodies.insert(max(1, where % (len(self.bodies) + 1)), body)
        self.write_ledger(consistent=True)
        self.judge()

    @rule(
        payload=st.sampled_from([RAW, b"sealed north 0", b"sealed south 0", b"x" * 5000]),
        own_up=st.booleans(),
        sealed=st.booleans(),
        clear=st.sampled_from([{}, {"weight": 1.0}, {"ledger_head": "0" * 64}]),
        other=st.sampled_from([{}, {"mean age": 30}]),
    )
    def send(
        self,
        payload: bytes,
        own_up: bool,
        sealed: bool,
        clear: dict[str, Any],
        other: dict[str, int],
    ) -> None:
        number = 1000 + len(self.extra)
        size, name = len(payload), digest(payload)
        row = Outbound(number, "north", "aggregator", "update", 0, size, name, clear, other, None)
        self.extra.append(row.signed("r", self.key))
        if not own_up:
            self.hidden.add(number)
        if sealed and self.bodies:
            self.seal(payload)
        self.write_manifest()
        self.judge()

    def seal(self, payload: bytes) -> None:
        """Call the newest release that has no bytes yet, or the last one, the source of these."""
        releases = [n for n, body in enumerate(self.bodies) if body["kind"] == "release"]
        if not releases:
            return
        taken = {body["content"].get("release") for body in self.bodies if body["kind"] == "sealed"}
        open_ = [n for n in releases if n not in taken] or releases
        content = {
            "release": open_[-1],
            "entry": "0" * 64,
            "bytes": len(payload),
            "digest": digest(payload),
        }
        last = self.bodies[-1]
        self.bodies.append(last | {"kind": "sealed", "content": content})
        folder = self.out / "ledgers" / "north.payloads"
        (folder / f"{open_[-1]:09d}.bin").write_bytes(payload)
        self.write_ledger(consistent=True)

    @rule(which=st.integers(0, 10))
    def leave_out(self, which: int) -> None:
        own = [row.sequence for row in self.manifest.messages if row.sender == "north"]
        self.hidden.add(own[which % len(own)])
        self.write_manifest()
        self.judge()

    @rule(honest=st.booleans())
    def state(self, honest: bool) -> None:
        self.honest_statement = honest
        self.write_manifest()
        self.judge()

    @rule(which=st.integers(0, 10), content=st.sampled_from([None, RAW, b""]))
    def payload(self, which: int, content: bytes | None) -> None:
        files = sorted((self.out / "ledgers" / "north.payloads").iterdir())
        if files:
            chosen = files[which % len(files)]
            chosen.unlink()
            if content is not None:
                chosen.write_bytes(content)
        self.judge()

    @rule(whose=st.sampled_from(["south", "west"]), size=st.integers(1, 2**32), real=st.booleans())
    def slander(self, whose: str, size: int, real: bool) -> None:
        """Witness a head that nobody signed, or receive what nobody sent."""
        head = Head.sign(self.key, whose, "ab" * 32, size, "cd" * 32)
        if self.bodies:
            last = self.bodies[-1]
            self.bodies.append(last | {"kind": "witness", "content": {"head": head.to_json()}})
            self.write_ledger(consistent=True)
        if real:
            lie = (Received(whose, "0" * 64),)
            signature = self.key.sign(receipt_statement("r", "north", lie))
            self.more_receipts = [Receipt("north", lie, signature)]
            self.write_manifest()
        self.judge()

    @rule(scale=st.sampled_from([0.5, 20.0, 60.0, 1000.0]), send=st.booleans())
    def work(self, scale: float, send: bool) -> None:
        """Do something lawful: spend without a plan and keep the bytes, or send what is public."""
        event = public() if send else gaussian(scale)
        asked = Release("more", event, reason="a constant" if send else "")
        try:
            ledger = Ledger.open(self.path, key=self.key, accountant=RenyiOnly())
            payload = f"sealed more {ledger.size}".encode()
            ledger.attach(ledger.spend(asked), payload)
        except InpatientError:
            return  # over its budget, or what it forged does not hold
        self.bodies = [json.loads(line)["body"] for line in self.path.read_bytes().splitlines()]
        if send:
            number, name = 2000 + len(self.extra), digest(payload)
            row = Outbound(
                number, "north", "aggregator", "more", 0, len(payload), name, {}, {}, None
            )
            self.extra.append(row.signed("r", self.key))
            self.write_manifest()
        self.judge()

    @rule()
    def repent(self) -> None:
        shutil.rmtree(self.out)
        self.start()

    # -- the oracle ------------------------------------------------------------------------------

    def judge(self) -> None:
        verdict = verify_([self.out], self.trust, accountants=BOTH)
        assert not verdict.blames("south"), verdict.findings
        assert not verdict.blames("west"), verdict.findings
        assert all(str(finding).isprintable() for finding in verdict.findings)
        self.judged[verdict.ok] += self.lied
        if verdict.ok:
            self.shadow()

    def shadow(self) -> None:
        entries = [json.loads(line)["body"] for line in self.path.read_bytes().splitlines()]
        releases = {e["sequence"]: e["content"] for e in entries if e["kind"] == "release"}
        sealed = [e["content"] for e in entries if e["kind"] == "sealed"]
        for row in [*self.manifest.messages, *self.extra]:
            if row.sender != "north":
                continue
            assert not row.other
            own = [s["release"] for s in sealed if s["digest"] == row.digest]
            assert len(own) == 1, (row, own)
            content = releases[own[0]]
            if content["event"] != public():
                assert content["event"] == STEP
            else:
                assert row.bytes <= 4096
        planned = [c for c in releases.values() if c["filter"] == "planned"]
        assert len(planned) <= ROUNDS
        assert all(c["event"] == STEP and c["kind"] == "update" for c in planned)
        private = [c["event"] for c in releases.values() if c["event"] != public()]
        scales = [event["noise_multiplier"] for event in private]
        assert exact_epsilon(scales, 1e-5) <= 1.0

    def teardown(self) -> None:
        self.folder.cleanup()


@pytest.fixture(scope="module", autouse=True)
def base(tmp_path_factory: pytest.TempPathFactory) -> None:
    out = tmp_path_factory.mktemp("base")
    trust, keys = run_federation(out, rounds=ROUNDS)
    aggregator = SigningKey.generate()
    Liar.base, Liar.keys = out, keys | {"aggregator": aggregator}
    Liar.trust = Trust(dict(trust), {"aggregator": aggregator.public})
    manifest = Manifest.load(out / "manifest.json")
    receipt = Receipt.sign("r", "aggregator", manifest.messages, aggregator)
    replace(manifest, receipts=(receipt,)).save(out / "manifest.json")


def check(examples: int, steps: int) -> None:
    """Let it lie; some of what it does must pass, or the promises about what passes say nothing.

    A lie that is found stays found, so the longer a liar goes on the smaller is the part of its
    states that pass: they are counted by liars, not by states.
    """
    Liar.judged.clear()
    run_state_machine_as_test(
        Liar,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    passed, failed = Liar.judged[True], Liar.judged[False]
    note = f"{passed} of {passed + failed} states passed"
    assert passed >= examples / 4, note


def test_an_honest_run_passes_and_its_shadow_agrees() -> None:
    machine = Liar()
    machine.start()
    assert verify_([machine.out], Liar.trust, accountants=BOTH).ok
    machine.shadow()
    machine.teardown()


def test_a_liar_never_passes_and_never_harms_another() -> None:
    check(examples=20, steps=12)


@pytest.mark.nightly
def test_a_liar_never_passes_for_thousands_of_steps() -> None:
    check(examples=400, steps=25)
