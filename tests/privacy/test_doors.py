"""Every public function refuses what is no relation, no number or out of range, in words.

The suite's type checker would stop such calls before our own checks are met, and users run without
it: so the cases of ``tests/privacy/doors.py`` are run by a pytest of their own that has none.
"""

import re
import subprocess
import sys
from pathlib import Path

CASES = Path(__file__).with_name("doors.py")


def test_doors_refuse_in_words_where_no_type_checker_runs() -> None:
    asked = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", str(CASES)]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    counted = re.search(r"(\d+) passed", done.stdout)
    assert counted and int(counted[1]) >= 34 and "skipped" not in done.stdout
