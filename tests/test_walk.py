"""How many files one sealed point passes through: it may become fewer, not more."""

import subprocess
import sys

from tests.walk import ROOT

MOST = 126
"""Files of which a function is called, from the cohort's table to the record's metrics."""


def test_a_sealed_points_way_grows_no_longer() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.walk"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    heading, *rows, last = ran.stdout.strip().splitlines()
    assert heading.startswith("functions called") and last.endswith(f"in {len(rows)} files")
    names = [row.split()[-1] for row in rows]
    for hop in ("aggregation/roles/hospital.py", "aggregation/sealing/shares.py",
                "privacy/ledger/ledger.py", "attacks/informed/likelihood_ratio.py"):  # fmt: skip
        assert hop in names
    assert len(names) == len(set(names)) <= MOST
