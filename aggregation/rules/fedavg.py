r"""FedSGD and FedAvg: one summed gradient, or what a hospital stepped along in several local steps.

.. math:: w \leftarrow w - \frac{\eta}{n} \sum_k \sum_{i \in k} \mathrm{clip}_C(g_i)
   \quad\text{(FedSGD)}, \qquad
   w \leftarrow w + \sum_k p_k (w_k - w) \quad\text{(FedAvg)}.

- *Source*: McMahan et al. (2017), arXiv 1602.05629v4, Algorithm 1.
- *Crosses the wall*: FedSGD the sum of the hospital's clipped gradients; FedAvg
  :math:`p_k (w - w_k) / \eta`, with the public weight :math:`p_k`.
- *Unit and sensitivity*: FedSGD the patient, C whatever the hospital's size. FedAvg the hospital.

FedAvg's fixed point is not the optimum when hospitals differ and walk more than one step.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from aggregation.rules.rule import (
    Call,
    Contract,
    ContractUnit,
    Gradient,
    Opened,
    Rule,
    State,
    Vector,
    walk,
)
from privacy._validate import fraction

__all__ = ["FedAvg", "FedSGD", "LocalTraining"]


@dataclass(frozen=True)
class FedSGD(Rule):
    """One step along the sum of all patients' gradients."""

    contract = Contract(
        "fedsgd",
        "McMahan et al. (2017), arXiv 1602.05629v4, Algorithm 1 with E = 1, B = all",
        ContractUnit.PATIENT,
        "the sum of the hospital's clipped gradients",
    )


@dataclass(frozen=True)
class LocalTraining(Rule):
    """What all rules share whose hospitals walk several steps before they send.

    Attributes:
      weights: p_k, public, by hospital, summing to 1; None: hospitals count alike.
    """

    weights: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        for name, weight in (self.weights or {}).items():
            fraction(weight=weight, hint=f"It is {name!r}'s, and applied before the noise.")

    def weight(self, public: State, hospital: str, staleness: int) -> float:
        """Return p_k; 1 where hospitals count alike."""
        return 1.0 if self.weights is None else self.weights[hospital]

    def correction(self, state: State, call: Call) -> Gradient | None:
        """Return what is added to the gradient on the way."""
        return None

    def local(self, state: State, call: Call) -> tuple[Vector, State]:
        """Return the sum of the slopes on the way."""
        return self.walked(state, call), state

    def walked(self, state: State, call: Call) -> Vector:
        """Walk the local steps against gradient plus correction."""
        correction = self.correction(state, call)
        return walk(
            call.params, call.gradient, steps=call.steps, rate=call.rate, correction=correction
        )

    def mean(self, opening: Opened) -> Vector:
        """Return the hospitals' weighted mean of what was sent."""
        if self.weights is None:
            return opening.total / len(opening.arrivals)
        return opening.total

    def advance(self, public: State, params: Vector, opening: Opened) -> tuple[Vector, State]:
        """Move to the weighted mean of the hospitals' ends."""
        if self.weights is None:
            return params + opening.moved, public
        return params - opening.rate * opening.total, public


@dataclass(frozen=True)
class FedAvg(LocalTraining):
    """The weighted mean of what hospitals end at."""

    contract = Contract(
        "fedavg",
        "McMahan et al. (2017), arXiv 1602.05629v4, Algorithm 1",
        ContractUnit.HOSPITAL,
        "the weighted displacement of the local model",
    )
