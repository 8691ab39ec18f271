r"""The federation as a prior: each hospital fits its own model around the opened one, and keeps it.

With :math:`s_i` the opened model's log-odds of the hospital's own patients and :math:`x_i` their
columns, a hospital predicts with :math:`a + b s_i + x_i \delta`, and chooses among

- an intercept: :math:`b = 1, \delta = 0, a \sim N(0, 1)`;
- a line: :math:`\delta = 0, a \sim N(0, 1), b \sim N(1, 1)`;
- a shift of all slopes: :math:`b = 1, a \sim N(0, 1), \delta_j \sim N(0, 1/\lambda)`, for each
  strength :math:`\lambda`; of a logistic model that is the Gaussian prior around its coefficients;
- its own model, which knows nothing of the others: :math:`b = 0, a \sim N(0, 100),
  \delta_j \sim N(0, 1/\lambda)`, for each strength,

by log loss over inner folds of its own training patients: the simplest (in this order, the
strongest prior first) whose loss is within one standard error of the least, the error being that of
the patients' paired differences (Breiman et al. 1984, Classification and Regression Trees, 3.4.3).
The least alone overfits: with twenty patients one of many candidates looks best by chance.

- *Source*: Ditto, Li et al. (2021), arXiv 2012.04221v3, Eq. 1 (the local objective with
  :math:`\frac{\lambda}{2} \|v - w^*\|^2`), solved once after training; the first two are Steyerberg
  et al. (2004), Stat Med 23:2567, methods 2 and 3.
- *Crosses the wall*: nothing, and neither does which candidate was chosen. A prediction, a strength
  or an evaluation that uses the fit and leaves the hospital is a release of its own.
- *Unit and sensitivity*: none needed; the rounds are those of the rule it follows.

The opened model has seen the inner folds' patients too. That one patient moves it little is what
its noise is for; without noise the candidates around it look a little better than they are.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from aggregation.rules.around import Around
from aggregation.rules.local_intercept import fit_intercept
from aggregation.rules.local_recalibration import recalibrate
from aggregation.rules.posterior_mode import posterior_mode
from aggregation.rules.rule import Contract, ContractUnit, Local
from privacy._validate import natural, positive
from privacy.errors import InvalidInputError

__all__ = ["STRENGTHS", "LocalFit", "LocalForm", "fit_locally"]

STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Precisions of an own model's slopes, in patients."""
SHIFT_STRENGTHS = (10.0, 30.0, 100.0)
"""Precisions of a shift around the opened slopes: a weaker prior would forget the federation."""
_INTERCEPT = 1.0  # precision of an intercept around the opened model's
_OWN_INTERCEPT = 0.01  # and of one that is known by nobody


class LocalForm(StrEnum):
    """What a hospital may fit; the module says what each is."""

    INTERCEPT = "intercept"
    LINE = "line"
    SHIFT = "shift"
    OWN = "own"


@dataclass(frozen=True)
class LocalFit(Around):
    """The base's shared model, and what each hospital fits around it and keeps.

    Attributes:
      base: The rule whose sums are opened.
      shift_strengths: Of the priors of shifts, in patients.
      strengths: Of the priors of own models' slopes.
      inner: Folds that choose.
    """

    adds = Contract(
        "local fit",
        "Li et al. (2021), arXiv 2012.04221v3, Eq. 1, after training",
        ContractUnit.NONE,
        "nothing",
    )
    shift_strengths: tuple[float, ...] = SHIFT_STRENGTHS
    strengths: tuple[float, ...] = STRENGTHS
    inner: int = 5

    def __post_init__(self) -> None:
        natural(inner=self.inner, least=2)
        for name in ("shift_strengths", "strengths"):
            values = tuple(getattr(self, name))  # a spec brings a list
            if not values:
                raise InvalidInputError(f"Expected at least one of {name}; the default has some.")
            for value in values:
                positive(**{name: value})
            object.__setattr__(self, name, values)

    def finish(
        self,
        scores: Float[np.ndarray, "patients"],
        features: Float[np.ndarray, "patients features"],
        outcomes: Int[np.ndarray, "patients"],
    ) -> Local:
        """Choose and fit."""
        return fit_locally(
            scores,
            features,
            outcomes,
            shift_strengths=self.shift_strengths,
            strengths=self.strengths,
            inner=self.inner,
        )[1]


def fit_locally(
    scores: Float[np.ndarray, "patients"],
    features: Float[np.ndarray, "patients features"],
    outcomes: Int[np.ndarray, "patients"],
    *,
    forms: tuple[LocalForm, ...] = tuple(LocalForm),
    shift_strengths: tuple[float, ...] = SHIFT_STRENGTHS,
    strengths: tuple[float, ...] = STRENGTHS,
    inner: int = 5,
    sparing: bool = True,
) -> tuple[LocalForm, Local]:
    """Return what a hospital chooses to fit, and the fit.

    Guarantees (each is a test in ``tests/aggregation/rules/test_local_fit.py``):
      - it depends on these patients alone, and draws nothing;
      - what is chosen is the simplest form, with the strongest prior, whose log loss over the inner
        folds is within one standard error of the least; not ``sparing``: the least itself;
      - with very strong priors a shift is the intercept;
      - with ``forms`` of ``OWN`` alone the scores change nothing;
      - it is finite for any outcomes; with fewer than two patients the first form is fitted.

    Args:
      scores: Log-odds of the hospital's own training patients under the opened model.
      features: Their columns, as the model reads them.
      outcomes: Theirs, 0 or 1.
      forms: What may be chosen.
      shift_strengths: Precisions of the priors of shifts, in patients.
      strengths: Precisions of the priors of own models' slopes, in patients.
      inner: Folds that choose, dealt by outcome in the order of the rows.
      sparing: Whether one standard error more is no loss.
    """
    priors = {LocalForm.SHIFT: shift_strengths, LocalForm.OWN: strengths}
    candidates = [
        (form, strength)
        for form in LocalForm
        if form in forms
        for strength in sorted(priors.get(form, (1.0,)), reverse=True)
    ]
    if len(outcomes) < 2:
        return candidates[0][0], _fit(*candidates[0], scores, features, outcomes)
    folds = _dealt(outcomes, inner)
    losses = np.zeros((len(candidates), len(outcomes)))
    for row, (form, strength) in zip(losses, candidates, strict=True):
        for fold in np.unique(folds):
            out = folds == fold
            fit = _fit(form, strength, scores[~out], features[~out], outcomes[~out])
            logits = fit.scores(scores[out], features[out])
            row[out] = np.logaddexp(0, logits) - outcomes[out] * logits
    more = losses - losses[np.argmin(losses.sum(axis=1))]
    errors = more.std(axis=1, ddof=1) * np.sqrt(len(outcomes)) if sparing else np.zeros(len(more))
    form, strength = candidates[int(np.argmax(more.sum(axis=1) <= errors))]
    return form, _fit(form, strength, scores, features, outcomes)


def _dealt(outcomes: NDArray[np.int64], inner: int) -> NDArray[np.int64]:
    """The fold of each patient: the ill in turn, then the well."""
    order = np.argsort(-outcomes, kind="stable")
    folds = np.empty(len(outcomes), dtype=np.int64)
    folds[order] = np.arange(len(outcomes)) % inner
    return folds


def _fit(
    form: LocalForm,
    strength: float,
    scores: NDArray[np.float64],
    features: NDArray[np.float64],
    outcomes: NDArray[np.int64],
) -> Local:
    if form is LocalForm.INTERCEPT:
        return Local(fit_intercept(scores, outcomes, ridge=_INTERCEPT))
    if form is LocalForm.LINE:
        return Local(*recalibrate(scores, outcomes, ridge=_INTERCEPT))
    is_own_model = form is LocalForm.OWN
    columns = np.concatenate([np.ones((len(features), 1)), features], axis=1)
    precision = np.full(columns.shape[1], strength)
    precision[0] = _OWN_INTERCEPT if is_own_model else _INTERCEPT
    offset = np.zeros(len(scores)) if is_own_model else scores
    fitted = posterior_mode(columns, outcomes, precision=precision, offset=offset)
    return Local(float(fitted[0]), 0.0 if is_own_model else 1.0, tuple(fitted[1:].tolist()))
