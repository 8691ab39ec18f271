"""What a hospital would have sent for given records: the only judge of a certificate.

The very functions that hospitals run are called here, so that a right record gives the right
integers, bit for bit.
"""

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from aggregation.data.patients import Patients
from aggregation.plan import Plan
from aggregation.update import bounded_rows, patient_gradients
from privacy.errors import RefusedError

__all__ = ["integer_rows", "integer_sum"]


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
    rows = _gradients(plan, params, records, labels, hospital)
    return _integers(plan, rows, plan.radius if radius is None else radius)


def integer_sum(
    plan: Plan,
    params: Float[np.ndarray, "dim"],
    patients: Patients,
    *,
    hospital: str | None = None,
) -> Int[np.ndarray, "dim"]:
    """Return the sum that a hospital of these patients would have noised; each may have records.

    Args:
      plan: What was agreed.
      params: The model that the hospital answered.
      patients: Its patients.
      hospital: Its name; None: not known.

    Raises:
      RefusedError: As ``integer_rows``.
    """
    rows = _gradients(plan, params, patients.features, patients.outcomes, hospital)
    return np.asarray(_integers(plan, patients.per_patient(rows), plan.radius).sum(axis=0))


def _gradients(
    plan: Plan,
    params: NDArray[np.float64],
    records: NDArray[np.float64],
    labels: NDArray[np.int64],
    hospital: str | None,
) -> NDArray[np.float64]:
    rule = plan.used_rule
    if not rule.weighs_records:
        return plan.model.per_patient_gradients(params, records, labels)
    if hospital is None:
        raise RefusedError(
            f"Under the rule {rule.contract.name!r} a hospital weighs each patient's gradient, and "
            "this attack replays it without knowing for which hospital. What it would find is not "
            "known; the likelihood ratio knows."
        )
    return patient_gradients(plan, hospital, params, records, labels, np.arange(len(labels)))


def _integers(plan: Plan, rows: NDArray[np.float64], radius: int) -> NDArray[np.int64]:
    if plan.clip_norm is None:
        return np.rint(rows / plan.step).astype(np.int64)
    return np.asarray(bounded_rows(plan, rows, radius).values)
