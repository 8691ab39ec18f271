"""How many releases a prior needs: rows by cohort, beside all rounds and own models."""

import re

from experiments.run.record import Record
from experiments.studies.conclusion import Conclusion
from experiments.studies.joining.arm_point import End, JoiningArm, JoiningPoint
from experiments.studies.joining.arms import FEW, SETTING
from experiments.studies.joining.risk import JoiningRisk
from experiments.studies.joining.verdicts import cohort_records, judged
from paper.few_told import few_rows, once
from paper.joining_told import joining
from paper.readme import block
from tests.experiments.joining.test_verdicts import metrics, record
from tests.experiments.made_up import frontier_metrics, interval

NUMBER = re.compile(r"[−+]?\d+(?:\.\d+)?")
A = JoiningArm


def records() -> list[Record]:
    found = [record(JoiningPoint(A.OWN, None, "ist-odd", SETTING), {End.FIT: metrics(0.75)})]
    shared = ((A.SEALED, 1.0, 0.78), (A.MOMENTS, 1.0, 0.775), (A.MOMENTS, 0.3, 0.76),
              (A.GRADIENT, 1.0, 0.74))  # fmt: skip
    for arm, epsilon, auc in shared:
        point = JoiningPoint(arm, epsilon, "ist-odd", FEW.get(arm, SETTING))
        found.append(record(point, {End.BARE: metrics(auc - 0.01), End.FIT: metrics(auc)}))
    risk = JoiningRisk(A.MOMENTS, 1.0, "ist-odd", FEW[A.MOMENTS])
    attacked = frontier_metrics(
        bound=0.1551, risks={"informed": interval(0.13), "likelihood_ratio": interval(0.1)}
    )
    return [*found, Record(risk.config, attacked, {"commit": "c", "dirty": False})]


def test_rows_stand_beside_all_rounds_and_own_models() -> None:
    rows = few_rows(records())
    assert [(row["arm"], row["epsilon"]) for row in rows] == [
        ("sealed", "1"), ("one gradient", "1"), ("moments", "0.3"), ("moments", "1"),
    ]  # fmt: skip
    sealed, gradient, _, moments = rows
    assert sealed["less_all"] == "" and moments["less_all"].startswith("−0.00")
    assert gradient["less_all"].startswith("−0.039") and gradient["informed"] == ""
    assert moments["informed"] == "0.13 (0.12–0.14)" and moments["bound"] == "0.156"
    assert sealed["gain"].startswith("+0.0") and moments["gain"].startswith("+0.02")
    told = {lang: block("few", {"few": rows}, lang) for lang in ("en", "zh")}
    assert f"{SETTING.rounds} rounds of gradients" in told["en"]
    assert told["en"].count("not tried") == 3 and told["zh"].count("未试") == 3
    assert sorted(NUMBER.findall(told["en"])) == sorted(NUMBER.findall(told["zh"]))


def test_no_question_of_the_protocol_is_asked_of_few_releases() -> None:
    asked = {one.question: one for one in judged(records())}
    assert not any("moments" in question or "gradient" in question for question in asked)
    assert asked["Q9 the risk is what the bound says"].verdict is Conclusion.NOT_TRIED
    sorted_ = cohort_records(records())
    assert sorted_.risks == {} and {*sorted_.few_risks} == {(A.MOMENTS, 1.0)}
    assert {*sorted_.whole} == {(A.OWN, None), (A.SEALED, 1.0)}


def test_prose_finds_one_release_by_the_halfs_name() -> None:
    rows = few_rows(records())
    assert once(rows) == {"explored": rows[-1]} and rows[-1]["arm"] == "moments"
    assert once([]) == {}


def test_a_cohort_without_such_arms_or_without_all_rounds_has_no_row() -> None:
    few = [r for r in records() if r.config["arm"] not in ("sealed",)]
    assert few_rows(few) == []
    assert few_rows([r for r in records() if r.config["arm"] in ("sealed", "own")]) == []


def test_the_primary_comparison_alone_is_told_by_size_of_hospital() -> None:
    """As of all 464 hospitals together, of which no question was asked beforehand."""
    seeds = (5, 6, 7, 8, 9)
    own = JoiningPoint(A.OWN, None, "ist", SETTING, seeds=seeds)
    sealed = JoiningPoint(A.SEALED, 1.0, "ist", SETTING, seeds=seeds)
    found = joining(
        [
            record(own, {End.FIT: metrics(0.74)}),
            record(sealed, {End.BARE: metrics(0.78), End.FIT: metrics(0.78)}),
        ]
    )["ist"]
    assert {*found} == {"classes", "gain"} and found["gain"].startswith("+0.0")
    last = found["classes"][-1]
    assert last["class"] == "all" and last["fit"].startswith("+0.0") and "article" not in last
    assert joining([record(own, {End.FIT: metrics(0.74)})]) == {}
