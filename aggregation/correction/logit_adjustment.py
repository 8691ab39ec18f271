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

import numpy as np
from jaxtyping import Float

from aggregation.correction.contract import Contract
from privacy._validate import non_negative, unit_open

__all__ = ["LOGIT_ADJUSTMENT", "adjusted"]

LOGIT_ADJUSTMENT = Contract(
    "logit adjustment",
    "Menon et al. (2021), arXiv 2007.07314v2, Eq. 10",
    "patient",
    "the sum of clipped gradients; the prevalence is public or paid for apart",
)


def adjusted(
    scores: Float[np.ndarray, "patients"], *, prevalence: float, strength: float = 1.0
) -> Float[np.ndarray, "patients"]:
    r"""Return the hospital's scores; ``strength`` is :math:`\tau`, 0 leaves them."""
    unit_open(prevalence=prevalence)
    non_negative(strength=strength)
    return scores + strength * math.log(prevalence / (1 - prevalence))
