"""The committed benchmark of sealing: read, drawn, tabled, and judged by what was asked."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.benchmarks.sealing_cost import SealingBenchmark, SealingRow
from experiments.run.plots import save
from paper.sealing_told import TARGETS, Target, committed, draw_committed, rows
from privacy.errors import InvalidInputError

ROOT = Path(__file__).resolve().parents[2]
BYTES = {"minimum": 400, "plain": 400, "aes": 0, "shares": 410, "bfv": 900, "nvflare": 5_000}
SECONDS = {"minimum": 0.0, "plain": 0.1, "aes": 1.0, "shares": 2.5, "bfv": 4.0, "nvflare": 9.0}


def benchmark() -> SealingBenchmark:
    made = tuple(
        SealingRow(
            name,
            size,
            hospitals,
            SECONDS[name] * size or None,
            None,
            None,
            BYTES[name] * size or None,
            None if name == "aes" else 1e-9,
            "nvflare",
            SECONDS[name] / SECONDS["nvflare"],
            BYTES[name] / BYTES["nvflare"],
        )
        for size, hospitals in ((1_000, 4), (100_000, 4), (100_000, 50))
        for name in BYTES
    )
    return SealingBenchmark(made, {"nvflare": "2.9"}, 1)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    assert committed(tmp_path) is None
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "sealing.json").write_text(json.dumps(benchmark().to_json()))
    assert committed(tmp_path) == benchmark()


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"rows": [{"name": "bfv"}], "peers": {}, "peak_bytes": 1}']
)
def test_a_file_that_is_no_benchmark_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "sealing.json").write_text(content)
    with pytest.raises(InvalidInputError, match="inpatient bench sealing --out paper/bench"):
        committed(tmp_path)


def test_the_figure_shows_every_contender_by_size_and_is_the_same_each_time(
    tmp_path: Path,
) -> None:
    figure = draw_committed(benchmark())
    left, right = figure.axes
    shown = [np.asarray(line.get_xydata(), dtype=float) for line in left.lines]
    assert all(line[:, 0].tolist() == [1_000, 100_000] for line in shown)  # 4 hospitals alone
    assert len(left.lines) == 4  # the AES streams alone are no message
    assert len(right.lines) == 4  # the integers in clear take no time
    assert shown[0][:, 1].tolist() == [400_000, 40_000_000]
    assert all((line >= shown[0]).all() for line in shown)  # nothing lies below the least
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"least: the integers in clear", "NVFLARE (CKKS)", "shares", "bfv"} <= set(texts)
    first = save(draw_committed(benchmark()), tmp_path / "a")[0].read_bytes()
    assert first == save(draw_committed(benchmark()), tmp_path / "b")[0].read_bytes()


def test_the_table_is_of_100_000_values_at_the_first_number_of_hospitals() -> None:
    table = rows(benchmark())
    assert [row["name"] for row in table] == list(BYTES)
    (bfv,) = [row for row in table if row["name"] == "bfv"]
    assert bfv == {
        "name": "bfv",
        "hospitals": "4",
        "kilobytes": "90,000",
        "bytes_ratio": "0.18",
        "milliseconds": "400,000,000",
        "ratio": "0.444",
        "error": "1e-09",
    }
    assert rows(None) == []


def test_targets_are_ratios_of_two_rows() -> None:
    found = {(t.scheme, t.quantity): t.ratio(benchmark(), 50) for t in TARGETS}
    assert found == {
        ("bfv", "bytes"): pytest.approx(0.18),
        ("bfv", "seconds"): pytest.approx(4 / 9),
        ("shares", "bytes"): pytest.approx(1.025),
        ("shares", "seconds"): pytest.approx(2.5),
    }
    lone = replace(benchmark(), rows=tuple(r for r in benchmark().rows if r.name != "nvflare"))
    with pytest.raises(InvalidInputError, match="no bytes of nvflare at 100000 values"):
        TARGETS[0].ratio(lone, 4)


@pytest.mark.parametrize("hospitals", [4, 50])
@pytest.mark.parametrize("target", TARGETS, ids=lambda t: f"{t.scheme}-{t.quantity}")
def test_the_committed_benchmark_meets_the_target(target: Target, hospitals: int) -> None:
    """Where no benchmark is committed, the paper may not speak of its results either."""
    measured = committed(ROOT / "paper")
    if measured is None:
        made = json.loads((ROOT / "paper" / "numbers.json").read_text())
        assert made["sealing"] == []
        assert not (ROOT / "paper" / "figures" / "sealing.svg").exists()
    else:
        assert target.ratio(measured, hospitals) <= target.most
