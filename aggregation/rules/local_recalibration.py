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
from numpy.typing import NDArray

from aggregation.rules.around import Around
from aggregation.rules.rule import Contract, Local, Unit
from privacy._validate import finite_array, positive
from privacy.errors import InvalidInputError

__all__ = ["LocalRecalibration", "recalibrate"]


@dataclass(frozen=True)
class LocalRecalibration(Around):
    """The base's shared model, and a line over its log-odds that each hospital fits by itself."""

    adds = Contract(
        "local recalibration",
        "Cox (1958), Biometrika 45:562; Steyerberg et al. (2004), Stat Med 23:2567, method 3",
        Unit.NONE,
        "nothing",
    )
    ridge: float = 1.0

    def finish(
        self, scores: Float[np.ndarray, "patients"], outcomes: Int[np.ndarray, "patients"]
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
    design = np.stack([np.ones(len(scores)), scores], axis=1)
    rest = np.array([0.0, 1.0])
    beta = rest.copy()

    def objective(at: NDArray[np.float64]) -> float:
        logits = design @ at
        loss = np.logaddexp(0, logits) - outcomes * logits
        return float(loss.sum() + ridge / 2 * ((at - rest) ** 2).sum())

    value = objective(beta)
    for _ in range(200):
        risks = 0.5 * (1 + np.tanh(0.5 * (design @ beta)))
        slope = design.T @ (risks - outcomes) + ridge * (beta - rest)
        curvature = design.T @ (design * (risks * (1 - risks))[:, None]) + ridge * np.eye(2)
        step = np.linalg.solve(curvature, slope)
        size = 1.0
        while objective(beta - size * step) > value + 1e-12 * abs(value) and size > 1e-12:
            size /= 2
        beta = beta - size * step
        value = objective(beta)
        if np.abs(step).max() < 1e-12 * max(1.0, np.abs(beta).max()):
            break
    return float(beta[0]), float(beta[1])
