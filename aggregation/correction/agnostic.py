r"""Agnostic federated learning (AFL): train for the worst mixture of the hospitals.

.. math:: w \leftarrow w - \eta \sum_k \lambda_k g_k(w), \qquad
   \lambda \leftarrow \Pi_\Delta\left(\lambda + \gamma\, (F_1, \dots, F_K)\right),

with :math:`\Pi_\Delta` the Euclidean projection on the simplex.

- *Source*: Mohri, Sivek and Suresh (2019), arXiv 1902.00146v1, Algorithm 1; the projection: Duchi
  et al. (2008), ICML, Fig. 1.
- *Crosses the wall*: :math:`\lambda_k g_k` and, each round, the hospital's *loss*, which the
  projection needs hospital by hospital: it can't hide in a sum. It is a release of its own: each
  patient's loss is cut at a public bound, summed, noised with full noise, and paid for.
- *Unit and sensitivity*: the patient. One step of clipped gradients, weight
  :math:`\lambda_k \le 1` applied before the noise: C. The loss: ``bound``, at each hospital.
"""

import numpy as np
from jaxtyping import Float

from aggregation.correction.contract import Contract
from privacy._validate import finite_array, positive

__all__ = ["AGNOSTIC", "ascend", "loss_release", "project_to_simplex"]

AGNOSTIC = Contract(
    "agnostic",
    "Mohri, Sivek and Suresh (2019), arXiv 1902.00146v1, Algorithm 1",
    "patient",
    "the weighted sum of clipped gradients, and a noised sum of cut losses",
)


def loss_release(losses: Float[np.ndarray, "patients"], *, bound: float) -> float:
    """Return the sum of the patients' losses, each cut to [0, bound]; noise comes after.

    Adding or removing a patient moves it by at most ``bound``.
    """
    positive(bound=bound)
    finite_array(losses=losses)
    return float(np.clip(losses, 0.0, bound).sum())


def ascend(
    mixture: Float[np.ndarray, "hospitals"], losses: Float[np.ndarray, "hospitals"], *, rate: float
) -> Float[np.ndarray, "hospitals"]:
    """Return the next mixture from the hospitals' released mean losses: post-processing."""
    positive(rate=rate)
    return project_to_simplex(mixture + rate * losses)


def project_to_simplex(point: Float[np.ndarray, "hospitals"]) -> Float[np.ndarray, "hospitals"]:
    """Return the nearest point with non-negative coordinates that sum to 1."""
    finite_array(point=point)
    ordered = np.sort(point)[::-1]
    excess = (np.cumsum(ordered) - 1) / np.arange(1, len(point) + 1)
    last = np.flatnonzero(ordered > excess)[-1]
    return np.asarray(np.maximum(point - excess[last], 0.0))
