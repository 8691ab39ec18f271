"""UCI Adult (Becker and Kohavi 1996, CC BY 4.0): the table on which tabular inversion is published.

It is read from a folder and never shipped. Columns are standardised by the table itself, as the
replicated papers do; nobody's privacy is claimed here.
"""

import csv
import gzip
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aggregation.data.patients import Column, Patients, Schema
from privacy.errors import InvalidInputError

__all__ = ["load_adult"]

_ROWS = 32_561
_NUMBERS = {0: "age", 2: "fnlwgt", 4: "education-num", 10: "capital-gain", 11: "capital-loss",
            12: "hours"}  # fmt: skip
_LEVELS = {1: "workclass", 3: "education", 5: "marital", 6: "occupation", 7: "relationship",
           8: "race", 9: "sex", 13: "country"}  # fmt: skip
_GET = (
    "Get adult.data from https://archive.ics.uci.edu/dataset/2/adult and name its folder with "
    "--data-dir."
)


def load_adult(data_dir: Path | None, *, complete: bool = False) -> tuple[Patients, Schema]:
    """Return all people, standardised, and the schema; the outcome is an income above 50K.

    Args:
      data_dir: Folder with ``adult.data`` or ``adult.data.gz``.
      complete: Leave out who lacks a value.

    Raises:
      InvalidInputError: The file is missing, truncated or not the table.
    """
    rows = [row for row in _rows(data_dir) if not (complete and "?" in row)]
    columns: list[Column] = []
    values: list[NDArray[np.float64]] = []
    for place in sorted(_NUMBERS | _LEVELS):
        cells = [row[place] for row in rows]
        if place in _NUMBERS:
            raw = np.array(cells, dtype=np.float64)
            mean, sd = float(raw.mean()), float(raw.std())
            low, high = float(raw.min()), float(raw.max())
            columns.append(Column(_NUMBERS[place], mean, sd, low, high, 1.0, binary=False))
            values.append((raw - mean) / sd)
        else:
            text = np.array(cells)
            group = _LEVELS[place]
            for level in np.unique(text)[1:]:  # the first in the alphabet is the reference
                columns.append(Column(f"{group}={level}", group=group))
                values.append((text == level).astype(np.float64))
    outcomes = np.array([row[14] == ">50K" for row in rows]).astype(np.int64)
    return Patients(np.column_stack(values), outcomes), Schema(tuple(columns), "income")


def _rows(data_dir: Path | None) -> list[list[str]]:
    if data_dir is None:
        raise InvalidInputError(f"The Adult table is not shipped. {_GET}")
    plain, packed = data_dir / "adult.data", data_dir / "adult.data.gz"
    try:
        content = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
    except (OSError, EOFError) as error:
        raise InvalidInputError(f"Can't read {plain} or {packed.name}: {error}. {_GET}") from error
    reader = csv.reader(io.StringIO(content.decode()), skipinitialspace=True)
    rows = [row for row in reader if row]
    if len(rows) != _ROWS or any(len(row) != 15 for row in rows):
        raise InvalidInputError(
            f"The Adult table in {data_dir} has {len(rows)} rows, expected {_ROWS} of 15 values. "
            f"{_GET}"
        )
    return rows
