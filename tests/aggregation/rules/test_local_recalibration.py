"""Local recalibration's promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation.rules import recalibrate
from privacy.errors import InvalidInputError


@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 60),
    scale=st.floats(0, 20),
    shift=st.floats(-20, 20),
    ridge=st.floats(1e-2, 10),
)
def test_the_gradient_is_zero(seed: int, n: int, scale: float, shift: float, ridge: float) -> None:
    rng = np.random.default_rng(seed)
    scores, outcomes = shift + scale * rng.normal(size=n), rng.integers(2, size=n)
    a, b = recalibrate(scores, outcomes, ridge=ridge)
    rest = 0.5 * (1 + np.tanh(0.5 * (a + b * scores))) - outcomes
    size = 1e-8 * n * (1 + np.abs(scores).max())
    assert abs(rest.sum() + ridge * a) <= size
    assert abs(rest @ scores + ridge * (b - 1)) <= size


def test_without_patients_nothing_changes_and_one_class_is_finite() -> None:
    assert recalibrate(np.empty(0), np.empty(0, dtype=np.int64)) == (0.0, 1.0)
    a, b = recalibrate(np.array([-5.0, 5.0]), np.array([0, 1]), ridge=1e-3)
    assert np.isfinite([a, b]).all()


def test_it_finds_a_known_miscalibration() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(scale=1.5, size=20_000)
    outcomes = (rng.random(20_000) < 1 / (1 + np.exp(-(0.7 + 0.5 * scores)))).astype(np.int64)
    a, b = recalibrate(scores, outcomes)
    assert (a, b) == pytest.approx((0.7, 0.5), abs=0.06)


def test_bad_input_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"ridge=-1\.0"):
        recalibrate(np.zeros(1), np.array([1]), ridge=-1.0)
    with pytest.raises(InvalidInputError, match="2 scores for 1 outcomes"):
        recalibrate(np.zeros(2), np.array([1]))
