r"""Importance weights: a hospital's patients stand for those of a target population.

Covariate shift weighs patient i by the odds :math:`e^{d(x_i)}` of a domain classifier (target
against this hospital), label shift by :math:`P_T(y_i) / P_k(y_i)`; both are cut at a ceiling, and
*then* the weighted gradient is clipped:

.. math:: \sum_i \mathrm{clip}_C\left(\min(w_i, w_{\max})\, g_i\right) .

- *Source*: Shimodaira (2000), J Stat Plan Inference 90:227; label shift: Lipton et al. (2018),
  arXiv 1802.03916v3. Domain odds: Bickel et al. (2009), JMLR 10:2137.
- *Crosses the wall*: the sum of clipped weighted gradients. The classifier, or the prevalence, is a
  release of its own with its own budget.
- *Unit and sensitivity*: the patient, C, *provided* that the weights' statistics were noised or
  public before. Weights fitted to raw patients let one patient change every other's gradient.
"""

import numpy as np
from jaxtyping import Float, Int

from aggregation.correction.contract import Contract
from privacy._validate import at_least, unit_open
from privacy.mechanisms import clip

__all__ = ["IMPORTANCE", "covariate_weights", "label_weights", "weighted_clipped_sum"]

CEILING = 4.0

IMPORTANCE = Contract(
    "importance",
    "Shimodaira (2000), J Stat Plan Inference 90:227; Lipton et al. (2018), arXiv 1802.03916v3",
    "patient",
    "the sum of clipped weighted gradients; the weights' statistics, paid for apart",
)


def covariate_weights(
    domain_scores: Float[np.ndarray, "patients"], *, ceiling: float = CEILING
) -> Float[np.ndarray, "patients"]:
    """Return weights from the log-odds "target population against this hospital"."""
    at_least(1.0, ceiling=ceiling)
    return np.asarray(np.exp(np.minimum(domain_scores, np.log(ceiling))))


def label_weights(
    outcomes: Int[np.ndarray, "patients"],
    *,
    prevalence: float,
    target: float,
    ceiling: float = CEILING,
) -> Float[np.ndarray, "patients"]:
    """Return weights from the hospital's (noised or public) prevalence and the target's."""
    unit_open(prevalence=prevalence)
    unit_open(target=target)
    at_least(1.0, ceiling=ceiling)
    ill, well = target / prevalence, (1 - target) / (1 - prevalence)
    return np.minimum(np.where(outcomes == 1, ill, well), ceiling)


def weighted_clipped_sum(
    gradients: Float[np.ndarray, "patients dim"],
    weights: Float[np.ndarray, "patients"],
    *,
    clip_norm: float,
) -> Float[np.ndarray, "dim"]:
    """Return the emission: weigh first, then clip, then add."""
    weighted = gradients * weights[:, None]
    return np.asarray(clip(weighted, clip_norm=clip_norm).values.sum(axis=0))
