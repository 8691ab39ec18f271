"""The benchmark measures what it says: the same event for everybody, and intervals that agree."""

import json

import pytest

from experiments.benchmarks.accounting import CELLS
from experiments.commands.bench_accounting import BenchAccounting
from privacy.errors import InvalidInputError


def test_a_small_run_is_whole_and_everybody_agrees(capsys: pytest.CaptureFixture[str]) -> None:
    assert BenchAccounting(rounds=40, different=60, repeats=1, json=True).run() == 0
    found = json.loads(capsys.readouterr().out)
    rows = found["rows"]
    assert len(rows) == 4 * len(CELLS) + 2
    assert found["peak_bytes"] > 0
    for noise_multiplier, prob in CELLS:
        cell = [
            row
            for row in rows[:-2]
            if (row["noise_multiplier"], row["sampling_prob"]) == (noise_multiplier, prob)
        ]
        proved = max(row["lower"] for row in cell)
        for row in cell:
            assert row["upper"] >= proved
            assert row["accuracy"] == row["upper"] / proved - 1
            assert row["ratio_to"] == "inpatient 1 %"
        ours = cell[1]
        assert ours["ratio"] == 1.0
        # As tight as anybody, and 1 % wide (or 1e-3, where epsilon is small).
        assert ours["upper"] <= min(row["upper"] for row in cell) * 1.001
        assert ours["upper"] - ours["lower"] <= 0.01 * ours["upper"] + 1e-3
    for row in rows[-2:]:
        assert (row["size"], row["ratio"]) == (60, None)
        assert 0 < row["lower"] <= row["upper"] <= 1.03 * row["lower"]


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="rounds=0"):
        BenchAccounting(rounds=0).run()
