r"""FedProx: local steps are held near the global model.

.. math:: y \leftarrow y - \eta \left[g_k(y) + \mu (y - w)\right], \qquad
   w \leftarrow w + \sum_k p_k (y_k - w).

- *Source*: Li et al. (2020), arXiv 1812.06127v5, Algorithm 2 (solved by gradient steps).
- *Crosses the wall*: :math:`p_k (w - y_k) / \eta`, as in FedAvg; the correction is free.
- *Unit and sensitivity*: the hospital.

It drifts less than FedAvg and, like it, stops off the optimum when hospitals differ.
"""

from dataclasses import dataclass

from aggregation.rules.fedavg import LocalTraining
from aggregation.rules.rule import Call, Contract, ContractUnit, Gradient, State
from privacy._validate import non_negative

__all__ = ["FedProx"]


@dataclass(frozen=True)
class FedProx(LocalTraining):
    r"""Attributes: ``proximal``, :math:`\mu` of the formula; 0 is FedAvg."""

    contract = Contract(
        "fedprox",
        "Li et al. (2020), arXiv 1812.06127v5, Algorithm 2",
        ContractUnit.HOSPITAL,
        "the weighted displacement of the local model",
    )
    proximal: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        non_negative(proximal=self.proximal)

    def correction(self, state: State, call: Call) -> Gradient:
        """Pull towards the global model."""
        return lambda here: self.proximal * (here - call.params)
