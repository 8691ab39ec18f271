r"""FedNova: hospitals that take more local steps don't count for more.

.. math:: w \leftarrow w + \left(\sum_j p_j \tau_j\right) \sum_k p_k \frac{w_k - w}{\tau_k} .

- *Source*: Wang et al. (2020), arXiv 2007.07481v1, section 4, for plain local SGD
  (:math:`\|a_k\|_1 = \tau_k`).
- *Crosses the wall*: :math:`p_k (w_k - w) / \tau_k` and, as one more coordinate,
  ``steps_scale`` :math:`\cdot\, p_k \tau_k`: the sum needs no step count in clear.
- *Unit and sensitivity*: the hospital, over the whole vector, the added coordinate included;
  ``steps_scale`` is public and sets what share of the clip norm the count takes.

It removes the bias by unequal step counts, not the drift within them: its fixed point meets the
optimum as the local step size goes to zero.
"""

import numpy as np
from jaxtyping import Float

from aggregation.correction.contract import Contract, Gradient, walk
from privacy._validate import natural, positive

__all__ = ["FEDNOVA", "emit", "step"]

FEDNOVA = Contract(
    "fednova",
    "Wang et al. (2020), arXiv 2007.07481v1, section 4",
    "hospital",
    "the weighted displacement per local step, and the weighted number of steps",
    extra=1,
)


def emit(
    start: Float[np.ndarray, "dim"],
    gradient: Gradient,
    *,
    weight: float,
    steps: int,
    learning_rate: float,
    steps_scale: float = 1.0,
) -> Float[np.ndarray, "emitted"]:
    """Return the hospital's emission, ``[dim + 1]``.

    Args:
      start: The global model.
      gradient: Of the hospital's mean loss.
      weight: Its public weight.
      steps: Its own number of local steps, at least 1.
      learning_rate: Local step size.
      steps_scale: Units of the parameters that one local step takes in the last coordinate.
    """
    natural(steps=steps, least=1)
    positive(steps_scale=steps_scale)
    moved = walk(start, gradient, steps=steps, learning_rate=learning_rate) - start
    return np.asarray(weight * np.append(moved / steps, steps_scale * steps))


def step(
    params: Float[np.ndarray, "dim"],
    total: Float[np.ndarray, "emitted"],
    *,
    steps_scale: float = 1.0,
) -> Float[np.ndarray, "dim"]:
    """Return the next model from the sum of the emissions."""
    return np.asarray(params + total[-1] / steps_scale * total[:-1])
