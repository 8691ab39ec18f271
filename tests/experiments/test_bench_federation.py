"""The benchmark of many hospitals measures what it says, in memory that doesn't follow them."""

import json
import tracemalloc
from pathlib import Path

import pytest

from experiments.benchmarks import federation
from experiments.commands.bench import BenchFederation
from privacy.errors import InvalidInputError


def test_a_small_run_is_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = BenchFederation(hospitals=70, rounds=2, threads=1, out=tmp_path, json=True)
    assert bench.run() == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "federation.json").read_text())
    (row,) = printed["rows"]
    assert (row["name"], row["size"], row["bytes"]) == ("inpatient", 70, 8 * 19 * 70)
    assert (row["ratio_to"], row["ratio"]) == (None, None)
    assert row["seconds"] > 0 and row["accuracy"] > 0.5
    assert printed["patients"] == federation._sizes(70, 0).sum()
    assert 0.9 < printed["epsilon"] <= 1.0
    assert set(printed["phases"]) == {"read", "gradients", "clip", "integers", "sums", "noise"}


def test_memory_does_not_follow_the_number_of_hospitals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(federation, "_MEDIAN", 20)
    federation.measure(64, threads=1)  # whatever is loaded or cached once
    peaks = []
    for hospitals in (256, 1024):
        tracemalloc.start()
        federation.measure(hospitals, threads=1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 768 * 1000  # names, sizes: under 1 kB a hospital


def test_impossible_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="hospitals=1"):
        BenchFederation(hospitals=1, out=tmp_path).run()
