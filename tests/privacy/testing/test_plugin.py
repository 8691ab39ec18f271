"""The plugin in a pytest of its own."""

import subprocess
import sys
from pathlib import Path

from privacy.testing.plugin import FalseAlarms

ROOT = Path(__file__).resolve().parents[3]


def test_shares_never_pass_the_budget() -> None:
    budget = FalseAlarms(1e-3)
    shares = [budget.share() for _ in range(5000)]
    assert all(share > 0 for share in shares)
    assert sum(shares) <= 1e-3
    assert abs(sum(shares) - budget.spent) < 1e-12


def test_a_run_reports_what_it_spent(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["privacy.testing.plugin"]\n')
    (tmp_path / "test_it.py").write_text(
        "def test_noise(false_alarms):\n    assert 0.3 > false_alarms.share()\n"
    )
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {ROOT}\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--false-alarms=1e-4", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout
    assert "1 statistical tests, chance of one 5e-05 of 0.0001" in done.stdout
