"""How a patient's fields are made coarser, level by level, from the public schema alone.

Level 0 is the value as recorded. A number is then put into bins of half a public standard deviation
(``Field.sd``) from the public mean on, into bins of a whole one, and into the two halves below and
above the mean; a field with levels becomes the reference or any other; the last level of every
field says nothing. Each level is a function of the one below it, and none looks at a patient.

What a coarse value says is a number again, so that a model can learn from it: a bin its middle, a
half what a normal law of the schema's mean and deviation has there in the mean, a field that says
nothing its public mean; a level that is one of several is each of them in equal parts.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from aggregation.data.patients import Field, Schema
from privacy.errors import InvalidInputError

__all__ = ["encoded", "fields_of", "generalised", "recorded", "top"]

_BINS = (0.5, 1.0)  # widths, in standard deviations
_HALF = math.sqrt(2 / math.pi)  # E|Z| of a normal deviate
_OTHER = 0.5  # not the reference: between it and the first other level
_ANY = -1.0  # of a field with levels: nothing is said
_DIGITS = 6  # of a clinical value: what standardising did to it is less


def fields_of(schema: Schema) -> tuple[Field, ...]:
    """The fields that the columns were made of.

    Raises:
      InvalidInputError: The schema has none, or columns that say which values are missing.
    """
    columns = sum(len(field.columns) for field in schema.fields)
    if not columns or columns != len(schema.columns):
        raise InvalidInputError(
            f"A table is made coarser field by field, but the fields have {columns} of the "
            f"schema's {len(schema.columns)} columns. Choose a cohort whose schema is read from a "
            "file, without indicators of missing values."
        )
    return schema.fields


def top(field: Field) -> int:
    """The level at which a field says nothing."""
    return len(_BINS) + 2 if field.number else 2 if field.levels else 1


def recorded(
    schema: Schema, features: Float[np.ndarray, "patients columns"]
) -> Float[np.ndarray, "patients fields"]:
    """Return values as recorded: clinical units, 0 or 1, or the number of a level."""
    field_values, at = [], 0
    for field in fields_of(schema):
        columns = field.columns
        part = features[:, at : at + len(columns)]
        at += len(columns)
        if field.number:
            clinical = part[:, 0] * columns[0].sd + columns[0].mean
            field_values.append(np.round(clinical, _DIGITS) + 0.0)  # no zero has a sign
        else:
            field_values.append(part @ np.arange(1.0, len(columns) + 1))
    return np.stack(field_values, axis=1)


def generalised(
    field: Field, values: Float[np.ndarray, "patients"], level: int
) -> Float[np.ndarray, "patients"]:
    """Return what a level says of recorded values.

    Raises:
      InvalidInputError: The field has no such level.
    """
    if not 0 <= level <= top(field):
        raise InvalidInputError(f"{field.name} has levels 0 to {top(field)}, not {level}.")
    if level == 0:
        return values
    if field.mean is None or field.sd is None:
        nothing = _ANY if field.levels else 0.5
        some = np.where(values == 0, 0.0, _OTHER)
        return some if level < top(field) else np.full(len(values), nothing)
    above = (values - field.mean) / field.sd
    if level == top(field):
        said = np.zeros(len(values))
    elif level > len(_BINS):
        said = np.where(above >= 0, _HALF, -_HALF)
    else:
        width = _BINS[level - 1]
        said = (np.floor(above / width) + 0.5) * width
    return np.asarray(field.mean + field.sd * said)


def encoded(
    fields: Sequence[Field], values: Float[np.ndarray, "rows fields"]
) -> Float[np.ndarray, "rows columns"]:
    """Return the columns that a model reads: of recorded values those that they were made from."""
    columns: list[NDArray[np.float64]] = []
    for field, column in zip(fields, values.T, strict=True):
        if field.mean is not None and field.sd is not None:
            columns.append((column - field.mean) / field.sd)
        elif field.levels:
            others = len(field.levels) - 1
            for k in range(1, others + 1):
                shared = np.select(
                    [column == _OTHER, column == _ANY], [1 / others, 1 / (others + 1)]
                )
                columns.append(np.where(column == k, 1.0, shared))
        else:
            columns.append(column)
    return np.stack(columns, axis=1)
