"""The plugin in a pytest of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

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


def test_our_own_run_has_a_budget(false_alarms: FalseAlarms, pytestconfig: pytest.Config) -> None:
    assert false_alarms.total <= pytestconfig.getoption("--false-alarms") <= 1e-6
