r"""FedNova: hospitals that take more local steps don't count for more.

.. math:: w \leftarrow w + \left(\sum_j p_j \tau_j\right) \sum_k p_k \frac{w_k - w}{\tau_k} .

- *Source*: Wang et al. (2020), arXiv 2007.07481v1, section 4, for plain local SGD
  (:math:`\|a_k\|_1 = \tau_k`).
- *Crosses the wall*: :math:`p_k (w - w_k) / (\eta \tau_k)` and, as one more coordinate,
  ``steps_scale`` :math:`\cdot\, p_k \tau_k`: the sum needs no step count in clear.
- *Unit and sensitivity*: the hospital, over the whole vector, the added coordinate included;
  ``steps_scale`` is public and sets what share of the clip norm the count takes.

It removes the bias by unequal step counts, not the drift within them: its fixed point meets the
optimum as the local step size goes to zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from aggregation.rules.fedavg import LocalTraining
from aggregation.rules.rule import Call, Contract, ContractUnit, Opened, State, Vector
from privacy._validate import natural, positive

__all__ = ["FedNova"]


@dataclass(frozen=True)
class FedNova(LocalTraining):
    """Local steps that count once, however many they are.

    Attributes:
      steps: Local steps by hospital, at least 1; None: the plan's at all of them.
      steps_scale: Units of the gradient that one local step takes in the last coordinate.
    """

    contract = Contract(
        "fednova",
        "Wang et al. (2020), arXiv 2007.07481v1, section 4",
        ContractUnit.HOSPITAL,
        "the weighted displacement per local step, and the weighted number of steps",
        extra=1,
    )
    steps: Mapping[str, int] | None = None
    steps_scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(steps_scale=self.steps_scale)
        for count in (self.steps or {}).values():
            natural(steps=count, least=1)

    def steps_of(self, hospital: str, planned: int) -> int:
        """Return the hospital's own number of steps."""
        return planned if self.steps is None else self.steps[hospital]

    def local(self, state: State, call: Call) -> tuple[Vector, State]:
        """Return the mean of the slopes on the way, and behind it their number, ``[dim + 1]``."""
        slope = self.walked(state, call) / call.steps
        return np.append(slope, self.steps_scale * call.steps), state

    def advance(self, public: State, params: Vector, opening: Opened) -> tuple[Vector, State]:
        """Step along the mean slope as many steps as hospitals took on average."""
        mean = self.mean(opening)
        return params - opening.rate * mean[-1] / self.steps_scale * mean[:-1], public
