"""Absence fails, and nothing that is relayed is believed: what is missing, cut, made up, forked."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from privacy.errors import RefusedError
from privacy.ledger import (
    Budget,
    Head,
    Ledger,
    Manifest,
    Planned,
    Release,
    SigningKey,
    Verdict,
)
from privacy.ledger.accountant import RenyiOnly
from privacy.ledger.audit.manifest import Receipt, Received
from privacy.ledger.log.keys import Trust
from privacy.ledger.requests import PUBLIC_BYTES, ReleaseSchedule
from privacy.ledger.witness import checkpoint, prove_extension, witness
from privacy.unit import Unit
from tests.privacy.ledger.helpers import forge, forged_line, gaussian, public, ticking
from tests.privacy.ledger.test_manifests import STRANGE, first_of_north, resigned
from tests.privacy.ledger.test_verify import (
    NAMES,
    STEP,
    Run,
    failures,
    lines_of,
    run_federation,
    verify,
)


def test_a_ledger_that_is_missing_fails_by_name(run: Run) -> None:
    out, trust, _ = run
    (out / "ledgers" / "south.jsonl").unlink()
    verdict = verify(out, trust=trust)
    assert any("no ledger of south" in line for line in failures(verdict))
    assert verdict.blames("south")
    assert not verdict.blames("north") and not verdict.blames("west")


def test_two_of_three_ledgers_and_their_messages_gone_without_a_trace_still_fails(run: Run) -> None:
    out, trust, _ = run
    for name in ("south", "west"):
        (out / "ledgers" / f"{name}.jsonl").unlink()
    content = json.loads((out / "manifest.json").read_text())
    content["messages"] = [m for m in content["messages"] if m["sender"] == "north"]
    content["sent"] = [s for s in content["sent"] if s["hospital"] == "north"]
    content["receipts"] = []
    (out / "manifest.json").write_text(json.dumps(content))
    for keys in (trust, {"north": trust["north"]}, None):
        verdict = verify(out, trust=keys)
        assert not verdict.ok
        assert sum("belongs to the run" in line for line in failures(verdict)) == 2
        assert not any("0 bytes of raw data" in str(f) for f in verdict.findings)


def test_a_run_that_no_ledger_declares_is_everybodys(tmp_path: Path) -> None:
    key = SigningKey.generate()
    path = tmp_path / "ledgers" / "north.jsonl"
    Ledger.create(path, hospital="north", key=key, budget=Budget(1.0))
    Manifest("r", ()).save(tmp_path / "manifest.json")
    (fail,) = failures(verify(tmp_path, trust={"north": key.public}))
    assert "north does not say what it sent" in fail


def test_a_release_that_is_not_among_the_messages_is_noted(run: Run) -> None:
    out, trust, _ = run
    resigned(run, drop=first_of_north(run).sequence)
    told = [str(finding) for finding in verify(out, trust=trust).findings]
    assert any("1 sealed releases of north are not among its messages" in line for line in told)


def test_a_run_without_its_manifest_fails(run: Run) -> None:
    out, trust, _ = run
    (out / "manifest.json").unlink()
    found = failures(verify(out, trust=trust))
    assert any("manifest: none was given" in line for line in found)
    assert sum("no manifest of the run 'r'" in line for line in found) == 3


def test_bytes_that_are_gone_or_changed_fail_their_own_hospital(run: Run) -> None:
    out, trust, _ = run
    folder = out / "ledgers" / "west.payloads"
    first, second = sorted(folder.iterdir())[:2]
    first.unlink()
    verdict = verify(out, trust=trust)
    assert any("nobody can hash them again" in line for line in failures(verdict))
    second.write_bytes(second.read_bytes() + b"x")
    verdict = verify(out, trust=trust)
    assert any("not the ones it sealed" in line for line in failures(verdict))
    assert verdict.blames("west")
    assert not verdict.blames("north") and not verdict.blames("south")
    shutil.rmtree(folder)
    assert verify(out, trust=trust).blames("west")


def test_public_releases_are_counted_named_and_sized(tmp_path: Path) -> None:
    trust, keys = run_federation(tmp_path)
    path = tmp_path / "ledgers" / "north.jsonl"
    north = Ledger.open(path, key=keys["north"], accountant=RenyiOnly(), clock=ticking(1e6))
    entry = north.spend(Release("declared size", public(), reason="a constant"))
    with pytest.raises(RefusedError, match="no patient"):
        north.attach(entry, b"p" * (PUBLIC_BYTES + 1))
    north.attach(entry, b"303 patients")
    verdict = verify(tmp_path, trust=trust)
    assert any("1 x 'declared size', 12 bytes" in str(f) for f in verdict.findings)
    assert verdict.to_json()["public"]["north"] == {"releases": {"declared size": 1}, "bytes": 12}
    row = replace(
        first_of_north((tmp_path, trust, keys)), sequence=99, bytes=12, digest=_digest(path)
    )
    resigned((tmp_path, trust, keys), row)
    flow = verify(tmp_path, trust=trust).flow
    assert flow is not None and (flow.public, flow.unaccounted) == (12, 0)
    last = len(lines_of(path)) - 1
    forge(path, keys["north"], last, bytes=22_000)
    verdict = verify(tmp_path, trust=trust)
    assert any("22000 bytes went out as the public release" in line for line in failures(verdict))
    assert verdict.blames("north")


def _digest(path: Path) -> str:
    return str(json.loads(lines_of(path)[-1])["body"]["content"]["digest"])


def append(path: Path, key: SigningKey, kind: str, content: dict[str, Any]) -> None:
    """A line more, signed by the ledger's own hospital, whatever it says."""
    lines = path.read_bytes().splitlines()
    body = json.loads(lines[-1])["body"]
    body |= {"sequence": len(lines), "kind": kind, "content": content}
    from privacy.ledger.log.canonical import digest

    body["previous"] = digest(lines[-1])
    path.write_bytes(b"".join(line + b"\n" for line in [*lines, forged_line(key, body)]))


def test_a_made_up_witness_line_is_the_fault_of_who_wrote_it(run: Run) -> None:
    out, trust, keys = run
    head = Head.sign(SigningKey.generate(), "north", "ab" * 32, 3, "cd" * 32)
    append(out / "ledgers" / "south.jsonl", keys["south"], "witness", {"head": head.to_json()})
    verdict = verify(out, trust=trust)
    assert any("north's key did not sign" in line for line in failures(verdict))
    assert verdict.blames("south")
    assert not verdict.blames("north") and not verdict.blames("west")


@pytest.mark.parametrize("size", [2**33, 2**53 - 1, 0, -1, 1.5, "3"])
def test_a_head_of_an_absurd_size_stops_nothing(run: Run, size: Any) -> None:
    out, trust, keys = run
    head = Head.sign(keys["north"], "north", "ab" * 32, 3, "cd" * 32).to_json() | {"size": size}
    append(out / "ledgers" / "south.jsonl", keys["south"], "witness", {"head": head})
    verdict = verify(out, trust=trust)
    assert verdict.blames("south") and not verdict.blames("north")
    content = json.loads((out / "manifest.json").read_text())
    content["messages"][0]["head"] = head
    (out / "manifest.json").write_text(json.dumps(content))
    assert not verify(out, trust=trust).ok


def forked(folder: Path) -> tuple[Trust, dict[str, SigningKey]]:
    """North shows south one ledger and west another of the same size."""
    keys = {name: SigningKey.generate() for name in NAMES}
    trust = Trust({name: key.public for name, key in keys.items()})

    def made(name: str, where: Path) -> Ledger:
        return Ledger.create(
            where / f"{name}.jsonl",
            hospital=name,
            key=keys[name],
            budget=Budget(1.0),
            enrolled=trust,
            accountant=RenyiOnly(),
            clock=ticking(),
        )

    first = made("north", folder)
    (folder / "other").mkdir()
    shutil.copy(folder / "north.jsonl", folder / "other" / "north.jsonl")
    second = Ledger.open(
        folder / "other" / "north.jsonl", key=keys["north"], accountant=RenyiOnly(), clock=ticking()
    )
    first.spend(Release("update", STEP))
    second.spend(Release("update", gaussian(90.0)))
    for name, ledger in (("south", first), ("west", second)):
        witness(made(name, folder), checkpoint(ledger), ())
    return trust, keys


def test_two_witnesses_that_were_shown_two_forks_convict_without_the_ledger(tmp_path: Path) -> None:
    trust, _ = forked(tmp_path)
    for gone in ((), ("north",), ("north", "other/north")):
        for name in gone:
            (tmp_path / f"{name}.jsonl").unlink(missing_ok=True)
        paths = [p for n in NAMES if (p := tmp_path / f"{n}.jsonl").exists()]
        verdict = verify(*paths, trust=trust)
        assert any("forked its ledger" in line for line in failures(verdict))
        assert verdict.blames("north")
        assert not verdict.blames("south") and not verdict.blames("west")


def test_who_did_not_counter_sign_is_named(tmp_path: Path) -> None:
    trust, keys = run_federation(tmp_path)
    path = tmp_path / "ledgers" / "north.jsonl"
    north = Ledger.open(path, key=keys["north"], accountant=RenyiOnly(), clock=ticking(1e6))
    north.spend(Release("statistic", gaussian(200.0)))
    south_path = tmp_path / "ledgers" / "south.jsonl"
    south = Ledger.open(south_path, key=keys["south"], accountant=RenyiOnly(), clock=ticking(1e6))
    head = checkpoint(north)
    witness(south, head, prove_extension(north, south.witnessed["north"].size, head.size))
    notes = [str(f) for f in verify(tmp_path, trust=trust).findings if f.level == "NOTE"]
    assert any("not counter-signed by west" in note for note in notes)
    assert not any("by south, west" in note for note in notes)


# -- plans -----------------------------------------------------------------------------------------


def test_a_hospital_that_declares_less_than_its_plan_says_is_contradicted(run: Run) -> None:
    out, trust, keys = run
    path = out / "ledgers" / "north.jsonl"
    cheap = {"kind": "update", "event": gaussian(1000.0), "count": 3}
    path.write_bytes(b"".join(lines_of(path)[:2]))
    forge(path, keys["north"], 1, schedule=[cheap])
    verdict = verify(out, trust=trust)
    told = "say different things about north: what the plan has it release"
    assert any(told in line for line in failures(verdict))
    assert verdict.blames("north")
    assert not verdict.blames("south") and not verdict.blames("west")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"plan": "cd" * 32}, "what plan it follows"),
        ({"others": {}}, None),
    ],
)
def test_a_hospital_that_follows_another_plan_is_contradicted(
    run: Run, change: dict[str, Any], reason: str | None
) -> None:
    out, trust, keys = run
    path = out / "ledgers" / "north.jsonl"
    path.write_bytes(b"".join(lines_of(path)[:2]))
    forge(path, keys["north"], 1, **change)
    verdict = verify(out, trust=trust)
    assert verdict.blames("north")  # its ledger is not the one that was counter-signed
    if reason:
        assert any(reason in line for line in failures(verdict))
    assert not verdict.blames("south") and not verdict.blames("west")


def planned(folder: Path, *declared: dict[str, Any]) -> Verdict:
    """Two hospitals, not closed, each of which declares what is said."""
    keys = {name: SigningKey.generate() for name in ("north", "south")}
    trust = {name: key.public for name, key in keys.items()}
    paths = [folder / f"{name}.jsonl" for name in keys]
    for path, (name, key), plans in zip(paths, keys.items(), declared, strict=True):
        ledger = Ledger.create(
            path, hospital=name, key=key, budget=Budget(9.0), accountant=RenyiOnly()
        )
        for plan in plans["plans"]:
            steps = [Planned("update", STEP, 3)]
            ledger.declare(steps, context={"run": "r", "plan": plan}, others=plans["others"])
    return verify(*paths, trust=trust)


def test_a_plan_that_nobody_else_confirms_fails_the_run(tmp_path: Path) -> None:
    own = ReleaseSchedule(Unit.PATIENT, (Planned("update", STEP, 3),)).digest
    fine = {"plans": ["ab" * 32], "others": {"north": own, "south": own}}
    silent = fine | {"others": {}}
    for number, (north, south, told) in enumerate(
        [
            (fine, fine, ""),
            (silent, fine, "no other hospital says what the plan has south release"),
            (fine | {"plans": ["cd" * 32]}, fine, "what plan it follows"),
            (fine | {"others": {"south": "0" * 64}}, fine, "what the plan has it release"),
        ]
    ):
        (tmp_path / str(number)).mkdir()
        verdict = planned(tmp_path / str(number), north, south)
        found = failures(verdict)
        assert any(told in line for line in found) if told else not found
        assert not verdict.blames("north") and not verdict.blames("south")  # one against one


def test_a_trusted_hospital_that_nobody_names_needs_its_ledger_too(tmp_path: Path) -> None:
    key = SigningKey.generate()
    Ledger.create(tmp_path / "north.jsonl", hospital="north", key=key, budget=Budget(1.0))
    trust = {"north": key.public, "south": SigningKey.generate().public}
    assert any("no ledger of south" in f for f in failures(verify(tmp_path, trust=trust)))


def test_what_a_ledger_says_of_itself_needs_its_own_signature(run: Run) -> None:
    out, trust, keys = run
    path = out / "ledgers" / "north.jsonl"
    kept = path.read_bytes()
    own = json.loads(lines_of(out / "ledgers" / "south.jsonl")[-1])["body"]["content"]["head"]
    for kind, content in (
        ("countersigned", {"head": STRANGE.to_json(), "signatures": {"south": "0" * 128}}),
        ("countersigned", {"head": own, "signatures": {"south": "0" * 128}}),
        ("witness", {"head": STRANGE.to_json()}),
    ):
        append(path, keys["north"], kind, content)
        verdict = verify(out, trust=trust)
        assert verdict.blames("north")
        assert not verdict.blames("south") and not verdict.blames("west")
        path.write_bytes(kept)


def test_a_hospital_that_slanders_another_blames_itself(run: Run) -> None:
    out, trust, keys = run
    path = out / "ledgers" / "north.jsonl"
    honest = json.loads(lines_of(path)[1])["body"]["content"]["others"]
    path.write_bytes(b"".join(lines_of(path)[:2]))
    forge(path, keys["north"], 1, others=honest | {"south": "0" * 64})
    verdict = verify(out, trust=trust)
    # south has two others: one for it, one against; the run fails and south is not blamed
    assert any("south and north say different things about south" in f for f in failures(verdict))
    assert not verdict.blames("south") and not verdict.blames("west")


def test_a_release_that_follows_no_plan_does_not_account_for_a_message(tmp_path: Path) -> None:
    trust, keys = run_federation(tmp_path)
    path = tmp_path / "ledgers" / "north.jsonl"
    north = Ledger.open(path, key=keys["north"], accountant=RenyiOnly(), clock=ticking(1e6))
    north.attach(north.spend(Release("update", gaussian(1000.0))), b"patients")
    row = replace(
        first_of_north((tmp_path, trust, keys)), sequence=99, bytes=8, digest=_digest(path)
    )
    resigned((tmp_path, trust, keys), row)
    verdict = verify(tmp_path, trust=trust)
    assert any("no plan that others know of" in line for line in failures(verdict))
    assert verdict.blames("north")


def test_a_schedule_is_told_apart_by_what_it_releases() -> None:
    steps = (Planned("update", STEP, 3),)
    first = ReleaseSchedule(Unit.PATIENT, steps, 2)
    assert first.digest == replace(first, context={"run": "r"}, others={"a": "0" * 64}).digest
    for other in (
        replace(first, repeats=3),
        replace(first, unit=Unit.HOSPITAL),
        replace(first, schedule=(Planned("update", STEP, 2),)),
        replace(first, schedule=(Planned("update", gaussian(41.0), 3),)),
    ):
        assert other.digest != first.digest


def test_receipts_of_unknown_receivers_are_noted_and_wrong_ones_fail(run: Run) -> None:
    out, trust, keys = run
    manifest = Manifest.load(out / "manifest.json")
    known = Trust(dict(trust))
    notes = [str(f) for f in verify(out, trust=known).findings if f.level == "NOTE"]
    assert any("receipt of aggregator can't be checked" in note for note in notes)
    lie = (Received("south", "0" * 64),)
    from privacy.ledger.audit import manifest as module

    signature = keys["north"].sign(module._received("r", "north", lie))
    changed = replace(manifest, receipts=(*manifest.receipts, Receipt("north", lie, signature)))
    (out / "manifest.json").unlink()
    changed.save(out / "manifest.json")
    verdict = verify(out, trust=trust)
    assert any("north received messages of south that are not" in f for f in failures(verdict))
    assert not any(verdict.blames(name) for name in NAMES)


def test_pipes_devices_and_links_to_nowhere_are_refused_at_once(run: Run) -> None:
    out, trust, _ = run
    for place in ("ledgers/south.jsonl", "manifest.json", "ledgers/west.payloads/000000002.bin"):
        kept = (out / place).read_bytes()
        (out / place).unlink()
        os.mkfifo(out / place)
        assert not verify(out, trust=trust).ok
        (out / place).unlink()
        for target in ("/dev/zero", "/nowhere", "/proc/self/mem"):
            (out / place).symlink_to(target)
            assert not verify(out, trust=trust).ok
            (out / place).unlink()
        (out / place).write_bytes(kept)
    assert verify(out, trust=trust).ok


def test_no_field_of_a_file_reaches_a_terminal_as_more_than_text(run: Run) -> None:
    out, trust, keys = run
    evil = "x\nOK: ledgers/north.jsonl: all is well\x1b[2K\u202e\x9b"
    path = out / "ledgers" / "north.jsonl"
    for changes in (
        {"requester": evil},
        {"details": {evil: 1}},
        {"event": {"type": evil}},
        {"filter": evil},
        {evil: 1},
        {"actual_sampler": {"sampler": evil}},
        {"declared_sampler": evil},
        {"unit": evil},
    ):
        kept = path.read_bytes()
        forge(path, keys["north"], 2, **changes)
        found = [str(f) for f in verify(out, trust=trust).findings]
        assert all(line.isprintable() and len(line) <= 700 for line in found)
        path.write_bytes(kept)
    content = json.loads((out / "manifest.json").read_text())
    for field in ("sender", "kind", "digest"):
        changed = json.loads(json.dumps(content))
        changed["messages"][0][field] = evil
        (out / "manifest.json").write_text(json.dumps(changed))
        assert all(str(f).isprintable() for f in verify(out, trust=trust).findings)
    (out / "ledgers" / "evil\n\x1b[2K.jsonl").write_bytes(b"{}")
    assert all(str(f).isprintable() for f in verify(out, trust=trust).findings)


# -- what is not covered, and said so ----------------------------------------------------------


def test_noise_that_was_declared_and_never_drawn_is_not_seen(run: Run) -> None:
    out, trust, _ = run
    kept = sorted((out / "ledgers" / "north.payloads").iterdir())[0]
    assert kept.read_bytes() == b"sealed north 0"  # no noise, no clipping, no patients
    assert verify(out, trust=trust).ok


def test_bytes_that_nobody_signed_for_are_not_seen(run: Run) -> None:
    out, trust, keys = run
    other = SigningKey.generate()  # a second ledger of north, under a key that nobody trusts
    Ledger.create(
        out / "elsewhere" / "north.jsonl", hospital="north", key=other, budget=Budget(9.0)
    )
    assert keys["north"].public == trust["north"]
    assert verify(out, trust=trust).ok
