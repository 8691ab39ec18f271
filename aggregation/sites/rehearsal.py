"""One update of a patient who does not exist, before the first message comes.

What computes an update is imported and compiled when it is first called, which takes seconds, and
ten and more where several sites start on one machine. A site that is killed between the entry in
its ledger and its sealed bytes can complete that entry once; those seconds must not lie there.
"""

import numpy as np

from aggregation.data.patients import Patients
from aggregation.plan import Plan
from aggregation.update import local_update, noised_scalars
from privacy.mechanisms import OperatingSystem, Seeded

__all__ = ["rehearse"]


def rehearse(plan: Plan, hospital: str, patients: Patients, *, simulated: bool) -> None:
    """Compute an update of one made-up patient, and forget it.

    Guarantees (each is a test in ``tests/aggregation/sites/test_rehearsal.py``):
      - the first update of a site imports and compiles nothing;
      - of the patients only the table's width is looked at, and the site's noise is not drawn from.

    Args:
      plan: What was agreed.
      hospital: Name of the hospital, as in the plan.
      patients: Its patients.
      simulated: Whether its noise is seeded.
    """
    shape = (1, patients.features.shape[1])
    nobody = Patients(
        np.zeros(shape), np.zeros(1, dtype=np.int64), several_records=patients.several_records
    )
    steps = plan.used_rule.steps_of(hospital, plan.local_steps)
    params, source = plan.first_model(), Seeded(0) if simulated else OperatingSystem()
    local_update(plan, hospital, (nobody,) * steps, params, source)
    noised_scalars(plan, hospital, nobody, params, source)
