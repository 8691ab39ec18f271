r"""How far a gradient that was computed in few bits may lie from the true one.

The bounds are those of classical rounding analysis (Higham 2002, *Accuracy and Stability of
Numerical Algorithms*, lemma 3.1 and section 3.1): a sum of :math:`n` products, added in any order,
is off by at most :math:`\gamma_n = n u / (1 - n u)` of the sum of their absolute values, with the
unit roundoff :math:`u`. So the order in which a library adds need not be known.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from aggregation.capture.precision import Precision
from aggregation.models import Logistic, Model, Perceptron

__all__ = ["Bounds", "bounds"]

_FEW = 8  # roundings in a sigmoid, a difference, a division and what joins them


@dataclass(frozen=True)
class Bounds:
    """What is known of a sum of gradients before it is seen.

    Attributes:
      largest: No coordinate of the exact sum has a larger absolute value.
      error: No coordinate of the computed sum is further from the exact one.
    """

    largest: Float[np.ndarray, "dim"]
    error: Float[np.ndarray, "dim"]


def bounds(
    model: Model,
    params: Float[np.ndarray, "dim"],
    *,
    reach: Float[np.ndarray, "features"],
    patients: int,
    precision: Precision,
) -> Bounds | None:
    """Return what holds for any so many patients within reach; None for a model without a bound.

    It fails where a unit stands so near zero that rounding switches it: then the unit's entries
    are off by what the patient gives there.

    Args:
      model: A ``Logistic`` or a ``Perceptron``; of other models nothing is known.
      params: Where the gradient was taken.
      reach: Largest absolute value of each column, standardised.
      patients: How many are summed.
      precision: What it was computed in.
    """
    if isinstance(model, Perceptron):
        weights, biases = model.first_layer(params)
        outer, last = np.abs(model.outer_weights(params)), abs(float(params[-1]))
        hidden = np.abs(weights) @ reach + np.abs(biases)
        size = float(outer @ hidden)
        score = _gamma(model.features + 1, precision) * size
        score += _gamma(model.width + 1, precision) * (size + last)
        parts = [np.outer(outer, reach).ravel(), outer, hidden, np.ones(1)]
    elif isinstance(model, Logistic):
        size = float(np.abs(params[:-1]) @ reach + abs(float(params[-1])))
        score = _gamma(model.features + 1, precision) * size
        parts = [reach, np.ones(1)]
    else:
        return None
    largest: NDArray[np.float64] = patients * np.concatenate(parts)  # as |p - y| <= 1
    # A sigmoid's slope is at most 1/4.
    relative = score / 4 + _gamma(model.features + patients + _FEW, precision)
    error = largest * min(relative, 2.0)
    return Bounds(largest, error + patients * precision.half_spacing(np.zeros(len(error))))


def _gamma(terms: int, precision: Precision) -> float:
    part = terms * precision.roundoff
    return part / (1 - part) if part < 0.5 else np.inf
