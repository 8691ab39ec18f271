r"""FedProx: local steps are held near the global model.

.. math:: y \leftarrow y - \eta \left[g_k(y) + \mu (y - w)\right], \qquad
   w \leftarrow w + \sum_k p_k (y_k - w).

- *Source*: Li et al. (2020), arXiv 1812.06127v5, Algorithm 2 (solved by gradient steps).
- *Crosses the wall*: :math:`p_k (y_k - w)`, as in FedAvg; the correction is free.
- *Unit and sensitivity*: the hospital.

It drifts less than FedAvg and, like it, stops off the optimum when hospitals differ.
"""

import numpy as np
from jaxtyping import Float

from aggregation.correction.contract import Contract, Gradient, walk
from privacy._validate import non_negative

__all__ = ["FEDPROX", "emit"]

FEDPROX = Contract(
    "fedprox",
    "Li et al. (2020), arXiv 1812.06127v5, Algorithm 2",
    "hospital",
    "the weighted displacement of the local model",
)


def emit(
    start: Float[np.ndarray, "dim"],
    gradient: Gradient,
    *,
    weight: float,
    steps: int,
    learning_rate: float,
    proximal: float,
) -> Float[np.ndarray, "dim"]:
    r"""Return the hospital's emission; ``proximal`` is :math:`\mu`.

    The server steps as FedAvg's does.
    """
    non_negative(proximal=proximal)
    end = walk(
        start,
        gradient,
        steps=steps,
        learning_rate=learning_rate,
        correction=lambda here: proximal * (here - start),
    )
    return np.asarray(weight * (end - start))
