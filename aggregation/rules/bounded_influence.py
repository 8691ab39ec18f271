r"""Hospitals with wrong or hidden labels: what helps when only sums are seen, and what does not.

Three defences, the only ones that fit a sealed sum:

1. *Norm bounds*: the clip that privacy needs anyway also bounds what a wrong label can do.
2. *Bounded influence*: patient i's gradient is weighed by :math:`p_{y_i}^q`, the model's
   probability of the label that i has, before the clip: an absurd label pulls less,

   .. math:: \sum_i \mathrm{clip}_C\left(p_{y_i}(w)^q\, g_i(w)\right).

3. *Contribution scores*: each hospital releases its noised mean loss (``agnostic.loss_release``,
   paid for); one far above the median is asked to send with weight 0.

- *Source*: bounded influence: the gradient of Zhang and Sabuncu (2018), arXiv 1805.07836v4, Eq. 6.
- *Crosses the wall*: the sum of clipped weighted gradients; for scores, a noised sum of losses.
- *Unit and sensitivity*: the patient, C (the weight depends on i and the model alone); scores:
  ``bound``.

Measured on the four hospitals (``tests/aggregation/rules/test_poor_labels.py``): the norm
bound does most of the work (40 % wrong in two hospitals: within-site AUC .84 with it, .81 without);
bounded influence moves the AUC by less than .006 either way; neither saves the model from a
hospital whose labels are all reversed. Scores find that hospital, but can't tell wrong labels from
patients who are truly harder: a small margin shuts such a hospital out.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from aggregation.rules.rule import Contract, ContractUnit, Rule
from privacy._validate import finite_array, non_negative, positive

__all__ = ["BoundedInfluence", "kept"]


@dataclass(frozen=True)
class BoundedInfluence(Rule):
    """Attributes: ``exponent``, q: 0 trusts every label, 1 weighs by its probability."""

    contract = Contract(
        "bounded influence",
        "Zhang and Sabuncu (2018), arXiv 1805.07836v4, Eq. 6",
        ContractUnit.PATIENT,
        "the sum of clipped gradients, each weighed by the model's trust in its label",
    )
    exponent: float = 0.7

    def __post_init__(self) -> None:
        non_negative(exponent=self.exponent)

    def record_weights(
        self,
        hospital: str,
        features: Float[np.ndarray, "patients features"],
        outcomes: Int[np.ndarray, "patients"],
        residuals: Float[np.ndarray, "patients"],
    ) -> Float[np.ndarray, "patients"]:
        """Return the model's probability of each patient's label, to the power of q."""
        return np.asarray((1 - np.abs(residuals)) ** self.exponent)


def kept(
    mean_losses: Float[np.ndarray, "hospitals"], *, margin: float
) -> Bool[np.ndarray, "hospitals"]:
    """Return which hospitals go on counting: post-processing of released losses.

    Args:
      mean_losses: Noised mean loss of each hospital at the present model, in nats.
      margin: How far above the median is too far, in nats; well above the releases' noise.
    """
    positive(margin=margin)
    finite_array(mean_losses=mean_losses)
    return np.asarray(mean_losses <= np.median(mean_losses) + margin)
