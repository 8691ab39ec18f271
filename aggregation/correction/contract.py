"""What every rule declares, and what makes a multi-step update safe to noise.

A rule is pure functions over flat parameter vectors. Its hospital's side returns the vector that
leaves the hospital, weight applied (the noise comes after); its server's side sees the sum of these
vectors and nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from privacy._validate import finite_array, natural, positive

__all__ = ["Contract", "Gradient", "bounded", "walk"]

Gradient = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class Contract:
    """What a rule sends, and whom its sensitivity protects.

    Attributes:
      name: The rule's.
      source: Where it comes from.
      unit: ``patient``: a sum over patients of vectors clipped one by one; adding or removing one
        moves it by the clip norm at most, and hospitals may share the noise. ``hospital``: several
        local steps, or several hospital-wide statistics; the whole vector is clipped by
        ``bounded``, and replacing a hospital's cohort moves the sum by twice the clip norm at most.
        (Or each local step pays full noise for the patient as the unit.) ``none``: nothing leaves.
        ``unprotected``: no sensitivity can be stated.
      crosses: What leaves the hospital, in words.
      extra: Coordinates sent beyond the model's.
    """

    name: str
    source: str
    unit: Literal["patient", "hospital", "none", "unprotected"]
    crosses: str
    extra: int = 0


def walk(
    start: Float[np.ndarray, "dim"],
    gradient: Gradient,
    *,
    steps: int,
    learning_rate: float,
    correction: Gradient | None = None,
) -> Float[np.ndarray, "dim"]:
    """Return where a hospital ends after some local steps against gradient plus correction.

    Args:
      start: The global model.
      gradient: Gradient of the hospital's mean loss.
      steps: Number of local steps H.
      learning_rate: Local step size.
      correction: Added to the gradient at each point; None adds nothing.
    """
    natural(steps=steps)
    positive(learning_rate=learning_rate)
    here = start.copy()
    for _ in range(steps):
        slope = gradient(here)
        if correction is not None:
            slope = slope + correction(here)
        here = here - learning_rate * slope
    return here


def bounded(update: Float[np.ndarray, "dim"], *, clip_norm: float) -> Float[np.ndarray, "dim"]:
    """Scale a whole update so that its L2 norm is at most ``clip_norm``: the hospital as the unit.

    Args:
      update: What a rule's hospital side returned, in units of the parameters.
      clip_norm: Largest norm that leaves, in the same units.
    """
    positive(clip_norm=clip_norm)
    finite_array(update=update)
    norm = float(np.linalg.norm(update))
    return update if norm <= clip_norm else update * (clip_norm / norm)
