"""``inpatient cohort check`` and ``init``: what is told, and what never is."""

import json
import re
from pathlib import Path

import pytest

from aggregation.data import Schema, read_table
from experiments.cli import main
from tests.aggregation.data.parts import (
    MAPPING,
    SCHEMA,
    by_hand,
    rows,
    same,
    write_csv,
    write_parquet,
)


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert isinstance(left.value.code, int)
    return left.value.code


@pytest.fixture
def stroke(tmp_path: Path) -> Path:
    for seed, name in enumerate(("north", "south")):
        write_csv(tmp_path / f"{name}.csv", rows(80, seed))
        (tmp_path / f"{name}.toml").write_text(f'source = "{name}.csv"\n{MAPPING}')
    (tmp_path / "schema.toml").write_text(SCHEMA)
    (tmp_path / "cohort.toml").write_text(
        'schema = "schema.toml"\n[sites]\nnorth = "north.toml"\nsouth = "south.toml"\n'
    )
    return tmp_path


def test_a_sound_cohort_is_counted(stroke: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("cohort", "check", str(stroke / "cohort.toml"), "--json") == 0
    report = json.loads(capsys.readouterr().out)
    expected = by_hand(rows(80, 0))
    ill = int(expected.outcomes.sum())
    assert report["sites"][0] == {
        "name": "north",
        "patients": "80",
        "with_outcome": str(ill),
        "without_outcome": str(80 - ill),
        "left_out": "0",
        "scored": "yes",
    }
    assert [f["name"] for f in report["fields"]] == ["age", "chol", "smoker", "angina"]
    assert report["fields"][1]["allowed"] == "80 to 620"
    assert report["fields"][0]["missing"].endswith("%")
    assert report["problems"] == []
    assert run("cohort", "check", str(stroke / "cohort.toml")) == 0
    assert "Nothing is wrong" in capsys.readouterr().out


def test_every_fault_is_told_once_and_no_patient_is(
    stroke: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    south = [(*r[:2], 777.25 if r[0] == 3 else r[2], r[3], "Mr Smith" if r[0] == 4 else r[4],
              *r[5:]) for r in rows(80, 1)]  # fmt: skip
    write_csv(stroke / "south.csv", south)
    (stroke / "north.csv").unlink()
    assert run("cohort", "check", str(stroke / "cohort.toml")) == 2
    told = " ".join(capsys.readouterr().out.split())
    assert told.count("WRONG:") == 3
    assert "fewer than 5" in told
    assert "777" not in told
    assert "Smith" not in told


def test_counts_below_five_are_masked_and_cannot_be_told_by_the_rest(
    stroke: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = [(r[0], int(r[0] <= 3), *r[2:]) for r in rows(80, 1)]
    write_csv(stroke / "south.csv", few)
    assert run("cohort", "check", str(stroke / "cohort.toml"), "--json") == 0
    report = json.loads(capsys.readouterr().out)
    south = report["sites"][1]
    assert (south["patients"], south["with_outcome"], south["without_outcome"]) == (
        "80", "masked", "masked")  # fmt: skip
    assert south["scored"] == "trains only"
    assert any("1 of 2 hospitals have fewer than 5" in hint for hint in report["hints"])


def test_a_constant_that_is_not_the_columns_is_noted(
    stroke: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = SCHEMA.replace("mean = 55, sd = 10, low = 18, high = 100", "mean = 5, sd = 10, low = 0, "
                         "high = 100")  # fmt: skip
    (stroke / "schema.toml").write_text(odd)
    assert run("cohort", "check", str(stroke / "cohort.toml"), "--json") == 0
    assert "age: most values lie more than 3 sd" in json.loads(capsys.readouterr().out)["hints"][0]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_first_files_hold_nothing_of_the_patients_in_the_public_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    content = [(*r[:-1], "") for r in rows(80)]
    (write_csv if form == "csv" else write_parquet)(tmp_path / f"ward.{form}", content)
    assert run("cohort", "init", str(tmp_path / f"ward.{form}")) == 0
    assert "cohort check" in capsys.readouterr().out
    schema, table = (tmp_path / "schema.toml").read_text(), (tmp_path / "ward.toml").read_text()
    assert not re.search(r"\d", schema.split("[columns]")[1])
    assert "yes" not in schema
    assert "stopped" in table  # the hospital's own part names its codes
    assert 'id = "patient"' in table
    assert 'column = "event"' in table
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert run("cohort", "init", str(tmp_path / f"ward.{form}")) == 2
    assert "Nothing was written" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_the_first_files_can_be_filled_in(tmp_path: Path) -> None:
    content = rows(80)
    write_csv(tmp_path / "ward.csv", content)
    assert run("cohort", "init", str(tmp_path / "ward.csv")) == 0
    (tmp_path / "schema.toml").write_text(SCHEMA)
    table = tmp_path / "ward.toml"
    text = table.read_text().split("[columns]")[0].replace("missing = []", 'missing = ["NA", -9]')
    table.write_text(text + "[columns]" + MAPPING.split("[columns]")[1])
    assert same(read_table(table, Schema.from_toml(tmp_path / "schema.toml")), by_hand(content))


def test_decimal_commas_are_proposed(tmp_path: Path) -> None:
    lines = [f"{k};{k % 2};{k},5" for k in range(40)]
    (tmp_path / "ward.csv").write_text("\n".join(["id;event;weight", *lines]))
    assert run("cohort", "init", str(tmp_path / "ward.csv")) == 0
    assert 'decimal = ","' in (tmp_path / "ward.toml").read_text()
    assert "# weight = {unit" in (tmp_path / "schema.toml").read_text()


def test_a_table_that_is_not_there_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("cohort", "init", str(tmp_path / "ward.csv")) == 2
    assert run("cohort", "check", str(tmp_path / "cohort.toml")) == 2
    assert capsys.readouterr().err.count("Can't read") == 2
    assert list(tmp_path.iterdir()) == []
