"""``inpatient review`` on the real runs of others, from their files alone."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from experiments.cli import main
from privacy.ledger import Budget, Ledger, Release, SigningKey, save_trust
from privacy.ledger.accountant import RenyiOnly

KEPT = Path("tests/captures")


def review(
    path: Path, out: Path, capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """Status, everything, and the findings by name."""
    with pytest.raises(SystemExit) as done:
        main(["review", str(path), "--out", str(out), "--json", *options])
    printed = capsys.readouterr().out
    told = json.loads(printed)
    assert isinstance(done.value.code, int)
    return done.value.code, told, {check["name"]: check for check in told["checks"]}


@pytest.mark.parametrize("program", ["flower", "nvflare"])
def test_unprotected_updates_give_their_patients_away(
    program: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, told, checks = review(KEPT / program, tmp_path, capsys)
    assert status == 1 and checks["updates"]["judgement"] == "wrong"
    assert len(told["updates"]) == 4
    assert all(update["certified"] >= 6 and update["patients"] == 8 for update in told["updates"])
    assert checks["cost"]["judgement"] == "unknown" and ".pt" in checks["cost"]["said"]
    weights = {path.name for path in (KEPT / program).glob("*.npz")}
    assert set(told["files"]) == {"review.toml", "updates.json"} | weights
    english, chinese = (Path(page).read_text(encoding="utf-8") for page in told["pages"])
    assert "Patients are read" in english and "读出患者" in chinese
    assert "review.zh.html" in english and "review.en.html" in chinese


def test_a_training_with_poisson_sampling_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, told, checks = review(KEPT / "opacus" / "poisson", tmp_path, capsys)
    assert status == 0
    assert {check["judgement"] for check in checks.values()} == {"holds"}
    (update,) = told["updates"]
    assert update["certified"] == 0 and update["patients"] == 28
    assert "checkpoint.pt" in told["files"] and "after.npz" in told["files"]


def test_the_same_claim_for_shuffled_batches_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, checks = review(KEPT / "opacus" / "shuffled", tmp_path, capsys)
    assert status == 1
    wrong = {name for name, check in checks.items() if check["judgement"] == "wrong"}
    assert wrong == {"cost", "sampler"}


@pytest.mark.parametrize(
    ("lacking", "named"),
    [("model", "model"), ("learning_rate", "learning_rate"), ("clip_norm", "clip_norm")],
)
def test_what_is_lacking_for_an_attack_is_named(
    lacking: str, named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(KEPT / "opacus" / "poisson", tmp_path / "run")
    path = tmp_path / "run" / "review.toml"
    lines = [line for line in path.read_text().splitlines() if not line.startswith(lacking)]
    path.write_text("\n".join(lines))
    status, _, checks = review(tmp_path / "run", tmp_path / "out", capsys)
    assert status == 0 and checks["updates"]["judgement"] == "unknown"
    assert named in checks["updates"]["said"]


def test_a_file_alone_is_reviewed_for_what_it_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = KEPT / "opacus" / "poisson" / "checkpoint.pt"
    _, told, checks = review(checkpoint, tmp_path, capsys)
    assert float(checks["cost"]["values"]["upper"]) == pytest.approx(5.15, abs=0.01)
    assert list(told["files"]) == ["checkpoint.pt"] and told["updates"] == []
    phases = tmp_path / "spent.toml"
    phases.write_text("[[phase]]\nnoise_multiplier = 10.0\nsteps = 100\n")
    _, _, checks = review(phases, tmp_path, capsys)
    assert float(checks["cost"]["values"]["upper"]) == pytest.approx(4.378, abs=0.01)
    events = tmp_path / "spent.json"
    events.write_text(json.dumps({"type": "GaussianDpEvent", "noise_multiplier": 1.0}))
    _, _, checks = review(events, tmp_path, capsys)
    assert float(checks["cost"]["values"]["upper"]) == pytest.approx(4.378, abs=0.01)


def test_a_ledger_beside_it_is_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = SigningKey.generate()
    ledger = Ledger.create(
        tmp_path / "north.jsonl",
        hospital="north",
        key=key,
        budget=Budget(epsilon=9.0),
        foreign="Opacus",
        accountant=RenyiOnly(),
    )
    ledger.spend(Release("update", {"type": "GaussianDpEvent", "noise_multiplier": 9.0}))
    save_trust(tmp_path / "trust.json", {"north": key.public})
    options = ("--trust", str(tmp_path / "trust.json"))
    status, _, checks = review(tmp_path / "north.jsonl", tmp_path / "out", capsys, *options)
    assert status == 0 and checks["ledger"]["judgement"] == "holds"
    lines = (tmp_path / "north.jsonl").read_bytes().replace(b'"clip_norm":null', b'"clip_norm":1.0')
    (tmp_path / "north.jsonl").write_bytes(lines)
    status, _, checks = review(tmp_path / "north.jsonl", tmp_path / "out", capsys, *options)
    assert status == 1 and checks["ledger"]["judgement"] == "wrong"
    assert "canonical" in checks["ledger"]["said"]


def test_a_table_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["review", str(KEPT / "flower"), "--out", str(tmp_path)])
    assert done.value.code == 1
    printed = capsys.readouterr().out
    assert "of 8 patients proved" in printed and "review.en.html" in printed


def test_where_nothing_is_nothing_is_reviewed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as done:
        main(["review", str(tmp_path / "none"), "--out", str(tmp_path / "out")])
    assert done.value.code == 2 and "nothing to review" in capsys.readouterr().err
