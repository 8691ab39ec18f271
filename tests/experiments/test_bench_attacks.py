"""The benchmark of attacks: the loops do the same work as ours, and the rows are whole."""

import json
from pathlib import Path

import numpy as np
import pytest

from attacks.searching.surrogate import BatchGradient
from experiments.benchmarks import attacks
from experiments.commands.bench_attacks import BenchAttacks
from experiments.door import enter
from privacy.errors import InvalidInputError


def test_rows_are_whole_and_the_cascade_is_no_less_accurate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = BenchAttacks(sizes=(4,), batches=2, restarts=2, iterations=20, out=tmp_path, json=True)
    assert bench.run() == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "attacks.json").read_text())
    rows = {row["name"]: row for row in printed["rows"]}
    assert list(rows) == ["tableak_loop", "breaching_loop", "tableak", "cascade"]
    for row in rows.values():
        assert set(row) == {
            "name", "size", "seconds", "bytes", "accuracy", "gain", "gain_half", "ratio_to",
            "ratio",
        }  # fmt: skip
        assert row["gain"] == pytest.approx(row["accuracy"] - rows["tableak_loop"]["accuracy"])
        assert row["ratio"] == row["seconds"] / rows["tableak_loop"]["seconds"]
    assert rows["tableak_loop"]["gain_half"] == 0 < rows["tableak"]["gain_half"]
    assert rows["cascade"]["accuracy"] >= rows["tableak_loop"]["accuracy"]
    assert printed["peak_bytes"] > 1e6


def test_the_loops_gradient_is_that_of_the_hospital() -> None:
    import torch

    batch = attacks._batch(4, [0])
    flat, target = attacks._network_gradient(batch)
    x = torch.tensor(batch.truth, dtype=torch.float32)
    y = torch.tensor(batch.labels, dtype=torch.float32)
    np.testing.assert_allclose(flat(x, y).detach(), target, atol=1e-5)
    plan, gradient = batch.view.plan, batch.view.gradients[0]
    ours = BatchGradient.at(plan.model, gradient.params, None, torch.float32)
    np.testing.assert_allclose(ours(x[None], y[None], torch.ones((1, 4)))[0], target, atol=1e-5)


def test_impossible_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="restarts=0"):
        enter(BenchAttacks(restarts=0, out=tmp_path))
    with pytest.raises(InvalidInputError, match="at least one"):
        enter(BenchAttacks(sizes=(), out=tmp_path))
