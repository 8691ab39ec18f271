"""What ``inpatient cohort check`` tells of a cohort's tables: counts and ranges, never a patient.

Counts below five are masked and ranges are the 5 % and 95 % points of at least 100 values. That is
courtesy towards few patients; nothing here is differentially private, and none of it may be sent on
as if it were.
"""

from pathlib import Path
from typing import Any

import numpy as np

from aggregation.data.cohort import read_cohort_file
from aggregation.data.encoding import FEW, Encoded, masked
from aggregation.data.patients import Field, Patients, Schema
from aggregation.data.tables import survey
from privacy.errors import InvalidInputError

__all__ = ["survey_cohort"]

_ENOUGH = 100  # values, below which no range is shown
_FOLDS = 5


def survey_cohort(path: Path) -> dict[str, Any]:
    """Read every table of a cohort and report.

    Returns:
      ``name``, ``outcome``, ``sites`` and ``fields`` (tables), ``problems`` (what has to be mended)
      and ``hints`` (what looks odd); plain JSON.

    Raises:
      InvalidInputError: The cohort's own file or its schema can't be read.
    """
    listed = read_cohort_file(path)
    schema = Schema.from_toml(path.parent / listed.schema)
    tables = {"": listed.table} if listed.table else {
        name: s if isinstance(s, str) else s.table for name, s in listed.sites.items()
    }  # fmt: skip
    read: dict[str, Encoded] = {}
    problems: list[str] = []
    for name, table in tables.items():
        try:
            most = listed.patients.records
            read[name] = survey(path.parent / table, schema, most_records=most)
            problems += read[name].problems
        except InvalidInputError as error:
            problems.append(str(error))
    hospitals = {
        site or name: patients for name, e in read.items() for site, patients in e.sites.items()
    }
    repeats, hints = listed.patients, _hints(schema, hospitals)
    if over := repeats.objection(hospitals):
        problems.append(f"{path}: {over}")
    if repeats.any:
        hints.append(
            f"One patient may have {repeats.records} records at a hospital and stand in "
            f"{repeats.hospitals} hospitals: the noise hides a patient with all of them, and is "
            f"{repeats.hospitals} times as large as for one hospital."
        )
    return {
        "name": listed.name or path.stem,
        "outcome": schema.outcome,
        "sites": [
            _site(n, p, read[n].left_out if n in read else None) for n, p in hospitals.items()
        ],
        "fields": [_field(one, schema, list(read.values()), hospitals) for one in schema.fields],
        "problems": problems,
        "hints": hints,
    }


def _site(name: str, patients: Patients, left_out: int | None) -> dict[str, Any]:
    ill = int(patients.ever.sum())
    well = patients.count - ill
    return {
        "name": name,
        "patients": masked(patients.count),
        # Beside a shown total, one masked count would be told by the other.
        "with_outcome": str(ill) if min(ill, well) >= FEW else "masked",
        "without_outcome": str(well) if min(ill, well) >= FEW else "masked",
        "left_out": "" if left_out is None else masked(left_out),
        "scored": "yes" if min(ill, well) >= _FOLDS else "trains only",
    }


def _field(
    one: Field, schema: Schema, read: list[Encoded], hospitals: dict[str, Patients]
) -> dict[str, Any]:
    kept = sum(e.rows - e.left_out for e in read)
    missing = sum(e.missing[one.name] for e in read)
    central = ""
    if one.number and hospitals:
        place = schema.names.index(one.name)
        values = np.concatenate(
            [schema.to_clinical(p.features)[:, place] for p in hospitals.values()]
        )
        if len(values) - missing >= _ENOUGH:
            low, high = np.quantile(values, [0.05, 0.95])
            central = f"{low:.3g} to {high:.3g}"
    return {
        "name": one.name,
        "unit": one.unit,
        "allowed": f"{one.low:g} to {one.high:g}"
        if one.number
        else ", ".join(one.levels) or "yes, no",
        "central": central,
        "missing": f"{missing / kept:.0%}" if missing >= FEW and kept else masked(missing),
    }


def _hints(schema: Schema, hospitals: dict[str, Patients]) -> list[str]:
    """What is allowed and looks odd."""
    hints: list[str] = []
    if not hospitals:
        return hints
    features = np.concatenate([p.features for p in hospitals.values()])
    for place, column in enumerate(schema.columns):
        values = features[:, place]
        if len(values) >= _ENOUGH and not column.binary and abs(np.median(values)) > 3:
            hints.append(
                f"{column.name}: most values lie more than 3 sd from the schema's mean "
                f"{column.mean:g}. A wrong unit, or a constant that is not this column's?"
            )
        elif len(values) >= _ENOUGH and np.ptp(values) == 0:
            hints.append(
                f"{column.name}: all patients have one value, so nothing is learned of it."
            )
    tiny = sum(min(int(p.ever.sum()), int((1 - p.ever).sum())) < _FOLDS for p in hospitals.values())
    if tiny:
        hints.append(
            f"{tiny} of {len(hospitals)} hospitals have fewer than {_FOLDS} patients of either "
            "outcome: they train and are not scored (all such: ranked together)."
        )
    return hints
