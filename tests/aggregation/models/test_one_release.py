"""Moments: one release, from which everybody takes the same Newton step."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from aggregation.data.patients import Patients
from aggregation.federation import Federation
from aggregation.models import Inputs, LinearInput, Logistic, Model, Moments, named_model
from experiments.studies.design import TrainingSetting, make_plan
from experiments.studies.final_model import final_model
from privacy.errors import InvalidInputError


def people(count: int, features: int = 3, seed: int = 0) -> Patients:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, features))
    x[:, 0] = x[:, 0] > 0
    risk = expit(x @ np.linspace(1.0, -0.5, features) - 0.4)
    return Patients(x, (rng.random(count) < risk).astype(np.int64))


def opened(model: Moments, group: Patients, *, rounds: int = 1, step: float = 1.0) -> np.ndarray:
    """The parameters that a run without clipping and noise ends with."""
    params = model.initial(np.random.default_rng(0))
    for _ in range(rounds):
        rows = model.per_patient_gradients(params, group.features, group.outcomes)
        params = params - step * rows.mean(axis=0)
    return params


def newton(group: Patients, ridge: float = 0.0) -> np.ndarray:
    """The other road: gradient and curvature of the mean loss at 0, by finite differences."""
    size = group.features.shape[1] + 1
    model = Logistic(size - 1)

    def gradient(w: np.ndarray) -> np.ndarray:
        rows = model.per_patient_gradients(w, group.features, group.outcomes)
        return np.asarray(rows.mean(axis=0))

    h = 1e-5
    curvature = np.array([(gradient(h * e) - gradient(-h * e)) / (2 * h) for e in np.eye(size)])
    return np.linalg.solve(curvature + ridge * np.eye(size), -gradient(np.zeros(size)))


@pytest.mark.parametrize("ridge", [0.0, 0.2])
def test_without_noise_the_step_is_newtons_from_zero(ridge: float) -> None:
    group, model = people(300), Moments(3, ridge=ridge)
    params = opened(model, group)
    np.testing.assert_allclose(model.linear(params), newton(group, ridge), atol=1e-8)
    scores = model.scores(params, group.features)
    weights = model.linear(params)
    np.testing.assert_allclose(scores, group.features @ weights[:-1] + weights[-1], atol=1e-12)


def test_step_and_rounds_change_nothing() -> None:
    group, model = people(200), Moments(3)
    once = model.linear(opened(model, group))
    for rounds, step in ((1, 0.25), (5, 1.0), (3, 4.0)):
        again = opened(model, group, rounds=rounds, step=step)
        np.testing.assert_allclose(model.linear(again), once, atol=1e-10)
        ridged = Moments(3, ridge=0.1 * rounds * step).linear(again)  # as much more as was opened
        np.testing.assert_allclose(ridged, newton(group, 0.1), atol=1e-8)


def test_a_row_is_of_its_patient_alone_and_not_of_the_parameters() -> None:
    group, model = people(40), Moments(3)
    rows = model.per_patient_gradients(np.zeros(model.dim), group.features, group.outcomes)
    moved = model.per_patient_gradients(np.ones(model.dim), group.features, group.outcomes)
    assert rows.tobytes() == moved.tobytes()
    for k in range(len(group)):
        one = group.take(np.array([k]))
        alone = model.per_patient_gradients(np.zeros(model.dim), one.features, one.outcomes)
        assert alone.tobytes() == rows[k : k + 1].tobytes()
    whole = np.column_stack([group.features, np.ones(40)])
    squares = (whole**2).sum(axis=1)  # norm of the whole matrix, each entry once and its mirror
    norms = (0.5 * squares / 4) ** 2 + squares / 4
    np.testing.assert_allclose((rows**2).sum(axis=1), norms)


def test_clipping_makes_a_patient_weigh_less_and_moves_nobody() -> None:
    """Of patients alike, shortened by one factor, the step is the same."""
    group, model = people(1).take(np.zeros(50, dtype=np.int64)), Moments(3)
    plan = make_plan(
        run="clipped", design="sealed", epsilon=math.inf, model=model,
        setting=TrainingSetting(1, 1.0, 0.2, 1), patients={"a": group}, scheme="plain",
        colluders=0,
    )  # fmt: skip
    params = final_model(plan, {"a": group}, seed=1)
    free = model.linear(opened(model, group))
    np.testing.assert_allclose(
        model.scores(params, group.features), group.features @ free[:-1] + free[-1], rtol=0.02
    )
    held = params[:10][-1] / (0.5 / 4)  # the constant column's: what of a mean patient is there
    assert 0 < held < 0.9


def test_a_curvature_below_zero_is_noise_and_counts_as_none() -> None:
    """Its direction is divided by the ridge alone; without a ridge nothing is read along it."""
    size, half = 2, 0.5 / 4
    params = np.zeros(Moments(1).dim)
    params[[0, 2]] = -0.8 * half, 1.0 * half  # mean squares of the column, and of the constant
    params[3:] = 0.1, 0.2  # of the gradient
    weights = Moments(1, ridge=0.05).linear(params)
    np.testing.assert_allclose(weights, [0.1 / 0.05, 0.2 / (0.25 + 0.05)], atol=1e-12)
    assert len(weights) == size
    np.testing.assert_allclose(Moments(1).linear(params), [0.0, 0.2 / 0.25], atol=1e-12)


@given(st.integers(0, 10**6), st.floats(0, 100))
def test_scores_are_finite_whatever_noise_opens(seed: int, size: float) -> None:
    rng, model = np.random.default_rng(seed), Moments(3)
    params = size * rng.normal(size=model.dim)
    assert np.isfinite(model.scores(params, rng.normal(size=(5, 3)))).all()
    assert model.scores(model.initial(rng), np.ones((2, 3))).tolist() == [0.0, 0.0]


def test_the_ridge_is_the_largest_curvature_of_noise_alone() -> None:
    """Drawn: a symmetric matrix of the opened noise, as ``linear`` puts it together."""
    deviation, model, rng = 0.02, Moments(30), np.random.default_rng(3)
    tops = []
    for _ in range(20):
        noise = deviation * rng.normal(size=model.dim)
        first, second = np.triu_indices(31)
        curvature = np.zeros((31, 31))
        weights = np.where(first == second, 1.0, math.sqrt(2)) * 0.5 / 4
        curvature[first, second] = curvature[second, first] = noise[: len(first)] / weights / 4
        tops.append(np.linalg.eigvalsh(curvature)[-1])
    assert model.above_noise(deviation).ridge == pytest.approx(np.mean(tops), rel=0.15)
    assert Logistic(3).above_noise(1.0) == Logistic(3)


def test_a_plan_reads_it_above_its_own_noise_and_strangers_rebuild_it() -> None:
    group = people(400)
    plan = make_plan(
        run="once", design="sealed", epsilon=1.0, model=named_model("moments", Inputs(3)),
        setting=TrainingSetting(1, 1.0, 2.0, 1), patients={"a": group, "b": group}, scheme="shares",
    )  # fmt: skip
    assert isinstance(plan.model, Moments)
    deviation = plan.noise_multiplier * 2.0 / 800
    assert plan.model == Moments(3).above_noise(deviation) and plan.model.ridge > 0
    assert type(plan).from_bytes(plan.to_bytes()).model == plan.model
    assert Model.from_spec(plan.model.spec) == plan.model
    ran = Federation.simulated(plan, {"a": group, "b": group}, seed=1).run()
    assert len(ran.models) == 2  # the zeros, and what the only sum gave
    assert ran.params.tobytes() == final_model(plan, {"a": group, "b": group}, seed=1).tobytes()
    assert np.corrcoef(plan.model.scores(ran.params, group.features), group.outcomes)[0, 1] > 0.2


def test_one_patient_alone_is_read_off_the_gradient_as_of_logistic_regression() -> None:
    one = people(1)
    row = Moments(3).per_patient_gradients(np.zeros(14), one.features, one.outcomes)[0]
    plain = Logistic(3).per_patient_gradients(np.zeros(4), one.features, one.outcomes)[0]
    for mine, theirs in zip(Moments(3).first_layer(row), Logistic(3).first_layer(plain),
                            strict=True):  # fmt: skip
        assert mine.tolist() == theirs.tolist()
    assert isinstance(Moments(3), LinearInput) and Moments(3).outer_weights(row).tolist() == [1.0]


def test_what_moments_are_not_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="width=3 must be 0"):
        Moments(3, 3)
    with pytest.raises(InvalidInputError, match="ridge"):
        Moments(3, ridge=-0.1)
    with pytest.raises(InvalidInputError, match="offset=1"):
        Moments(3).shifted(np.zeros(14), 1.0)
    assert Moments(3).shifted(np.ones(14), 0.0).tolist() == [1.0] * 14
