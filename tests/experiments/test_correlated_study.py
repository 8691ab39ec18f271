"""The study of correlated noise: it trains as a federation does, at one epsilon."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aggregation.correlation import Correlation
from aggregation.federation import Federation
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.releases import run_event
from experiments.cohorts import folds, load
from experiments.run.record import Record
from experiments.studies.correlated import (
    CorrelatedArm,
    CorrelatedPoint,
    follow_plan,
    grid,
    read_correlated,
    table,
)
from experiments.studies.design import DELTA, RELATION
from privacy.accounting import epsilon
from privacy.errors import InvalidInputError
from tests.aggregation.parts import cohort, plan


@pytest.mark.parametrize(
    "made",
    [
        plan(rounds=4, average_last=2),
        plan(rounds=4, pass_rounds=2),
        plan(
            rounds=4,
            pass_rounds=2,
            noise=NoiseKind.LOCAL,
            colluders=0,
            correlated=Correlation(bands=3),
        ),
    ],
    ids=["plain", "passes", "correlated"],
)
def test_without_seals_and_ledgers_it_is_the_federations_model(made: Plan) -> None:
    whole = Federation.simulated(made, cohort(), seed=(5, 6)).run()
    assert np.array_equal(follow_plan(made, cohort(), (5, 6)), whole.params)


@pytest.mark.parametrize("arm", list(CorrelatedArm))
def test_every_arm_costs_the_epsilon_and_no_less(arm: CorrelatedArm) -> None:
    train = folds(load("heart"), count=5, seed=0)[0].train
    made = CorrelatedPoint(arm).plan(train)
    assert (made.noise, made.scheme) == ("local", "shares")
    assert (made.pass_rounds is not None) is arm.passes
    assert made.correlated == arm.correlation
    spent = epsilon(run_event(made, "va"), delta=DELTA, relation=RELATION).upper
    assert 0.99 < spent <= 1.0


def test_a_record_is_read_and_shown_and_its_point_comes_again() -> None:
    point = CorrelatedPoint(CorrelatedArm.BANDED, seed=3)
    part = replace(point.measure(0), noise_multiplier=2.0)
    metrics = point.summarise([part, replace(point.measure(1), noise_multiplier=4.0)])
    assert metrics["noise_multiplier"] == 3.0
    assert metrics["auc_within"] == max(metrics["by_rate"].values())
    record = Record(point.config, metrics, {"commit": "x"})
    (read,) = read_correlated([record])
    assert read.point == point
    assert table([record]).row_count == 1
    again = point.measure(0)
    for one, other in zip(part.sites, again.sites, strict=True):
        assert all(np.array_equal(one[n].scores, other[n].scores) for n in one)


def test_a_grid_is_every_arm_once_a_seed() -> None:
    points = grid(4, seeds=2, epsilon=3.0, cohort="network")
    assert {(p.arm, p.seed) for p in points} == {(arm, s) for arm in CorrelatedArm for s in (4, 5)}
    assert {(p.epsilon, p.cohort) for p in points} == {(3.0, "network")}
    for wrong in ({"seeds": 0}, {"epsilon": 0.0}, {"epsilon": float("inf")}):
        with pytest.raises(InvalidInputError):
            grid(**wrong)


def committed() -> list[Record]:
    """What ``inpatient correlated --json`` printed of each cohort."""
    path = Path(__file__).parents[2] / "paper" / "bench" / "correlated.json"
    return [
        Record(one["config"], one["metrics"], one["stamp"])
        for one in json.loads(path.read_text(encoding="utf-8"))
    ]


def test_what_the_changelog_says_of_it_stands_in_the_committed_record() -> None:
    found: dict[tuple[str, CorrelatedArm], list[float]] = {}
    for read in read_correlated(committed()):
        assert read.point.epsilon == 1.0
        found.setdefault((read.point.cohort, read.point.arm), []).append(read.metrics.auc_within)
    assert all(len(v) == (1 if name == "ist-odd" else 3) for (name, _), v in found.items())
    assert {name for name, _ in found} == {"heart", "network", "ist-odd"}
    assert len(found) == 3 * len(CorrelatedArm)
    told = (Path(__file__).parents[2] / "CHANGELOG.md").read_text(encoding="utf-8")
    for (_, arm), values in found.items():
        if arm in (
            CorrelatedArm.ALL,
            CorrelatedArm.ALLOCATED,
            CorrelatedArm.FIXED,
            CorrelatedArm.BANDED,
        ):
            assert f"{np.mean(values):.3f}".removeprefix("0") in told
    assert not any(record.stamp["dirty"] for record in committed())
