"""The best of what was tried, clipping apart from noise, the searches' effort: made-up points."""

import json
import re
from typing import Any

import pytest

from experiments.evaluation import Estimate
from experiments.run.record import Record
from experiments.studies.design import Design, Regime
from experiments.studies.frontier.grid import group
from experiments.studies.frontier.point import FrontierPoint
from experiments.studies.lineups import AttackSuite
from experiments.studies.words import NOTHING_YET
from paper.best_told import best_of, clipping_of
from paper.effort_told import effort_rows
from paper.points import Points
from paper.readme import block
from tests.experiments.made_up import frontier_metrics, interval

NUMBER = re.compile(r"[−+]?\d+(?:\.\d+)?")
SUITE = AttackSuite(("likelihood_ratio", "informed"))


def record(
    regime: Regime, model: str, design: Design, epsilon: float | None, auc: float, informed: float,
    runs: tuple[float, ...] = (), **more: Any,
) -> Record:  # fmt: skip
    point = FrontierPoint(design, epsilon, regime, model, SUITE, scheme="plain", **more)
    metrics = frontier_metrics(
        auc_within=interval(auc), auc_runs=list(runs),
        risks={"informed": interval(informed), "likelihood_ratio": interval(0.12)},
    )  # fmt: skip
    stamp = {"commit": "c", "dirty": False}
    return Record(json.loads(json.dumps(point.config)), metrics, stamp)


def test_the_best_has_the_greatest_auc_and_the_others_are_beaten_by_nobody() -> None:
    full, small, sealed = Regime.FULL, Regime.SMALL, Design.SEALED
    rows = best_of(
        Points(
            [
                record(full, "logistic", sealed, 1.0, 0.87, 0.13),
                record(full, "mlp", sealed, 1.0, 0.85, 0.12),  # less AUC, less risk: it stands
                record(small, "logistic", sealed, 1.0, 0.86, 0.14),  # beaten in both
                record(small, "mlp", sealed, 1.0, 0.84, 0.12),  # beaten by the second
                record(small, "logistic", Design.ARTICLE, 1.0, 0.75, 0.44),
            ]
        )
    )
    assert [(row["design"], row["tried"]) for row in rows] == [("article", "1"), ("sealed", "4")]
    article, best = rows
    assert (best["regime"], best["model"], best["auc"]) == (
        "full",
        "logistic",
        "0.870 (0.860–0.880)",
    )
    assert best["informed"] == "0.13 (0.12–0.14)" and article["others"] == []
    assert [(one["model"], one["auc"], one["informed"]) for one in best["others"]] == [
        ("mlp", "0.850", "0.12")
    ]
    told = {lang: block("best", {"best": rows}, lang) for lang in ("en", "zh")}
    assert "all patients, mlp (0.850, 0.12)" in told["en"] and told["en"].count("| none |") == 2
    assert sorted(NUMBER.findall(told["en"])) == sorted(NUMBER.findall(told["zh"]))


def test_two_alike_do_not_beat_each_other_and_what_was_not_tried_beats_nobody() -> None:
    alike = [record(Regime.FULL, m, Design.SEALED, 1.0, 0.85, 0.12) for m in ("logistic", "mlp")]
    (row,) = best_of(Points(alike))
    assert len(row["others"]) == 1
    untried = record(Regime.SMALL, "mlp", Design.SEALED, 1.0, 0.8, 0.2)
    del untried.metrics["risks"]["informed"]
    (row,) = best_of(Points([alike[0], untried]))
    assert row["others"] == [
        {"regime": "small", "model": "mlp", "auc": "0.800", "informed": "not tried"}
    ]
    assert "未试" in block("best", {"best": [row]}, "zh")


def test_clipping_and_noise_cost_what_runs_differ_by() -> None:
    seeds = {"seeds": (0, 1, 2)}
    bare, clipped, noised = (0.88, 0.89, 0.87), (0.86, 0.88, 0.86), (0.83, 0.87, 0.85)
    points = Points(
        [
            record(Regime.SMALL, "mlp", design, epsilon, 0.8, 0.2, runs, **seeds)
            for design, epsilon, runs in (
                (Design.NONE, None, bare), (Design.SEALED, None, clipped),
                (Design.SEALED, 1.0, noised), (Design.LOCAL, 1.0, (0.1, 0.2, 0.3)),
            )
        ]
    )  # fmt: skip
    (row,) = clipping_of(points)
    gap = Estimate.over_runs([a - b for a, b in zip(bare, clipped, strict=True)])
    assert row["clipping"] == f"+{gap.value:.3f} (−{-gap.lower:.3f} to +{gap.upper:.3f})"
    assert row["noise"].startswith("+0.017 (") and row["runs"] == "3"
    assert (row["clip_norm"], row["cohort"]) == ("0.5", "heart")
    assert "clip norm 0.5" in block("clipping", {"clipping": [row]}, "en")
    once = [
        record(Regime.SMALL, "mlp", design, epsilon, 0.8, 0.2)
        for design, epsilon in (
            (Design.NONE, None), (Design.SEALED, None), (Design.SEALED, 1.0),
        )
    ]  # fmt: skip
    assert clipping_of(Points(once)) == []  # of a single run nothing is told


def test_a_bound_is_rounded_up() -> None:
    made = record(Regime.FULL, "logistic", Design.SEALED, 1.0, 0.87, 0.13)
    bounded = Record(made.config, {**made.metrics, "bound": 0.1551}, made.stamp)
    (row,) = best_of(Points([bounded]))
    assert row["bound"] == "0.156"


def test_networks_stand_beside_the_four_hospitals() -> None:
    points = Points(
        [
            record(Regime.SMALL, "logistic", design, epsilon, 0.8, 0.2, (value, value + 0.01),
                   seeds=(0, 1), folds=1, cohort="network-40")
            for design, epsilon, value in (
                (Design.NONE, None, 0.71), (Design.SEALED, None, 0.62), (Design.SEALED, 1.0, 0.61),
            )
        ]
    )  # fmt: skip
    (row,) = clipping_of(points)
    assert row["cohort"] == "network-40" and row["clipping"].startswith("+0.090")
    assert "simulated, 40" in block("clipping", {"clipping": [row]}, "en")


def test_each_search_of_the_group_is_told_beside_the_grids_own() -> None:
    grid = [p for p in (*group("effort"), *group("fedavg")) if isinstance(p, FrontierPoint)]
    records = [
        Record(
            json.loads(json.dumps(p.config)),
            frontier_metrics(risks={name: interval(0.4) for name in p.attacks.attacks}),
            {"commit": "c", "dirty": False},
        )
        for p in grid
    ]
    rows = effort_rows(Points(records))
    tableak = [(r["restarts"], r["iterations"]) for r in rows if r["search"] == "tableak"]
    assert len(tableak) == 16 and {*tableak} == {
        ("1", "1500"), ("3", "1500"), ("10", "1500"), ("30", "1500"), ("60", "1500"),
        ("30", "200"), ("30", "600"), ("30", "3000"),
    }  # fmt: skip
    walks = [(r["restarts"], r["iterations"], r["design"]) for r in rows if r["search"] == "fedavg"]
    assert walks == [
        ("2", "60", "none"), ("15", "1500", "none"), ("30", "1500", "none"),
    ]  # fmt: skip
    told = block("effort", {"effort": rows}, "en")
    assert "along walks of 5 steps" in told and told.count("TabLeak") == 16


@pytest.mark.parametrize("part", ["best", "clipping", "effort", "few"])
def test_without_records_it_says_so(part: str) -> None:
    for language in ("en", "zh"):
        assert block(part, {part: []}, language) == NOTHING_YET[language]


def test_a_point_of_another_cohort_or_adversary_is_no_way_of_this_one() -> None:
    own = record(Regime.FULL, "logistic", Design.SEALED, 1.0, 0.8, 0.2)
    others = [
        record(Regime.FULL, "logistic", Design.SEALED, 1.0, 0.99, 0.0, cohort="framingham"),
        record(Regime.FULL, "logistic", Design.SEALED, 1.0, 0.99, 0.0, sees="key_holder"),
    ]
    (row,) = best_of(Points([own, *others]))
    assert row["auc"].startswith("0.800") and row["tried"] == "1"
