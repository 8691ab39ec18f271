"""What a whole sealed run costs: the same model as in clear, and the committed figures."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.benchmarks.sealed_run import measure, stroke_like
from experiments.cli import main
from privacy.errors import InvalidInputError

RECORD = Path(__file__).resolve().parents[2] / "paper" / "bench" / "run.json"


def test_hospitals_of_the_trials_shape_are_small_and_some_have_one_patient() -> None:
    drawn = stroke_like(464, seed=0)
    sizes = np.array([len(p) for p in drawn.values()])
    assert len(drawn) == 464
    assert (sizes.min(), sizes.max()) == (1, 524)
    assert 18 <= np.median(sizes) <= 28
    assert {p.features.shape[1] for p in drawn.values()} == {22}
    again = stroke_like(464, seed=0)
    assert all(np.array_equal(p.features, again[n].features) for n, p in drawn.items())


@pytest.mark.parametrize("durable", [False, True])
def test_a_small_run_is_measured(durable: bool) -> None:
    measured = measure(stroke_like(5, seed=1), cohort="five", rounds=2, durable=durable)
    assert (measured.hospitals, measured.rounds, measured.durable) == (5, 2, durable)
    assert measured.seconds > 0 and measured.clear_seconds > 0
    assert measured.sent_bytes > 5 * 2 * 23  # a byte a coordinate at least


def test_impossible_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="rounds=0"):
        measure(stroke_like(5, seed=1), cohort="five", rounds=0)
    with pytest.raises(InvalidInputError, match="Unknown scheme"):
        measure(stroke_like(5, seed=1), cohort="five", rounds=1, scheme="none")


def test_the_command_prints_and_writes_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(
            ["bench", "run", "--hospitals", "4", "--rounds", "1", "--out", str(tmp_path), "--json"]
        )
    assert left.value.code == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "run.json").read_text())


def test_the_record_keeps_what_was_asked_of_464_hospitals() -> None:
    """Forty sealed rounds within five minutes and 4 GB."""
    record = json.loads(RECORD.read_text())
    assert (record["hospitals"], record["rounds"], record["scheme"]) == (464, 40, "shares")
    assert record["seconds"] <= 300
    assert record["peak_bytes"] <= 4e9
