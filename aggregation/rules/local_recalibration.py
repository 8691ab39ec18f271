r"""Local recalibration: intercept and slope of its own, fitted and kept at the hospital.

.. math:: (a, b) = \arg\min \sum_i \left[\log(1 + e^{a + b s_i}) - y_i (a + b s_i)\right]
   + \tfrac{\lambda}{2} \left(a^2 + (b - 1)^2\right)

- *Source*: logistic recalibration, Cox (1958), Biometrika 45:562; as updating, Steyerberg et al.
  (2004), Statistics in Medicine 23:2567, method 3; with a ridge towards "leave it as it is".
- *Crosses the wall*: nothing; after the last round, as ``local_intercept`` explains.
- *Unit and sensitivity*: none needed.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from aggregation.rules.around import Around
from aggregation.rules.posterior_mode import posterior_mode
from aggregation.rules.rule import Contract, ContractUnit, Local
from privacy._validate import finite_array, positive
from privacy.errors import InvalidInputError

__all__ = ["LocalRecalibration", "recalibrate"]


@dataclass(frozen=True)
class LocalRecalibration(Around):
    """The base's shared model, and a line over its log-odds that each hospital fits by itself."""

    adds = Contract(
        "local recalibration",
        "Cox (1958), Biometrika 45:562; Steyerberg et al. (2004), Stat Med 23:2567, method 3",
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
        """Fit intercept and slope."""
        return Local(*recalibrate(scores, outcomes, ridge=self.ridge))


def recalibrate(
    scores: Float[np.ndarray, "patients"],
    outcomes: Int[np.ndarray, "outcomes"],
    *,
    ridge: float = 1.0,
) -> tuple[float, float]:
    r"""Return intercept a and slope b; the hospital predicts with ``a + b score``.

    Guarantees (each is a test in ``tests/aggregation/rules/test_local_recalibration.py``):
      - the gradient of the objective is 0 to 1e-8 a patient at the result;
      - it is finite for any outcomes; with no patient it is (0, 1).

    Args:
      scores: Log-odds of the hospital's own training patients under the final model.
      outcomes: Theirs, 0 or 1.
      ridge: :math:`\lambda`, in patients.

    Raises:
      InvalidInputError: Lengths differ, a score is not finite, or ``ridge`` is not positive.
    """
    positive(ridge=ridge)
    finite_array(scores=scores)
    if len(scores) != len(outcomes):
        raise InvalidInputError(f"{len(scores)} scores for {len(outcomes)} outcomes.")
    line = np.stack([np.ones(len(scores)), scores], axis=1)
    rest = np.array([0.0, 1.0])
    fitted = posterior_mode(line, outcomes, precision=np.full(2, ridge), centre=rest)
    return float(fitted[0]), float(fitted[1])
