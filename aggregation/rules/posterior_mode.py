r"""Logistic regression under a Gaussian prior: the one Newton's method of all local fits.

.. math:: \hat\beta = \arg\min_\beta \sum_i \left[\log(1 + e^{o_i + x_i \beta})
   - y_i (o_i + x_i \beta)\right] + \tfrac12 \sum_j \lambda_j (\beta_j - m_j)^2

is the mode of the posterior for the prior :math:`\beta_j \sim N(m_j, 1 / \lambda_j)`.

>>> two = np.ones((4, 1))
>>> round(float(posterior_mode(two, np.array([1, 1, 1, 0]), precision=np.array([1e-9]))[0]), 6)
1.098612
"""

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from privacy._validate import finite_array
from privacy.errors import InvalidInputError

__all__ = ["posterior_mode"]

_NEAR = 1e-10  # of the objective: what another step would take away, twice
_HAIR = 1e-12  # a patient: curvature where a column has no prior and all risks are 0 or 1


def posterior_mode(
    columns: Float[np.ndarray, "patients terms"],
    outcomes: Int[np.ndarray, "outcomes"],
    *,
    precision: Float[np.ndarray, "precisions"],
    centre: Float[np.ndarray, "centres"] | None = None,
    offset: Float[np.ndarray, "offsets"] | None = None,
) -> Float[np.ndarray, "terms"]:
    r"""Return :math:`\hat\beta`, by Newton's method with halved steps.

    Guarantees (each is a test in ``tests/aggregation/rules/test_posterior_mode.py``):
      - the gradient of the objective is 0 to 1e-8 of the size of its terms at the result;
      - with all precisions positive it is finite for any outcomes, and without patients the centre;
      - the objective is not above that of the centre, but for rounding.

    Args:
      columns: x.
      outcomes: y, 0 or 1.
      precision: :math:`\lambda`, in patients, at least 0; 0 is no prior, and then the classes must
        overlap.
      centre: m; by default 0.
      offset: o, in log-odds; by default 0.

    Raises:
      InvalidInputError: Lengths differ, a number is not finite, or a precision is negative.
    """
    offset = np.zeros(len(columns)) if offset is None else offset
    centre = np.zeros(columns.shape[1]) if centre is None else centre
    finite_array(columns=columns)
    finite_array(offset=offset)
    finite_array(precision=precision)
    if not len(columns) == len(outcomes) == len(offset):
        raise InvalidInputError(f"{len(columns)} rows for {len(outcomes)} outcomes.")
    if not columns.shape[1] == len(precision) == len(centre) or (precision < 0).any():
        raise InvalidInputError(
            f"Expected a precision of at least 0 and a centre for each of {columns.shape[1]} "
            f"columns, got {precision} and {centre}."
        )

    def objective(at: NDArray[np.float64]) -> float:
        logits = offset + columns @ at
        loss = float((np.logaddexp(0, logits) - outcomes * logits).sum())
        return loss + float(precision @ (at - centre) ** 2) / 2

    beta, hair = centre.copy(), _HAIR * len(columns)
    value = objective(beta)
    for _ in range(200):
        risks = 0.5 * (1 + np.tanh(0.5 * (offset + columns @ beta)))
        slope = columns.T @ (risks - outcomes) + precision * (beta - centre)
        curvature = columns.T @ (columns * (risks * (1 - risks))[:, None])
        curvature[np.diag_indices_from(curvature)] += precision + hair
        step = np.linalg.solve(curvature, slope)
        if slope @ step <= _NEAR * (1 + abs(value)):  # Newton's last step squares what is left
            return np.asarray(beta - step)
        size = 1.0
        while (lower := objective(beta - size * step)) > value and size > 1e-12:
            size /= 2
        beta, value = beta - size * step, lower
    return np.asarray(beta)
