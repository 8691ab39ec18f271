"""Cases of ``test_doors.py``, which runs them without the type checker, as users run."""

import math
from collections.abc import Callable
from enum import Enum
from typing import Any

import dp_accounting as dp
import numpy as np
import pytest
from dp_accounting import NeighboringRelation as Relation

from privacy.accounting import delta, epsilon
from privacy.accounting.budget import budget_curve
from privacy.accounting.events import check, from_json, to_json
from privacy.accounting.intervals import upper_epsilon
from privacy.accounting.tradeoff import attack_risks, bayes_success, tradeoff_curve
from privacy.auditing import (
    audit,
    distinguish,
    epsilon_lower_bound,
    gaussian_lower_bound,
    scale_epsilon,
    split_lower_bound,
)
from privacy.calibration import noise_multiplier
from privacy.errors import InpatientError, InvalidInputError
from privacy.mechanisms.clipping import Clipped
from privacy.reconstruction import success_bound, success_curve

ADD = Relation.ADD_OR_REMOVE_ONE
ONE = dp.GaussianDpEvent(1.0)


class Lookalike(Enum):
    """An enumeration with the same names and values."""

    ADD_OR_REMOVE_ONE = 1
    REPLACE_ONE = 2


RELATIONS: list[Callable[[Any], object]] = [
    lambda r: epsilon(ONE, delta=1e-5, relation=r),
    lambda r: delta(ONE, epsilon=1.0, relation=r),
    lambda r: upper_epsilon(ONE, delta=1e-5, relation=r),
    lambda r: budget_curve(ONE, rounds=3, delta=1e-5, relation=r),
    lambda r: attack_risks(ONE, relation=r),
    lambda r: bayes_success(ONE, prior=0.5, relation=r),
    lambda r: tradeoff_curve(ONE, errors=[0.1], relation=r),
    lambda r: success_bound(ONE, prior_success=0.1, relation=r),
    lambda r: success_curve(ONE, prior_successes=[0.1], relation=r),
    lambda r: noise_multiplier(dp.GaussianDpEvent, target_epsilon=1.0, delta=1e-5, relation=r),
    lambda r: epsilon(dp.NoOpDpEvent(), delta=1e-5, relation=r),
]
OPEN: list[Callable[[Any], object]] = [
    lambda d: epsilon(ONE, delta=d, relation=ADD),
    lambda d: upper_epsilon(ONE, delta=d, relation=ADD),
    lambda d: budget_curve(ONE, rounds=3, delta=d, relation=ADD),
    lambda d: noise_multiplier(dp.GaussianDpEvent, target_epsilon=1.0, delta=d, relation=ADD),
    lambda d: success_bound(ONE, prior_success=d, relation=ADD),
    lambda d: tradeoff_curve(ONE, errors=[d], relation=ADD),
    lambda d: bayes_success(ONE, prior=d, relation=ADD),
    lambda d: scale_epsilon(1.1, dim=10, delta=d),
    lambda d: gaussian_lower_bound(10, 5, 10, delta=d, confidence=0.95),
    lambda d: epsilon_lower_bound(10, 5, 10, delta=0.0, confidence=d),
]
HALF_OPEN: list[Callable[[Any], object]] = [
    lambda d: epsilon_lower_bound(10, 5, 10, delta=d, confidence=0.95),
    lambda d: audit(10, 5, 10, claimed=1.0, delta=d),
    lambda d: distinguish(lambda n, _: np.zeros(n), trials=10, delta=d),
]
POSITIVE: list[Callable[[Any], object]] = [
    lambda v: epsilon(ONE, delta=1e-5, relation=ADD, width=v),
    lambda v: epsilon(dp.GaussianDpEvent(v), delta=1e-5, relation=ADD),
    lambda v: noise_multiplier(dp.GaussianDpEvent, target_epsilon=v, delta=1e-5, relation=ADD),
    lambda v: scale_epsilon(v, dim=10, delta=1e-5),
]
COUNTS: list[Callable[[Any], object]] = [
    lambda n: budget_curve(ONE, rounds=n, delta=1e-5, relation=ADD),
    lambda n: scale_epsilon(1.1, dim=n, delta=1e-5),
    lambda n: epsilon_lower_bound(n, 1, 10, delta=0.0, confidence=0.95),
]
NO_NUMBER = (math.nan, "0.5", None, True, [0.5], np.array([0.5]), 10**400, -(10**400), 1j)


@pytest.mark.parametrize("door", RELATIONS)
def test_a_relation_is_a_member_of_the_enumeration_itself(door: Callable[[Any], object]) -> None:
    for bad in ("REPLACE_ONE", None, 2, True, Lookalike.REPLACE_ONE, Relation, math.nan):
        with pytest.raises(InvalidInputError, match=r"Expected relation=.* to be one of"):
            door(bad)


def test_a_sensitivity_is_asked_of_a_relation() -> None:
    rows = Clipped(np.zeros((2, 3)), clip_norm=1.0)
    assert rows.sensitivity(Relation.REPLACE_ONE) == 2 * rows.sensitivity(ADD)
    for bad in ("REPLACE_ONE", None, 2):
        with pytest.raises(InvalidInputError, match="Expected relation="):
            rows.sensitivity(bad)


@pytest.mark.parametrize("door", OPEN)
def test_a_probability_lies_strictly_between_0_and_1(door: Callable[[Any], object]) -> None:
    for bad in (0.0, 1.0, -0.1, 1.1, math.inf, *NO_NUMBER):
        with pytest.raises(InvalidInputError, match="Expected"):
            door(bad)


@pytest.mark.parametrize("door", HALF_OPEN)
def test_a_claimed_delta_may_be_0_and_not_1(door: Callable[[Any], object]) -> None:
    door(0.0)
    for bad in (1.0, -0.1, math.inf, *NO_NUMBER):
        with pytest.raises(InvalidInputError, match=r"Expected delta=.* in \[0, 1\)"):
            door(bad)


@pytest.mark.parametrize("door", POSITIVE)
def test_a_size_is_positive_and_finite(door: Callable[[Any], object]) -> None:
    for bad in (0.0, -1.0, math.inf, *NO_NUMBER):
        with pytest.raises(InvalidInputError, match=r"Expected|Give either"):
            door(bad)


@pytest.mark.parametrize("door", COUNTS)
def test_a_count_is_a_whole_number(door: Callable[[Any], object]) -> None:
    for bad in (-1, 1.5, 2**53 + 1, *NO_NUMBER):
        with pytest.raises(InvalidInputError, match="Expected"):
            door(bad)


def test_scores_and_members_fit() -> None:
    rng = np.random.default_rng(0)
    members = rng.random(20) < 0.5
    for scores, bad in (
        (np.zeros(20), members[:19]),
        (np.zeros(20), members.astype(float)),
        (np.zeros((20, 1)), members[:, None]),
        (np.array(["a"] * 20), members),
    ):
        with pytest.raises(InvalidInputError, match="Expected"):
            split_lower_bound(
                scores, bad, bound=epsilon_lower_bound, delta=0.0, confidence=0.95, rng=rng
            )
    for answer in (np.zeros(9), np.full(10, math.nan), [0.0] * 10):

        def release(n: int, member: bool, answer: Any = answer) -> Any:
            return answer

        with pytest.raises(InvalidInputError, match="Expected"):
            distinguish(release, trials=10, delta=0.0)


def test_trees_deeper_than_the_limit_are_refused_in_words() -> None:
    content: dict[str, object] = to_json(ONE)
    deep: dp.DpEvent = ONE
    for _ in range(1_500):
        deep = dp.ComposedDpEvent([dp.SelfComposedDpEvent(deep, 1)])
        content = {"type": "SelfComposedDpEvent", "count": 1, "event": content}
    for ask in (
        lambda: epsilon(deep, delta=1e-5, relation=ADD),
        lambda: check(deep),
        lambda: to_json(deep),
        lambda: from_json(content),
    ):
        with pytest.raises(InpatientError, match="at most 100 events inside each other"):
            ask()
    shallow: dp.DpEvent = ONE
    for _ in range(100):
        shallow = dp.SelfComposedDpEvent(shallow, 1)
    alone = epsilon(ONE, delta=1e-5, relation=ADD)
    assert epsilon(shallow, delta=1e-5, relation=ADD).upper == alone.upper
