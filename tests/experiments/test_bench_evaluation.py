"""How near an evaluation round comes to the truth: the simulation, its record, and what is told."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from aggregation.evaluation import binned, score_edges
from aggregation.federation import Federation
from aggregation.models import Counts
from experiments.benchmarks.counted_auc import (
    CASES,
    MODEL,
    PARAMS,
    SCHEMA,
    Case,
    measure,
    open_counts,
    plan_of,
    told,
)
from experiments.benchmarks.sealed_run import stroke_like
from experiments.cli import main
from privacy.errors import InvalidInputError
from privacy.mechanisms import Seeded

ROOT = Path(__file__).resolve().parents[2]
RECORD = json.loads((ROOT / "paper" / "bench" / "evaluation.json").read_text())
HELD = stroke_like(6, seed=3)
SCORES = {name: MODEL.scores(PARAMS, own.features) for name, own in HELD.items()}
EDGES = score_edges(MODEL, PARAMS, SCHEMA, 8)


def test_its_sums_have_the_law_of_a_federations() -> None:
    """Of one plan: the counts in the mean, and the noise that each of the two is said to have."""
    plan = plan_of(HELD, 0.1)
    counts = plan.model
    assert isinstance(counts, Counts)
    truth = np.zeros((2, 8))
    for name, own in HELD.items():
        place = np.searchsorted(EDGES, SCORES[name], side="right")
        np.add.at(truth, (own.outcomes, place), 1)
    cells = {n: binned(own, SCORES[n], EDGES, counts, n) for n, own in HELD.items()}
    sums = [
        Federation.simulated(plan, cells, seed=k).run().opened[0] * plan.step for k in range(12)
    ]
    ours = [open_counts(plan, HELD, SCORES, EDGES, Seeded(k)) for k in range(60)]
    std = ours[0].noise_std
    for found in (np.stack(sums).reshape(-1, 2, 8), np.concatenate([o.counts for o in ours])):
        gaps = (found - truth) / std
        # Of 192 and 960 normal numbers: five deviations of their mean and of their spread.
        assert abs(gaps.mean()) < 5 / np.sqrt(gaps.size)
        assert abs(gaps.std() - 1) < 5 / np.sqrt(2 * gaps.size)


def test_less_noise_and_more_patients_come_nearer() -> None:
    dear, cheap, few = measure(
        (Case(60, 1.0, 2.0), Case(60, 1.0, 0.1), Case(4, 0.5, 0.1)), runs=8, seed=1
    )["rows"]
    assert dear["near"] > cheap["near"] and dear["width"] < cheap["width"] < few["width"]
    assert dear["noise_std"] < cheap["noise_std"] and few["drowned"] > 0
    assert few["patients"] < min(cheap["patients"], dear["patients"])
    assert dear["lower"] <= dear["near"] / 8 <= dear["upper"]


def test_the_same_seed_gives_the_same_figures_and_another_one_others() -> None:
    first, again, other = (
        measure((Case(5, 0.5, 1.0),), runs=2, seed=seed)["rows"] for seed in (4, 4, 5)
    )
    assert first == again != other


def test_what_simulates_nothing_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="runs=0"):
        measure(runs=0)
    with pytest.raises(InvalidInputError, match="at least one case"):
        measure(())
    plan = dataclasses.replace(plan_of(HELD, 0.1), model=MODEL)
    with pytest.raises(InvalidInputError, match="counts nothing"):
        open_counts(plan, HELD, SCORES, EDGES, Seeded(0))


def test_the_command_prints_and_writes_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.benchmarks.counted_auc.CASES", (Case(5, 0.5, 1.0),))
    for more in (["--json"], []):
        with pytest.raises(SystemExit) as left:
            main(["bench", "evaluation", "--runs", "2", "--out", str(tmp_path), *more])
        assert left.value.code == 0
        said = capsys.readouterr().out
        if more:
            assert json.loads(said) == json.loads((tmp_path / "evaluation.json").read_text())
        else:
            assert "within .01" in said and "Written: " in said
    with pytest.raises(SystemExit) as left:
        main(["bench", "evaluation", "--runs", "0"])
    assert left.value.code == 2 and "runs=0" in capsys.readouterr().err


@pytest.mark.nightly
def test_a_tenth_of_the_budget_is_enough_in_a_thousand_runs_and_for_half_of_them_it_is_not() -> (
    None
):
    whole, half, dear = measure(
        (Case(464, 1.0, 0.1), Case(464, 0.5, 0.1), Case(464, 0.5, 0.2)), runs=1000, seed=7
    )["rows"]
    assert whole["lower"] >= 0.95 and dear["lower"] >= 0.95 and half["upper"] < 0.9


def test_the_guide_tells_what_was_recorded_and_a_tenth_of_the_budget_is_enough() -> None:
    guide = " ".join((ROOT / "docs" / "own-model.md").read_text(encoding="utf-8").split())
    assert told(RECORD) in guide
    assert RECORD["rows"][0]["runs"] >= 200 and RECORD["rows"][0]["lower"] > 0.95
    assert [Case(**row["case"]) for row in RECORD["rows"]] == list(CASES)
    assert RECORD["stamp"]["dirty"] is False


@pytest.mark.nightly
def test_the_record_comes_again() -> None:
    assert measure(runs=RECORD["rows"][0]["runs"], seed=RECORD["seed"])["rows"] == RECORD["rows"]
