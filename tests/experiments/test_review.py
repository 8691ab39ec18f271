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
        main(["review", str(path), "--out", str(out), "--seconds", "0", "--json", *options])
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
    assert checks["cost"]["judgement"] == "unknown" and "infinite" in checks["cost"]["said"]
    weights = {path.name for path in (KEPT / program).glob("*.npz")}
    assert set(told["files"]) == {"review.toml", "updates.json", "phases.toml"} | weights
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
    assert "2 entries of north" in checks["ledger"]["said"]
    assert "as Opacus claims" in checks["ledger"]["said"]
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
    assert "closed_form: tried on 4 of 4." in printed and "imprint: not tried. It needs" in printed
    assert "all of their patients are proved" in printed


def test_where_nothing_is_nothing_is_reviewed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as done:
        main(["review", str(tmp_path / "none"), "--out", str(tmp_path / "out")])
    assert done.value.code == 2 and "nothing to review" in capsys.readouterr().err


def test_what_a_table_prints_is_no_markup(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["review", str(KEPT / "opacus/poisson/checkpoint.pt"), "--out", str(tmp_path)])
    assert "[claim]" in capsys.readouterr().out


def test_searches_are_tried_in_the_time_that_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Attacks that search, on a real noisy step: with no time none, with enough all that fit."""
    folder, made = KEPT / "opacus" / "poisson", {}
    for seconds in ("0", "600"):
        _, told, _ = review(folder, tmp_path / seconds, capsys, "--seconds", seconds)
        made[seconds] = {attack["attack"]: attack for attack in told["attacks"]}
    none, enough = made["0"], made["600"]
    assert list(none)[:2] == ["closed_form", "spear"] and none["closed_form"]["tried"] == 1
    for name in ("tableak", "cascade", "dlg"):
        assert none[name]["tried"] == 0 and "lack of time" in none[name]["said"]
        assert enough[name]["tried"] == 1 and enough[name]["said"] == ""
    for name in ("fedavg", "imprint", "stale"):
        assert enough[name]["tried"] == 0 and enough[name]["said"].startswith("It needs")


def test_steps_that_nobody_told_are_said_to_be_assumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Five steps read as one show nothing, and a page that says no more would call that safe."""
    shutil.copytree(KEPT / "flower_epoch", tmp_path / "run")
    path, text = tmp_path / "run" / "review.toml", (KEPT / "flower_epoch/review.toml").read_text()
    path.write_text(text.replace("steps = 3", "").replace("batch_size = 8", "batch_size = 24"))
    _, told, _ = review(tmp_path / "run", tmp_path / "out", capsys)
    for update in told["updates"]:
        assert update["certified"] == 0 and "One local step is assumed" in update["said"]
    _, told, _ = review(KEPT / "flower_epoch", tmp_path / "told", capsys)
    assert not any("assumed" in update["said"] for update in told["updates"])
    _, told, _ = review(KEPT / "flower", tmp_path / "proved", capsys)
    assert not any("assumed" in update["said"] for update in told["updates"])


def test_a_bad_time_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["review", str(KEPT / "flower"), "--seconds", "-1"])
    assert done.value.code == 2 and "seconds=-1" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["lacking", "refused", "ledger"])
def test_the_chinese_page_says_reasons_in_chinese_or_that_it_quotes(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    if what == "ledger":
        run.mkdir()
        Ledger.create(run / "north.jsonl", hospital="north", key=SigningKey.generate(),
                      budget=Budget(epsilon=9.0), accountant=RenyiOnly())  # fmt: skip
        lines = (run / "north.jsonl").read_bytes()
        (run / "north.jsonl").write_bytes(lines.replace(b'"epsilon":9', b'"epsilon":8'))
    else:
        shutil.copytree(KEPT / "opacus" / "poisson", run)
        text = (run / "review.toml").read_text()
        old, new = {"lacking": ("clip_norm = 1.0", ""), "refused": ("mlp:64", "mlp:63")}[what]
        (run / "review.toml").write_text(text.replace(old, new))
    _, told, checks = review(run, out, capsys)
    page = Path(told["pages"][1]).read_text(encoding="utf-8")
    expected = {
        "lacking": "[updates] clip_norm 可以说明",
        "refused": "程序原文为",
        "ledger": "原文引用",
    }
    assert expected[what] in page
    name = "ledger" if what == "ledger" else "updates"
    assert checks[name]["said"] not in page
