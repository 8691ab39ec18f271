"""The intercept's promises, and why it may not be fitted while the model is trained."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Float
from numpy.typing import NDArray

from aggregation.rules import fit_intercept
from privacy.errors import InvalidInputError


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-x)))


@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 80),
    scale=st.floats(0, 30),
    shift=st.floats(-30, 30),
    ridge=st.floats(1e-3, 10),
)
def test_the_slack_is_the_ridges(
    seed: int, n: int, scale: float, shift: float, ridge: float
) -> None:
    rng = np.random.default_rng(seed)
    scores, outcomes = shift + scale * rng.normal(size=n), rng.integers(2, size=n)
    b = fit_intercept(scores, outcomes, ridge=ridge)
    slack = float((outcomes - sigmoid(scores + b)).sum()) - ridge * b
    assert abs(slack) <= 1e-9 * n


def test_without_patients_it_is_zero_and_with_one_class_finite() -> None:
    assert fit_intercept(np.empty(0), np.empty(0, dtype=np.int64)) == 0.0
    one_class = fit_intercept(np.zeros(100), np.ones(100, dtype=np.int64))
    assert 2 < one_class < 6


@given(seed=st.integers(0, 10_000), shift=st.floats(0.01, 5))
def test_a_shift_of_the_scores_is_answered_in_part(seed: int, shift: float) -> None:
    rng = np.random.default_rng(seed)
    scores, outcomes = rng.normal(size=30), rng.integers(2, size=30)
    moved = fit_intercept(scores + shift, outcomes) - fit_intercept(scores, outcomes)
    assert -shift < moved < 0


def test_bad_input_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"ridge=0\.0"):
        fit_intercept(np.zeros(1), np.array([1]), ridge=0.0)
    with pytest.raises(InvalidInputError, match="2 scores for 1 outcomes"):
        fit_intercept(np.zeros(2), np.array([1]))
    with pytest.raises(InvalidInputError, match="NaN"):
        fit_intercept(np.array([np.nan]), np.array([1]))


def update(
    features: Float[np.ndarray, "patients features"],
    outcomes: NDArray[np.int64],
    weights: Float[np.ndarray, "features"],
    *,
    clip_norm: float,
    in_training: bool,
) -> NDArray[np.float64]:
    """Sum of clipped gradients of a logistic model; ``in_training`` refits b on raw patients."""
    scores = features @ weights
    b = fit_intercept(scores, outcomes) if in_training else 0.0
    gradients = (sigmoid(scores + b) - outcomes)[:, None] * features
    norms = np.linalg.norm(gradients, axis=1, keepdims=True)
    return np.asarray((gradients * np.minimum(1, clip_norm / np.maximum(norms, 1e-12))).sum(axis=0))


def added(
    features: Float[np.ndarray, "patients features"],
    outcomes: NDArray[np.int64],
    weights: Float[np.ndarray, "features"],
    *,
    in_training: bool,
) -> float:
    """How far the last patient moves the update when it joins the others; the clip norm is 1."""
    without, with_it = (
        update(features[:n], outcomes[:n], weights, clip_norm=1.0, in_training=in_training)
        for n in (len(outcomes) - 1, len(outcomes))
    )
    return float(np.linalg.norm(with_it - without))


@given(seed=st.integers(0, 10_000), patients=st.integers(2, 40))
def test_fitted_after_training_one_patient_moves_the_update_by_the_clip_norm_at_most(
    seed: int, patients: int
) -> None:
    rng = np.random.default_rng(seed)
    features, outcomes = rng.normal(scale=2, size=(patients, 3)), rng.integers(2, size=patients)
    assert added(features, outcomes, rng.normal(size=3), in_training=False) <= 1.0 + 1e-9


def test_fitted_during_training_one_patient_moves_the_update_by_more() -> None:
    # Forty alike, half of them ill, and one ill patient who is their opposite: alone it adds 0.95,
    # and through b it moves each of the forty by a little in the same direction.
    features = np.array([[1.9]] * 40 + [[-1.9]])
    outcomes = np.array([0, 1] * 20 + [1])
    after = added(features, outcomes, np.zeros(1), in_training=False)
    during = added(features, outcomes, np.zeros(1), in_training=True)
    assert after == pytest.approx(0.95)
    assert during > 1.7  # 70 % past the declared sensitivity: epsilon would be understated
