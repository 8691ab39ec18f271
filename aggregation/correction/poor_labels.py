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

Measured on the four hospitals (``tests/aggregation/correction/test_poor_labels.py``): the norm
bound does most of the work (40 % wrong in two hospitals: within-site AUC .84 with it, .81 without);
bounded influence moves the AUC by less than .006 either way; neither saves the model from a
hospital whose labels are all reversed. Scores find that hospital, but can't tell wrong labels from
patients who are truly harder: a small margin shuts such a hospital out.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from aggregation.correction.contract import Contract
from privacy._validate import finite_array, non_negative, positive
from privacy.mechanisms import clip

__all__ = ["BOUNDED_INFLUENCE", "bounded_influence_sum", "kept"]

BOUNDED_INFLUENCE = Contract(
    "bounded influence",
    "Zhang and Sabuncu (2018), arXiv 1805.07836v4, Eq. 6",
    "patient",
    "the sum of clipped gradients, each weighed by the model's trust in its label",
)


def bounded_influence_sum(
    gradients: Float[np.ndarray, "patients dim"],
    risks: Float[np.ndarray, "patients"],
    outcomes: Int[np.ndarray, "patients"],
    *,
    exponent: float,
    clip_norm: float,
) -> Float[np.ndarray, "dim"]:
    """Return the emission; ``exponent`` is q: 0 trusts every label, 1 weighs by the probability.

    Args:
      gradients: Of the cross-entropy, one row a patient.
      risks: The model's probability of the outcome.
      outcomes: The labels as the hospital has them.
      exponent: q.
      clip_norm: C, in units of the gradient.
    """
    non_negative(exponent=exponent)
    trust = np.where(outcomes == 1, risks, 1 - risks) ** exponent
    return np.asarray(clip(gradients * trust[:, None], clip_norm=clip_norm).values.sum(axis=0))


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
