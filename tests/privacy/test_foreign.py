"""Every parser of foreign bytes refuses in the project's own words, in seconds, or is right."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def fuzz(count: int, seed: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.privacy.fuzzing", str(count), str(seed)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60 + count,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_no_crash_no_hang_no_foreign_exception_no_wrong_sum() -> None:
    found = fuzz(2_000, 0)
    assert found["faults"] == []
    assert sum(found["seen"].values()) == 2_000
    refused = {name: found["seen"][name] - found["taken"].get(name, 0) for name in found["seen"]}
    assert all(refused[name] for name in refused if name not in ("merkle", "ledger file"))


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(1, 11))
def test_a_hundred_thousand_inputs(seed: int) -> None:
    assert fuzz(10_000, seed)["faults"] == []
