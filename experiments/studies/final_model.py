"""The final model of a simulated run, by the fastest engine that gives the same bits."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from aggregation.data.patients import Patients
from aggregation.engines.fleet import Fleet
from aggregation.federation import Federation
from aggregation.plan import Plan
from experiments.studies.scaling import Crowd

__all__ = ["final_model"]


def final_model(
    plan: Plan, patients: Mapping[str, Patients], *, seed: int | tuple[int, ...]
) -> Float[np.ndarray, "dim"]:
    """Return ``Federation.simulated(plan, patients, seed=seed).run().params``, bit for bit.

    Clipped full batches under the scheme ``plain`` are computed for all hospitals at once: a tenth
    of the time at hundreds of hospitals. (A test compares the two.)

    Args:
      plan: Of the run.
      patients: By hospital, in the plan's order.
      seed: Of all noise.
    """
    if plan.clip_norm is None or plan.noise == "article" or plan.sampling_size is not None:
        return Federation.simulated(plan, patients, seed=seed).run().params
    crowd = Crowd.of_hospitals(patients)
    fleet = Fleet.simulated(plan, lambda: [crowd], seed=seed)
    models = [plan.first_model()]
    for _ in range(plan.rounds):
        models.append(fleet.advance(models[-1])[0])
    return plan.final_model(models)
