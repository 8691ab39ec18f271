"""Each real run that is kept: attacked, accounted and reviewed from its files alone.

Neither Flower nor NVFLARE is in this environment; Opacus is, and nothing here imports it.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments.cli import main

KEPT = Path("tests/captures")
READ = ("--model", "mlp:64", "--learning-rate", ".1")
PRIVATE = (*READ, "--batch-size", "28", "--clip-norm", "1", "--restarts", "1", "--iterations", "3")
WALKED = ("--batch-size", "8", "--steps", "3", "--patients", "24", "--momentum", ".9")
# Folder; what it was told beside the files of one update; proved, of so many; what was spent.
RUNS: dict[str, tuple[tuple[str, str], tuple[str, ...], tuple[int, int], str, str]] = {
    "flower": (("r1-before", "r1-0"), READ, (8, 8), "phases.toml", "no bound"),
    "flower_epoch": (
        ("r1-before", "r1-0"),
        (*READ, *WALKED, "--restarts", "2", "--iterations", "5"),
        (0, 24),
        "phases.toml",
        "no bound",
    ),
    "nvflare": (("r0-before", "r0-0"), READ, (8, 8), "phases.toml", "no bound"),
    "opacus/poisson": (("before", "after"), PRIVATE, (0, 28), "checkpoint.pt", "5.152"),
    "opacus/shuffled": (("before", "after"), PRIVATE, (0, 28), "checkpoint.pt", "5.152"),
}


def test_every_run_that_is_kept_is_here() -> None:
    kept = {path.parent for path in KEPT.rglob("*.npz")}
    assert {KEPT / name for name in RUNS} == kept
    assert sum(path.stat().st_size for folder in kept for path in folder.iterdir()) < 300_000


def run(capsys: pytest.CaptureFixture[str], *typed: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as done:
        main(list(typed))
    return int(done.value.code or 0), capsys.readouterr().out


@pytest.mark.parametrize("name", RUNS)
def test_it_is_attacked(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (before, after), told, (proved, patients), _, _ = RUNS[name]
    files = [str(KEPT / name / f"{file}.npz") for file in (before, after)]
    spent = ("--checkpoint", str(KEPT / name / "checkpoint.pt")) if "opacus" in name else ()
    status, printed = run(
        capsys, "attack", "--update", *files, *told, *spent, "--out", str(tmp_path), "--json"
    )
    found = json.loads(printed)
    assert status == 0 and found["certified"] == proved and len(found["records"]) >= patients
    assert Path(found["picture"]).stat().st_size > 0


@pytest.mark.parametrize("name", RUNS)
def test_it_is_accounted(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    *_, spent, epsilon = RUNS[name]
    status, printed = run(capsys, "account", str(KEPT / name / spent))
    assert status == 0 and epsilon in printed and "if patients were drawn" in printed


@pytest.mark.parametrize("name", RUNS)
def test_it_is_reviewed(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (_, _), _, (proved, patients), _, _ = RUNS[name]
    status, printed = run(
        capsys, "review", str(KEPT / name), "--out", str(tmp_path), "--seconds", "0", "--json"
    )
    told = json.loads(printed)
    assert status == int(proved > 0 or name == "opacus/shuffled")
    assert {update["certified"] for update in told["updates"]} == {proved}
    assert {update["patients"] for update in told["updates"]} == {patients}
    assert {Path(page).name for page in told["pages"]} == {"review.en.html", "review.zh.html"}


def test_no_peer_is_imported_for_any_of_it(tmp_path: Path) -> None:
    """In a process of its own, in which none of the three can be."""
    code = f"""
import sys
for peer in ("flwr", "nvflare", "opacus", "ray"):
    sys.modules[peer] = None
from experiments.cli import main
for name in {list(RUNS)}:
    try:
        out = ("--out", "{tmp_path}/" + name)
        main(["review", "{KEPT}/" + name, *out, "--seconds", "0", "--json"])
    except SystemExit as done:
        assert done.code in (0, 1), (name, done.code)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("script", ["flower_run", "nvflare_run", "opacus_run"])
def test_scripts_say_how_a_run_is_made_again(script: str) -> None:
    said = (KEPT / f"{script}.py").read_text().split('"""')[1]
    assert f"python -m tests.captures.{script}" in said and "review.toml" in said
    assert ("make bench-setup" in said) == (script != "opacus_run")


def test_a_private_step_is_told_whole_or_not_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    folder = KEPT / "opacus" / "poisson"
    files = [str(folder / f"{name}.npz") for name in ("before", "after")]
    spent = ("--checkpoint", str(folder / "checkpoint.pt"))
    wrong: Any = [
        spent,
        (*spent, "--clip-norm", "1"),
        ("--clip-norm", "1", "--batch-size", "28"),
        (*spent, "--clip-norm", "-1", "--batch-size", "28"),
        (*spent, "--clip-norm", "1", "--batch-size", "28", "--steps", "2"),
        ("--checkpoint", files[0], "--clip-norm", "1", "--batch-size", "28"),
    ]
    for given in wrong:
        with pytest.raises(SystemExit) as done:
            main(["attack", "--update", *files, *READ, *given])
        said = capsys.readouterr().err
        assert done.value.code == 2 and "Traceback" not in said, given
