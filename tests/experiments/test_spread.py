"""How far AUCs move: the frontier's runs, many times over, with two intervals."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import t as student

from aggregation.data.patients import Patients
from aggregation.federation import Federation
from experiments.evaluation import Estimate, Scored, auc, bootstrap_auc, bootstrap_runs
from experiments.run.record import Record
from experiments.studies.design import Design
from experiments.studies.frontier.metrics import cross_validation, of_models
from experiments.studies.frontier.point import FoldResult, FrontierPoint
from experiments.studies.lineups import AttackSuite
from experiments.studies.spread import SpreadPoint, grid, read_spread, table
from privacy.errors import InvalidInputError


def test_a_unit_is_the_frontiers_run_without_its_attacks() -> None:
    """The same people train, with the same noise: sums in clear are the sealed ones."""
    point = SpreadPoint(Design.SEALED, 1.0, seeds=(3, 4))
    found = point.measure((3, 1))
    frontier = FrontierPoint(
        Design.SEALED, 1.0, point.regime, "logistic", AttackSuite(()), seeds=(3,), scheme="shares"
    )
    _, split = frontier.split(3, 1)
    plan = frontier.plan(split.train, seed=3, fold=1)
    patients, _ = frontier.seated(plan, split, 3, 1)
    params = Federation.simulated(plan, patients, seed=(3, 1)).run().params
    for name, test in split.test.items():
        assert np.array_equal(found.scores[name], plan.model.scores(params, test.features))
    assert found.trials == ()


def test_a_record_is_read_and_shown_and_tells_each_run() -> None:
    point = SpreadPoint(Design.SEALED, 1.0, seeds=(100, 101, 102))
    parts = [point.measure(unit) for unit in point.units]
    metrics = json.loads(json.dumps(point.summarise(parts)))
    record = Record(json.loads(json.dumps(point.config)), metrics, {"commit": "c", "dirty": False})
    (read,) = read_spread([record])
    assert read.point == point
    found = read.metrics
    assert found.auc_within.value == found.single.value == pytest.approx(np.mean(found.runs))
    assert found.runs[0] != found.runs[1]
    assert found.single.half_width > found.auc_within.half_width > 0
    text = "".join(cell for column in table([record]).columns for cell in map(str, column.cells))
    assert "sealed" in text and "1" in text


def test_the_grid_has_each_design_with_seeds_apart_from_the_frontiers() -> None:
    points = grid(seeds=3)
    assert {p.design for p in points} == {
        Design.NONE, Design.ARTICLE, Design.LOCAL, Design.SEALED,
    }  # fmt: skip
    assert all(p.seeds == (100, 101, 102) for p in points)
    assert len({json.dumps(p.config, sort_keys=True) for p in points}) == len(points)
    with pytest.raises(InvalidInputError, match="seeds"):
        grid(seeds=1)


def test_runs_alike_leave_the_patients_interval_and_runs_that_differ_widen_it() -> None:
    rng = np.random.default_rng(4)
    y = rng.integers(0, 2, 80)

    def run(shift: float) -> dict[str, Scored]:
        return {"a": Scored(shift * y + np.random.default_rng(5).normal(size=80), y)}

    alike = [run(1.0)] * 6
    mean, single = bootstrap_runs(*alike)
    for found in (mean, single):
        assert found.value == pytest.approx(bootstrap_auc(*alike).value)
        assert found.half_width == pytest.approx(bootstrap_auc(*alike).half_width)
    apart = [run(shift) for shift in (0.0, 0.4, 0.8, 1.2, 1.6, 2.0)]
    mean, single = bootstrap_runs(*apart)
    assert bootstrap_auc(*apart).half_width < mean.half_width < single.half_width
    few = [run(shift) for shift in (0.3, 0.45, 0.6)]
    luck = student.ppf(0.975, 2) * np.std([auc(one) for one in few], ddof=1)
    patients = bootstrap_auc(*few, replicates=20_000).half_width
    mean, single = bootstrap_runs(*few, replicates=20_000)
    for found, scale in ((mean, 3**-0.5), (single, (1 + 1 / 3) ** 0.5)):
        assert found.half_width == pytest.approx(np.hypot(patients, luck * scale), rel=0.06)
    mean, single = bootstrap_runs(*apart)
    low, high = min(map(auc, apart)), max(map(auc, apart))
    assert single.half_width > 0.3 * (high - low)
    with pytest.raises(InvalidInputError, match="cross_validations"):
        bootstrap_runs(alike[0])


def folds_of(seeds: int, count: int) -> list[FoldResult]:
    """Cross-validations (of one fold: networks) of made-up scores, each with luck of its own."""
    rng = np.random.default_rng(6)
    y = rng.integers(0, 2, 60)
    plan = SpreadPoint(Design.NONE, None).trained.plan(
        {"a": Patients(np.zeros((4, 2)), np.array([0, 1, 0, 1]))}, seed=0, fold=0
    )
    parts = []
    for seed in range(seeds):
        scores = (1.0 + 0.4 * seed) * y + rng.normal(size=60)
        for fold, rows in enumerate(np.array_split(np.arange(60), count)):
            test = Patients(np.zeros((len(rows), 2)), y[rows], ids=rows)
            parts.append(FoldResult(seed, fold, plan, {"a": scores[rows]}, {"a": test}, {}, ()))
    return parts


@dataclass(frozen=True)
class Shown:
    seeds: tuple[int, ...]
    folds: int


def test_a_points_interval_holds_its_cross_validations_and_a_networks_its_networks() -> None:
    for folds in (5, 1):
        parts = folds_of(4, folds)
        several = of_models(Shown((0, 1, 2, 3), folds), parts)
        runs = [cross_validation([p for p in parts if p.seed == s]) for s in range(4)]
        assert several["auc_runs"] == [auc(one) for one in runs]
        wanted = Estimate.over_runs(several["auc_runs"]) if folds == 1 else bootstrap_runs(*runs)[0]
        assert several["auc_within"] == {
            "value": wanted.value, "lower": wanted.lower, "upper": wanted.upper,
        }  # fmt: skip
    own = [p for p in folds_of(4, 5) if p.seed == 0]
    once = of_models(Shown((0,), 5), own)
    wanted = bootstrap_auc(cross_validation(own))
    assert once["auc_runs"] == [] and once["auc_within"]["lower"] == wanted.lower
