"""What a clinician asks: net benefit, and how many of the ill are found at a given specificity.

References:
  Vickers and Elkin (2006), Medical Decision Making 26:565.
"""

from dataclasses import dataclass

import numpy as np

from experiments.evaluation.scored import Scored
from privacy._validate import fraction, unit_open
from privacy.errors import InvalidInputError

__all__ = ["NetBenefit", "net_benefit", "sensitivity_at"]


@dataclass(frozen=True)
class NetBenefit:
    """Net benefit at one threshold, in true positives per patient.

    Attributes:
      threshold: Risk from which one would treat.
      model: Treating those at or above it.
      treat_all: Treating everybody; treating nobody is 0.
    """

    threshold: float
    model: float
    treat_all: float


def net_benefit(site: Scored, *, threshold: float) -> NetBenefit:
    r"""Return :math:`TP/n - FP/n \cdot t / (1 - t)` (Vickers and Elkin 2006).

    Raises:
      InvalidInputError: No patients, or a threshold that is not between 0 and 1.
    """
    unit_open(threshold=threshold)
    if len(site) == 0:
        raise InvalidInputError("No patients to compute a net benefit from; score at least one.")
    treated = site.risks >= threshold
    odds = threshold / (1 - threshold)
    benefit = site.outcomes - odds * (1 - site.outcomes)  # of treating each patient
    return NetBenefit(threshold, float(benefit[treated].sum()) / len(site), float(benefit.mean()))


def sensitivity_at(site: Scored, *, specificity: float) -> float:
    """Return the fraction of the ill above the lowest cut that spares enough of the well.

    The cut is the hospital's own: comparing hospitals at one common cut punishes the calibrated.

    Raises:
      InvalidInputError: A class is missing, or a specificity outside [0, 1].
    """
    fraction(specificity=specificity)
    if not site.positives or not site.negatives:
        raise InvalidInputError(
            f"Sensitivity needs both classes, got {site.positives} ill and {site.negatives} well."
        )
    well = np.sort(site.scores[site.outcomes == 0])
    spared = int(np.ceil(specificity * len(well) - 1e-9))
    if spared == 0:
        return 1.0
    return float(np.mean(site.scores[site.outcomes == 1] > well[spared - 1]))
