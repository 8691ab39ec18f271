"""A hospital's step of averaged logistic regression, clipped and without noise."""

import numpy as np
from jaxtyping import Float, Int

from aggregation.models import Logistic
from privacy.mechanisms import clip

__all__ = ["hospital_step"]


def hospital_step(
    params: Float[np.ndarray, "dim"],
    features: Float[np.ndarray, "patients features"],
    outcomes: Int[np.ndarray, "patients"],
    learning_rate: float,
    clip_norm: float,
) -> Float[np.ndarray, "dim"]:
    """Return a step along the mean of the patients' clipped gradients, in units of the model."""
    rows = Logistic(features.shape[1]).per_patient_gradients(params, features, outcomes)
    clipped = clip(rows, clip_norm=clip_norm).values
    return np.asarray(-learning_rate * clipped.mean(axis=0))
