"""What a hospital would have sent for given records: the only judge of a certificate.

The very functions that hospitals run are called here, so that a right record gives the right
integers, bit for bit.
"""

import numpy as np
from jaxtyping import Float, Int

from aggregation.plan import Plan
from privacy.mechanisms import clip, to_integers

__all__ = ["integer_rows"]


def integer_rows(
    plan: Plan,
    params: Float[np.ndarray, "dim"],
    records: Float[np.ndarray, "patients features"],
    labels: Int[np.ndarray, "patients"],
) -> Int[np.ndarray, "patients dim"]:
    """Return each record's clipped and rounded gradient, in integer steps, without noise."""
    rows = plan.model.per_patient_gradients(params, records, labels)
    if plan.clip_norm is None:
        return np.rint(rows / plan.step).astype(np.int64)
    return to_integers(clip(rows, clip_norm=plan.clip_norm), radius=plan.radius).values
