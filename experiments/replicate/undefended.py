"""One hospital's update of one batch without any defence: what published attacks face."""

import numpy as np
from jaxtyping import Float

from aggregation.data.patients import Patients
from aggregation.models import Model
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from attacks.knowledge.replay import integer_rows
from attacks.views import Gradient, SumPart

__all__ = ["undefended_plan", "undefended_update"]


def undefended_plan(run: str, model: Model, size: int) -> Plan:
    """Return a plan of one round of one hospital: nothing is clipped, integers are of 2^-24.

    Args:
      run: Its name.
      model: What is trained.
      size: Patients of the batch, who are all of the hospital's.
    """
    return Plan(
        run=run,
        model=model,
        hospitals=("one",),
        declared_sizes=(size,),
        rounds=1,
        learning_rate=1.0,
        noise=NoiseKind.NONE,
        scheme="plain",
        clip_norm=None,
        radius=2**24,
    )


def undefended_update(
    plan: Plan, params: Float[np.ndarray, "dim"], batch: Patients, *, outcomes_known: bool = False
) -> Gradient:
    """Return what the hospital sends of a batch, as its server sees it.

    Args:
      plan: Of ``undefended_plan``.
      params: The model that it was given.
      batch: Its patients.
      outcomes_known: Whether the server is told their outcomes.
    """
    total = integer_rows(plan, params, batch.features, batch.outcomes).sum(axis=0)
    (name,) = plan.hospitals
    part = SumPart(name, params, batch.outcomes if outcomes_known else None)
    return Gradient(0, (part,), total, 0.0)
