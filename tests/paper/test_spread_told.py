"""How far an AUC moves: the rows of the table, from the published records."""

from pathlib import Path

import numpy as np

from experiments.run.record import read_records
from experiments.run.text import nearest
from experiments.studies.design import Design
from experiments.studies.spread import read_spread
from paper.joining_told import of_hundred
from paper.points import Points
from paper.spread_told import spread_rows

RECORDS = read_records(Path(__file__).resolve().parents[2] / "paper" / "records")
OWN = read_spread([r for r in RECORDS if r.config["experiment"] == "spread"])


def half(between: str) -> float:
    low, high = map(float, between.split(" to "))
    return (high - low) / 2


def test_each_row_stands_beside_the_frontiers_in_the_order_of_designs() -> None:
    rows = spread_rows(RECORDS, Points(RECORDS))
    assert [(row["design"], row["epsilon"]) for row in rows] == [
        ("none", "∞"), ("article", "0.3"), ("article", "1"), ("article", "3"), ("local", "1"),
        ("sealed", "0.3"), ("sealed", "1"), ("sealed", "3"),
    ]  # fmt: skip
    assert all(row["frontier"] for row in rows) and {row["runs"] for row in rows} == {"40"}
    alone = spread_rows([r for r in RECORDS if r.config["experiment"] == "spread"], Points([]))
    assert all((row["frontier"], row["frontier_interval"]) == ("", "") for row in alone)


def test_under_the_articles_noise_the_frontiers_interval_holds_a_seventh_of_where_a_run_lies() -> (
    None
):
    rows = {(row["design"], row["epsilon"]): row for row in spread_rows(RECORDS, Points(RECORDS))}
    article, sealed = rows["article", "0.3"], rows["sealed", "1"]
    assert half(article["single_interval"]) > 7 * half(article["frontier_interval"])
    assert half(sealed["single_interval"]) < 1.3 * half(sealed["frontier_interval"])


def test_another_road_gives_the_spread_of_single_cross_validations() -> None:
    """The patients' share by the frontier's own interval, the runs' by their standard deviation."""
    points = Points(RECORDS)
    for read in OWN:
        runs = np.array(read.metrics.runs)
        assert nearest(float(runs.mean())) == nearest(read.metrics.auc_within.value)
        beside = points.find(
            read.point.regime, read.point.model, Design(read.point.design), read.point.epsilon
        )
        assert beside is not None
        patients = beside.metrics.auc_within.half_width
        both = np.hypot(patients, 1.96 * runs.std(ddof=1))
        assert 0.75 < read.metrics.single.half_width / both < 1.25
        mean = np.hypot(patients, 1.96 * runs.std(ddof=1) / np.sqrt(len(runs)))
        assert 0.8 < read.metrics.auc_within.half_width / mean < 1.2


def test_a_bound_is_told_of_a_hundred_and_never_below_itself() -> None:
    assert [of_hundred(b) for b in (0.1, 0.1001, 0.154, 0.1554, 0.16)] == [10, 11, 16, 16, 16]
