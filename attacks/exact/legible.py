"""What the known error of a captured update leaves to be read, and what it hides.

An update of which rounding hides everything looks safe to whoever takes it for exact, and to
whoever is not told. So the attacks say it.
"""

import numpy as np
from jaxtyping import Bool, Float

from aggregation.models import LinearInput
from aggregation.plan import Plan
from attacks.knowledge.capabilities import linear_input
from attacks.knowledge.features import Feature
from attacks.reconstructed import Note
from attacks.views.observation import Gradient

__all__ = ["hidden_by_rounding", "tells_apart"]

_ENOUGH = 0.5  # of the units: each patient has to be alone at one that tells
_HIDDEN = (
    "Rounding hides {features} of a patient: the update is known only up to an error that is "
    "larger than what the next value would change. That nothing is read there does not make "
    "the update safe: who holds it in more bits reads more."
)
_TYPICAL = 0.5  # |p - y| of a patient of whom an untrained model is as unsure as a coin


def tells_apart(
    plan: Plan,
    strengths: Float[np.ndarray, "records units"],
    features: tuple[Feature, ...],
    error: Float[np.ndarray, "dim"],
) -> Bool[np.ndarray, "records features"]:
    """Return which features of records show: the next value moves some entry past the error, twice.

    Args:
      plan: Whose model has a linear first layer.
      strengths: How far each record moves each unit's bias, in integer steps.
      features: The columns as features.
      error: Of the update, in integer steps.
    """
    wrong, _ = linear_input(plan.model).first_layer(error)
    shows = [
        np.stack(
            [
                (strengths * (f.step / f.sd if f.numeric else 1.0) > 2 * wrong[:, c]).any(axis=1)
                for c in f.columns
            ]
        ).all(axis=0)
        for f in features
    ]
    return np.stack(shows, axis=1)


def hidden_by_rounding(
    plan: Plan, gradient: Gradient, features: tuple[Feature, ...]
) -> tuple[Note, ...]:
    """Say in a sentence which features of a typical patient the error hides; nothing if none.

    A patient is read at a unit where it is alone. So half of the units at least have to tell every
    feature from its next value; else those that fewer tell are named.
    """
    if gradient.error is None or not isinstance(plan.model, LinearInput):
        return ()
    model = plan.model
    strengths = _TYPICAL * np.abs(model.outer_weights(gradient.params)) / plan.step
    weights, biases = model.first_layer(gradient.error)
    shown = [
        _shows(strengths * (f.step / f.sd if f.numeric else 1.0), weights[:, f.columns], biases)
        for f in features
    ]
    if np.logical_and.reduce(shown).mean() >= _ENOUGH:
        return ()
    shares = [float(units.mean()) for units in shown]
    most = max(_ENOUGH, min(shares) + 1e-9)
    hidden = [f.name for f, share in zip(features, shares, strict=True) if share < most]
    if len(hidden) == len(features):
        return (Note(_HIDDEN.replace("{features}", "everything"), "all_hidden"),)
    return (Note(_HIDDEN, "hidden", features=", ".join(hidden)),)


def _shows(
    moved: Float[np.ndarray, "units"],
    weights: Float[np.ndarray, "units columns"],
    biases: Float[np.ndarray, "units"],
) -> Bool[np.ndarray, "units"]:
    """Units at which a ratio of weights to bias tells a value from the next."""
    return np.asarray(moved > 2 * (weights.max(axis=1) + biases))
