r"""Who of ten people stands in a published table? By who knows nobody, and by who knows all others.

Of a table of n rows drawn from one law, with q(x) the law's mass of what is published of a person x
(outcome included) and c(x) the number of such rows, the likelihood that x is in it, over that they
are not, is c(x) / (n q(x)). Who knows nobody's patients has two roads to q:

- ``equivalence class``: q is the same for all ten, so the largest class with their outcome names;
- ``density ratio``: q is how many people of all the line-ups would be published like x.

Of somebody whose class is not there the count is the share of rows left out: they may be one of
those, and anybody whose class is there is likelier.

``informed`` knows all other patients of the table: with each of the ten in turn it says which rows
would have been published, at the levels that were, and keeps those whom the table does not
contradict. (That the levels themselves might have been others it does not use.)

No bound stands beside any of it: k-anonymity promises none.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from experiments.studies.deidentified.published import Published, keys
from experiments.studies.people import LineUp

__all__ = ["CLASSES", "DENSITY", "of_known_others", "of_public"]

Array = NDArray[np.float64]

CLASSES = "equivalence class"
DENSITY = "density ratio"
_NOBODY = 1e-300  # of a count: less than any that is there


def of_public(
    table: Published,
    people: Float[np.ndarray, "lineups people fields"],
    lineups: Sequence[LineUp],
) -> Mapping[str, Float[np.ndarray, "lineups people"]]:
    """Return the log-likelihoods of both roads, by name.

    Args:
      table: What was published of the line-ups' hospital, or of all.
      people: As recorded.
      lineups: Whose people they are.
    """
    shape = people.shape[:2]
    generalised = table.as_published(people.reshape(-1, people.shape[2]))
    outcomes = np.repeat([one.outcome for one in lineups], shape[1])
    each, _ = _keys(table, generalised, outcomes)
    there, alike = _census(table, table.values, table.outcomes).of_row, Counter(each)
    left_out = table.left_out / len(table.kept)
    counts = np.array([there.get(row, 0) or left_out for row in each])
    logs = np.log(np.maximum(counts, _NOBODY))
    ratios = logs - np.log([alike[row] for row in each])
    return {CLASSES: logs.reshape(shape), DENSITY: ratios.reshape(shape)}


def of_known_others(
    table: Published,
    people: Float[np.ndarray, "lineups people fields"],
    lineups: Sequence[LineUp],
    others: Sequence[tuple[Float[np.ndarray, "patients fields"], Int[np.ndarray, "patients"]]],
) -> Float[np.ndarray, "lineups people"]:
    """Return the log-likelihood of who knows all others: 0, or next to nothing.

    Args:
      table: What was published.
      people: As recorded.
      lineups: Whose people they are.
      others: Of each line-up: the table's patients but the target, and their outcomes.
    """
    seen = _census(table, table.values, table.outcomes)
    logs = np.zeros(people.shape[:2])
    for i, (one, (values, outcomes)) in enumerate(zip(lineups, others, strict=True)):
        census = _census(table, table.as_published(values), outcomes)
        generalised = table.as_published(people[i])
        ten = list(
            zip(*_keys(table, generalised, np.repeat(one.outcome, len(generalised))), strict=True)
        )
        for place, who in enumerate(ten):
            likely = all(seen.rows(*x) == census.published(*x, who, table.k) for x in ten)
            logs[i, place] = 0.0 if likely else np.log(_NOBODY)
    return logs


@dataclass(frozen=True)
class _Census:
    """How many patients there are of each row, and of each class."""

    of_row: Mapping[bytes, int]
    of_class: Mapping[bytes, int]

    def rows(self, row: bytes, _class: bytes) -> int:
        return self.of_row.get(row, 0)

    def published(self, row: bytes, row_class: bytes, who: tuple[bytes, bytes], k: int) -> int:
        """How many of a row would be published if somebody (row and class) were there as well."""
        size = self.of_class.get(row_class, 0) + (row_class == who[1])
        return self.of_row.get(row, 0) + (row == who[0]) if size >= k else 0


def _census(table: Published, values: Array, outcomes: NDArray[np.int64]) -> _Census:
    rows, classes = _keys(table, values, outcomes)
    return _Census(Counter(rows), Counter(classes))


def _keys(
    table: Published, values: Array, outcomes: NDArray[np.int64]
) -> tuple[list[bytes], list[bytes]]:
    """Of published rows: the whole row with its outcome, and its class."""
    whole = np.column_stack([values, outcomes])
    return keys(whole), keys(values[:, table.quasi])
