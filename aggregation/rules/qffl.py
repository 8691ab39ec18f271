r"""q-FFL: hospitals with a higher loss count for more, the more so the larger q.

With :math:`\Delta w_k = L (w - w_k)` and the hospital's mean loss :math:`F_k` at w,

.. math:: \Delta_k = F_k^q \Delta w_k, \qquad
   h_k = q F_k^{q-1} \|\Delta w_k\|^2 + L F_k^q, \qquad
   w \leftarrow w - \frac{\sum_k p_k \Delta_k}{\sum_k p_k h_k} .

- *Source*: Li et al. (2020), Fair resource allocation in federated learning, arXiv 1905.10497v2,
  Algorithm 2; L is one over the local step size times the number of steps, unless it is given.
- *Crosses the wall*: :math:`p_k \Delta_k` and, as one more coordinate, :math:`p_k h_k`. No loss is
  sent in clear: numerator and denominator are both sums.
- *Unit and sensitivity*: the hospital, over the whole vector.
"""

from dataclasses import dataclass

import numpy as np

from aggregation.rules.fedavg import LocalTraining
from aggregation.rules.rule import Call, Contract, ContractUnit, Opened, State, Vector
from privacy._validate import non_negative, positive
from privacy.errors import InvalidInputError

__all__ = ["QFFL"]


@dataclass(frozen=True)
class QFFL(LocalTraining):
    """Loss-weighted displacements over the sum of their normalisers.

    Attributes:
      q: 0 is FedAvg; the larger, the more the worst hospital counts.
      lipschitz: L of the formulas; None: one over all local steps together.
    """

    contract = Contract(
        "qffl",
        "Li et al. (2020), arXiv 1905.10497v2, Algorithm 2",
        ContractUnit.HOSPITAL,
        "the loss-weighted displacement and its normaliser",
        extra=1,
    )
    q: float = 1.0
    lipschitz: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        non_negative(q=self.q)
        positive(lipschitz=1.0 if self.lipschitz is None else self.lipschitz)

    def local(self, state: State, call: Call) -> tuple[Vector, State]:
        """Return the weighted displacement and its normaliser, ``[dim + 1]``.

        A hospital without loss, as one without patients, has nothing to weigh by: zeros.
        """
        loss, q = call.loss(call.params), self.q
        if not loss > 0:
            return np.zeros(len(call.params) + 1), state
        lipschitz = self.lipschitz or 1 / (call.steps * call.rate)
        slope = lipschitz * call.rate * self.walked(state, call)
        spread = q * loss ** (q - 1) * float(slope @ slope) + lipschitz * loss**q
        return np.append(loss**q * slope, spread), state

    def advance(self, public: State, params: Vector, opening: Opened) -> tuple[Vector, State]:
        """Step by the sums' ratio.

        Raises:
          InvalidInputError: The normaliser's sum is not positive: the noise drowned it.
        """
        total = opening.total
        if not total[-1] > 0:
            raise InvalidInputError(
                f"The sum of q-FFL's normalisers is {float(total[-1]):.3g}, expected > 0: noise "
                "drowned it. Use a larger epsilon, more hospitals or a rule without normaliser."
            )
        return params - total[:-1] / total[-1], public
