r"""SCAFFOLD: each local step is corrected by how the hospital's gradient differs from the mean.

.. math:: y \leftarrow y - \eta \left[g_k(y) - c_k + c\right], \qquad
   c_k^+ = c_k - c + \frac{w - y_k}{H \eta}, \qquad
   w^+ = w + \sum_k p_k (y_k - w), \qquad c^+ = \sum_k p_k c_k^+ .

- *Source*: Karimireddy et al. (2020), arXiv 1910.06378v4, Eqs. 3 to 5, option II. The sign is
  *minus own, plus shared*; the reverse doubles the drift instead of removing it.
- *Crosses the wall*: :math:`p_k (w - y_k) / \eta` alone. With all hospitals in every round, equal H
  and :math:`\sum_k p_k = 1`, the shared control is :math:`c^+ = (w - w^+) / (H \eta)`: each
  hospital derives it from the two models that it has anyway, and no control is sent.
- *Unit and sensitivity*: the hospital. :math:`c_k` is built from raw patients and enters all later
  emissions, each of which is clipped as a whole.
"""

from dataclasses import dataclass

import numpy as np

from aggregation.rules.fedavg import LocalTraining
from aggregation.rules.rule import Call, Contract, ContractUnit, Gradient, Opened, State, Vector

__all__ = ["Scaffold"]


@dataclass(frozen=True)
class Scaffold(LocalTraining):
    """A hospital's state is its own control, which never leaves, and the shared one."""

    contract = Contract(
        "scaffold",
        "Karimireddy et al. (2020), arXiv 1910.06378v4, Eqs. 3 to 5, option II",
        ContractUnit.HOSPITAL,
        "the weighted displacement of the local model; controls are derived, not sent",
        every_round=True,
    )

    def start(self, dim: int) -> State:
        """Return two controls of zeros, in units of the gradient."""
        return np.zeros(dim), np.zeros(dim)

    def correction(self, state: State, call: Call) -> Gradient:
        """Take the own control off, and add the shared one."""
        own_control, shared = state
        return lambda _: shared - own_control

    def local(self, state: State, call: Call) -> tuple[Vector, State]:
        """Return the sum of the corrected slopes, and the own control renewed."""
        own_control, shared = state
        walked = self.walked(state, call)
        return walked, (own_control - shared + walked / call.steps, shared)

    def opened(self, state: State, opening: Opened, before: Vector, after: Vector) -> State:
        """Renew the shared control from the global model before and after the round."""
        return state[0], (before - after) / (opening.steps * opening.rate)
