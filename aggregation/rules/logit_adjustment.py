r"""Logit adjustment: the model learns what is left when the hospital's prevalence is given.

Training and predicting at hospital k use the scores

.. math:: f(x) + \tau \log\frac{\pi_k}{1 - \pi_k},

so that the shared model needn't carry how ill each hospital's patients are on the whole.

- *Source*: Menon et al. (2021), arXiv 2007.07314v2, Eq. 10; Zhang et al. (2022, FedLC), ICML.
- *Crosses the wall*: the sum of clipped gradients. :math:`\pi_k` is never sent, but it enters them.
- *Unit and sensitivity*: the patient, C, *provided* that :math:`\pi_k` is public or was noised and
  paid for. A prevalence counted from raw patients moves every patient's gradient.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from aggregation.rules.rule import Contract, ContractUnit, Rule
from privacy._validate import non_negative, unit_open

__all__ = ["LogitAdjustment"]


@dataclass(frozen=True)
class LogitAdjustment(Rule):
    r"""Attributes: each hospital's ``prevalences``, and ``strength``, :math:`\tau`; 0 is FedSGD."""

    contract = Contract(
        "logit adjustment",
        "Menon et al. (2021), arXiv 2007.07314v2, Eq. 10",
        ContractUnit.PATIENT,
        "the sum of clipped gradients; the prevalence is public or paid for apart",
    )
    prevalences: Mapping[str, float]
    strength: float = 1.0

    def __post_init__(self) -> None:
        for prevalence in self.prevalences.values():
            unit_open(prevalence=prevalence)
        non_negative(strength=self.strength)

    def offset(self, hospital: str) -> float:
        """Return the log-odds of the hospital's prevalence, times the strength."""
        prevalence = self.prevalences[hospital]
        return self.strength * math.log(prevalence / (1 - prevalence))
