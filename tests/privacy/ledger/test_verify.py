"""A stranger's verdict: what was kept is believed, what was tampered with is found and named."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from privacy.errors import CorruptMessageError, InvalidInputError
from privacy.ledger import (
    Budget,
    Ledger,
    Manifest,
    Planned,
    Release,
    SigningKey,
    Verdict,
    close,
    load_trust,
)
from privacy.ledger import verify as verify_
from privacy.ledger.accountant import RenyiOnly
from privacy.ledger.log.canonical import digest
from privacy.ledger.log.keys import Trust
from privacy.ledger.log.opened import GENESIS, Opening
from privacy.ledger.requests import ReleaseSchedule
from privacy.unit import Unit
from tests.privacy.ledger.helpers import PLAN, forge, gaussian, ticking

NAMES = ("north", "south", "west")
STEP = gaussian(40.0)
SIX = {"type": "SelfComposedDpEvent", "count": 6, "event": gaussian(100.0)}
BOTH = (RenyiOnly(), RenyiOnly())
Run = tuple[Path, Trust, dict[str, SigningKey]]


@dataclass(frozen=True)
class Sent:
    """A message, as a transcript has it."""

    sequence: int
    sender: str
    receiver: str
    kind: str
    round: int
    payload: bytes
    public: dict[str, Any] = field(default_factory=dict)


def verify(*paths: Path, trust: dict[str, str] | None) -> Verdict:
    return verify_(paths, trust, accountants=BOTH)


def run_federation(out: Path, rounds: int = 3) -> tuple[Trust, dict[str, SigningKey]]:
    """A small run as an upper layer would make it: ledgers, payloads, a manifest, an end."""
    keys = {name: SigningKey.generate() for name in NAMES}
    receivers = {"aggregator": SigningKey.generate()}
    public = {name: key.public for name, key in keys.items()}
    ledgers = {
        name: Ledger.create(
            out / "ledgers" / f"{name}.jsonl",
            hospital=name,
            key=keys[name],
            budget=Budget(1.0),
            enrolled=public,
            accountant=RenyiOnly(),
            clock=ticking(),
        )
        for name in NAMES
    }
    sent: list[Sent] = []
    own = ReleaseSchedule(Unit.PATIENT, (Planned("update", STEP, rounds),), 1)
    for name, ledger in ledgers.items():
        others = {other: own.digest for other in NAMES if other != name}
        context = {"run": "r", "plan": PLAN}
        ledger.declare(own.schedule, context=context, others=others, plan=PLAN)
    for round_ in range(rounds):
        for name, ledger in ledgers.items():
            entry = ledger.spend(Release("update", STEP, plan=PLAN, round=round_))
            payload = f"sealed {name} {round_}".encode()
            ledger.attach(entry, payload)
            clear = {"run": "r", "weight": 1.0, "head": json.dumps(ledger.head().to_json())}
            sent.append(Sent(len(sent), name, "aggregator", "update", round_, payload, clear))
            sent.append(Sent(len(sent), "aggregator", name, "model", round_, b"model"))
    close(list(ledgers.values()))
    Manifest.of("r", sent, keys, receivers).save(out / "manifest.json")
    write_openings(out / "openings.jsonl", "r", sent)
    return Trust(public, {n: key.public for n, key in receivers.items()}), keys


def write_openings(path: Path, run: str, sent: Sequence[Sent]) -> None:
    """The log of whoever opened one sum a round."""
    rounds: dict[int, list[Sent]] = {}
    for message in sent:
        if message.kind == "update":
            rounds.setdefault(message.round, []).append(message)
    lines: list[Opening] = []
    for number, parts in sorted(rounds.items()):
        lines.append(
            Opening(
                number=len(lines),
                run=run,
                parameters=digest(b"parameters"),
                hospitals=tuple(part.sender for part in parts),
                nonces=tuple(f"{part.sequence:032x}" for part in parts),
                ciphertexts=tuple(digest(part.payload) for part in parts),
                base_versions=(number,) * len(parts),
                total=digest(b"total"),
                previous=lines[-1].digest if lines else GENESIS,
            )
        )
    path.write_bytes(b"".join(line.to_bytes() + b"\n" for line in lines))


def failures(verdict: Verdict) -> list[str]:
    return [str(finding) for finding in verdict.findings if finding.level == "FAIL"]


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_a_run_that_kept_its_budget_is_verified(tmp_path: Path) -> None:
    trust, _ = run_federation(tmp_path)
    verdict = verify(tmp_path, trust=trust)
    assert failures(verdict) == []
    assert verdict.status == 0
    assert [f.level for f in verdict.findings] == ["OK"] * 4
    assert "counter-signed by south, west" in str(verdict.findings[0])
    assert verdict.flow is not None
    assert verdict.flow.unaccounted == 0
    assert "0 bytes of raw data" in str(verdict.findings[-1])


def test_without_trusted_keys_the_verdict_is_unanchored(tmp_path: Path) -> None:
    run_federation(tmp_path)
    verdict = verify(tmp_path, trust=None)
    assert verdict.status == 3
    assert verdict.findings[-1].level == "UNANCHORED"


def test_a_foreign_or_missing_trusted_key_fails(tmp_path: Path) -> None:
    trust, _ = run_federation(tmp_path)
    other = trust | {"north": SigningKey.generate().public}
    assert any("another public key" in line for line in failures(verify(tmp_path, trust=other)))
    del trust["north"]
    assert any("no trusted key" in line for line in failures(verify(tmp_path, trust=trust)))


def test_one_ledger_alone_is_verified_by_its_counter_signatures(tmp_path: Path) -> None:
    trust, _ = run_federation(tmp_path)
    verdict = verify(tmp_path / "ledgers" / "north.jsonl", trust=trust)
    assert verdict.ok
    assert verdict.flow is None
    assert any("not measured" in str(finding) for finding in verdict.findings)


@pytest.mark.parametrize("kept", range(8))
def test_a_ledger_cut_before_its_last_witnessed_head_is_found(tmp_path: Path, kept: int) -> None:
    trust, _ = run_federation(tmp_path)
    path = tmp_path / "ledgers" / "south.jsonl"
    path.write_bytes(b"".join(lines_of(path)[:kept]))
    found = failures(verify(tmp_path, trust=trust))
    assert any("south" in line for line in found)


def test_a_full_rewrite_with_the_hospitals_own_key_is_found_by_the_others(tmp_path: Path) -> None:
    trust, keys = run_federation(tmp_path)
    path = tmp_path / "ledgers" / "south.jsonl"
    forge(path, keys["south"], 2, requester="nobody")
    found = failures(verify(tmp_path, trust=trust))
    assert any("rewritten" in line or "its root is not" in line for line in found)


def test_a_rewrite_that_drops_its_own_checkpoint_is_found_by_the_others(tmp_path: Path) -> None:
    trust, keys = run_federation(tmp_path)
    path = tmp_path / "ledgers" / "south.jsonl"
    path.write_bytes(b"".join(lines_of(path)[:8]))
    forge(path, keys["south"], 2, requester="nobody")
    found = failures(verify(tmp_path, trust=trust))
    assert any("rewritten" in line for line in found)
    alone = failures(verify(tmp_path / "ledgers" / "south.jsonl", trust=trust))
    assert alone == []  # alone, with its own key, nothing shows: that is what witnesses are for


@pytest.mark.parametrize(
    ("sequence", "change", "reason"),
    [
        (2, {"event": gaussian(10.0)}, "rule"),
        (2, {"position": 2}, "rule"),
        (2, {"filter": "public"}, "unknown fields"),
        (2, {"noise_source": "seeded"}, "protects nobody"),
        (2, {"actual_sampler": {"sampler": "shuffled", "batches": 10}}, "sampler"),
        (2, {"actual_sampler": "all"}, "a sampler among"),
        (2, {"noise_source": "none"}, "no noise is added"),
        (2, {"clip_norm_source": "batch median"}, "constant"),
        (1, {"filter": "adaptive"}, "form Added"),
        (1, {"repeats": 1000}, "epsilon would become"),
        (3, {"digest": "0" * 64}, "bytes kept"),
        (3, {"entry": "0" * 64}, "seals no release"),
        (0, {"budgets": []}, "a list of 1 to 1"),
        (1, {"schedule": [{"kind": "update", "event": STEP, "count": -10}]}, "whole number"),
        (1, {"schedule": [{"kind": "update", "event": STEP, "count": 0.1}]}, "whole number"),
        (1, {"schedule": [{"kind": "update", "event": STEP, "count": True}]}, "whole number"),
        (1, {"schedule": [{"kind": "update", "event": STEP, "count": "3"}]}, "whole number"),
        (1, {"repeats": -1}, "whole number"),
        (1, {"repeats": 10**12}, "whole number"),
        (2, {"event": SIX | {"count": -10}}, "count=-10"),
        (2, {"event": SIX | {"count": 0.9}}, "count=0.9"),
        (2, {"event": SIX | {"count": "6"}}, "count='6'"),
        (2, {"event": STEP | {"noise_multiplier": "40"}}, "noise_multiplier='40'"),
        (2, {"event": {"type": "HopeDpEvent"}}, "HopeDpEvent"),
        (2, {"round": "1\nOK: north: all is well"}, "whole number"),
        (2, {"kind": "update\x1b[2K"}, "control characters"),
        (2, {"kind": "x" * 65}, "64 characters"),
        (2, {"details": {"patients": "x" * 501}}, "500 characters"),
        (2, {"details": {"patients": ["x"]}}, "details"),
        (2, {"clip_norm": -1.0}, "clip_norm"),
        (2, {"nonce": "ab"}, "unknown fields"),
    ],
)
def test_what_a_hospital_may_sign_but_not_do_is_found(
    tmp_path: Path, sequence: int, change: dict[str, Any], reason: str
) -> None:
    trust, keys = run_federation(tmp_path)
    path = tmp_path / "ledgers" / "north.jsonl"
    forge(path, keys["north"], sequence, **change)
    found = failures(verify(path, trust=trust))
    assert any(reason in line for line in found), found
    assert all(line.isprintable() for line in found)


@pytest.mark.parametrize(
    ("sequence", "change"),
    [
        (1, {"schedule": [{"kind": "update", "event": STEP, "count": -10}]}),
        (1, {"repeats": 0.5}),
        (2, {"event": SIX | {"count": -10}}),
        (2, {"details": {"patients": "x" * 501}}),
        (3, {"bytes": -1}),
        (0, {"budgets": []}),
    ],
)
def test_a_hospital_cannot_go_on_with_a_ledger_that_it_forged(
    tmp_path: Path, sequence: int, change: dict[str, Any]
) -> None:
    _, keys = run_federation(tmp_path)
    path = tmp_path / "ledgers" / "north.jsonl"
    forge(path, keys["north"], sequence, **change)
    with pytest.raises(CorruptMessageError, match="not of its form"):
        Ledger.open(path, key=keys["north"]).spend(Release("update", STEP))


def test_a_told_epsilon_that_is_not_the_events_is_found(tmp_path: Path) -> None:
    trust, keys = run_federation(tmp_path)
    path = tmp_path / "ledgers" / "north.jsonl"
    told = {"lower": 0.0, "estimate": 0.001, "upper": 0.001, "method": "hope", "versions": ""}
    path.write_bytes(b"".join(lines_of(path)[:8]))
    forge(path, keys["north"], 1, interval=told)
    # A lower bound of 0 meets any interval: what counts is the recomputed one, which is reported.
    verdict = verify(path, trust=trust)
    spent = verdict.readings[0].spent[0]
    assert spent.interval is not None
    assert spent.interval.upper > 0.001
    assert spent.interval.method != "hope"


@pytest.mark.parametrize(
    ("low", "high"), [(5.0, 6.0), (0.0, 1e-3)], ids=["told too high", "told too low"]
)
def test_a_told_interval_that_does_not_meet_the_computed_one_is_found(
    tmp_path: Path, low: float, high: float
) -> None:
    """Either way: it lies above what is computed, or below a computed lower end."""

    class Certain(RenyiOnly):
        def epsilon(self, event: Any, budget: Budget) -> Any:
            found = super().epsilon(event, budget)
            return replace(found, lower=0.99 * found.upper)

    trust, keys = run_federation(tmp_path)
    path = tmp_path / "ledgers" / "north.jsonl"
    told = {"lower": low, "estimate": high, "upper": high, "method": "hope", "versions": ""}
    path.write_bytes(b"".join(lines_of(path)[:8]))
    forge(path, keys["north"], 1, interval=told)
    verdict = verify_([path], trust, accountants=(Certain(), Certain()))
    assert any("the intervals do not meet" in line for line in failures(verdict))


def test_two_accountants_that_contradict_each_other_fail(tmp_path: Path) -> None:
    class Certain(RenyiOnly):
        def epsilon(self, event: Any, budget: Budget) -> Any:
            found = super().epsilon(event, budget)
            return replace(found, lower=0.99 * found.upper)

    class Low(RenyiOnly):
        def epsilon(self, event: Any, budget: Budget) -> Any:
            return replace(super().epsilon(event, budget), upper=1e-6)

    trust, _ = run_federation(tmp_path)
    verdict = verify_([tmp_path], trust, accountants=(Certain(), Low()))
    assert any("contradict" in line for line in failures(verdict))


@pytest.mark.parametrize("text", ["", "{}", '{"version":2,"evidence":"manifest"}', "[1]"])
def test_a_broken_manifest_fails(tmp_path: Path, text: str) -> None:
    trust, _ = run_federation(tmp_path)
    (tmp_path / "manifest.json").write_text(text)
    assert any("manifest" in line for line in failures(verify(tmp_path, trust=trust)))


def test_a_second_ledger_of_one_hospital_fails(tmp_path: Path) -> None:
    trust, _ = run_federation(tmp_path)
    path = tmp_path / "ledgers" / "north.jsonl"
    (tmp_path / "ledgers" / "zzz.jsonl").write_bytes(path.read_bytes())
    assert any("second ledger" in line for line in failures(verify(tmp_path, trust=trust)))


def test_releases_beyond_the_last_witnessed_head_are_noted(tmp_path: Path) -> None:
    trust, keys = run_federation(tmp_path)
    path = tmp_path / "ledgers" / "north.jsonl"
    late = Ledger.open(path, key=keys["north"], accountant=RenyiOnly(), clock=ticking(1e6))
    late.spend(Release("statistic", gaussian(200.0)))
    verdict = verify(path, trust=trust)
    assert verdict.ok
    assert any("beyond the last witnessed head" in str(f) for f in verdict.findings)


def test_a_clock_that_went_backwards_is_noted(tmp_path: Path) -> None:
    key = SigningKey.generate()
    ledger = Ledger.create(
        tmp_path / "north.jsonl",
        hospital="north",
        key=key,
        budget=Budget(1.0),
        accountant=RenyiOnly(),
        clock=ticking(-60.0),
    )
    ledger.spend(Release("update", STEP))
    verdict = verify(tmp_path / "north.jsonl", trust={"north": key.public})
    assert verdict.ok
    assert any("backwards 1 times" in str(f) for f in verdict.findings)


def test_nothing_to_verify_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="There is no ledger at"):
        verify(tmp_path, trust=None)
    with pytest.raises(InvalidInputError, match="nothing at"):
        verify(tmp_path / "absent.jsonl", trust=None)


def test_an_empty_ledger_fails(tmp_path: Path) -> None:
    (tmp_path / "north.jsonl").write_bytes(b"")
    assert failures(verify(tmp_path, trust={}))


def test_a_manifest_of_another_form_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"version": 1, "evidence": "attacks"}')
    with pytest.raises(CorruptMessageError):
        Manifest.load(tmp_path / "manifest.json")


GOLDEN = Path(__file__).parents[2] / "golden" / "ledger"


def test_a_ledger_of_version_2_stays_readable_and_means_the_same() -> None:
    trust = load_trust(GOLDEN / "trust.json")
    verdict = verify_([GOLDEN / "north.jsonl", GOLDEN / "south.jsonl"], trust)
    assert failures(verdict) == []
    for reading in verdict.readings:
        (spent,) = reading.spent
        assert reading.size == 15
        assert reading.refusals == 1
        assert (spent.rule, spent.releases, spent.left) == ("adaptive", 5, 0)
        assert spent.interval is not None
        # 1.021 before a sampled discrete Gaussian cost what a sampled continuous one does.
        assert spent.interval.upper == pytest.approx(0.990437, rel=1e-5)
        assert spent.second == pytest.approx(spent.interval.upper)
        assert spent.interval.lower > 0.3


def test_an_adaptive_ledger_is_not_credited_with_a_bound_for_fixed_events(tmp_path: Path) -> None:
    key = SigningKey.generate()
    ledger = Ledger.create(
        tmp_path / "north.jsonl",
        hospital="north",
        key=key,
        budget=Budget(2.0),
        accountant=RenyiOnly(),
        clock=ticking(),
    )
    ledger.spend(Release("update", STEP))
    (spent,) = verify(tmp_path / "north.jsonl", trust={"north": key.public}).readings[0].spent
    fixed = RenyiOnly().epsilon(STEP, Budget(2.0)).upper
    assert spent.interval is not None
    assert spent.interval.upper == pytest.approx(spent.second)
    assert spent.second > 2 * fixed


def test_a_counter_signer_without_a_trusted_key_is_noted_and_not_believed(tmp_path: Path) -> None:
    trust, _ = run_federation(tmp_path)
    verdict = verify(tmp_path / "ledgers" / "north.jsonl", trust={"north": trust["north"]})
    assert verdict.ok
    assert sum("can't be checked" in str(finding) for finding in verdict.findings) == 2
    assert any("beyond the last witnessed head" in str(f) for f in verdict.findings)
