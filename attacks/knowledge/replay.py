"""What a hospital would have sent for given records: the only judge of a certificate.

The very functions that hospitals run are called here, so that a right record gives the right
integers, bit for bit.
"""

import numpy as np
from jaxtyping import Float, Int

from aggregation.plan import Plan
from aggregation.update import bounded_rows, patient_gradients
from privacy.errors import RefusedError

__all__ = ["integer_rows"]


def integer_rows(
    plan: Plan,
    params: Float[np.ndarray, "dim"],
    records: Float[np.ndarray, "patients features"],
    labels: Int[np.ndarray, "patients"],
    *,
    hospital: str | None = None,
    radius: int | None = None,
) -> Int[np.ndarray, "patients dim"]:
    """Return each record's clipped and rounded gradient, in integer steps, without noise.

    Args:
      plan: What was agreed.
      params: The model that the hospital answered.
      records: One row a patient.
      labels: Their outcomes.
      hospital: Whose patients they would be; None: not known.
      radius: What the upload's weight makes of the plan's (``Plan.radius_of``); None: weight 1.

    Raises:
      RefusedError: The plan's rule weighs a hospital's patients, and whose they are is not known.
    """
    rule = plan.used_rule
    if not rule.weighs_records:
        rows = plan.model.per_patient_gradients(params, records, labels)
    elif hospital is None:
        raise RefusedError(
            f"Under the rule {rule.contract.name!r} a hospital weighs each patient's gradient, and "
            "this attack replays it without knowing for which hospital. What it would find is not "
            "known; the likelihood ratio knows."
        )
    else:
        rows = patient_gradients(plan, hospital, params, records, labels, np.arange(len(labels)))
    if plan.clip_norm is None:
        return np.rint(rows / plan.step).astype(np.int64)
    return bounded_rows(plan, rows, plan.radius if radius is None else radius).values
