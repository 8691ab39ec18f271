"""The plugin in a pytest of its own."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from privacy.testing import plugin
from privacy.testing.plugin import FalseAlarms

ROOT = Path(__file__).resolve().parents[3]


def test_shares_never_pass_the_budget() -> None:
    budget = FalseAlarms(1e-3)
    shares = [budget.share() for _ in range(5000)]
    assert all(share > 0 for share in shares)
    assert sum(shares) <= 1e-3
    assert abs(sum(shares) - budget.spent) < 1e-12


def run(folder: Path, *arguments: str) -> str:
    (folder / "conftest.py").write_text('pytest_plugins = ["privacy.testing.plugin"]\n')
    (folder / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('n', range(4))\n"
        "def test_noise(n, false_alarms):\n"
        "    assert 0.3 > false_alarms.share()\n"
    )
    (folder / "pytest.ini").write_text(f"[pytest]\npythonpath = {ROOT}\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *arguments, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_run_reports_what_it_spent(tmp_path: Path) -> None:
    assert "4 statistical tests, chance of one 8e-05 of 0.0001" in run(
        tmp_path, "--false-alarms=1e-4"
    )


def test_workers_share_one_budget(tmp_path: Path) -> None:
    said = run(tmp_path, "--false-alarms=1e-4", "-n", "2", "--dist", "each")
    # All four tests on both workers: 2 x (1e-4 / 2) x (1 - 1/5).
    assert "8 statistical tests, chance of one 8e-05 of 0.0001" in said


@pytest.mark.parametrize("total", [0.0, 1.0, -0.1, 2.0])
def test_a_budget_of_nothing_or_of_all_is_refused(
    total: float, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, pytest.raises(pytest.UsageError, match="--false-alarms"):
        patched.setattr(pytestconfig, "getoption", lambda *_, **__: total)
        plugin.pytest_configure(pytestconfig)


def test_a_worker_that_crashed_has_spent_its_part() -> None:
    config = SimpleNamespace(getoption=lambda name: 1e-4, stash={plugin._WORKERS: []})
    outputs: list[dict[str, Any]] = [{"workeroutput": {"false_alarms": [3, 2e-5]}}, {}]
    for output in outputs:
        node = SimpleNamespace(config=config, workerinput={"workercount": 4}, **output)
        plugin.pytest_testnodedown(node, None)
    assert config.stash[plugin._WORKERS] == [(3, 2e-5), (1, 2.5e-5)]


def test_our_own_run_has_a_budget(false_alarms: FalseAlarms, pytestconfig: pytest.Config) -> None:
    assert false_alarms.total <= pytestconfig.getoption("--false-alarms") <= 1e-6
