"""docs/own-data.md is true: a stranger's empty folder, its files, its commands."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor

from aggregation.data import Cohort
from experiments.cli import main
from experiments.cohorts import COHORTS
from experiments.run.record import read_records

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "own-data.md").read_text()
FILES = dict(re.findall(r"```toml (\S+)\n(.*?)```", TEXT, flags=re.DOTALL))
TUNING = re.search(r"search your own:\n\n```\n(.*?)```", TEXT, flags=re.DOTALL)
COMMANDS = re.search(r"## Then\n\n```\n(.*?)```", TEXT, flags=re.DOTALL)


def write_ward(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    lines = ["patient;event;age_years;cholesterol;smoker;angina"]
    for patient in range(1, 101):
        age, smoker = int(rng.integers(35, 90)), bool(rng.random() < 0.4)
        risk = 1 / (1 + np.exp(-(age - 62) / 10 - smoker + 0.4))
        chol = f"{rng.uniform(3.5, 8):.2f}".replace(".", ",")
        lines.append(
            f"{patient};{int(rng.random() < risk)};{age};{chol};{'yes' if smoker else 'no'};"
            f"{rng.integers(1, 5)}"
        )
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's files, and three tables."""
    get_reusable_executor().shutdown(wait=True)  # workers of earlier tests have another home
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INPATIENT_HOME", str(tmp_path / "home"))
    for name, text in FILES.items():
        assert len(text.splitlines()) <= 40
        (tmp_path / name).write_text(text)
    for seed, name in enumerate(("north", "south", "west")):
        write_ward(tmp_path / f"{name}.csv", seed)
        (tmp_path / f"{name}.toml").write_text(FILES["north.toml"].replace("north", name))
    return tmp_path


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert isinstance(left.value.code, int)
    return left.value.code


def commands(block: re.Match[str] | None = COMMANDS) -> list[list[str]]:
    assert block is not None
    return [shlex.split(line)[1:] for line in block[1].splitlines()]


def test_the_pages_files_are_a_cohort(folder: Path) -> None:
    assert set(FILES) == {"schema.toml", "north.toml", "cohort.toml"}
    cohort = Cohort.from_file(folder / "cohort.toml")
    assert cohort.sizes == (100, 100, 100)
    assert cohort.schema.names[:3] == ("age", "chol", "smoker")


def test_the_pages_commands_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check, frontier, attack, demo = commands()
    assert run(*check) == 0
    assert "Nothing is wrong" in capsys.readouterr().out
    assert run(*frontier, "--jobs", "2") == 0
    records = read_records(folder / "results" / "frontier" / "records")
    assert {r.config["design"] for r in records} == {"none", "sealed", "pooled"}
    assert all("auc_within_published_score" in r.metrics for r in records)
    assert "score" in capsys.readouterr().out
    assert run(*attack) == 0
    assert demo[0] == "demo"  # minutes: run by night


@pytest.mark.nightly
def test_the_pages_search_is_what_the_frontier_trains_with(folder: Path) -> None:
    tune, frontier = commands(TUNING)
    assert run(*tune) == 0
    (search,) = read_records(folder / "tuned" / "records")
    assert run(*frontier) == 0
    trained = read_records(folder / "results" / "frontier" / "records")
    assert [r.config["setting"] for r in trained] == [
        search.metrics["scores"][0]["setting"] for _ in trained
    ]


@pytest.mark.nightly
def test_the_pages_demo_ends_with_verified_ledgers_and_a_report(folder: Path) -> None:
    assert run(*commands()[3]) == 0
    assert len(list((folder / "results" / "demo" / "ledgers").glob("*.jsonl"))) == 3
    assert (folder / "results" / "demo" / "report" / "report.en.html").stat().st_size > 5_000


def test_the_pages_cohorts_are_there() -> None:
    named = re.findall(r"^\| `([a-z][a-z-]+)` \|", TEXT, flags=re.MULTILINE)
    assert named
    assert set(named) <= set(COHORTS)
