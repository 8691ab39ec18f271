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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from aggregation.rules.rule import Contract, ContractUnit, Rule
from privacy._validate import at_least, unit_open
from privacy.errors import InvalidInputError

__all__ = ["Importance", "covariate_weights", "label_weights"]

CEILING = 4.0


@dataclass(frozen=True)
class Importance(Rule):
    """Patients weighed to stand for those of a target population.

    Attributes:
      classifiers: Covariate shift: coefficients and intercept, in this order, of each hospital's
        log-odds "target population against this hospital".
      prevalences: Label shift: each hospital's prevalence.
      target: Prevalence of the target population.
      ceiling: Largest weight.

    Raises:
      InvalidInputError: Neither classifiers nor prevalences with a target, or both.
    """

    contract = Contract(
        "importance",
        "Shimodaira (2000), J Stat Plan Inference 90:227; Lipton et al. (2018), arXiv 1802.03916v3",
        ContractUnit.PATIENT,
        "the sum of clipped weighted gradients; the weights' statistics, paid for apart",
    )
    classifiers: Mapping[str, Sequence[float]] | None = None
    prevalences: Mapping[str, float] | None = None
    target: float | None = None
    ceiling: float = CEILING

    def __post_init__(self) -> None:
        at_least(1.0, ceiling=self.ceiling)
        by_label = self.prevalences is not None and self.target is not None
        if (self.classifiers is None) != by_label:
            raise InvalidInputError(
                "Importance weights need each hospital's classifier, or each one's prevalence and "
                "the target's; give one of the two."
            )

    def record_weights(
        self,
        hospital: str,
        features: Float[np.ndarray, "patients features"],
        outcomes: Int[np.ndarray, "patients"],
        residuals: Float[np.ndarray, "patients"],
    ) -> Float[np.ndarray, "patients"]:
        """Return each patient's weight, by arithmetic along its own row."""
        if self.classifiers is not None:
            *slopes, intercept = self.classifiers[hospital]
            products = np.ascontiguousarray(features) * np.array(slopes)
            return covariate_weights(products.sum(axis=1) + intercept, ceiling=self.ceiling)
        if self.prevalences is None or self.target is None:
            raise InvalidInputError("Give prevalences and a target.")
        prevalence = self.prevalences[hospital]
        return label_weights(
            outcomes, prevalence=prevalence, target=self.target, ceiling=self.ceiling
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
