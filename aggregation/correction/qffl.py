r"""q-FFL: hospitals with a higher loss count for more, the more so the larger q.

With :math:`\Delta w_k = L (w - w_k)` and the hospital's mean loss :math:`F_k` at w,

.. math:: \Delta_k = F_k^q \Delta w_k, \qquad
   h_k = q F_k^{q-1} \|\Delta w_k\|^2 + L F_k^q, \qquad
   w \leftarrow w - \frac{\sum_k p_k \Delta_k}{\sum_k p_k h_k} .

- *Source*: Li et al. (2020), Fair resource allocation in federated learning, arXiv 1905.10497v2,
  Algorithm 2; L is one over the local step size.
- *Crosses the wall*: :math:`p_k \Delta_k` and, as one more coordinate, :math:`p_k h_k`. No loss is
  sent in clear: numerator and denominator are both sums.
- *Unit and sensitivity*: the hospital, over the whole vector.
"""

import numpy as np
from jaxtyping import Float

from aggregation.correction.contract import Contract
from privacy._validate import non_negative, positive
from privacy.errors import InvalidInputError

__all__ = ["QFFL", "emit", "step"]

QFFL = Contract(
    "qffl",
    "Li et al. (2020), arXiv 1905.10497v2, Algorithm 2",
    "hospital",
    "the loss-weighted displacement and its normaliser",
    extra=1,
)


def emit(
    start: Float[np.ndarray, "dim"],
    end: Float[np.ndarray, "dim"],
    loss: float,
    *,
    weight: float,
    q: float,
    lipschitz: float,
) -> Float[np.ndarray, "emitted"]:
    """Return the hospital's emission, ``[dim + 1]``.

    Args:
      start: The global model.
      end: The hospital's model after its local steps.
      loss: Its mean loss at ``start``, in nats; above 0.
      weight: Its public weight.
      q: 0 is FedAvg; the larger, the more the worst hospital counts.
      lipschitz: L of the formula.
    """
    positive(loss=loss, hint="A hospital without loss has nothing to weigh by.")
    non_negative(q=q)
    positive(lipschitz=lipschitz)
    slope = lipschitz * (start - end)
    spread = q * loss ** (q - 1) * float(slope @ slope) + lipschitz * loss**q
    return np.asarray(weight * np.append(loss**q * slope, spread))


def step(
    params: Float[np.ndarray, "dim"], total: Float[np.ndarray, "emitted"]
) -> Float[np.ndarray, "dim"]:
    """Return the next model from the sum of the emissions.

    Raises:
      InvalidInputError: The normaliser's sum is not positive: the noise drowned it.
    """
    if not total[-1] > 0:
        raise InvalidInputError(
            f"The sum of q-FFL's normalisers is {float(total[-1]):.3g}, expected > 0: noise "
            "drowned it. Use a larger epsilon, more hospitals or a rule without normaliser."
        )
    return np.asarray(params - total[:-1] / total[-1])
