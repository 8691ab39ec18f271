"""The command line: fast help, one paragraph and status 2 for a user's mistake."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from experiments.cli import COMMANDS, main

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    said = capsys.readouterr()
    code = stopped.value.code
    return code if isinstance(code, int) else 1, said.out, said.err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run("--help", capsys=capsys)
    assert status == 0
    for name in COMMANDS:
        assert name in out


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(command, "--help", capsys=capsys)
    assert status == 0 and f"inpatient {command}" in out


def test_the_version_is_printed_and_is_the_same_everywhere(
    capsys: pytest.CaptureFixture[str],
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert run("--version", capsys=capsys) == (0, f"inpatient {project['version']}\n", "")
    assert f"version: {project['version']}\n" in (ROOT / "CITATION.cff").read_text()
    assert "--version" in run("--help", capsys=capsys)[1]


def one_paragraph(text: str) -> bool:
    return text.startswith("inpatient: ") and text.count("\n") == 1 and "Traceback" not in text


def test_a_folder_that_cannot_be_written_is_a_paragraph(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    out = str(tmp_path / "file" / "out")
    status, _, err = run("frontier", "--quick", "--out", out, capsys=capsys)
    assert status == 2 and one_paragraph(err) and "--out" in err
    assert (tmp_path / "file").read_text() == ""


def test_a_missing_table_is_a_paragraph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(
        "frontier", "--quick", "--out", str(tmp_path / "out"), "--data-dir", str(tmp_path),
        "--jobs", "1", capsys=capsys,
    )  # fmt: skip
    assert status == 2 and one_paragraph(err) and "processed.cleveland.data" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--designs", "magic"), "Unknown design 'magic'; choose one of none"),
        (("--designs", "sealed", "--epsilons", "0"), "epsilon=0.0 > 0"),
        (("--designs", "sealed", "--epsilons", "-1"), "epsilon=-1.0 > 0"),
        (("--designs", "sealed", "--regime", "tiny"), "Unknown regime 'tiny'"),
        (("--designs", "sealed", "--model", "forest"), "Unknown model 'forest'"),
        (("--epsilons", "1"), "--epsilons goes with --designs"),
        (("--regime", "full", "--groups", "regime"), "--regime goes with --designs"),
        (("--quick", "--groups", "regime"), "--quick and --groups each choose points"),
        (("--groups", "magic"), "Unknown group 'magic'"),
    ],
)
def test_what_can_not_be_run_is_a_paragraph(
    arguments: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    status, _, err = run("frontier", *arguments, "--out", str(out), capsys=capsys)
    assert status == 2 and one_paragraph(err) and said in err
    assert not out.exists()


def test_the_installed_command_answers() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "inpatient", "frontier", "--epsilon", "nonsense"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_an_attack_never_overwrites_the_picture_of_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another seed draws another batch: its picture gets a number, the first stays."""
    found = []
    for seed in (0, 0, 1):
        status, out, _ = run(
            "attack", "closed_form", "--seed", str(seed), "--out", str(tmp_path), "--json",
            capsys=capsys,
        )  # fmt: skip
        assert status == 0
        found.append(Path(json.loads(out)["picture"]).name)
    assert found == [
        "closed_form-server_plain.png",
        "closed_form-server_plain.png",
        "closed_form-server_plain-2.png",
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(set(found))
