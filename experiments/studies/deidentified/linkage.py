"""What an intruder gets who knows a patient's quasi-identifiers exactly: a class, and its outcomes.

The *prosecutor* knows that the patient is in the table (El Emam and Dankar 2008, JAMIA 15:627): it
points at one of the rows of the patient's class, and is right once in as many as there are; whose
class was left out is never found. Of the outcome it then says what most of the class have.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from experiments.studies.deidentified.published import Published

__all__ = ["Linked", "linked"]


@dataclass(frozen=True)
class Linked:
    """Of some people, one by one; none of it is a guess's luck, as expectations are taken.

    Attributes:
      found: How likely the prosecutor points at the row of each, ``[people]``.
      right: How likely it then says the right outcome of each, ``[people]``.
      blind: How likely it does so without the class: what most of the table have, ``[people]``.
    """

    found: Float[np.ndarray, "people"]
    right: Float[np.ndarray, "people"]
    blind: Float[np.ndarray, "people"]


def linked(
    table: Published,
    values: Float[np.ndarray, "people fields"],
    outcomes: Int[np.ndarray, "people"],
) -> Linked:
    """Link people to a table; of those who are not in it only ``right`` means something.

    Args:
      table: As published.
      values: As recorded.
      outcomes: Theirs, for scoring alone.
    """
    sizes = table.class_sizes(values)
    ill = table.class_sizes(values, among=table.outcomes == 1)
    overall = _says(np.full(len(values), table.outcomes.sum()), len(table.outcomes))
    says = np.where(sizes > 0, _says(ill, np.maximum(sizes, 1)), overall)
    return Linked(
        np.divide(1.0, sizes, out=np.zeros(len(sizes)), where=sizes > 0),
        _right(says, outcomes),
        _right(overall, outcomes),
    )


def _says(ill: NDArray[np.int64], of: NDArray[np.int64] | int) -> NDArray[np.float64]:
    """How likely "with the outcome" is said: by the majority, by a coin where there is none."""
    return np.asarray(0.5 + 0.5 * np.sign(2 * ill - of))


def _right(says: NDArray[np.float64], outcomes: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(outcomes == 1, says, 1 - says)
