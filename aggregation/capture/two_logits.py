r"""Models that give two logits, read as the one-logit models that they are.

With logits :math:`z_0, z_1` and cross-entropy the loss is that of the log-odds :math:`z_1 - z_0`.
So every layer but the last gets the gradient that it gets in the model whose last layer is the
difference of the two rows, and the last layer's rows get that model's gradient and its opposite.
One step, of any optimiser that was undone, is read exactly.

Over several steps the difference moves twice as far as one row would: by the two rows' directions,
each the other's opposite for every optimiser that is odd in the gradient (descent, momentum, Adam,
without weight decay). A walk has to know that (``optimizers.Sgd.twice``).
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from aggregation.capture.optimizers import Known
from aggregation.models import Logistic, Model, Perceptron
from privacy.errors import InvalidInputError

__all__ = ["difference", "magnitudes", "opposite", "rows_of", "shapes_of", "tail"]


def shapes_of(model: Model, logits: int = 1) -> list[tuple[int, ...]]:
    """Shapes of a model's tensors with so many logits, in the order of its flat vector.

    Raises:
      InvalidInputError: The model has no such tensors.
    """
    if isinstance(model, Perceptron):
        hidden = [(model.width, model.features), (model.width,)]
        return [*hidden, (logits, model.width), (logits,)]
    if isinstance(model, Logistic):
        return [(logits, model.features), (logits,)]
    raise InvalidInputError(
        f"The model {model.kind!r} does not say how its tensors are shaped. Give its weights as "
        "one vector, in its order."
    )


def tail(model: Model) -> int:
    """How many parameters the last layer of the one-logit model has."""
    weights, biases = shapes_of(model)[-2:]
    return int(np.prod(weights) + np.prod(biases))


def rows_of(
    model: Model, vector: Float[np.ndarray, "*many two"]
) -> tuple[Float[np.ndarray, "*many dim"], Float[np.ndarray, "*many dim"]]:
    """Return a vector of the two-logit model twice, with one row of the last layer each.

    Args:
      model: With one logit.
      vector: All parameters of the two-logit model, or their gradients, along the last axis.
    """
    wide = tail(model) - 1
    head, weights, biases = np.split(vector, [model.dim - wide - 1, model.dim + wide - 1], axis=-1)
    pairs = (weights[..., :wide], biases[..., :1]), (weights[..., wide:], biases[..., 1:])
    first, second = (np.concatenate([head, *pair], axis=-1) for pair in pairs)
    return first, second


def difference(model: Model, params: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the one-logit model that two logits are: the second row less the first."""
    first, second = rows_of(model, params)
    return _joined(model, second, second - first)


def magnitudes(model: Model, params: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the parameters with the sum of both rows' sizes, which bounds their arithmetic."""
    first, second = rows_of(model, params)
    return _joined(model, second, np.abs(first) + np.abs(second))


def _joined(
    model: Model, head: NDArray[np.float64], last: NDArray[np.float64]
) -> NDArray[np.float64]:
    cut = model.dim - tail(model)
    return np.concatenate([head[:cut], last[cut:]])


def opposite(model: Model, moved: Known, arithmetic: NDArray[np.float64] | float) -> Known:
    """Return what is known of the one-logit model's movement, by whichever row tells it better.

    Args:
      model: With one logit.
      moved: All parameters of the two-logit model.
      arithmetic: How far the gradient's own rounding may have moved each row besides.

    Raises:
      InvalidInputError: The rows did not move against each other: no cross-entropy of two logits.
    """
    (first, second), (off, error) = rows_of(model, moved.centre), rows_of(model, moved.error)
    cut = model.dim - tail(model)
    if (np.abs(first + second) > off + error + 2 * arithmetic)[cut:].any():
        raise InvalidInputError(
            "The last layer has two rows that did not move against each other, as those of two "
            "logits under cross-entropy do. Give the module that it is (FILE:FACTORY)."
        )
    better = off < error  # of no other layer, where both are the same
    return Known(np.where(better, -first, second), np.where(better, off, error))
