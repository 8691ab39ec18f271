r"""SCAFFOLD: each local step is corrected by how the hospital's gradient differs from the mean.

.. math:: y \leftarrow y - \eta \left[g_k(y) - c_k + c\right], \qquad
   c_k^+ = c_k - c + \frac{w - y_k}{H \eta}, \qquad
   w^+ = w + \sum_k p_k (y_k - w), \qquad c^+ = \sum_k p_k c_k^+ .

- *Source*: Karimireddy et al. (2020), arXiv 1910.06378v4, Eqs. 3 to 5, option II. The sign is
  *minus own, plus shared*; the reverse doubles the drift instead of removing it.
- *Crosses the wall*: :math:`p_k (y_k - w)` alone. With all hospitals in every round, equal H and
  :math:`\sum_k p_k = 1`, the shared control is :math:`c^+ = (w - w^+) / (\eta_s H \eta)`: each
  hospital derives it from the two models that it has anyway, and no control is sent.
- *Unit and sensitivity*: the hospital. :math:`c_k` is built from raw patients and enters all later
  emissions, each of which is clipped as a whole.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from aggregation.correction.contract import Contract, Gradient, walk

__all__ = ["SCAFFOLD", "Controls", "emit", "learn"]

SCAFFOLD = Contract(
    "scaffold",
    "Karimireddy et al. (2020), arXiv 1910.06378v4, Eqs. 3 to 5, option II",
    "hospital",
    "the weighted displacement of the local model; controls are derived, not sent",
)


@dataclass(frozen=True)
class Controls:
    """What a hospital holds between rounds, in units of the gradient; zeros at first.

    Attributes:
      own: :math:`c_k`, never leaves.
      shared: c, the same at all hospitals.
    """

    own: Float[np.ndarray, "dim"]
    shared: Float[np.ndarray, "dim"]


def emit(
    start: Float[np.ndarray, "dim"],
    gradient: Gradient,
    controls: Controls,
    *,
    weight: float,
    steps: int,
    learning_rate: float,
) -> tuple[Float[np.ndarray, "dim"], Controls]:
    """Return the hospital's emission and its controls with the own one renewed."""
    end = walk(
        start,
        gradient,
        steps=steps,
        learning_rate=learning_rate,
        correction=lambda _: controls.shared - controls.own,
    )
    own = controls.own - controls.shared + (start - end) / (steps * learning_rate)
    return weight * (end - start), replace(controls, own=own)


def learn(
    controls: Controls,
    before: Float[np.ndarray, "dim"],
    after: Float[np.ndarray, "dim"],
    *,
    steps: int,
    learning_rate: float,
    server_rate: float = 1.0,
) -> Controls:
    """Renew the shared control from the global model before and after the round."""
    shared = (before - after) / (server_rate * steps * learning_rate)
    return replace(controls, shared=shared)
