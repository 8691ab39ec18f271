"""Whatever somebody else registers is met by commands, workers, studies and tables."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments.plugins import PLUGINS, load
from privacy.errors import InvalidInputError

PLUGIN = Path(__file__).with_name("plugin.py")


def inpatient(*arguments: str, status: int = 0) -> str:
    """Run a command in a process of its own: what a plugin registers stays there."""
    done = subprocess.run(
        [sys.executable, "-m", "experiments.cli", *arguments],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(p.read_text()) for p in sorted((folder / "records").glob("*.json"))]


def test_a_frontier_of_an_added_cohort_and_model_is_attacked_by_an_added_attack(
    tmp_path: Path,
) -> None:
    """Two worker processes, each of which has to run the plugin by itself."""
    chosen = ["frontier", "--cohort", "few", "--designs", "none", "local only", "--regime", "full"]
    told = inpatient(
        *chosen, "--model", "renamed", "--jobs", "2", "--out", str(tmp_path), "--json",
        "--plugin", str(PLUGIN),
    )  # fmt: skip
    bare, alone = sorted(records(tmp_path), key=lambda r: str(r["config"]["design"] != "none"))
    assert bare["config"]["cohort"] == alone["config"]["cohort"] == "few"
    assert bare["config"]["model"] == "renamed"
    assert {"closed_form", "borrowed"} <= set(bare["metrics"]["risks"])
    assert bare["metrics"]["risks"]["borrowed"]["targets"] > 0
    assert alone["config"]["attacks"]["attacks"] == []
    assert "borrowed" in told
    (digest,) = bare["config"]["plugins"]
    assert len(digest) == 64


def test_a_changed_plugin_never_meets_old_numbers(tmp_path: Path) -> None:
    changed = tmp_path / "mine.py"
    chosen = ["frontier", "--cohort", "few", "--designs", "local only", "--regime", "full"]
    for text in (PLUGIN.read_text(), PLUGIN.read_text() + "\n# another version\n"):
        changed.write_text(text)
        inpatient(*chosen, "--jobs", "1", "--out", str(tmp_path / "out"), "--plugin", str(changed))
    first, second = records(tmp_path / "out")
    assert first["config"]["plugins"] != second["config"]["plugins"]
    assert first["metrics"] == second["metrics"]


def test_an_added_attack_attacks_by_its_name(tmp_path: Path) -> None:
    told = inpatient(
        "attack", "borrowed", "--plugin", str(PLUGIN), "--json", "--out", str(tmp_path)
    )
    found = json.loads(told)
    assert found["attack"] == "borrowed"
    assert found["accuracy"] > found["guessing"]


def test_an_added_rule_has_its_row_beside_the_others(tmp_path: Path) -> None:
    inpatient(
        "correction", "--cohort", "few", "--seeds", "1", "--out", str(tmp_path),
        "--plugin", str(PLUGIN),
    )  # fmt: skip
    rules = {r["config"]["rule"]: r["metrics"] for r in records(tmp_path) if "rule" in r["config"]}
    assert {"halved", "fedsgd", "sealed"} <= set(rules)
    assert rules["halved"]["unit"] == "patient"


def test_an_added_scheme_seals_a_run_and_stands_in_the_table(tmp_path: Path) -> None:
    told = inpatient(
        "bench", "run", "--hospitals", "4", "--rounds", "1", "--scheme", "clear", "--json",
        "--out", str(tmp_path), "--plugin", str(PLUGIN),
    )  # fmt: skip
    assert json.loads(told)["scheme"] == "clear"
    told = inpatient(
        "bench", "sealing", "--sizes", "100", "--hospitals", "4", "--repeats", "1", "--ours",
        "--json", "--out", str(tmp_path), "--plugin", str(PLUGIN),
    )  # fmt: skip
    assert "clear" in {row["name"] for row in json.loads(told)["rows"]}


def test_an_added_attack_has_its_case_among_those_that_win_and_lose() -> None:
    code = (
        "from pathlib import Path\n"
        "from experiments.plugins import load\n"
        f"load([Path({str(PLUGIN)!r})])\n"
        "from tests.attacks.test_wins_and_loses import CASES, judge\n"
        "judge(*CASES['borrowed'])\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "Can't read the plugin"),
        ("1 / 0", "ZeroDivisionError"),
        ("import nowhere", "No module named 'nowhere'"),
        ("def", "SyntaxError"),
        (
            "from attacks.suite import *\nregister('tableak', print, Arena.SINGLE)",
            "The attack 'tableak' is there already",
        ),
    ],
)
def test_a_plugin_that_can_not_be_run_is_a_paragraph(
    content: str | None, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.py"
    if content is not None:
        path.write_text(content)
    before = dict(PLUGINS)
    with pytest.raises(InvalidInputError, match=told):
        load([path])
    assert dict(PLUGINS) == before
    assert not [name for name in sys.modules if name.startswith("inpatient_plugin_")]


def test_a_plugin_option_without_a_file_is_a_paragraph() -> None:
    assert inpatient("results", "--plugin", status=2).startswith("inpatient: --plugin needs")
