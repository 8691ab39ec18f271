r"""Per-patient gradients in arithmetic that runs along each patient's row alone.

The proof of sensitivity needs that a patient's integers do not depend on who else is in the batch,
*to the last bit*. A matrix product adds in an order that follows the number of rows: another
patient's coming could change this one's last bit and, with it, at times, an integer (measured with
``torch.func.vmap``: about one entry in a thousand differs between batch sizes). So all sums here
run along one row's contiguous numbers, in an order that only their count decides.

The same gradients by automatic differentiation and by Opacus are the other roads, in the tests.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit

__all__ = ["logistic_gradients", "perceptron_gradients"]

_BLOCK = 2**22  # numbers held at once


def logistic_gradients(
    params: Float[np.ndarray, "dim"],
    features: Float[np.ndarray, "patients features"],
    outcomes: Int[np.ndarray, "patients"],
) -> Float[np.ndarray, "patients dim"]:
    r"""Return the rows :math:`(p_i - y_i) (x_i, 1)`.

    Args:
      params: Weights, then the bias.
      features: One row a patient.
      outcomes: 0 or 1.
    """
    products = np.ascontiguousarray(features) * params[:-1]
    residuals = expit(products.sum(axis=1) + params[-1]) - outcomes
    rows = np.empty((len(outcomes), len(params)))
    np.multiply(features, residuals[:, None], out=rows[:, :-1])
    rows[:, -1] = residuals
    return rows


def perceptron_gradients(
    params: Float[np.ndarray, "dim"],
    features: Float[np.ndarray, "patients features"],
    outcomes: Int[np.ndarray, "patients"],
    *,
    width: int,
) -> Float[np.ndarray, "patients dim"]:
    r"""Return the rows :math:`(a_i x_i^\top, a_i, r_i h_i, r_i)` of one hidden ReLU layer.

    :math:`h = \mathrm{relu}(W_1 x + b_1)`, :math:`r = \sigma(w_2 h + b_2) - y`,
    :math:`a = r\, w_2 [h > 0]`.

    Args:
      params: :math:`W_1` by rows, :math:`b_1`, :math:`w_2`, :math:`b_2`.
      features: One row a patient.
      outcomes: 0 or 1.
      width: Hidden units.
    """
    patients, inputs = features.shape
    cut = width * inputs
    weights = params[:cut].reshape(width, inputs)
    bias, outer, last = params[cut : cut + width], params[cut + width : -1], params[-1]
    rows = np.empty((patients, len(params)))
    step = max(1, _BLOCK // cut)
    for start in range(0, patients, step):
        x = np.ascontiguousarray(features[start : start + step])
        hidden = np.maximum((x[:, None, :] * weights).sum(axis=2) + bias, 0.0)
        residuals = expit((hidden * outer).sum(axis=1) + last) - outcomes[start : start + step]
        active = residuals[:, None] * outer * (hidden > 0)
        part = rows[start : start + step]
        part[:, :cut] = (active[:, :, None] * x[:, None, :]).reshape(len(x), cut)
        part[:, cut : cut + width] = active
        part[:, cut + width : -1] = residuals[:, None] * hidden
        part[:, -1] = residuals
    return rows
