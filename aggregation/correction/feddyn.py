r"""FedDyn: a linear term at each hospital makes the local optima meet in the global one.

.. math:: y \leftarrow y - \eta \left[g_k(y) - h_k + \alpha (y - w)\right], \qquad
   h_k^+ = h_k - \alpha (y_k - w),

.. math:: h^+ = h - \alpha \sum_k p_k (y_k - w), \qquad
   w^+ = w + \sum_k p_k (y_k - w) - h^+ / \alpha .

- *Source*: Acar et al. (2021), arXiv 2111.04263v2, Algorithm 1, with weights.
- *Crosses the wall*: :math:`p_k (y_k - w)` alone; the server's h follows from the sums.
- *Unit and sensitivity*: the hospital. :math:`h_k` is built from raw patients and never leaves.
"""

import numpy as np
from jaxtyping import Float

from aggregation.correction.contract import Contract, Gradient, walk
from privacy._validate import positive

__all__ = ["FEDDYN", "emit", "step"]

FEDDYN = Contract(
    "feddyn",
    "Acar et al. (2021), arXiv 2111.04263v2, Algorithm 1",
    "hospital",
    "the weighted displacement of the local model",
)


def emit(
    start: Float[np.ndarray, "dim"],
    gradient: Gradient,
    memory: Float[np.ndarray, "dim"],
    *,
    weight: float,
    steps: int,
    learning_rate: float,
    alpha: float,
) -> tuple[Float[np.ndarray, "dim"], Float[np.ndarray, "dim"]]:
    r"""Return the hospital's emission and its renewed memory :math:`h_k` (zeros at first)."""
    positive(alpha=alpha)
    end = walk(
        start,
        gradient,
        steps=steps,
        learning_rate=learning_rate,
        correction=lambda here: alpha * (here - start) - memory,
    )
    return weight * (end - start), memory - alpha * (end - start)


def step(
    params: Float[np.ndarray, "dim"],
    total: Float[np.ndarray, "dim"],
    memory: Float[np.ndarray, "dim"],
    *,
    alpha: float,
) -> tuple[Float[np.ndarray, "dim"], Float[np.ndarray, "dim"]]:
    """Return the next model and the server's renewed memory h (zeros at first)."""
    positive(alpha=alpha)
    renewed = memory - alpha * total
    return params + total - renewed / alpha, renewed
