"""The benchmark measures what it says, needs its peers, and draws what it measured."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from aggregation.roles.opening import LocalOpening
from experiments.benchmarks import peers, sealing_cost
from experiments.benchmarks.printing import sealing_tables
from experiments.commands.bench_sealing import BenchSealing
from privacy.errors import CorruptMessageError, InvalidInputError


def test_our_schemes_are_measured_and_the_exact_ones_are_exact(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = BenchSealing(
        sizes=(50, 300), hospitals=(3, 5), repeats=1, ours=True, out=tmp_path, json=True
    )
    assert bench.run() == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "sealing.json").read_text())
    assert printed["peak_bytes"] > 0
    points = {(row["size"], row["hospitals"]) for row in printed["rows"]}
    assert points == {(50, 3), (300, 3), (300, 5)}
    by_name = {row["name"]: row for row in printed["rows"] if row["hospitals"] == 3}
    assert set(by_name) == {"minimum", "numpy", "aes", *sealing_cost.OURS}
    for name in ("plain", "shares", "bfv", "threshold", "pairwise"):
        assert by_name[name]["accuracy"] <= 3 * sealing_cost.STEP / 2
        assert by_name[name]["bytes"] >= by_name["minimum"]["bytes"]
        assert by_name[name]["seconds"] > 0
    assert (tmp_path / "sealing.png").stat().st_size > 10_000
    assert "NVFLARE" not in (tmp_path / "sealing.svg").read_text()  # it was not measured


def test_an_absent_peer_is_an_error_and_not_a_missing_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    present = importlib.import_module

    def without_flower(name: str, package: str | None = None) -> Any:
        if name == "flwr":
            raise ImportError(name)
        return present("json") if name in ("nvflare", "phe") else present(name, package)

    monkeypatch.setattr(peers, "import_module", without_flower)
    with pytest.raises(InvalidInputError, match=r"compares with flwr, which.*make bench"):
        BenchSealing(sizes=(50,), hospitals=(3,), repeats=1, out=tmp_path).run()
    assert not list(tmp_path.iterdir())


def test_a_wrong_sum_stops_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = LocalOpening.open
    monkeypatch.setattr(LocalOpening, "open", lambda *given: opened(*given) + 1)
    with pytest.raises(CorruptMessageError, match="plain opened a wrong sum"):
        sealing_cost.measure([(50, 3)], peers=False, repeats=1)


def test_ratios_are_to_nvflare() -> None:
    found = {
        "nvflare": peers.PeerMeasured(2.0, 1.0, 1.0, 1000, 1e-8),
        "bfv": peers.PeerMeasured(0.5, 0.1, 0.1, 250, 0.0),
        "minimum": peers.PeerMeasured(0.0, None, None, 100, None),
    }
    rows = {row.name: row for row in sealing_cost._rows(found, 10, 4)}
    assert (rows["bfv"].ratio, rows["bfv"].bytes_ratio) == (0.25, 0.25)
    assert (rows["minimum"].ratio, rows["minimum"].bytes_ratio) == (None, 0.1)
    assert {row.ratio_to for row in rows.values()} == {"nvflare"}
    (table,) = sealing_tables(sealing_cost.SealingBenchmark(tuple(rows.values()), {}, 1))
    assert table.row_count == 3


def test_impossible_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="at least one"):
        BenchSealing(sizes=(), ours=True, out=tmp_path).check()
    with pytest.raises(InvalidInputError, match="size=0"):
        BenchSealing(sizes=(0,), hospitals=(3,), ours=True, out=tmp_path).run()
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(InvalidInputError, match="Can't write into"):
        BenchSealing(sizes=(5,), hospitals=(3,), repeats=1, ours=True, out=blocked / "x").run()
