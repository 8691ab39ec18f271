r"""The default correction: an intercept of its own, fitted and kept at the hospital.

Update: none of the shared model's. After the last round the hospital finds

.. math:: b = \arg\min_b \sum_i \left[\log(1 + e^{s_i + b}) - y_i (s_i + b)\right]
   + \tfrac{\lambda}{2} b^2

by Newton's method, where :math:`s_i` are the final model's log-odds of its own training patients,
and adds b to every prediction it makes.

- *Source*: updating of the intercept, Steyerberg et al. (2004), Statistics in Medicine 23:2567,
  method 2, with a ridge :math:`\lambda`.
- *Crosses the wall*: nothing. A prediction, or an evaluation, that uses b and leaves the hospital
  is a release of its own.
- *Unit and sensitivity*: none needed; the rounds are those of the rule it corrects.

Why not during training? A b fitted to raw patients in every round enters the gradient of *all* the
hospital's patients: adding one patient moves b and so each clipped gradient a little, and the sum
by more than the clip norm. The patient-level sensitivity, and with it the proof, would be gone. So
b is fitted after the last round, when nothing more will be sent.

>>> round(fit_intercept(np.zeros(4), np.array([1, 1, 1, 0]), ridge=1e-9), 6)  # logit of 3/4
1.098612
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from aggregation.rules.around import Around
from aggregation.rules.posterior_mode import posterior_mode
from aggregation.rules.rule import Contract, ContractUnit, Local
from privacy._validate import finite_array, positive
from privacy.errors import InvalidInputError

__all__ = ["LocalIntercept", "fit_intercept"]


@dataclass(frozen=True)
class LocalIntercept(Around):
    """The base's shared model, and an intercept that each hospital adds to it by itself."""

    adds = Contract(
        "local intercept",
        "Steyerberg et al. (2004), Stat Med 23:2567, method 2",
        ContractUnit.NONE,
        "nothing",
    )
    ridge: float = 1.0

    def finish(
        self,
        scores: Float[np.ndarray, "patients"],
        features: Float[np.ndarray, "patients features"],
        outcomes: Int[np.ndarray, "patients"],
    ) -> Local:
        """Fit the intercept."""
        return Local(intercept=fit_intercept(scores, outcomes, ridge=self.ridge))


def fit_intercept(
    scores: Float[np.ndarray, "patients"],
    outcomes: Int[np.ndarray, "outcomes"],
    *,
    ridge: float = 1.0,
) -> float:
    r"""Return the intercept that the hospital adds to its log-odds.

    Guarantees (each is a test in ``tests/aggregation/rules/test_local_intercept.py``):
      - at the result b, :math:`\sum_i (y_i - p_i) = \lambda b` to 1e-9 a patient;
      - it is finite for any outcomes: with no patient it is 0, with one class the ridge holds it;
      - shifting all scores by c moves b by less than c, against it.

    Args:
      scores: Log-odds of the hospital's own training patients under the final model.
      outcomes: Theirs, 0 or 1.
      ridge: :math:`\lambda`, in patients: how much evidence it takes to leave 0.

    Raises:
      InvalidInputError: Lengths differ, a score is not finite, or ``ridge`` is not positive.
    """
    positive(ridge=ridge)
    finite_array(scores=scores)
    if len(scores) != len(outcomes):
        raise InvalidInputError(f"{len(scores)} scores for {len(outcomes)} outcomes.")
    ones, precision = np.ones((len(scores), 1)), np.array([ridge])
    return float(posterior_mode(ones, outcomes, precision=precision, offset=scores)[0])
