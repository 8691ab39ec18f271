"""What each rule declares about its sensitivity, checked on neighbouring cohorts."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aggregation.correction import RULES, bounded, fedavg, walk
from aggregation.correction.agnostic import loss_release
from aggregation.correction.importance import (
    covariate_weights,
    label_weights,
    weighted_clipped_sum,
)
from aggregation.correction.logit_adjustment import adjusted
from aggregation.correction.poor_labels import bounded_influence_sum
from privacy.errors import InvalidInputError
from privacy.mechanisms import clip, to_integers

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
Rule = Callable[[Array, Labels, Array], Array]


def gradients(features: Array, outcomes: Labels, scores: Array) -> Array:
    risks = 0.5 * (1 + np.tanh(0.5 * scores))
    return np.asarray((risks - outcomes)[:, None] * features)


def fedsgd(features: Array, outcomes: Labels, w: Array) -> Array:
    return fedavg.clipped_sum(gradients(features, outcomes, features @ w), clip_norm=1.0)


def importance_by_label(features: Array, outcomes: Labels, w: Array) -> Array:
    weights = label_weights(outcomes, prevalence=0.7, target=0.1)  # noised before, fixed now
    rows = gradients(features, outcomes, features @ w)
    return weighted_clipped_sum(rows, weights, clip_norm=1.0)


def importance_by_covariates(features: Array, outcomes: Labels, w: Array) -> Array:
    rows = gradients(features, outcomes, features @ w)
    return weighted_clipped_sum(rows, covariate_weights(features[:, 0]), clip_norm=1.0)


def logit_adjustment(features: Array, outcomes: Labels, w: Array) -> Array:
    scores = adjusted(features @ w, prevalence=0.7)
    return fedavg.clipped_sum(gradients(features, outcomes, scores), clip_norm=1.0)


def bounded_influence(features: Array, outcomes: Labels, w: Array) -> Array:
    risks = 0.5 * (1 + np.tanh(0.5 * features @ w))
    rows = gradients(features, outcomes, features @ w)
    return bounded_influence_sum(rows, risks, outcomes, exponent=0.7, clip_norm=1.0)


def agnostic(features: Array, outcomes: Labels, w: Array) -> Array:
    return 0.6 * fedsgd(features, outcomes, w)


def agnostic_loss(features: Array, outcomes: Labels, w: Array) -> Array:
    logits = features @ w
    losses = np.logaddexp(0, logits) - outcomes * logits
    return np.array([loss_release(losses, bound=1.0)])


@pytest.mark.parametrize(
    "rule",
    [
        fedsgd,
        importance_by_label,
        importance_by_covariates,
        logit_adjustment,
        bounded_influence,
        agnostic,
        agnostic_loss,
    ],
)
@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), patients=st.integers(1, 30), scale=st.floats(0.1, 20))
def test_one_step_rules_move_by_the_clip_norm_at_most(
    rule: Rule, seed: int, patients: int, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    features, outcomes = scale * rng.normal(size=(patients, 3)), rng.integers(2, size=patients)
    w = rng.normal(size=3)
    with_all = rule(features, outcomes, w)
    without = rule(features[:-1], outcomes[:-1], w)
    assert np.linalg.norm(with_all - without) <= 1.0 + 1e-9


def test_prevalence_counted_from_raw_patients_breaks_the_patient_as_the_unit() -> None:
    # Forty patients alike and one more who is ill: all forty move with the counted prevalence.
    features = np.array([[1.9]] * 40 + [[-1.9]])
    outcomes = np.array([0, 1] * 20 + [1])

    def emitted(n: int) -> Array:
        counted = float(outcomes[:n].mean())
        scores = adjusted(np.zeros(n), prevalence=counted)
        return fedavg.clipped_sum(gradients(features[:n], outcomes[:n], scores), clip_norm=1.0)

    assert np.linalg.norm(emitted(41) - emitted(40)) > 1.2


def test_after_a_local_step_one_patient_moves_the_sum_by_more_than_the_clip_norm() -> None:
    # The sum of clipped gradients over two local steps: the patient's own share is 2 C at most, but
    # the second step's model carries it into all the others' gradients.
    features = np.array([[0.9]] * 120 + [[-2.0]])
    outcomes = np.array([0, 1] * 60 + [1])

    def summed(n: int) -> float:
        w, total = np.zeros(1), np.zeros(1)
        for _ in range(2):
            slope = fedavg.clipped_sum(
                gradients(features[:n], outcomes[:n], features[:n] @ w), clip_norm=1.0
            )
            total = total + slope
            w = w - 0.3 * slope
        return float(total[0])

    assert abs(summed(121) - summed(120)) > 2.5


@given(seed=st.integers(0, 10_000), scale=st.floats(1e-3, 1e3))
def test_a_bounded_update_has_the_clip_norm_at_most_and_small_ones_stay(
    seed: int, scale: float
) -> None:
    update = scale * np.random.default_rng(seed).normal(size=5)
    kept = bounded(update, clip_norm=1.0)
    assert np.linalg.norm(kept) <= 1.0 + 1e-12
    if np.linalg.norm(update) <= 1.0:
        assert np.array_equal(kept, update)
    else:
        np.testing.assert_allclose(kept / np.linalg.norm(kept), update / np.linalg.norm(update))


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), patients=st.integers(0, 20), cut=st.integers(0, 20))
def test_splitting_a_hospital_in_two_gives_the_same_integers(
    seed: int, patients: int, cut: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = 3 * rng.normal(size=(patients, 4))

    def integers(part: Array) -> Labels:
        return to_integers(clip(part, clip_norm=1.0), radius=1_000).sum()

    assert np.array_equal(integers(rows), integers(rows[:cut]) + integers(rows[cut:]))


@pytest.mark.parametrize("patients", [0, 1])
@pytest.mark.parametrize("rule", [fedsgd, importance_by_label, bounded_influence, logit_adjustment])
def test_hospitals_without_patients_or_with_one_are_defined(rule: Rule, patients: int) -> None:
    found = rule(np.ones((patients, 3)), np.ones(patients, dtype=np.int64), np.zeros(3))
    assert found.shape == (3,)
    assert np.linalg.norm(found) <= 1.0 + 1e-12
    assert found.any() == bool(patients)


def test_every_rule_says_what_crosses_and_whom_it_protects() -> None:
    assert len(RULES) == 15
    for name, rule in RULES.items():
        assert rule.name == name
        assert rule.source
        assert rule.crosses
        assert (rule.unit == "unprotected") == (name == "article")
        assert (rule.unit == "none") == rule.crosses.startswith("nothing")
    assert {n for n, r in RULES.items() if r.unit == "patient"} == {
        "fedsgd",
        "agnostic",
        "importance",
        "logit adjustment",
        "bounded influence",
    }


def test_walking_is_gradient_descent_and_leaves_the_start_alone() -> None:
    start = np.array([4.0])
    end = walk(start, lambda w: w, steps=3, learning_rate=0.5)
    assert (float(end[0]), float(start[0])) == (0.5, 4.0)
    assert walk(start, lambda w: w, steps=0, learning_rate=0.5).tolist() == [4.0]
    with pytest.raises(InvalidInputError, match="learning_rate=0"):
        walk(start, lambda w: w, steps=1, learning_rate=0.0)
    with pytest.raises(InvalidInputError, match="NaN"):
        bounded(np.array([np.nan]), clip_norm=1.0)
