"""A benchmark's record says which commit it measured, or it is none."""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.run import bench_record
from experiments.run.bench_record import read_bench, write_bench
from privacy.errors import InvalidInputError

CLEAN = {"commit": "a" * 40, "dirty": False}


def test_what_was_written_is_read_with_the_commit_that_it_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_record, "stamp", lambda: CLEAN)
    path = write_bench(tmp_path / "new", "speed", {"rows": [1]})
    assert path.name == "speed.json"
    assert read_bench(path) == {"rows": [1], "stamp": CLEAN}
    second = write_bench(tmp_path / "new", "speed", {"rows": [2]})
    assert second != path and read_bench(path)["rows"] == [1]


@pytest.mark.parametrize(
    "stamp",
    [None, {}, {"dirty": False}, CLEAN | {"dirty": True}, CLEAN | {"commit": ""}, {"commit": "a"}],
)
def test_what_is_of_no_commit_is_refused(tmp_path: Path, stamp: Any) -> None:
    path = tmp_path / "speed.json"
    path.write_text(json.dumps({"rows": []} | ({} if stamp is None else {"stamp": stamp})))
    with pytest.raises(InvalidInputError, match=r"which commit it measured.*Measure it again"):
        read_bench(path)


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_what_is_no_record_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "speed.json"
    path.write_text(content)
    with pytest.raises(InvalidInputError, match="Measure it again"):
        read_bench(path)
