"""The auditor's tour says what the program does."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from privacy.ledger import Budget, Ledger, Planned, Release, SigningKey, save_trust
from tests.privacy.ledger.test_verify import run_federation

ROOT = Path(__file__).resolve().parents[3]
TOUR = (ROOT / "docs" / "audit-tour.md").read_text(encoding="utf-8")
MAIN = "from experiments.cli import main; main()"


def inpatient(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *arguments], cwd=ROOT, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    trust, _ = run_federation(folder)
    save_trust(folder / "keys.json", trust, trust.receivers)
    return folder


def test_every_command_of_the_tour_is_run_here() -> None:
    commands = set(re.findall(r"inpatient ledger (\w+)", TOUR))
    assert commands == {"show", "report", "verify", "prove", "abandon"}


def test_the_verdict_and_a_tampered_copy(out: Path) -> None:
    trust = ["--trust", str(out / "keys.json")]
    status, said = inpatient("ledger", "verify", str(out), *trust)
    assert status == 0, said
    assert said.count("OK: ") == 4
    status, said = inpatient("ledger", "verify", str(out))
    assert status == 3
    assert "UNANCHORED" in said
    path = out / "ledgers" / "west.jsonl"
    kept = path.read_bytes()
    lines = kept.split(b"\n")
    lines[2] = re.sub(rb'"noise_multiplier":[0-9.]*', b'"noise_multiplier":99', lines[2])
    path.write_bytes(b"\n".join(lines))
    status, said = inpatient("ledger", "verify", str(out), *trust)
    path.write_bytes(kept)
    assert status == 1
    line = "entry 2: its signature is not that of west's key"
    assert f"FAIL: ledgers/west.jsonl: {line}" in said
    assert line.replace("west", "va") in TOUR


def test_a_ledger_that_was_removed(out: Path, tmp_path: Path) -> None:
    shutil.copytree(out, tmp_path / "copy")
    (tmp_path / "copy" / "ledgers" / "west.jsonl").unlink()
    keys = str(out / "keys.json")
    status, said = inpatient("ledger", "verify", str(tmp_path / "copy"), "--trust", keys)
    assert status == 1
    line = "FAIL: west: no ledger of west was given, and it belongs to the run"
    assert line in said
    assert line.replace("west", "va") in TOUR


def test_a_ledger_is_shown_as_text_and_never_as_markup(tmp_path: Path) -> None:
    key = SigningKey.generate()
    path = tmp_path / "north.jsonl"
    ledger = Ledger.create(path, hospital="north", key=key, budget=Budget(1.0))
    ledger.spend(Release("[red]x[/red]", {"type": "NoOpDpEvent"}, reason="a constant"))
    _, said = inpatient("ledger", "show", str(path))
    assert "[red]x[/red]" in said
    _, said = inpatient("ledger", "show", str(tmp_path / "a\nb\x1b[2K"))
    assert "\x1b" not in said and len(said.strip().splitlines()) == 1


def test_show_prove_report_and_export(out: Path, tmp_path: Path) -> None:
    ledger = str(out / "ledgers" / "west.jsonl")
    status, said = inpatient("ledger", "show", ledger)
    assert status == 0
    assert "3 x update" in said
    status, said = inpatient("ledger", "prove", ledger, "--entry", "2")
    (tmp_path / "proof.json").write_text(said)
    trust = ["--trust", str(out / "keys.json")]
    status, said = inpatient("ledger", "verify", str(tmp_path / "proof.json"), *trust)
    assert status == 0
    assert "stands in the ledger of west" in said
    status, said = inpatient("ledger", "report", str(out), *trust, "--out", str(tmp_path))
    assert status == 0
    assert (tmp_path / "report.zh.html").exists()
    status, said = inpatient("ledger", "export", str(out), "--registry")
    assert status == 0
    assert "variant_name" in said


def test_mistakes_are_one_paragraph_and_status_two(tmp_path: Path) -> None:
    for arguments in (
        ["verify", str(tmp_path)],
        ["verify", str(tmp_path / "absent")],
        ["show", str(tmp_path / "absent")],
        ["prove", str(tmp_path / "absent"), "--entry", "1"],
        ["verify", str(tmp_path), "--trust", str(tmp_path / "absent")],
        ["export", str(tmp_path)],
    ):
        status, said = inpatient("ledger", *arguments)
        assert status == 2, said
        assert said.startswith("inpatient: ")
        assert len(said.strip().splitlines()) == 1


def test_a_plan_is_given_up_with_the_key_of_its_hospital(tmp_path: Path) -> None:
    path, key = tmp_path / "va.jsonl", tmp_path / "va.key"
    step = {"type": "GaussianDpEvent", "noise_multiplier": 40.0}
    ledger = Ledger.create(path, hospital="va", key=SigningKey.create(key), budget=Budget(1.0))
    ledger.declare([Planned("update", step, 40)], plan="ab" * 32)
    command = ["ledger", "abandon", str(path), "--key", str(key), "--reason", "machine lost"]
    SigningKey.create(tmp_path / "other.key")
    foreign = [str(tmp_path / "other.key") if part == str(key) else part for part in command]
    status, said = inpatient(*foreign)
    assert status == 2 and "not signed by this key" in said
    status, said = inpatient(*command, "--plan", "cd")
    assert status == 2 and "plans with places left: abab" in said
    status, said = inpatient(*command)
    assert status == 0
    assert said.startswith("plan abababababab abandoned (machine lost): freed as if never declared")
    status, said = inpatient(*command)
    assert status == 2 and "there is none" in said
