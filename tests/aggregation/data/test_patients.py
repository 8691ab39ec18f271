"""Groups of patients put together: every row once, in order, under numbers of its own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation.data import Patients
from privacy.errors import InvalidInputError


def group(count: int, seed: int, *, columns: int = 3) -> Patients:
    rng = np.random.default_rng(seed)
    ids = rng.permutation(100)[:count].astype(np.int64)
    return Patients(rng.normal(size=(count, columns)), rng.integers(0, 2, count), ids)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 99)), min_size=1, max_size=5))
def test_every_row_stands_once_in_the_order_of_the_groups(drawn: list[tuple[int, int]]) -> None:
    groups = [group(count, seed) for count, seed in drawn]
    whole = Patients.together(iter(groups))
    assert len(whole) == sum(map(len, groups))
    assert whole.ids.tolist() == list(range(len(whole)))  # two hospitals may have the same id
    first = 0
    for one in groups:
        part = whole.take(np.arange(first, first + len(one)))
        assert (part.features == one.features).all()
        assert (part.outcomes == one.outcomes).all()
        first += len(one)


def test_no_group_and_other_columns_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="got 0 with"):
        Patients.together([])
    with pytest.raises(InvalidInputError, match=r"got 2 with \[2, 3\] columns"):
        Patients.together([group(4, 0), group(4, 0, columns=2)])
