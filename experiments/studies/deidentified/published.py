"""A k-anonymous table as it is published, made by anjana in an environment of its own.

What anjana does (``k_anonymity_inner``, after Sweeney 2002, IJUFKS 10:571, section 4: Datafly):
while the rows in classes smaller than k are more than a limit, the quasi-identifier with the most
different values goes up one level of its hierarchy, in the whole table at once; then those rows are
left out. Where fewer than k rows are there at all, nothing is published.
"""

import json
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from aggregation.data.patients import Field
from experiments.studies.deidentified.hierarchy import generalised, top
from privacy.errors import InvalidInputError

__all__ = ["LIMIT", "PYTHON", "Published", "keys", "publish", "require"]

LIMIT = 10.0
"""Per cent of a table's rows that may be left out; more would spare values and lose patients."""
PYTHON = Path(".venv-anonymity/bin/python")
_SCRIPT = Path(__file__).with_name("anjana_process.py")


@dataclass(frozen=True)
class Published:
    """A published table, and what its publisher says of it.

    Attributes:
      fields: Of the rows.
      quasi: Which fields are quasi-identifiers.
      levels: How coarse each field is (``hierarchy``).
      values: ``[published, fields]``.
      outcomes: ``[published]``.
      kept: Which rows were published, ``[rows]``; for scoring alone.
      k: What was asked for.
    """

    fields: tuple[Field, ...]
    quasi: Bool[np.ndarray, "fields"]
    levels: tuple[int, ...]
    values: Float[np.ndarray, "published fields"]
    outcomes: Int[np.ndarray, "published"]
    kept: Bool[np.ndarray, "rows"]
    k: int

    @property
    def left_out(self) -> int:
        """Rows that were not published; their number is."""
        return int((~self.kept).sum())

    def as_published(
        self, values: Float[np.ndarray, "people fields"]
    ) -> Float[np.ndarray, "people fields"]:
        """Return anybody's recorded values as this table would have them."""
        columns = zip(self.fields, values.T, self.levels, strict=True)
        return np.stack([generalised(*one) for one in columns], axis=1)

    def class_sizes(
        self,
        values: Float[np.ndarray, "people fields"],
        among: Bool[np.ndarray, "published"] | None = None,
    ) -> Int[np.ndarray, "people"]:
        """Return how many published rows are like each of some people in the quasi-identifiers.

        Args:
          values: Of the people, as recorded.
          among: Only these of the published rows.
        """
        rows = self.values if among is None else self.values[among]
        counts = Counter(keys(rows[:, self.quasi]))
        people = keys(self.as_published(values)[:, self.quasi])
        return np.array([counts[person] for person in people], dtype=np.int64)


def keys(rows: Float[np.ndarray, "rows columns"]) -> list[bytes]:
    """Return each row as what is the same for the same values alone."""
    return [row.tobytes() for row in np.ascontiguousarray(rows)]


def require() -> None:
    """Refuse to begin without anjana's environment.

    Raises:
      InvalidInputError: It is not there.
    """
    if not PYTHON.is_file():
        raise InvalidInputError(
            f"There is no {PYTHON}: tables are made k-anonymous by anjana, in an environment of "
            "its own. Run `make anonymity` here (Python 3.11 or 3.12)."
        )


def publish(
    fields: Sequence[Field],
    quasi: Bool[np.ndarray, "fields"],
    tables: Sequence[tuple[Float[np.ndarray, "rows fields"], Int[np.ndarray, "rows"]]],
    ks: Sequence[int],
) -> list[tuple[Published, ...]]:
    """Return some tables at every k, all by one process.

    Guarantees (each is a test in ``tests/experiments/deidentified``):
      - every published row is like k - 1 others or more in all quasi-identifiers;
      - at most ``LIMIT`` per cent of a table that has k rows are left out;
      - values go up their hierarchies; outcomes, and what is no quasi-identifier, stay.

    Args:
      fields: Of the rows.
      quasi: Which of them are quasi-identifiers.
      tables: Values as recorded, and outcomes.
      ks: Least sizes of classes, from the least up; of 1 the table is as recorded.

    Returns:
      Of each table one a k, in the order of ``ks``.

    Raises:
      InvalidInputError: Ks that do not go up from 1 or more; anjana's environment is not there, its
        process failed, or what it gave is no k-anonymous table.
    """
    if not ks or min(ks) < 1 or sorted(set(ks)) != list(ks):
        raise InvalidInputError(f"Expected ks that go up from 1 or more, got {tuple(ks)}.")
    coarse = [k for k in ks if k > 1]
    jobs = [_job(fields, quasi, values, coarse) for values, _ in tables]
    answers = _answers(jobs) if jobs and coarse else [[] for _ in tables]
    releases = []
    for (values, outcomes), answer in zip(tables, answers, strict=True):
        raw = {"rows": list(range(len(values))), "levels": {}}
        answered = [raw] * (len(ks) - len(coarse)) + answer
        releases.append(
            tuple(
                _checked(fields, quasi, values, outcomes, k, one)
                for k, one in zip(ks, answered, strict=True)
            )
        )
    return releases


def _checked(
    fields: Sequence[Field],
    quasi: NDArray[np.bool_],
    values: NDArray[np.float64],
    outcomes: NDArray[np.int64],
    k: int,
    answer: Mapping[str, Any],
) -> Published:
    levels, kept = [0] * len(fields), np.zeros(len(values), dtype=np.bool_)
    kept[np.array(answer["rows"], dtype=np.int64)] = True
    for name, level in answer["levels"].items():
        levels[int(name)] = level
    columns = zip(fields, values.T, levels, strict=True)
    coarse = np.stack([generalised(*column) for column in columns], axis=1)[kept]
    least = min(Counter(keys(coarse[:, quasi])).values(), default=k)
    if least < k:
        raise InvalidInputError(
            f"A class of {least} rows was published, where {k} were asked for: make anjana's "
            "environment anew (`make anonymity`)."
        )
    return Published(tuple(fields), quasi, tuple(levels), coarse, outcomes[kept], kept, k)


def _job(
    fields: Sequence[Field],
    quasi: NDArray[np.bool_],
    values: NDArray[np.float64],
    ks: Sequence[int],
) -> Mapping[str, Any]:
    """A table as ``anjana_process`` reads it: columns are named by their numbers."""
    columns, hierarchies = {}, {}
    for j in map(int, np.flatnonzero(quasi)):
        distinct, at = np.unique(values[:, j], return_inverse=True)
        columns[str(j)] = at.tolist()
        coarser = [generalised(fields[j], distinct, level) for level in range(top(fields[j]) + 1)]
        hierarchies[str(j)] = [np.unique(v, return_inverse=True)[1].tolist() for v in coarser]
    return {"columns": columns, "hierarchies": hierarchies, "ks": list(ks), "limit": LIMIT}


def _answers(jobs: Sequence[Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
    require()
    done = subprocess.run(  # noqa: S603 - an interpreter of ours, running our own module
        [str(PYTHON), "-I", str(_SCRIPT)],
        input=json.dumps(jobs),
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise InvalidInputError(
            f"anjana failed: {done.stderr.strip()[-500:]} Make its environment anew "
            "(`make anonymity`)."
        )
    answers: list[list[dict[str, Any]]] = json.loads(done.stdout)
    return answers
