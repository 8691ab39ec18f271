"""Promises of schema.toml."""

from pathlib import Path

import numpy as np
import pytest

from aggregation.data import Column, Field, Schema
from privacy.errors import InvalidInputError
from tests.aggregation.data.parts import SCHEMA


def read(folder: Path, text: str) -> Schema:
    (folder / "schema.toml").write_text(text)
    return Schema.from_toml(folder / "schema.toml")


def test_a_schema_is_its_columns_in_order(tmp_path: Path) -> None:
    schema = read(tmp_path, SCHEMA)
    assert schema.names == ("age", "chol", "smoker", "angina=typical", "angina=atypical")
    assert schema.columns[0] == Column("age", 55.0, 10.0, low=18.0, high=100.0, binary=False)
    assert schema.groups == {"angina": (3, 4)}
    assert schema.outcome == "stroke within a year"


def test_the_published_score_is_a_sum_of_columns_times_constants(tmp_path: Path) -> None:
    schema = read(tmp_path, SCHEMA)
    features = np.array([[1.5, 9.0, 1.0, 1.0, 0.0], [-0.5, 9.0, 0.0, 0.0, 1.0]])
    assert schema.scores(features).tolist() == [1.5 + 0.7 + 2.0, -0.5]
    with pytest.raises(InvalidInputError, match="no published score"):
        Schema(schema.columns, "x").scores(features)


def test_a_digest_is_of_what_the_schema_says_and_not_of_how(tmp_path: Path) -> None:
    digest = read(tmp_path, SCHEMA).digest
    assert read(tmp_path, "# said once more\n" + SCHEMA.replace("55,", "55.0,")).digest == digest
    for old, new in (("mean = 55", "mean = 56"), ("stroke", "death"), ("0.7", "0.8"),
                     ("mg/dl", "mmol/l"), ('"none", "typical"', '"typical", "none"')):  # fmt: skip
        assert old in SCHEMA
        changed = SCHEMA.replace(old, new).replace('"angina=typical" = 2.0', "")
        assert read(tmp_path, changed).digest not in (digest, "")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("mean = 55, ", "", "age is a number and lacks mean"),
        ("sd = 10", "sd = 0", "age needs sd > 0"),
        ("low = 18", "low = 101", "low < high"),
        ("sd = 10", 'sd = "10"', "columns.age.sd"),
        ("sd = 10", "sd = nan", "an infinite number"),
        ('unit = "years"', 'unti = "years"', "columns.age.unti is no key that is known"),
        ("smoker = {}", "smoker = 1", "columns.smoker is to be a table"),
        ("smoker = {}", "smoker = {clip = true}", "smoker is yes or no"),
        ("smoker = {}", 'smoker = {name = "x"}', "without a name of its own"),
        ('"typical", "atypical"]', '"typical", "typical"]', "different levels"),
        ('["none", "typical", "atypical"]', '["none"]', "two or more"),
        ("smoker = 0.7", "smokr = 0.7", "weighs smokr, which the schema lacks"),
        ('outcome = "stroke within a year"', 'outcome = " "', "outcome is empty"),
        ('outcome = "stroke within a year"', "", "outcome is missing"),
        ("smoker = {}", '"angina=typical" = {}', "more than one column angina=typical"),
        ("smoker = {}", 'smoker = {missing = "mean of the patients"}', "columns.smoker.missing"),
        ("smoker = {}", '"smo\\u001bker" = {}', "printable"),
        ("smoker = {}", "smoker = {}\nsmoker = {}", "is not TOML"),
        ("sd = 10", f"sd = {'1' * 5000}", "is not TOML"),
    ],
)
def test_a_wrong_schema_is_one_paragraph(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in SCHEMA
    with pytest.raises(InvalidInputError) as refused:
        read(tmp_path, SCHEMA.replace(old, new, 1))
    told = str(refused.value)
    assert expected in told
    assert "schema.toml" in told
    assert "\n" not in told
    assert "\x1b" not in told


def test_a_schema_needs_columns(tmp_path: Path) -> None:
    for text in ('outcome = "x"', 'outcome = "x"\n[columns]', 'outcome = "x"\ncolumns = 3'):
        with pytest.raises(InvalidInputError, match=r"needs a table \[columns\]"):
            read(tmp_path, text)


def test_a_field_made_by_hand_is_checked_as_one_from_a_file() -> None:
    with pytest.raises(InvalidInputError, match="lacks sd, low, high"):
        Field("age", mean=55.0)
    with pytest.raises(InvalidInputError, match="has levels, so neither constants"):
        Field("cp", mean=1.0, levels=("a", "b"))
