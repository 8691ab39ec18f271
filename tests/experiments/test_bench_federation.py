"""The benchmark of many hospitals measures what it says, in memory that doesn't follow them."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from aggregation.engines.fleet import Fleet
from experiments.benchmarks import federation_job, many_hospitals
from experiments.commands.bench import BenchFederation
from privacy.errors import InvalidInputError, RefusedError
from privacy.mechanisms import Seeded


def test_a_small_run_is_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = BenchFederation(hospitals=70, rounds=2, threads=1, ours=True, out=tmp_path, json=True)
    assert bench.run() == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "federation.json").read_text())
    (row,) = printed["rows"]
    assert (row["name"], row["size"], row["bytes"]) == ("inpatient", 70, 8 * 19 * 70)
    assert (row["ratio_to"], row["ratio"]) == (None, None)
    assert row["seconds"] > 0 and row["accuracy"] > 0.5
    assert printed["patients"] == federation_job.sizes(70, 0).sum()
    assert 0.9 < printed["epsilon"] <= 1.0
    assert set(printed["phases"]) == {
        "read", "gradients", "clip", "integers", "sums", "noise", "ledgers"
    }  # fmt: skip
    assert printed["phases"]["ledgers"] == 0  # the plan's budget is checked once for all


def test_memory_does_not_follow_the_number_of_hospitals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(federation_job, "_MEDIAN", 20)
    many_hospitals.measure(64, threads=1)  # whatever is loaded or cached once
    peaks = []
    for hospitals in (256, 1024):
        tracemalloc.start()
        many_hospitals.measure(hospitals, threads=1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 768 * 1000  # names, sizes: under 1 kB a hospital


def test_impossible_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="hospitals=1"):
        BenchFederation(hospitals=1, ours=True, out=tmp_path).run()


def test_an_absent_peer_is_an_error_and_not_a_missing_row(tmp_path: Path) -> None:
    bench = BenchFederation(hospitals=70, pfl_python=tmp_path / "python", out=tmp_path)
    with pytest.raises(InvalidInputError, match=r"pfl \(in .*make bench-federation.*--ours"):
        bench.run()


def test_a_peer_s_client_sends_what_our_fleet_sums() -> None:
    numbers = federation_job.sizes(70, 0)
    plan = many_hospitals._plan(numbers, 1)
    fleet = Fleet.simulated(plan, lambda: federation_job.blocks(numbers, 0), seed=0)
    job = federation_job.Job(70, 0, 1.0, plan.radius, plan.share_std, 1)
    params = np.linspace(-1, 1, 19)
    sent = np.stack([job.update(k, params, Seeded((0, k))) for k in range(70)])
    assert (np.concatenate(list(fleet.updates(params))) == sent).all()


def test_a_peer_that_did_another_job_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(job: federation_job.Job) -> tuple[float, NDArray[np.int64]]:
        return 1.0, np.zeros(19, dtype=np.int64)

    monkeypatch.setattr(many_hospitals, "find_peers", lambda _: {"other": other})
    with pytest.raises(RefusedError, match="other's seeded sum is not ours"):
        many_hospitals.measure(3, peer_hospitals=3, threads=1)


def test_a_peer_with_arithmetic_of_its_own_is_timed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def own(job: federation_job.Job) -> tuple[float, None]:
        return 1e6, None

    monkeypatch.setattr(many_hospitals, "find_peers", lambda _: {"own": own})
    *_, ours, row = many_hospitals.measure(3, peer_hospitals=3, threads=1).rows
    assert (row.name, row.ratio_to) == ("own", "inpatient")
    assert row.ratio == 1e6 / ours.seconds
