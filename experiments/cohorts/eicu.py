"""eICU demo 2.0: 1,761 first stays of adults in the intensive care units of 186 hospitals.

Johnson et al. (2021), eICU Collaborative Research Database Demo, PhysioNet, doi:10.13026/4mxk-na84;
Open Data Commons Open Database License 1.0 (share-alike: never a part of this package). Users bring
``patient.csv.gz`` and ``apacheApsVar.csv.gz``; no credentials are needed.

What to know of it:
  - 165 deaths, and no hospital has five: nobody can train or be scored alone;
  - -1 means not measured (pH and gases for 82 % of the patients), which becomes the public mean;
  - the age ``> 89`` is 90; stays without a known discharge status are left out;
  - apachePatientResult holds the outcome's own predictions, and is not used.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from aggregation.data.folds import Cohort
from experiments.cohorts._official import Official, encoded, folder_of, rows_of
from privacy.errors import InvalidInputError

__all__ = ["load_eicu", "read_eicu"]

_OFFICIAL = Official(
    "The eICU demo 2.0",
    ("patient.csv", "apacheApsVar.csv"),
    "physionet.org/content/eicu-crd-demo, Open Database License 1.0",
)
_USED = "eicu_demo_used.csv"  # the two joined, first stays alone
_PATIENT = (
    "patientunitstayid", "uniquepid", "hospitalid", "age", "gender", "unittype",
    "hospitaldischargestatus",
)  # fmt: skip
_MEASURED = (
    "intubated", "vent", "dialysis", "eyes", "motor", "verbal", "wbc", "temperature",
    "respiratoryrate", "sodium", "heartrate", "meanbp", "ph", "hematocrit", "creatinine",
    "albumin", "bun", "glucose", "bilirubin", "pao2",
)  # fmt: skip
_STAYS = 1_761
_SHA256 = "1ea868809ec9c35926a317f503eb70f92bea3c449f0cc96b6f334f46dcb8012d"

Row = dict[str, str]


def load_eicu(data_dir: Path | None = None) -> Cohort:
    """Load the 186 hospitals.

    Args:
      data_dir: Folder with the two official files, or ``eicu_demo_used.csv``, plain or gzipped;
        None: that of ``INPATIENT_DATA``.

    Raises:
      InvalidInputError: A file is missing, or its stays are not the known ones.
    """
    schema, encoding = encoded("eicu", read_eicu(data_dir))
    return Cohort("eicu-demo", encoding.sites, schema)


def read_eicu(data_dir: Path | None = None) -> list[Row]:
    """Read the first stay of each adult whose discharge is known, in the order of the stays' ids.

    Raises:
      InvalidInputError: A file is missing, or its stays are not the known ones.
    """
    folder = folder_of(_OFFICIAL, data_dir)
    used = [p for p in (folder / _USED, folder / f"{_USED}.gz") if p.is_file()]
    rows = rows_of(used[0], (*_PATIENT, *_MEASURED), _OFFICIAL) if used else _joined(folder)
    rows = sorted((_mended(row) for row in rows), key=lambda row: int(row["patientunitstayid"]))
    digest = _digest(rows)
    if digest != _SHA256:
        raise InvalidInputError(
            f"{folder} is readable, but its {len(rows)} first stays (of {_STAYS}) are not the "
            f"known ones: SHA-256 {digest[:16]}..., expected {_SHA256[:16]}.... "
            f"{_OFFICIAL.way_out}"
        )
    return rows


def _joined(folder: Path) -> list[Row]:
    """First stays: of each person the one with the smallest visit number, then the smallest id."""
    patients, measured = (_OFFICIAL.find(name, folder) for name in _OFFICIAL.files)
    by_stay = {
        row["patientunitstayid"]: row
        for row in rows_of(measured, ("patientunitstayid", *_MEASURED), _OFFICIAL)
    }
    first: dict[str, Row] = {}
    stays = rows_of(patients, (*_PATIENT, "unitvisitnumber"), _OFFICIAL)
    for row in sorted(stays, key=lambda r: (_whole(r["unitvisitnumber"]),
                                            _whole(r["patientunitstayid"]))):  # fmt: skip
        first.setdefault(row["uniquepid"], row)
    return [
        {**{name: row[name] for name in _PATIENT}, **by_stay[row["patientunitstayid"]]}
        for row in first.values()
        if row["patientunitstayid"] in by_stay
        and row["hospitaldischargestatus"] in ("Alive", "Expired")
        and _whole(row["age"].replace("> 89", "90")) >= 16
    ]


def _whole(cell: str) -> int:
    return int(cell) if cell.isascii() and cell.isdigit() else -1


def _mended(row: Row) -> Row:
    return {**row, "age": row["age"].replace("> 89", "90")}


def _digest(rows: Sequence[Row]) -> str:
    """SHA-256 of the rows as text: numbers in their shortest form, commas, one line a stay."""
    lines = "".join(
        ",".join(_short(row[name]) for name in (*_PATIENT, *_MEASURED)) + "\n" for row in rows
    )
    return hashlib.sha256(lines.encode()).hexdigest()


def _short(cell: str) -> str:
    try:
        return repr(float(cell))
    except ValueError:
        return cell
