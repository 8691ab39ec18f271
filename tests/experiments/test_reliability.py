"""What the likelihood ratio says of itself: reliability, tempers, and their record."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.studies.design import Design, Regime
from experiments.studies.frontier.grid import full_grid
from experiments.studies.frontier.point import FrontierPoint
from experiments.studies.reliability import (
    JudgedFold,
    ReliabilityPoint,
    fitted_temper,
    grid,
    reliability,
)
from privacy.errors import InvalidInputError


def made_up(
    seed: int, *, folds: int = 8, lineups: int = 60, boast: float = 1.0
) -> list[JudgedFold]:
    """Line-ups whose posterior is right by construction, told ``boast`` times as surely."""
    rng = np.random.default_rng(seed)
    found = []
    for fold in range(folds):
        logs = rng.normal(0, 2.0, (lineups, 10))
        chances = np.exp(logs) / np.exp(logs).sum(axis=1, keepdims=True)
        targets = np.array([rng.choice(10, p=row) for row in chances], dtype=np.int64)
        found.append(JudgedFold(boast * logs, targets, f"made up/{fold}"))
    return found


def test_what_is_right_by_construction_is_reliable_and_needs_no_temper() -> None:
    judged = made_up(0)
    assert fitted_temper(judged) < 1.3
    spans = reliability(judged, 1.0)
    assert sum(span["lineups"] for span in spans) == 480
    for span in spans:
        assert span["lower"] - 0.05 < span["said"] < span["upper"] + 0.05
        assert span["from"] <= span["said"] <= span["to"]


def test_a_boast_is_seen_and_the_temper_undoes_it() -> None:
    judged = made_up(1, boast=4.0)
    sure = reliability(judged, 1.0)[-1]
    assert sure["said"] > 0.98 and sure["upper"] < sure["said"]
    temper = fitted_temper(judged)
    assert 3.0 < temper < 5.3
    for span in reliability(judged, temper):
        assert span["lower"] - 0.05 < span["said"] < span["upper"] + 0.05


def test_no_answer_changes_by_a_temper() -> None:
    judged = made_up(2)
    hits = [sum(s["value"] * s["lineups"] for s in reliability(judged, t)) for t in (1.0, 7.0)]
    assert hits[0] == pytest.approx(hits[1])


def test_an_interval_is_of_folds_and_not_of_line_ups() -> None:
    """Line-ups that share their fold's fate say as much as one."""
    logs = np.zeros((60, 10))
    logs[:, 0] = 3.0
    fates = [JudgedFold(logs, np.full(60, k % 2), f"made up/{k}") for k in range(8)]
    (together,) = reliability(fates, 1.0)
    mixed = [JudgedFold(logs, np.arange(60) % 2, f"made up/{k}") for k in range(8)]
    (apart,) = reliability(mixed, 1.0)
    assert together["value"] == apart["value"] == 0.5
    widths = [span["upper"] - span["lower"] for span in (together, apart)]
    assert widths[0] > 3 * widths[1]


def test_the_temper_is_of_simulated_line_ups_that_no_study_shows() -> None:
    point = ReliabilityPoint(Design.NONE, None, Regime.FULL, "logistic")
    boastful = [replace(one, batch=f"network-4/{k}") for k, one in enumerate(made_up(4, boast=4.0))]
    humble = [replace(one, batch=f"heart/{k}") for k, one in enumerate(made_up(5))]
    assert 3.0 < point.summarise([*humble, *boastful])["temper"] < 5.3
    seeds = {seed for name, seed, _ in point.units if name == "network-4"}
    shown = {
        seed
        for made in full_grid()
        if made.cohort == "network-4"
        for seed in (made.seeds if isinstance(made, FrontierPoint) else ())
    }
    assert seeds and not seeds & shown


def test_of_one_fold_alone_nothing_is_known() -> None:
    (span,) = [s for s in reliability(made_up(3, folds=1), 1.0) if s["to"] == 0.5]
    assert (span["lower"], span["upper"], span["folds"]) == (0.0, 1.0, 1)
    with pytest.raises(InvalidInputError, match="temper"):
        fitted_temper([])
    with pytest.raises(InvalidInputError, match="seeds=0"):
        grid(seeds=0)


def test_a_point_judges_real_line_ups_and_simulated_ones_apart() -> None:
    point = ReliabilityPoint(Design.NONE, None, Regime.FULL, "logistic")
    real = [unit for unit in point.units if unit[0] == "heart"]
    simulated = [unit for unit in point.units if unit[0] != "heart"]
    assert len(real) == 5 and len(simulated) == 3
    parts = [point.measure(unit, None) for unit in (*real[:2], simulated[0])]
    told = point.summarise(parts)
    counted = sum(span["lineups"] for span in told["as it is"])
    assert counted == sum(len(one.targets) for one in parts[:2]) > 0
    assert sum(span["lineups"] for span in told["simulated"]) == len(parts[2].targets)
    assert told["temper"] >= 1
