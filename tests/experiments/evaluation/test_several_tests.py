"""Holm's correction: its false alarms, and its power beside one test alone."""

import numpy as np
import pytest
from scipy.stats import norm

from experiments.evaluation import Estimate
from experiments.evaluation.several_tests import holm, p_beyond
from privacy.errors import InvalidInputError


def test_any_false_rejection_is_as_rare_as_it_says_and_true_ones_are_found() -> None:
    rng, level, runs = np.random.default_rng(0), 0.1, 4_000
    shared = rng.normal(size=(runs, 1))
    values = norm.sf(0.6 * shared + 0.8 * rng.normal(size=(runs, 20)))
    values[:, :3] = norm.sf(rng.normal(size=(runs, 3)) + 6.0)  # three that are true
    found = [holm(row.tolist(), level=level) for row in values]
    false = np.mean([bool(f - {0, 1, 2}) for f in found])
    assert false < level + 3 * np.sqrt(level * (1 - level) / runs)
    assert np.mean([{0, 1, 2} <= f for f in found]) > 0.95


@pytest.mark.parametrize(
    ("values", "rejected"),
    [
        ([0.024, 0.026], set()),  # the least has to pass half of the level
        ([0.026, 0.0124], {1}),
        ([0.025, 0.0125], {0, 1}),
        ([0.2, 0.0001, 0.02], {1}),  # stops at the first that does not pass
        ([], set()),
    ],
)
def test_each_is_held_against_what_is_left_of_the_level(
    values: list[float], rejected: set[int]
) -> None:
    assert holm(values, level=0.025) == rejected
    with pytest.raises(InvalidInputError):
        holm(values, level=1.5)


def test_an_interval_just_touching_the_margin_has_its_own_level() -> None:
    for confidence in (0.5, 0.95, 0.99):
        one = Estimate(0.3, 0.1, 0.5, confidence=confidence)
        assert p_beyond(one, 0.1) == pytest.approx((1 - confidence) / 2)
        assert p_beyond(one, 0.5) == pytest.approx((1 - confidence) / 2)
    assert p_beyond(Estimate(0.1, 0.1, 0.1), 0.1) == 0.5
    assert p_beyond(Estimate(0.1, 0.1, 0.1), 0.0) == 0.0
