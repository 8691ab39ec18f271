r"""FedAdam and FedYogi: the server steps with momentum and a step size for each coordinate.

.. math:: m^+ = \beta_1 m + (1 - \beta_1) \Delta, \qquad
   w^+ = w + \eta\, m^+ / (\sqrt{v^+} + \tau),

.. math:: v^+_{\text{Adam}} = \beta_2 v + (1 - \beta_2) \Delta^2, \qquad
   v^+_{\text{Yogi}} = v - (1 - \beta_2)\, \Delta^2\, \mathrm{sign}(v - \Delta^2),

with :math:`\Delta` the opened sum in units of the parameters.

- *Source*: Reddi et al. (2021), arXiv 2003.00295v5, Algorithm 2 (no bias correction).
- *Crosses the wall*: nothing of its own.
- *Unit and sensitivity*: those of the rule that made the sum; this is post-processing of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from aggregation.rules.around import Around
from aggregation.rules.fedavg import FedSGD
from aggregation.rules.rule import Contract, ContractUnit, Opened, Rule, State, Vector
from privacy._validate import half_open, positive

__all__ = ["ServerOptimizer", "Square"]


class Square(StrEnum):
    """How the second moment moves."""

    ADAM = "adam"
    YOGI = "yogi"


@dataclass(frozen=True)
class ServerOptimizer(Around):
    r"""Momentum and a step size for each coordinate, on what another rule's sum moves.

    Attributes:
      base: The rule that makes the sum.
      square: Adam's second moment, or Yogi's, which moves by an amount that does not depend on it.
      rate: :math:`\eta`, in units of the parameters.
      decay: Rounds over which the rate falls to 0, linearly; None: it stays (and never settles).
      beta1: Of the mean.
      beta2: Of the square.
      adaptivity: :math:`\tau`, in units of the parameters.
    """

    adds = Contract(
        "server optimisers",
        "Reddi et al. (2021), arXiv 2003.00295v5, Algorithm 2",
        ContractUnit.NONE,
        "nothing: post-processing of opened sums",
    )
    base: Rule = field(default_factory=FedSGD)
    square: str = Square.ADAM
    rate: float = 0.1
    decay: int | None = None
    beta1: float = 0.9
    beta2: float = 0.99
    adaptivity: float = 1e-3

    def __post_init__(self) -> None:
        Square(self.square)
        positive(rate=self.rate)
        positive(adaptivity=self.adaptivity)
        half_open(beta1=self.beta1)
        half_open(beta2=self.beta2)

    def begin(self, params: Vector, hospitals: Sequence[str]) -> State:
        r"""Return mean, square (:math:`\tau^2`) and number of openings, then the base's state."""
        dim, at_first = len(params), self.adaptivity**2
        moments = (np.zeros(dim), np.full(dim, at_first), np.zeros(1))
        return moments + self.base.begin(params, hospitals)

    def weight(self, public: State, hospital: str, staleness: int) -> float:
        """Return the base's weight."""
        return self.base.weight(public[3:], hospital, staleness)

    def advance(self, public: State, params: Vector, opening: Opened) -> tuple[Vector, State]:
        """Step by the moments of what the base would have moved by."""
        after, rest = self.base.advance(public[3:], params, opening)
        moved, (mean, square, count) = after - params, public[:3]
        mean = self.beta1 * mean + (1 - self.beta1) * moved
        if self.square == Square.ADAM:
            square = self.beta2 * square + (1 - self.beta2) * moved**2
        else:
            square = square - (1 - self.beta2) * moved**2 * np.sign(square - moved**2)
        rate = self.rate
        if self.decay is not None:
            rate *= max(0.0, 1 - float(count[0]) / self.decay)
        stepped = params + rate * mean / (np.sqrt(square) + self.adaptivity)
        return stepped, (mean, square, count + 1, *rest)
