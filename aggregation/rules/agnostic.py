r"""Agnostic federated learning (AFL): train for the worst mixture of the hospitals.

.. math:: w \leftarrow w - \eta \sum_k \lambda_k g_k(w), \qquad
   \lambda \leftarrow \Pi_\Delta\left(\lambda + \gamma\, (F_1, \dots, F_K)\right),

with :math:`\Pi_\Delta` the Euclidean projection on the simplex.

- *Source*: Mohri, Sivek and Suresh (2019), arXiv 1902.00146v1, Algorithm 1; the projection: Duchi
  et al. (2008), ICML, Fig. 1.
- *Crosses the wall*: the hospital's sum of clipped gradients, weighed by :math:`\lambda_k / n_k`,
  and, each round, the hospital's *loss*, which the projection needs hospital by hospital: it can't
  hide in a sum. It is a release of its own: each patient's loss is cut at a public bound, summed,
  noised with full noise, and paid for.
- *Unit and sensitivity*: the patient. One step of clipped gradients, the weight at most 1 and
  applied before the noise: C. The loss: its bound, at each hospital.

Algorithm 1 returns the mean of all models on the way (``Plan.average_last``); the last one alone
follows the mixture to the hospital that is hardest to predict.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from aggregation.rules.rule import Contract, ContractUnit, Opened, Rule, State, Vector
from privacy._validate import finite_array, natural, positive

__all__ = ["Agnostic", "loss_release", "project_to_simplex"]


@dataclass(frozen=True)
class Agnostic(Rule):
    r"""Training for the worst mixture of hospitals.

    Attributes:
      sizes: Declared number of patients of each hospital, in order.
      ascent: :math:`\gamma`, the mixture's step, per nat.
    """

    contract = Contract(
        "agnostic",
        "Mohri, Sivek and Suresh (2019), arXiv 1902.00146v1, Algorithm 1",
        ContractUnit.PATIENT,
        "the weighted sum of clipped gradients, and a noised sum of cut losses",
        alone=("loss",),
        adaptive=True,
        every_round=True,
    )
    sizes: Mapping[str, int]
    ascent: float = 0.01

    def __post_init__(self) -> None:
        positive(ascent=self.ascent)
        for size in self.sizes.values():
            natural(size=size, least=1)

    def begin(self, params: Vector, hospitals: Sequence[str]) -> State:
        """Return the mixture: each hospital's share of the patients."""
        sizes = np.array([self.sizes[name] for name in hospitals], dtype=np.float64)
        return (sizes / sizes.sum(),)

    def weight(self, public: State, hospital: str, staleness: int) -> float:
        """Return the hospital's part of the mixture a patient, over the largest that it can be."""
        part = float(public[0][list(self.sizes).index(hospital)])
        return part * min(self.sizes.values()) / self.sizes[hospital]

    def advance(self, public: State, params: Vector, opening: Opened) -> tuple[Vector, State]:
        """Step along the mixture's gradient, and move the mixture to where the loss is."""
        sizes = np.array(list(self.sizes.values()), dtype=np.float64)
        mixture = public[0] + self.ascent * opening.alone["loss"] / sizes
        moved = opening.rate * opening.total / min(self.sizes.values())
        return params - moved, (project_to_simplex(mixture),)


def loss_release(losses: Float[np.ndarray, "patients"], *, bound: float) -> float:
    """Return the sum of the patients' losses, each cut to [0, bound]; noise comes after.

    Adding or removing a patient moves it by at most ``bound``.
    """
    positive(bound=bound)
    finite_array(losses=losses)
    return float(np.clip(losses, 0.0, bound).sum())


def project_to_simplex(point: Float[np.ndarray, "hospitals"]) -> Float[np.ndarray, "hospitals"]:
    """Return the nearest point with non-negative coordinates that sum to 1."""
    finite_array(point=point)
    ordered = np.sort(point)[::-1]
    excess = (np.cumsum(ordered) - 1) / np.arange(1, len(point) + 1)
    last = np.flatnonzero(ordered > excess)[-1]
    return np.asarray(np.maximum(point - excess[last], 0.0))
