r"""What local optimisers make of gradients, undone: from how far weights moved to what moved them.

All begin from zero state, as a client does that gets a model and trains it.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from privacy._validate import half_open, non_negative, positive
from privacy.errors import RefusedError

__all__ = ["Adam", "Known", "Optimizer", "Sgd"]


class Known(NamedTuple):
    """Numbers that are known to lie within ``error`` of ``centre``."""

    centre: Float[np.ndarray, "dim"]
    error: Float[np.ndarray, "dim"]


@dataclass(frozen=True)
class Sgd:
    r"""Gradient descent, with momentum and weight decay as ``torch.optim.SGD`` has them.

    Over several steps what is read is the sum of the velocities
    :math:`v_s = \mu v_{s-1} + g_s`; after one step the velocity is the gradient.

    Attributes:
      momentum: :math:`\mu`, in [0, 1).
      nesterov: Whether a step goes along :math:`g + \mu v`.
      weight_decay: :math:`\lambda`; :math:`\lambda \theta` is added to the gradient.
    """

    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        half_open(momentum=self.momentum)
        non_negative(weight_decay=self.weight_decay)

    def undo(
        self, moved: Known, params: NDArray[np.float64], *, rate: float, steps: int, slack: float
    ) -> Known:
        """Return what the weights moved along, summed over the steps.

        Args:
          moved: Weights before, less weights after.
          params: Weights before.
          rate: Learning rate.
          steps: How many.
          slack: Relative rounding of the optimiser's own arithmetic.

        Raises:
          RefusedError: Several steps with weight decay or Nesterov's momentum.
        """
        if steps > 1 and (self.nesterov or self.weight_decay > 0):
            raise RefusedError(
                f"Over {steps} steps weight decay and Nesterov's momentum mix gradients with "
                "weights that nobody captured. Capture one step, or train with plain momentum."
            )
        scale = rate * (1 + self.momentum * self.nesterov)
        pull = self.weight_decay * params
        centre = moved.centre / scale - pull
        error = moved.error / scale + slack * (np.abs(moved.centre) / scale + np.abs(pull))
        return Known(centre, error)


@dataclass(frozen=True)
class Adam:
    r"""``torch.optim.Adam`` (``decoupled``: ``AdamW``) after its first step.

    From zero state the bias corrections cancel the decay rates, and the step is
    :math:`\eta\, g / (|g| + \epsilon)`: the sign of the gradient, and its size in how far the step
    falls short of :math:`\eta`. Few bits hide that, and the error then says so.

    Attributes:
      eps: :math:`\epsilon`.
      weight_decay: :math:`\lambda`.
      decoupled: Whether the decay acts on the weights beside the step.
    """

    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled: bool = False

    def __post_init__(self) -> None:
        positive(eps=self.eps)
        non_negative(weight_decay=self.weight_decay)

    def undo(
        self, moved: Known, params: NDArray[np.float64], *, rate: float, steps: int, slack: float
    ) -> Known:
        """As ``Sgd.undo``; the error is infinite where the step was as long as it can be.

        Raises:
          RefusedError: Several steps.
        """
        if steps > 1:
            raise RefusedError(
                f"After {steps} steps of Adam the weights' differences no longer say what the "
                "gradients were, step by step. Capture the first step alone."
            )
        pull = self.weight_decay * params
        step, error = moved.centre / rate, moved.error / rate
        error = error + slack * (np.abs(step) + np.abs(pull))
        step = step - pull * self.decoupled
        low, high = (self._size(np.clip(np.abs(step) + side * error, 0, None)) for side in (-1, 1))
        low, high = low * max(0.0, 1 - slack), high * (1 + slack)  # epsilon itself is rounded
        bounded = np.isfinite(high)
        low, high = np.where(np.isfinite(low), low, 0.0), np.where(bounded, high, 0.0)
        # Below the error the sign is open too.
        low = np.where((np.abs(step) <= error) & bounded, -high, low)
        centre = np.where(bounded, (low + high) / 2, low) * np.where(step < 0, -1.0, 1.0)
        wide = np.where(bounded, (high - low) / 2, np.inf)
        return Known(centre - pull * (not self.decoupled), wide + slack * np.abs(pull))

    def _size(self, step: NDArray[np.float64]) -> NDArray[np.float64]:
        """The gradient's size of a step's, in units of the learning rate; infinite from 1 on."""
        short = np.maximum(1 - step, 0.0)
        with np.errstate(divide="ignore"):
            return np.where(short > 0, self.eps * step / short, np.inf)


Optimizer = Sgd | Adam
