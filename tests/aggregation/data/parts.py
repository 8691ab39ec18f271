"""A made ward in every form that a hospital may bring it in; no patient of it ever lived."""

import csv
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregation.data import Patients, Schema, read_table
from privacy.errors import InvalidInputError

SCHEMA = """
outcome = "stroke within a year"
[columns]
age = {unit = "years", mean = 55, sd = 10, low = 18, high = 100}
chol = {unit = "mg/dl", mean = 200, sd = 40, low = 80, high = 620}
smoker = {}
angina = {levels = ["none", "typical", "atypical"]}
[score]
age = 1.0
smoker = 0.7
"angina=typical" = 2.0
"""
MAPPING = """
id = "patient"
missing = ["NA", -9]
[outcome]
column = "event"
drop = [9]
[columns]
age = "age_years"
chol = {column = "cholesterol", factor = 38.67, missing = [0]}
smoker = {one = ["yes"], zero = ["no", "stopped"]}
angina = {levels = {1 = "typical", 2 = "atypical", 3 = "none", 4 = "none"}}
"""
NAMES = ("patient", "event", "age_years", "cholesterol", "smoker", "angina", "comment")
Row = tuple[Any, ...]


def rows(count: int = 60, seed: int = 0) -> list[Row]:
    """Typed rows, in no order, with everything that may be missing missing somewhere."""
    rng = np.random.default_rng(seed)
    made: list[Row] = []
    for patient in rng.permutation(np.arange(1, count + 1)):
        gone = rng.random(4) < 0.1
        made.append(
            (
                int(patient),
                int(rng.integers(2)),
                None if gone[0] else round(float(rng.uniform(30, 90)), 1),
                None if gone[1] else round(float(rng.uniform(3, 9)), 2),
                None if gone[2] else str(rng.choice(["yes", "no", "stopped"])),
                None if gone[3] else int(rng.integers(1, 5)),
                'says "well", so far;\nmore',
            )
        )
    made[0] = (made[0][0], 1, made[0][2], 0.0, "yes", 1, "")
    made[1] = (made[1][0], 0, -9.0, 5.5, "NA", 2, None)
    return made


def write_csv(path: Path, content: list[Row], *, delimiter: str = ",", bom: bool = False) -> Path:
    with path.open("w", newline="", encoding="utf-8-sig" if bom else "utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(NAMES)
        writer.writerows(content)
    return path


def write_parquet(path: Path, content: list[Row]) -> Path:
    import duckdb

    connection = duckdb.connect(":memory:")
    connection.execute(
        "CREATE TABLE ward (patient BIGINT, event INTEGER, age_years DOUBLE, cholesterol DOUBLE, "
        "smoker VARCHAR, angina TINYINT, comment VARCHAR)"
    )
    connection.executemany("INSERT INTO ward VALUES (?, ?, ?, ?, ?, ?, ?)", content)
    connection.execute(f"COPY ward TO '{path}' (FORMAT parquet)")
    return path


def write_sqlite(path: Path, content: list[Row]) -> Path:
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE ward (patient INTEGER, event INTEGER, age_years REAL, cholesterol REAL, "
            "smoker TEXT, angina INTEGER, comment TEXT)"
        )
        connection.executemany("INSERT INTO ward VALUES (?, ?, ?, ?, ?, ?, ?)", content)
    connection.close()
    return path


def site(folder: Path, source: str, more: str = "") -> tuple[Path, Schema]:
    """Write schema.toml and table.toml; ``source`` is a line of TOML, ``more`` stands before it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "schema.toml").write_text(SCHEMA)
    table = folder / "table.toml"
    table.write_text(
        f"{more}\n{source}\n{MAPPING}" if "[" not in source else f"{more}\n{MAPPING}\n{source}\n"
    )
    return table, Schema.from_toml(folder / "schema.toml")


def same(one: Patients, two: Patients) -> bool:
    """Whether two tables agree bit for bit."""
    return all(
        np.array_equal(getattr(one, part).view(np.int64), getattr(two, part).view(np.int64))
        for part in ("features", "outcomes", "ids")
    )


def by_hand(content: list[Row]) -> Patients:
    """The same table by a second road: plain Python over the typed rows."""
    features, outcomes, ids = [], [], []
    for patient, event, age, chol, smoker, angina, _ in sorted(content):
        age = None if age == -9 else age
        chol = None if chol == 0 else chol
        features.append(
            [
                0.0 if age is None else (age - 55) / 10,
                0.0 if chol is None else (chol * 38.67 - 200) / 40,
                float(smoker == "yes"),
                float(angina == 1),
                float(angina == 2),
            ]
        )
        outcomes.append(event)
        ids.append(patient)
    return Patients(np.array(features), np.array(outcomes), np.array(ids))


def csv_table(folder: Path, content: list[Row] | str, more: str = "") -> tuple[Path, Schema]:
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        (folder / "ward.csv").write_text(content)
    else:
        write_csv(folder / "ward.csv", content)
    return site(folder, 'source = "ward.csv"', more)


def refusal(table: Path, schema: Schema) -> str:
    """The one paragraph that a table is refused with."""
    with pytest.raises(InvalidInputError) as refused:
        read_table(table, schema)
    text = str(refused.value)
    assert "\n" not in text
    assert len(text) < 900
    return text
