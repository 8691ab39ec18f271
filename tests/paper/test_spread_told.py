"""How far an AUC moves: the rows of the table, from the published records."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from experiments.evaluation import bootstrap_auc
from experiments.run.record import read_records
from experiments.run.text import nearest
from experiments.studies.frontier.metrics import repeats_of
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


def test_the_frontiers_interval_holds_what_five_runs_show_and_the_mean_of_forty() -> None:
    rows = {(row["design"], row["epsilon"]): row for row in spread_rows(RECORDS, Points(RECORDS))}
    for row in rows.values():
        low, high = map(float, row["frontier_interval"].split(" to "))
        assert low <= float(row["auc"]) <= high
    article, sealed = rows["article", "0.3"], rows["sealed", "1"]
    assert half(article["frontier_interval"]) > 2 * half(sealed["frontier_interval"])
    assert half(sealed["single_interval"]) < 1.3 * half(sealed["frontier_interval"])


def test_another_road_gives_the_spread_of_single_cross_validations() -> None:
    """The patients' share by a bootstrap of five fresh runs, the runs' by Student's quantile."""
    for read in OWN:
        runs = np.array(read.metrics.runs)
        assert nearest(float(runs.mean())) == nearest(read.metrics.auc_within.value)
        point = replace(read.point, seeds=(0,))
        parts = [point.measure(unit) for unit in point.units]
        patients = bootstrap_auc(*repeats_of(point.trained, parts)).half_width
        far = student.ppf(0.975, len(runs) - 1) * runs.std(ddof=1)
        for found, luck in (
            (read.metrics.single, far * np.sqrt(1 + 1 / len(runs))),
            (read.metrics.auc_within, far / np.sqrt(len(runs))),
        ):  # many models together follow the patients less closely than those of one run
            assert 0.9 * luck < found.half_width < 1.15 * np.hypot(patients, luck)


def test_a_bound_is_told_of_a_hundred_and_never_below_itself() -> None:
    assert [of_hundred(b) for b in (0.1, 0.1001, 0.154, 0.1554, 0.16)] == [10, 11, 16, 16, 16]
