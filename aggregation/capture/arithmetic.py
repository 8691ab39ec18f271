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
    sizes: Float[np.ndarray, "dim"] | None = None,
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
      sizes: Of a model that gave two logits: ``params`` with the sum of both rows' sizes in place
        of their difference (``two_logits.magnitudes``). What moves a score moves both rows against
        each other, and counts by the difference; roundings count by the sizes. None: one logit.
    """
    few, sizes = (0, params) if sizes is None else (1, sizes)
    if isinstance(model, Perceptron):
        weights, biases = model.first_layer(params)
        outer, rows = (np.abs(model.outer_weights(v)) for v in (params, sizes))
        hidden = np.abs(weights) @ reach + np.abs(biases)
        score = _gamma(model.features + 1, precision) * float(outer @ hidden)
        score += _gamma(model.width + 1 + few, precision) * float(rows @ hidden + abs(sizes[-1]))
        parts, rounded = (
            [np.outer(each, reach).ravel(), each, hidden, np.ones(1)] for each in (outer, rows)
        )
    elif isinstance(model, Logistic):
        size = float(np.abs(sizes[:-1]) @ reach + abs(float(sizes[-1])))
        score = _gamma(model.features + 1 + few, precision) * size
        parts = rounded = [reach, np.ones(1)]
    else:
        return None
    largest: NDArray[np.float64] = patients * np.concatenate(parts)  # as |p - y| <= 1
    counted: NDArray[np.float64] = patients * np.concatenate(rounded)
    # A sigmoid's slope is at most 1/4.
    rounding = _gamma(model.features + patients + _FEW * (1 + few), precision)
    error = largest * min(score / 4, 2.0) + counted * min(rounding, 2.0)
    error = np.minimum(error, 2 * counted)
    return Bounds(largest, error + patients * precision.half_spacing(np.zeros(len(error))))


def _gamma(terms: int, precision: Precision) -> float:
    part = terms * precision.roundoff
    return part / (1 - part) if part < 0.5 else np.inf
