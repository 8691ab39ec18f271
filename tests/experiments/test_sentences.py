"""Sentences of other studies' records: told where these are there, in both languages."""

import json
import re
from pathlib import Path

import pytest

from experiments.run.record import read_records
from experiments.studies.article_sentences import SENTENCES
from experiments.studies.words import VERDICTS
from paper.learned import sentences

PAPER = Path(__file__).parents[2] / "paper"
PUBLISHED = json.loads((PAPER / "numbers.json").read_text())
NUMBER = re.compile(r"−?\d+(?:\.\d+)?")


def test_all_are_published_in_order_and_their_keys_are_apart() -> None:
    assert [row["claim"] for row in PUBLISHED["sentences"]] == [one.key for one in SENTENCES]
    asked = {row["claim"] for row in PUBLISHED["claims"]}
    assert not asked & {one.key for one in SENTENCES}


@pytest.mark.parametrize("key", [one.key for one in SENTENCES])
def test_both_languages_have_the_same_numbers(key: str) -> None:
    (row,) = [r for r in PUBLISHED["sentences"] if r["claim"] == key]
    assert row["verdict"] in VERDICTS["zh"]
    told = {lang: sorted(NUMBER.findall(text)) for lang, text in row["effect"].items()}
    assert told["en"] == told["zh"]


def test_without_records_nothing_is_said() -> None:
    assert sentences([]) == []


def test_the_federation_beside_the_tables_is_the_frontier_s() -> None:
    """Two roads: without roles, messages and attacks here, with all of them there."""
    records = read_records(PAPER / "records")
    (point,) = [
        r
        for r in records
        if (r.config["experiment"], r.config.get("cohort")) == ("frontier", "heart")
        and (r.config["design"], r.config["epsilon"]) == ("sealed", 1.0)
        and (r.config["regime"], r.config["model"]) == ("full", "logistic")
        and r.config["seeds"] == [0, 1, 2, 3, 4]
    ]
    tables = [r for r in records if r.config["experiment"] == "deidentified"]
    assert len(tables) == 4
    for record in tables:
        beside = record.metrics["beside"]
        assert beside["sealed"]["value"] == pytest.approx(point.metrics["auc_within"]["value"])
        raw = record.metrics["tables"][0]
        assert raw["k"] == 1 and abs(raw["less_pooled"]["value"]) < 1e-4
        assert raw["risks"]["informed"]["value"] > 0.97 and raw["risk"]["value"] > 0.97
