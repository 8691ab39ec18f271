"""When sums are opened, and what noise the smallest of them holds."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation.timing import Pace, Trigger, planned_rates
from privacy.errors import InvalidInputError
from tests.aggregation.parts import plan


@given(
    names=st.lists(st.sampled_from("abcdef"), max_size=12),
    distinct=st.integers(1, 5),
    more=st.integers(0, 5),
    overdue=st.booleans(),
)
def test_nothing_opens_below_the_distinct_hospitals_time_out_or_not(
    names: list[str], distinct: int, more: int, overdue: bool
) -> None:
    trigger = Trigger(count=distinct + more, distinct=distinct, timeout=1.0)
    fires = trigger.fires(names, overdue=overdue)
    assert not (fires and len(set(names)) < distinct)
    assert fires == (len(set(names)) >= distinct and (overdue or len(names) >= distinct + more))


def test_shares_are_sized_for_the_smallest_sum_less_colluders() -> None:
    made = plan(hospitals=tuple("abcdefgh"), declared_sizes=(12,) * 8, noise_multiplier=6.0)
    made = dataclasses.replace(made, smallest_sum=5, radius=1)
    assert made.share_std == 3.0
    assert math.sqrt((5 - 1) * made.share_std**2) == pytest.approx(6.0)  # four honest make it up
    with pytest.raises(InvalidInputError, match="colluders=5"):
        dataclasses.replace(made, colluders=5)
    with pytest.raises(InvalidInputError, match="smallest_sum=9"):
        dataclasses.replace(made, smallest_sum=9)


def test_synchronous_means_all_of_them_once() -> None:
    trigger = Trigger.synchronous(3)
    assert not trigger.fires(["a", "b", "b"])
    assert trigger.fires(["a", "b", "c"])


def test_impossible_triggers_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="count=2 >= distinct=3"):
        Trigger(count=2, distinct=3)
    with pytest.raises(InvalidInputError, match=r"timeout=0\.0"):
        Trigger(count=2, distinct=2, timeout=0.0)


def test_planned_rates_follow_from_the_declared_paces() -> None:
    rates = planned_rates(
        {
            "a": Pace(duration=1.0),
            "b": Pace(duration=1.0, upload=1.0),
            "c": Pace(duration=1.0, dropout=0.5),
            "d": Pace(duration=1.0, up=1.0, down=1.0),
        }
    )
    assert rates == pytest.approx({"a": 0.4, "b": 0.2, "c": 0.2, "d": 0.2})
    with pytest.raises(InvalidInputError, match="every dropout is 1"):
        planned_rates({"a": Pace(dropout=1.0)})


def test_bad_paces_are_refused() -> None:
    for bad in ({"duration": 0.0}, {"dropout": 1.5}, {"up": 0.0}, {"variation": -1.0}):
        with pytest.raises(InvalidInputError):
            Pace(**bad)
