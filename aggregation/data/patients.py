"""Patients as rows of numbers, and the public schema that says what the columns mean.

The schema holds public clinical constants only: nothing in it was computed from a hospital's
patients, so it costs no privacy budget and everybody, the attacker included, has it.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import rfc8785
from jaxtyping import Bool, Float, Int

from privacy._validate import finite_array
from privacy.errors import InvalidInputError

__all__ = ["SLOTS", "Column", "Field", "Patients", "Schema"]

SLOTS = 64
"""Patients that models compute at once, where they compute in blocks."""
_LONGEST_NAME = 64  # characters of a column's, a level's or a unit's name: they stand in tables


@dataclass(frozen=True)
class Column:
    """One column of the feature matrix.

    Attributes:
      name: ``age``, ``cp=asymptomatic``, ...
      group: The one-hot group that it belongs to (dummy-coded: at most one 1 in a group, none
        means the reference level), or None.
      binary: Whether the column holds 0 and 1 only. Every member of a group is binary.
      mean: Public constant subtracted, in clinical units (0 for a binary column).
      sd: Public constant divided by, in clinical units (1 for a binary column).
      low: Smallest plausible value, in clinical units.
      high: Largest plausible value, in clinical units.
      step: Grid of the values as recorded, in clinical units (1 for whole numbers).
    """

    name: str
    mean: float = 0.0
    sd: float = 1.0
    low: float = 0.0
    high: float = 1.0
    step: float = 1.0
    binary: bool = True
    group: str | None = None


@dataclass(frozen=True)
class Field:
    """What a hospital records of a patient, before it becomes one column or several.

    A field with ``levels`` is dummy-coded, one with ``mean`` and ``sd`` is a number, any other is
    yes or no. All constants are public, in clinical units, and never computed from patients.

    Attributes:
      name: Of the field; its columns are ``name``, or ``name=level``.
      unit: In which a number is given; ``factor`` of a hospital's own table leads to it.
      mean: Subtracted; what a missing number becomes.
      sd: Divided by.
      low: Smallest plausible value; a table with values below is refused.
      high: Largest plausible value; a table with values above is refused.
      step: Grid of the values as recorded.
      clip: Whether values outside [low, high] are moved to the nearer end instead of refused.
      levels: Names of the levels, the reference first; a missing one becomes the reference.
      missing: ``constant``: as said above (yes or no: no); ``indicator``: that, and a column
        ``name missing`` after all others; ``refuse``: no value may be missing.

    Raises:
      InvalidInputError: Constants contradict each other or are left out in part.
    """

    name: str
    unit: str = ""
    mean: float | None = None
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    step: float = 1.0
    clip: bool = False
    levels: tuple[str, ...] = ()
    missing: Literal["constant", "indicator", "refuse"] = "constant"

    def __post_init__(self) -> None:
        for name in (self.name, *self.levels, *((self.unit,) if self.unit else ())):
            if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable() or name != name.strip():
                raise InvalidInputError(
                    f"Expected a name of 1 to {_LONGEST_NAME} printable characters without spaces "
                    f"around, got {name[:80]!r}."
                )
        constants = (self.mean, self.sd, self.low, self.high)
        if self.levels:
            if any(c is not None for c in constants) or self.clip:
                raise InvalidInputError(f"{self.name} has levels, so neither constants nor clip.")
            if len(set(self.levels)) != len(self.levels) or len(self.levels) < 2:
                raise InvalidInputError(
                    f"{self.name} needs two or more different levels, the reference first."
                )
        elif any(c is not None for c in constants):
            self._check_number()
        elif self.clip or self.step != 1.0:
            raise InvalidInputError(
                f"{self.name} is yes or no (it has no mean), so neither clip nor step."
            )

    def _check_number(self) -> None:
        lacking = [n for n in ("mean", "sd", "low", "high") if getattr(self, n) is None]
        if lacking:
            raise InvalidInputError(
                f"{self.name} is a number and lacks {', '.join(lacking)}: public constants from "
                "the literature, never from the patients."
            )
        column = self.columns[0]
        if not (column.sd > 0 and column.low < column.high and column.step > 0) or not all(
            math.isfinite(v) for v in (column.mean, column.sd, column.low, column.high, column.step)
        ):
            raise InvalidInputError(
                f"{self.name} needs sd > 0, step > 0 and low < high, got sd={self.sd:g}, "
                f"step={self.step:g}, low={self.low:g} and high={self.high:g}."
            )

    @property
    def number(self) -> bool:
        """Whether it is a number: neither levels nor yes or no."""
        return self.mean is not None

    @property
    def columns(self) -> tuple[Column, ...]:
        """Its columns, but for an indicator of missing values."""
        if self.levels:
            return tuple(Column(f"{self.name}={lv}", group=self.name) for lv in self.levels[1:])
        if self.mean is None or self.sd is None or self.low is None or self.high is None:
            return (Column(self.name),)
        return (
            Column(
                self.name,
                self.mean,
                self.sd,
                low=self.low,
                high=self.high,
                step=self.step,
                binary=False,
            ),
        )


@dataclass(frozen=True)
class Schema:
    """What the columns mean, in order.

    Attributes:
      columns: Of the feature matrix.
      outcome: What an outcome of 1 means.
      fields: What the columns were made of, where a table is read by it.
      score: A published score that needs no training: the sum of columns (standardised) times
        these constants; empty where there is none.

    Raises:
      InvalidInputError: Two columns of one name, or a score of a column that is not there.
    """

    columns: tuple[Column, ...]
    outcome: str
    fields: tuple[Field, ...] = ()
    score: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        twice = sorted({n for n in self.names if self.names.count(n) > 1})
        if twice:
            raise InvalidInputError(f"The schema has more than one column {', '.join(twice)}.")
        unknown = sorted(set(self.score) - set(self.names))
        if unknown:
            raise InvalidInputError(
                f"The score weighs {', '.join(unknown)}, which the schema lacks; it has "
                f"{', '.join(self.names)}."
            )

    @classmethod
    def of_fields(
        cls, outcome: str, fields: tuple[Field, ...], score: Mapping[str, float] | None = None
    ) -> "Schema":
        """Return the schema of some fields: their columns in order, indicators at the end."""
        columns = [column for one in fields for column in one.columns]
        columns += [Column(f"{f.name} missing") for f in fields if f.missing == "indicator"]
        return cls(tuple(columns), outcome, fields, dict(score or {}))

    @classmethod
    def from_toml(cls, path: Path | str) -> "Schema":
        """Read a schema from its file (``aggregation.data.schema`` says what may stand there).

        Raises:
          InvalidInputError: The file can't be read, holds an unknown key or breaks a rule.
        """
        from aggregation.data.schema import read_schema

        return read_schema(Path(path))

    @property
    def digest(self) -> str:
        """SHA-256 of everything that the schema says, in its RFC 8785 form; hex."""
        return hashlib.sha256(rfc8785.dumps(asdict(self))).hexdigest()

    def scores(
        self, features: Float[np.ndarray, "patients features"]
    ) -> Float[np.ndarray, "patients"]:
        """Return each patient's published score.

        Raises:
          InvalidInputError: The schema has none.
        """
        if not self.score:
            raise InvalidInputError("This schema holds no published score; add one under [score].")
        return np.asarray(features @ np.array([self.score.get(name, 0.0) for name in self.names]))

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(c.name for c in self.columns)

    @property
    def groups(self) -> dict[str, tuple[int, ...]]:
        """Column numbers of each one-hot group."""
        groups: dict[str, tuple[int, ...]] = {}
        for i, c in enumerate(self.columns):
            if c.group is not None:
                groups[c.group] = (*groups.get(c.group, ()), i)
        return groups

    @property
    def binary(self) -> Bool[np.ndarray, "features"]:
        """Which columns hold 0 and 1 only."""
        return np.array([c.binary for c in self.columns])

    @property
    def low(self) -> Float[np.ndarray, "features"]:
        """Smallest plausible value of each column, standardised."""
        return np.array([(c.low - c.mean) / c.sd for c in self.columns])

    @property
    def high(self) -> Float[np.ndarray, "features"]:
        """Largest plausible value of each column, standardised."""
        return np.array([(c.high - c.mean) / c.sd for c in self.columns])

    def to_clinical(
        self, features: Float[np.ndarray, "patients features"]
    ) -> Float[np.ndarray, "patients features"]:
        """Undo the standardising: values in clinical units."""
        mean = np.array([c.mean for c in self.columns])
        sd = np.array([c.sd for c in self.columns])
        return np.asarray(features * sd + mean)


@dataclass(frozen=True)
class Patients:
    """The patients of one hospital, or some of them; a row a patient, or a row a record.

    Guarantees (each is a test in ``tests/aggregation/data/test_several_records.py``):
      - ``per_patient`` makes of a patient's rows one that depends on these rows alone, to the last
        bit; of a patient with one record it is that record's, bit for bit;
      - ``take_patients`` takes all records of a patient or none.

    Attributes:
      features: Standardised by the schema's public constants; float64 ``[records, features]``.
      outcomes: 1 for disease, 0 for none; int64 ``[records]``.
      ids: The table's own row numbers; int64 ``[records]``. A patient's own, kept by ``take``:
        folds, scoring and ``slots`` follow it.
      several_records: Whether rows with one id are one patient's records: drawn together, and
        clipped as one. Otherwise each row is a patient, whatever its id.

    Raises:
      InvalidInputError: Shapes do not agree, a value is NaN or infinite, an outcome is not 0 or 1.
    """

    # Not in ``repr``: that of an object that holds patients lands in tracebacks and logs.
    features: Float[np.ndarray, "patients features"] = field(repr=False)
    outcomes: Int[np.ndarray, "patients"] = field(repr=False)
    ids: Int[np.ndarray, "patients"] = field(
        default_factory=lambda: np.empty(0, dtype=np.int64), repr=False
    )
    several_records: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        n = len(self.features)
        if self.features.ndim != 2 or self.outcomes.shape != (n,):
            raise InvalidInputError(
                f"Expected features [patients, features] and outcomes [patients], got "
                f"{self.features.shape} and {self.outcomes.shape}."
            )
        finite_array(
            features=self.features, hint="Impute missing values first: public constants are 0."
        )
        if not np.isin(self.outcomes, (0, 1)).all():
            values = sorted({float(v) for v in np.unique(self.outcomes)} - {0.0, 1.0})
            raise InvalidInputError(f"Expected outcomes in {{0, 1}}, got also {values[:5]}.")
        if len(self.ids) == 0:
            object.__setattr__(self, "ids", np.arange(n, dtype=np.int64))
        for array in (self.features, self.outcomes, self.ids):
            array.setflags(write=False)

    def __len__(self) -> int:
        return len(self.outcomes)

    @property
    def count(self) -> int:
        """Number of patients: of rows, but where a patient has several."""
        return int(self.owners.max(initial=-1)) + 1 if self.several_records else len(self)

    @cached_property
    def owners(self) -> Int[np.ndarray, "records"]:
        """Which patient each row is of: 0 to ``count - 1``, in the order of their first rows."""
        if not self.several_records:
            return np.arange(len(self), dtype=np.int64)
        _, first, inverse = np.unique(self.ids, return_index=True, return_inverse=True)
        rank = np.empty(len(first), dtype=np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        return np.asarray(rank[inverse])

    @property
    def ever(self) -> Int[np.ndarray, "patients"]:
        """Each patient's outcome: 1 where any of their records has it."""
        patient_outcomes = np.zeros(self.count, dtype=np.int64)
        np.maximum.at(patient_outcomes, self.owners, self.outcomes)
        return patient_outcomes

    def per_patient(self, rows: Float[np.ndarray, "records _"]) -> Float[np.ndarray, "patients _"]:
        """Return the mean of each patient's rows: one row a patient.

        So a patient's loss is the mean of their records' losses, and however many records they
        have, they count once.

        Args:
          rows: One a record, such as its gradient.
        """
        if not self.several_records:
            return rows
        from privacy.mechanisms.kernels import means  # tables are read without scipy

        return means(np.ascontiguousarray(rows, dtype=np.float64), self.owners, self.count)

    def take_patients(
        self, patients: Int[np.ndarray, "taken"] | Bool[np.ndarray, "patients"]
    ) -> "Patients":
        """Return all records of the chosen patients, by number or by mask; none is taken twice."""
        if not self.several_records:
            return self.take(patients)
        chosen = np.zeros(self.count, dtype=np.bool_)
        chosen[patients] = True
        return self.take(chosen[self.owners])

    @property
    def slots(self) -> Int[np.ndarray, "patients"]:
        """Each patient's place in the blocks that some models compute in.

        By the patient's id alone: it does not change because others come, go or are drawn.
        """
        return self.ids % SLOTS

    @classmethod
    def together(cls, parts: "Iterable[Patients]") -> "Patients":
        """All of several groups, in order, numbered anew (two hospitals may have the same id).

        A patient's records stay together within a group, and not over groups.

        Raises:
          InvalidInputError: There is no group, or their columns differ.
        """
        groups = list(parts)
        if len({p.features.shape[1] for p in groups}) != 1:
            raise InvalidInputError(
                f"Expected one or more groups of the same columns, got {len(groups)} with "
                f"{sorted({p.features.shape[1] for p in groups})} columns."
            )
        starts = np.cumsum([0, *(p.count for p in groups[:-1])])
        return cls(
            np.concatenate([p.features for p in groups]),
            np.concatenate([p.outcomes for p in groups]),
            np.concatenate([p.owners + first for p, first in zip(groups, starts, strict=True)]),
            any(p.several_records for p in groups),
        )

    def take(self, rows: Int[np.ndarray, "taken"] | Bool[np.ndarray, "patients"]) -> "Patients":
        """Return the chosen rows, by number or by mask."""
        return Patients(
            self.features[rows], self.outcomes[rows], self.ids[rows], self.several_records
        )
