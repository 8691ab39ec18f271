"""The one Newton's method of local fits, against its gradient, scipy and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from aggregation.rules.posterior_mode import posterior_mode
from privacy.errors import InvalidInputError


def gradient(
    columns: np.ndarray,
    outcomes: np.ndarray,
    precision: np.ndarray,
    centre: np.ndarray,
    offset: np.ndarray,
    beta: np.ndarray,
) -> np.ndarray:
    risks = 0.5 * (1 + np.tanh(0.5 * (offset + columns @ beta)))
    return np.asarray(columns.T @ (risks - outcomes) + precision * (beta - centre))


def objective(
    columns: np.ndarray,
    outcomes: np.ndarray,
    precision: np.ndarray,
    centre: np.ndarray,
    offset: np.ndarray,
    beta: np.ndarray,
) -> float:
    logits = offset + columns @ beta
    signed = np.where(outcomes == 1, -logits, logits)
    return float(np.logaddexp(0, signed).sum() + 0.5 * (precision * (beta - centre) ** 2).sum())


@given(
    seed=st.integers(0, 10_000),
    n=st.integers(0, 60),
    terms=st.integers(1, 6),
    scale=st.floats(0, 30),
    weak=st.floats(-3, 2),
    one_class=st.booleans(),
)
def test_the_gradient_is_zero_and_the_objective_below_the_centres(
    seed: int, n: int, terms: int, scale: float, weak: float, one_class: bool
) -> None:
    rng = np.random.default_rng(seed)
    columns = scale * rng.normal(size=(n, terms))
    outcomes = np.ones(n, dtype=np.int64) if one_class else rng.integers(2, size=n)
    precision = 10**weak * rng.uniform(0.5, 2, size=terms)
    centre, offset = rng.normal(size=terms), scale * rng.normal(size=n)
    beta = posterior_mode(columns, outcomes, precision=precision, centre=centre, offset=offset)
    left = gradient(columns, outcomes, precision, centre, offset, beta)
    size = np.abs(columns).sum(axis=0) + precision * (1 + np.abs(beta - centre))
    assert (np.abs(left) <= 1e-8 * size).all()
    before = objective(columns, outcomes, precision, centre, offset, centre)
    after = objective(columns, outcomes, precision, centre, offset, beta)
    assert after <= before * (1 + 1e-14)
    if n == 0:
        np.testing.assert_array_equal(beta, centre)


def test_two_libraries_find_the_same() -> None:
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(80, 4))
    outcomes = (rng.random(80) < 0.4).astype(np.int64)
    ridge = 2.5
    mine = posterior_mode(columns, outcomes, precision=np.full(4, ridge))
    peer = LogisticRegression(C=1 / ridge, fit_intercept=False, tol=1e-12, max_iter=10_000)
    np.testing.assert_allclose(mine, peer.fit(columns, outcomes).coef_[0], atol=1e-6)
    precision, centre = np.array([0.1, 1.0, 5.0, 20.0]), np.array([1.0, -1.0, 0.0, 2.0])
    offset = rng.normal(size=80)
    mine = posterior_mode(columns, outcomes, precision=precision, centre=centre, offset=offset)

    def at(beta: np.ndarray) -> float:
        return objective(columns, outcomes, precision, centre, offset, beta)

    other = minimize(at, np.zeros(4), tol=1e-12)
    np.testing.assert_allclose(mine, other.x, atol=1e-5)


def test_without_a_prior_it_is_the_maximum_of_the_likelihood() -> None:
    rng = np.random.default_rng(1)
    columns = np.stack([np.ones(500), rng.normal(size=500)], axis=1)
    outcomes = (rng.random(500) < 0.3).astype(np.int64)
    none = np.zeros(2)
    beta = posterior_mode(columns, outcomes, precision=none)
    assert np.abs(gradient(columns, outcomes, none, none, np.zeros(500), beta)).max() < 1e-8


@pytest.mark.parametrize("far", [-800.0, 800.0])
def test_without_a_prior_it_comes_back_from_where_every_risk_is_0_or_1(far: float) -> None:
    """There the likelihood has no curvature in doubles, and its slope alone says where to go."""
    found = posterior_mode(
        np.ones((4, 1)), np.array([0, 1, 1, 1]), precision=np.zeros(1), offset=np.full(4, far)
    )
    assert found[0] == pytest.approx(np.log(3) - far, abs=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"outcomes": np.zeros(3, dtype=np.int64)},
        {"offset": np.zeros(3)},
        {"precision": np.array([1.0, -1.0])},
        {"precision": np.ones(3)},
        {"centre": np.ones(3)},
        {"offset": np.full(2, np.nan)},
        {"columns": np.full((2, 2), np.inf)},
    ],
)
def test_what_does_not_fit_is_refused(wrong: dict[str, np.ndarray]) -> None:
    good = {
        "columns": np.eye(2), "outcomes": np.array([0, 1]), "precision": np.ones(2),
        "centre": np.zeros(2), "offset": np.zeros(2),
    }  # fmt: skip
    posterior_mode(**good)
    with pytest.raises(InvalidInputError):
        posterior_mode(**(good | wrong))
