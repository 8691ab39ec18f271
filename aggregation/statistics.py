"""Scalars that a hospital can have summed beside its update: one number a patient.

A new one is a function here and a line in ``STATISTICS``; how far a patient can move its sum is the
plan's to say (``SlotGroup.clip_norm``), not the statistic's.
"""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float

from aggregation.data.patients import Patients
from aggregation.models import Model

__all__ = ["STATISTICS", "Statistic"]

Statistic = Callable[[Model, Float[np.ndarray, "dim"], Patients], Float[np.ndarray, "patients"]]


def _count(
    model: Model, params: Float[np.ndarray, "dim"], patients: Patients
) -> Float[np.ndarray, "patients"]:
    """1 for every patient that takes part."""
    return np.ones(len(patients))


def _loss(
    model: Model, params: Float[np.ndarray, "dim"], patients: Patients
) -> Float[np.ndarray, "patients"]:
    """Each patient's loss at the round's model, in nats: q-FFL and AFL weigh by it."""
    return model.losses(params, patients.features, patients.outcomes, slots=patients.slots)


STATISTICS: Mapping[str, Statistic] = {"count": _count, "loss": _loss}
