"""The federation as a prior: what a hospital fits around the opened model."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from aggregation.rules import (
    SHIFT_STRENGTHS,
    STRENGTHS,
    FedSGD,
    Local,
    LocalFit,
    LocalForm,
    Rule,
    fit_intercept,
    fit_locally,
    recalibrate,
)
from privacy.errors import InvalidInputError


def patients(seed: int, n: int, terms: int = 3, apart: float = 0.0) -> tuple[np.ndarray, ...]:
    """Scores of a shared model, columns, and outcomes whose slopes stand ``apart`` from it."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, terms))
    scores = features @ np.linspace(1, -1, terms)
    risk = 1 / (1 + np.exp(-(scores + apart * features @ rng.normal(size=terms))))
    return scores, features, (rng.random(n) < risk).astype(np.int64)


def log_loss(logits: np.ndarray, outcomes: np.ndarray) -> float:
    return float(np.logaddexp(0, np.where(outcomes == 1, -logits, logits)).sum())


@pytest.mark.parametrize("form", list(LocalForm))
def test_each_form_is_the_mode_under_its_own_priors(form: LocalForm) -> None:
    """Second road: scipy, on the objectives as the module's docstring has them."""
    scores, features, outcomes = patients(0, 60, apart=1.0)
    strength = 2.0
    found = fit_locally(
        scores,
        features,
        outcomes,
        forms=(form,),
        shift_strengths=(strength,),
        strengths=(strength,),
    )[1]

    def objective(at: np.ndarray) -> float:
        a, b, shift = at[0], at[1], at[2:]
        own = form is LocalForm.OWN
        prior = (0.01 if own else 1.0) * a**2
        if form is LocalForm.LINE:
            prior += (b - 1) ** 2
        else:
            b = 0.0 if own else 1.0
        if form in (LocalForm.SHIFT, LocalForm.OWN):
            prior += strength * float(shift @ shift)
        else:
            shift = np.zeros(3)
        return log_loss(a + b * scores + features @ shift, outcomes) + float(prior) / 2

    best = minimize(objective, np.array([0.0, 1.0, 0, 0, 0]), tol=1e-12)
    mine = np.array([found.intercept, found.slope, *(found.shift or (0.0,) * 3)])
    assert objective(mine) <= best.fun + 1e-8
    wanted = {
        LocalForm.INTERCEPT: Local(fit_intercept(scores, outcomes)),
        LocalForm.LINE: Local(*recalibrate(scores, outcomes)),
    }
    assert form not in wanted or found == wanted[form]
    assert len(found.shift) == (3 if form in (LocalForm.SHIFT, LocalForm.OWN) else 0)


@given(
    seed=st.integers(0, 10_000), n=st.integers(2, 40), apart=st.floats(0, 3), sparing=st.booleans()
)
def test_the_simplest_within_an_error_of_the_least_is_chosen(
    seed: int, n: int, apart: float, sparing: bool
) -> None:
    """Second road: every candidate fitted alone, the losses and their errors patient by patient."""
    scores, features, outcomes = patients(seed, n, apart=apart)
    inner, priors = 3, {LocalForm.SHIFT: (5.0, 0.5), LocalForm.OWN: (7.0, 0.7)}
    chosen, fit = fit_locally(
        scores, features, outcomes, shift_strengths=(0.5, 5.0), strengths=(0.7, 7.0), inner=inner,
        sparing=sparing,
    )  # fmt: skip
    # Every third of the ill, then of the well, goes to a fold.
    rank = np.empty(n, dtype=int)
    rank[np.concatenate([np.flatnonzero(outcomes == 1), np.flatnonzero(outcomes == 0)])] = range(n)
    ordered = [(form, each) for form in LocalForm for each in priors.get(form, (1.0,))]
    losses = []
    for form, strength in ordered:
        row = np.zeros(n)
        for fold in range(inner):
            out = rank % inner == fold
            if out.any():
                one = alone(form, strength, scores[~out], features[~out], outcomes[~out])
                logits = one.scores(scores[out], features[out])
                row[out] = np.logaddexp(0, np.where(outcomes[out] == 1, -logits, logits))
        losses.append(row)
    best = min(losses, key=lambda row: float(row.sum()))
    gaps = [row - best for row in losses]
    errors = [gap.std(ddof=1) / np.sqrt(n) if sparing else 0.0 for gap in gaps]
    within = [gap.mean() <= error + 1e-12 for gap, error in zip(gaps, errors, strict=True)]
    form, strength = ordered[within.index(True)]
    assert chosen is form
    assert fit == alone(form, strength, scores, features, outcomes)


def alone(form: LocalForm, strength: float, *given_: np.ndarray) -> Local:
    return fit_locally(
        *given_, forms=(form,), shift_strengths=(strength,), strengths=(strength,)
    )[1]  # fmt: skip


def test_equals_fall_to_the_simplest_form_and_the_strongest_prior() -> None:
    scores, features, outcomes = patients(1, 30)
    features = np.zeros_like(features)  # no shift can help
    assert fit_locally(0 * scores, features, outcomes)[0] is LocalForm.INTERCEPT
    form, fit = fit_locally(
        scores, features, outcomes, forms=(LocalForm.SHIFT,), shift_strengths=(1.0, 100.0, 10.0)
    )
    assert form is LocalForm.SHIFT and fit.shift == (0.0, 0.0, 0.0)
    assert fit.intercept == pytest.approx(fit_intercept(scores, outcomes), abs=1e-9)


def test_very_strong_priors_leave_the_intercept_and_weak_ones_forget_the_federation() -> None:
    scores, features, outcomes = patients(2, 200, apart=2.0)
    strong = fit_locally(
        scores, features, outcomes, forms=(LocalForm.SHIFT,), shift_strengths=(1e12,)
    )[1]
    intercept = Local(fit_intercept(scores, outcomes))
    np.testing.assert_allclose(
        strong.scores(scores, features), intercept.scores(scores, features), atol=1e-6
    )
    weak, own = (
        alone(form, 1e-6, scores, features, outcomes) for form in (LocalForm.SHIFT, LocalForm.OWN)
    )
    np.testing.assert_allclose(
        weak.scores(scores, features), own.scores(scores, features), atol=0.05
    )


def test_a_hospital_like_the_others_stays_near_and_one_unlike_them_goes_its_own_way() -> None:
    forms = [fit_locally(*patients(seed, 40))[0] for seed in range(20)]
    assert sum(form in (LocalForm.INTERCEPT, LocalForm.LINE) for form in forms) >= 12
    scores, features, outcomes = patients(3, 2000)
    assert fit_locally(-3 * scores, features, outcomes)[0] is not LocalForm.INTERCEPT


def test_own_models_read_no_score_and_draw_nothing() -> None:
    scores, features, outcomes = patients(4, 50, apart=1.0)
    one = fit_locally(scores, features, outcomes, forms=(LocalForm.OWN,))
    other = fit_locally(100 - 7 * scores, features, outcomes, forms=(LocalForm.OWN,))
    assert one == other and one[1].slope == 0.0
    assert fit_locally(scores, features, outcomes) == fit_locally(scores, features, outcomes)


@pytest.mark.parametrize("n", [0, 1, 2, 7])
@pytest.mark.parametrize("outcome", [0, 1])
def test_it_is_finite_for_few_patients_of_one_outcome(n: int, outcome: int) -> None:
    features = np.random.default_rng(n).normal(size=(n, 3))
    outcomes = np.full(n, outcome, dtype=np.int64)
    form, fit = fit_locally(features[:, 0], features, outcomes)
    assert np.isfinite([fit.intercept, fit.slope, *fit.shift]).all()
    if n < 2:
        assert form is LocalForm.INTERCEPT
    if n == 0:
        assert fit == Local()


def test_as_a_rule_it_sends_what_its_base_sends_and_its_constants_are_in_the_plan() -> None:
    rule = LocalFit(shift_strengths=(2.0, 20.0), strengths=(1.0, 10.0), inner=4)
    assert rule.contract.unit is FedSGD().contract.unit
    again = Rule.from_spec(json.loads(json.dumps(rule.spec)))
    assert again == rule
    scores, features, outcomes = patients(5, 30, apart=2.0)
    fit = fit_locally(
        scores, features, outcomes, shift_strengths=(2.0, 20.0), strengths=(1.0, 10.0), inner=4
    )[1]
    assert rule.finish(scores, features, outcomes) == fit
    assert (LocalFit().shift_strengths, LocalFit().strengths) == (SHIFT_STRENGTHS, STRENGTHS)


@pytest.mark.parametrize(
    "wrong",
    [{"inner": 1}, {"strengths": ()}, {"shift_strengths": (-1.0,)}, {"strengths": (1.0, 0.0)}],
)
def test_constants_without_meaning_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        LocalFit(**wrong)  # type: ignore[arg-type]
