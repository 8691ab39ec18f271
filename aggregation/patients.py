"""Patients as rows of numbers, and the public schema that says what the columns mean.

The schema holds public clinical constants only: nothing in it was computed from a hospital's
patients, so it costs no privacy budget and everybody, the attacker included, has it.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int

from privacy._validate import finite_array
from privacy.errors import InvalidInputError

__all__ = ["Column", "Patients", "Schema"]


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
class Schema:
    """What the columns mean, in order."""

    columns: tuple[Column, ...]
    outcome: str

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(c.name for c in self.columns)

    @property
    def groups(self) -> dict[str, tuple[int, ...]]:
        """Column numbers of each one-hot group."""
        found: dict[str, tuple[int, ...]] = {}
        for i, c in enumerate(self.columns):
            if c.group is not None:
                found[c.group] = (*found.get(c.group, ()), i)
        return found

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
    """The patients of one hospital, or some of them.

    Attributes:
      features: Standardised by the schema's public constants; float64 ``[patients, features]``.
      outcomes: 1 for disease, 0 for none; int64 ``[patients]``.
      ids: The table's own row numbers, for folds and scoring only; int64 ``[patients]``.

    Raises:
      InvalidInputError: Shapes do not agree, a value is NaN or infinite, an outcome is not 0 or 1.
    """

    features: Float[np.ndarray, "patients features"]
    outcomes: Int[np.ndarray, "patients"]
    ids: Int[np.ndarray, "patients"] = field(default_factory=lambda: np.empty(0, dtype=np.int64))

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

    def take(self, rows: Int[np.ndarray, "taken"] | Bool[np.ndarray, "patients"]) -> "Patients":
        """Return the chosen rows, by number or by mask."""
        return Patients(self.features[rows], self.outcomes[rows], self.ids[rows])
