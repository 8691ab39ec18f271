"""A whole run that the tests of this folder may harm, each its own copy."""

import shutil
from pathlib import Path

import pytest

from tests.privacy.ledger.test_verify import Run, run_federation, verify


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("run")
    trust, keys = run_federation(out)
    assert verify(out, trust=trust).status == 0
    return out, trust, keys


@pytest.fixture
def run(original: Run, tmp_path: Path) -> Run:
    out, trust, keys = original
    shutil.copytree(out, tmp_path / "run")
    return tmp_path / "run", trust, keys
