"""The prosecutor: one over the class, nothing of who was left out, and the majority's outcome."""

import numpy as np
import pytest

from experiments.studies.deidentified.linkage import linked
from experiments.studies.deidentified.published import Published
from tests.experiments.deidentified.made_up import FIELDS


def table() -> Published:
    """A class of 4 (three with the outcome), one of 2 (one with), and 2 rows left out."""
    ages = [70.0] * 4 + [40.0] * 2 + [99.0] * 2
    rows = np.column_stack([ages, np.zeros((8, 3))])
    kept = np.array([True] * 6 + [False] * 2)
    outcomes = np.array([1, 1, 1, 0, 1, 0])
    return Published(FIELDS, np.ones(4, dtype=np.bool_), (0,) * 4, rows[kept], outcomes, kept, 2)


def people(*ages: float) -> np.ndarray:
    return np.column_stack([ages, np.zeros((len(ages), 3))])


def test_the_prosecutor_finds_one_of_the_class_and_says_what_most_of_it_have() -> None:
    one = linked(table(), people(70, 70, 40, 99, 99), np.array([1, 0, 1, 1, 0]))
    assert one.found.tolist() == [1 / 4, 1 / 4, 1 / 2, 0, 0]
    assert one.right.tolist() == [1, 0, 0.5, 1, 0]  # the left out: 4 of 6 have it
    assert one.blind.tolist() == [1, 0, 1, 1, 0]


def test_of_a_table_of_nothing_nothing_is_known() -> None:
    whole = table()
    none = np.zeros(8, dtype=np.bool_)
    empty = Published(
        FIELDS, whole.quasi, whole.levels, whole.values[:0], whole.outcomes[:0], none, 9
    )
    one = linked(empty, people(70, 40), np.array([1, 0]))
    assert one.found.tolist() == [0, 0]
    assert one.right.tolist() == one.blind.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("seed", range(5))
def test_all_links_of_a_table_are_its_number_of_classes(seed: int) -> None:
    """Over who was published, 1 / |class| sums to the number of classes."""
    rng = np.random.default_rng(seed)
    rows = people(*rng.integers(40, 50, 60).astype(float))
    outcomes = rng.integers(0, 2, 60)
    whole = Published(
        FIELDS, np.ones(4, dtype=np.bool_), (0,) * 4, rows, outcomes, np.ones(60, bool), 1
    )
    assert linked(whole, rows, outcomes).found.sum() == pytest.approx(len(np.unique(rows[:, 0])))
    told = linked(whole, rows, outcomes)
    assert told.right.mean() >= told.blind.mean()  # the majority of each class is right oftener
