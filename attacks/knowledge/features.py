"""Columns as features: a one-hot group is one categorical feature, a number is one numeric one.

The column grid is what the schema makes public: whole years, tenths of a millimetre, and 0 (the
public constant) where nothing was measured.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from aggregation.data.patients import Schema

__all__ = ["TOLERANCE", "Feature", "errors", "features_of", "project"]

TOLERANCE = 0.319
"""A numeric guess counts as right within so many standard deviations (Vero et al. 2023, 5.1)."""


@dataclass(frozen=True)
class Feature:
    """One feature of a patient.

    Attributes:
      name: The column's, or the group's.
      columns: Its columns. A categorical feature has a level more: the reference, all zeros.
      numeric: Whether it is a number; else categorical.
      low: Smallest plausible value, standardised.
      high: Largest plausible value, standardised.
      mean: Public constant subtracted, in clinical units.
      sd: Public constant divided by, in clinical units.
      step: Grid, in clinical units.
    """

    name: str
    columns: tuple[int, ...]
    numeric: bool
    low: float = 0.0
    high: float = 1.0
    mean: float = 0.0
    sd: float = 1.0
    step: float = 1.0

    def codes(self, rows: Float[np.ndarray, "patients features"]) -> Int[np.ndarray, "patients"]:
        """Return the nearest level of a categorical feature; 0 is the reference.

        A row of dummies is nearest to level k if column k is largest and above one half.
        """
        part = rows[:, list(self.columns)]
        return np.where(part.max(axis=1) > 0.5, part.argmax(axis=1) + 1, 0).astype(np.int64)

    def write(
        self, rows: Float[np.ndarray, "patients features"], codes: Int[np.ndarray, "patients"]
    ) -> None:
        """Set the columns of a categorical feature to the given levels, in place."""
        for k, column in enumerate(self.columns, start=1):
            rows[:, column] = codes == k

    def snap(self, values: Float[np.ndarray, "patients"]) -> Float[np.ndarray, "patients"]:
        """Return the nearest value that a patient can have: on the grid and in range, or 0."""
        clinical = np.clip(values, self.low, self.high) * self.sd + self.mean
        grid = (np.rint(clinical / self.step) / (1 / self.step) - self.mean) / self.sd
        return np.asarray(np.where(np.abs(values) < np.abs(values - grid), 0.0, grid))


def features_of(schema: Schema) -> tuple[Feature, ...]:
    """Return the features of a schema, in the order of their first columns."""
    features = []
    groups = schema.groups
    for i, c in enumerate(schema.columns):
        if c.group is not None:
            if groups[c.group][0] == i:
                features.append(Feature(c.group, groups[c.group], numeric=False))
        elif c.binary:
            features.append(Feature(c.name, (i,), numeric=False))
        else:
            low, high = (c.low - c.mean) / c.sd, (c.high - c.mean) / c.sd
            features.append(
                Feature(c.name, (i,), True, float(low), float(high), c.mean, c.sd, c.step)
            )
    return tuple(features)


def project(
    rows: Float[np.ndarray, "patients features"], features: tuple[Feature, ...]
) -> Float[np.ndarray, "patients features"]:
    """Return the nearest valid patients: one level a group, numbers on the grid and in range."""
    result = np.zeros_like(rows)
    for f in features:
        if f.numeric:
            result[:, f.columns[0]] = f.snap(rows[:, f.columns[0]])
        else:
            f.write(result, f.codes(rows))
    return result


def errors(
    guesses: Float[np.ndarray, "guesses columns"],
    truth: Float[np.ndarray, "patients columns"],
    features: tuple[Feature, ...],
) -> Bool[np.ndarray, "guesses patients features"]:
    """Which feature of which patient a guess gets wrong.

    Categorical: another level. Numeric: further than ``TOLERANCE`` standard deviations (public
    ones: the columns are standardised); the bound itself is right.
    """
    wrong: list[NDArray[np.bool_]] = []
    for f in features:
        if f.numeric:
            c = f.columns[0]
            gap = np.abs(guesses[:, None, c] - truth[None, :, c])
            wrong.append(gap > TOLERANCE + 1e-9)
        else:
            wrong.append(f.codes(guesses)[:, None] != f.codes(truth)[None, :])
    return np.stack(wrong, axis=-1)
