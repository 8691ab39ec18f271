"""The final model of a simulated run, without roles: the same bits in a fraction of the time."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from aggregation.data.patients import Patients
from aggregation.federation import Federation
from aggregation.plan import Plan
from aggregation.rules import FedSGD
from aggregation.update import noised_update
from privacy.mechanisms import Seeded

__all__ = ["final_model"]


def final_model(
    plan: Plan, patients: Mapping[str, Patients], *, seed: int | tuple[int, ...]
) -> Float[np.ndarray, "dim"]:
    """Return ``Federation.simulated(plan, patients, seed=seed).run().params``, bit for bit.

    Full batches of the plain rule are computed hospital by hospital and added, with no message,
    signature or ledger between; all else is run as a federation. (A test compares the two.)

    Args:
      plan: Of the run.
      patients: By hospital, in the plan's order.
      seed: Of all noise.
    """
    whole = plan.sampling_size is None and plan.pass_rounds is None and plan.correlated is None
    if not whole or type(plan.used_rule) is not FedSGD or plan.local_steps > 1:
        return Federation.simulated(plan, patients, seed=seed).run().params
    parts = (seed,) if isinstance(seed, int) else seed
    sources = {name: Seeded((*parts, k)) for k, name in enumerate(plan.hospitals)}
    models = [plan.first_model()]
    for _ in range(plan.rounds):
        total = np.zeros(plan.dim, dtype=np.int64)
        for name, source in sources.items():
            total += noised_update(plan, name, (patients[name],), models[-1], source)
        models.append(plan.advance(models[-1], total))
    return plan.final_model(models)
