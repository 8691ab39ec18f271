"""What is inferred, and how sure the likelihood ratio was: a row a record, in both languages."""

import re

import pytest

from experiments.run.record import Record
from experiments.studies.inference import grid
from experiments.studies.questions import QuestionKind
from experiments.studies.reliability import grid as reliability_grid
from experiments.studies.words import NOTHING_YET
from paper.inferred_told import inferred_rows, sureness_rows
from paper.readme import block
from tests.experiments.made_up import interval

NUMBER = re.compile(r"\d+(?:\.\d+)?")


def inferred() -> list[Record]:
    return [
        Record(
            dict(p.config),
            {
                "adversary": p.question.adversary, "measure": p.question.measure, "hidden": 0,
                "attack": None if p.question is QuestionKind.PROPERTY and p.design == "sealed"
                else interval(0.55), "baseline": interval(0.5),
                "bound": 0.6111 if p.epsilon else None,
            },
            {},
        )
        for p in reversed(grid())
    ]  # fmt: skip


def test_every_question_is_told_by_who_asks_it_in_the_order_of_designs() -> None:
    rows = inferred_rows(inferred())
    assert len(rows) == len(grid()) and rows[0]["question"] == "membership"
    first = [(row["design"], row["epsilon"]) for row in rows[:5]]
    assert first == [
        ("none", "∞"), ("article", "1"), ("local", "1"), ("sealed", "∞"), ("sealed", "1"),
    ]  # fmt: skip
    told = {lang: block("inferred", {"inferred": rows}, lang) for lang in ("en", "zh")}
    assert told["en"].count("hidden") == told["zh"].count("看不到") == 2
    assert "0.612" in told["en"] and "0.611 " not in told["en"]  # a bound is rounded up
    assert "share of men: mean error" in told["en"]
    assert sorted(NUMBER.findall(told["en"])) == sorted(NUMBER.findall(told["zh"]))


def test_what_the_ratio_said_stands_beside_what_was_so() -> None:
    span = {"said": 0.95, "value": 0.6, "lower": 0.5, "upper": 0.7, "lineups": 40, "folds": 5}
    records = [
        Record(dict(p.config), {"temper": 2.0, "as it is": [span], "tempered": [span],
                                "simulated": [{**span, "value": 0.94, "upper": 0.97}]}, {})
        for p in reliability_grid()
    ]  # fmt: skip
    rows = sureness_rows(records)
    assert len(rows) == 12 and [row["temper"] for row in rows[:3]] == ["1", "1", "2"]
    assert [row["patients"] for row in rows[:3]] == ["simulated", "as it is", "tempered"]
    assert rows[0]["so"] == "0.94 (0.50–0.97)" and rows[1]["so"] == "0.60 (0.50–0.70)"
    told = {lang: block("sureness", {"sureness": rows}, lang) for lang in ("en", "zh")}
    assert sorted(NUMBER.findall(told["en"])) == sorted(NUMBER.findall(told["zh"]))


@pytest.mark.parametrize("part", ["inferred", "sureness"])
def test_without_records_it_says_so(part: str) -> None:
    for language in ("en", "zh"):
        assert block(part, {part: []}, language) == NOTHING_YET[language]
