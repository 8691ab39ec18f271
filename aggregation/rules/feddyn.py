r"""FedDyn: a linear term at each hospital makes the local optima meet in the global one.

.. math:: y \leftarrow y - \eta \left[g_k(y) - h_k + \alpha (y - w)\right], \qquad
   h_k^+ = h_k - \alpha (y_k - w),

.. math:: h^+ = h - \alpha \sum_k p_k (y_k - w), \qquad
   w^+ = w + \sum_k p_k (y_k - w) - h^+ / \alpha .

- *Source*: Acar et al. (2021), arXiv 2111.04263v2, Algorithm 1, with weights.
- *Crosses the wall*: :math:`p_k (w - y_k) / \eta` alone; the server's h follows from the sums.
- *Unit and sensitivity*: the hospital. :math:`h_k` is built from raw patients and never leaves.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aggregation.rules.fedavg import LocalTraining
from aggregation.rules.rule import Call, Contract, ContractUnit, Gradient, Opened, State, Vector
from privacy._validate import positive

__all__ = ["FedDyn"]


@dataclass(frozen=True)
class FedDyn(LocalTraining):
    r"""Attributes: ``alpha``, :math:`\alpha` of the formulas, above 0."""

    contract = Contract(
        "feddyn",
        "Acar et al. (2021), arXiv 2111.04263v2, Algorithm 1",
        ContractUnit.HOSPITAL,
        "the weighted displacement of the local model",
        every_round=True,
    )
    alpha: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(alpha=self.alpha)

    def begin(self, params: Vector, hospitals: Sequence[str]) -> State:
        """Return the server's h: zeros."""
        return (np.zeros(len(params)),)

    def start(self, dim: int) -> State:
        r"""Return the hospital's :math:`h_k`: zeros."""
        return (np.zeros(dim),)

    def correction(self, state: State, call: Call) -> Gradient:
        """Pull towards the global model, and take the own term off."""
        return lambda here: self.alpha * (here - call.params) - state[0]

    def local(self, state: State, call: Call) -> tuple[Vector, State]:
        """Return the sum of the corrected slopes, and the own term renewed."""
        walked = self.walked(state, call)
        return walked, (state[0] + self.alpha * call.rate * walked,)

    def advance(self, public: State, params: Vector, opening: Opened) -> tuple[Vector, State]:
        """Move to the mean of the ends, corrected by the server's renewed h."""
        moved = -opening.rate * self.mean(opening)
        renewed = public[0] - self.alpha * moved
        return params + moved - renewed / self.alpha, (renewed,)
