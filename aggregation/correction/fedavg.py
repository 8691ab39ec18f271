r"""FedSGD and FedAvg: one summed gradient, or the weighted displacement of several local steps.

.. math:: w \leftarrow w - \frac{\eta}{n} \sum_k \sum_{i \in k} \mathrm{clip}_C(g_i)
   \quad\text{(FedSGD)}, \qquad
   w \leftarrow w + \eta_s \sum_k p_k (w_k - w) \quad\text{(FedAvg)}.

- *Source*: McMahan et al. (2017), arXiv 1602.05629v4, Algorithm 1.
- *Crosses the wall*: FedSGD the sum of the hospital's clipped gradients; FedAvg
  :math:`p_k (w_k - w)`, with the public weight :math:`p_k`.
- *Unit and sensitivity*: FedSGD the patient, C whatever the hospital's size. FedAvg the hospital.

FedAvg's fixed point is not the optimum when hospitals differ and walk more than one step.
"""

import numpy as np
from jaxtyping import Float

from aggregation.correction.contract import Contract, Gradient, walk
from privacy.mechanisms import clip

__all__ = ["FEDAVG", "FEDSGD", "clipped_sum", "emit", "step"]

FEDSGD = Contract(
    "fedsgd",
    "McMahan et al. (2017), arXiv 1602.05629v4, Algorithm 1 with E = 1, B = all",
    "patient",
    "the sum of the hospital's clipped gradients",
)
FEDAVG = Contract(
    "fedavg",
    "McMahan et al. (2017), arXiv 1602.05629v4, Algorithm 1",
    "hospital",
    "the weighted displacement of the local model",
)


def clipped_sum(
    gradients: Float[np.ndarray, "patients dim"], *, clip_norm: float
) -> Float[np.ndarray, "dim"]:
    """Return FedSGD's emission: the sum of the patients' clipped gradients."""
    return np.asarray(clip(gradients, clip_norm=clip_norm).values.sum(axis=0))


def emit(
    start: Float[np.ndarray, "dim"],
    gradient: Gradient,
    *,
    weight: float,
    steps: int,
    learning_rate: float,
) -> Float[np.ndarray, "dim"]:
    """Return FedAvg's emission: the weight times the displacement after the local steps."""
    end = walk(start, gradient, steps=steps, learning_rate=learning_rate)
    return np.asarray(weight * (end - start))


def step(
    params: Float[np.ndarray, "dim"], total: Float[np.ndarray, "dim"], *, server_rate: float = 1.0
) -> Float[np.ndarray, "dim"]:
    """Return the next model from the sum of the emissions."""
    return params + server_rate * total
