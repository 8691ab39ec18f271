r"""What local optimisers make of gradients, undone: from how far weights moved to what moved them.

All begin from zero state, as a client does that gets a model and trains it.

After one step the gradient is known. After :math:`n` steps the weights at both ends are known, and
no step's gradient: they say :math:`(\theta_0 - \theta_n) / \eta`, the sum of the directions that
the optimiser took. As :math:`\eta` falls, the gradients of a batch that every step takes become the
first one's, and that sum becomes (each is a test in ``tests/aggregation/capture``)

- of descent with momentum :math:`\mu`: :math:`\sum_{s=1}^{n} (1 - \mu^s) / (1 - \mu)` times the
  first gradient, in every coordinate;
- of Adam: :math:`n` times the first gradient's *sign* wherever that is far above :math:`\epsilon`,
  and 0 where it is 0.

At larger rates it is neither. Then an attack has to walk the steps with guessed patients and the
same optimiser (``attacks.searching.local_steps``).
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from privacy._validate import half_open, non_negative, positive

__all__ = ["DESCENT", "Adam", "Known", "Optimizer", "Sgd"]


class Known(NamedTuple):
    """Numbers that are known to lie within ``error`` of ``centre``."""

    centre: Float[np.ndarray, "dim"]
    error: Float[np.ndarray, "dim"]


@dataclass(frozen=True)
class Sgd:
    r"""Gradient descent, with momentum and weight decay as ``torch.optim.SGD`` has them.

    Over several steps what is read is the sum of the velocities
    :math:`v_s = \mu v_{s-1} + g_s`, or of what Nesterov's momentum and the decay make of them.

    Attributes:
      momentum: :math:`\mu`, in [0, 1).
      nesterov: Whether a step goes along :math:`g + \mu v`.
      weight_decay: :math:`\lambda`; :math:`\lambda \theta` is added to the gradient.
      twice: How many of the last parameters move by twice their direction: those of a last layer
        that is the difference of two rows (``two_logits``).
    """

    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    twice: int = 0

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
        """
        if steps > 1:
            return _along(moved, rate, slack)
        scale = rate * (1 + self.momentum * self.nesterov)
        pull = self.weight_decay * params
        centre = moved.centre / scale - pull
        error = moved.error / scale + slack * (np.abs(moved.centre) / scale + np.abs(pull))
        return Known(centre, error)

    @property
    def adds_up(self) -> bool:
        """Whether what is moved along is a weighted sum of gradients and nothing else."""
        return self.weight_decay == 0

    def gain(self, steps: int) -> float:
        """The sum of the directions of so many steps, over a gradient that stays the same."""
        velocities = [sum(self.momentum**k for k in range(s)) for s in range(1, steps + 1)]
        if self.nesterov:
            velocities = [1 + self.momentum * v for v in velocities]
        return float(sum(velocities))

    @property
    def passes_on(self) -> float:
        """By how much at most a gradient's error grows in the sum of directions."""
        return 1 / (1 - self.momentum)

    def of_means(self, patients: int) -> "Sgd":
        """Return the optimiser on means that, at a rate as many times as large, is this on sums."""
        return replace(self, weight_decay=self.weight_decay / patients)


@dataclass(frozen=True)
class Adam:
    r"""``torch.optim.Adam`` (``decoupled``: ``AdamW``).

    From zero state the first step's bias corrections cancel the decay rates, and the step is
    :math:`\eta\, g / (|g| + \epsilon)`: the sign of the gradient, and its size in how far the step
    falls short of :math:`\eta`. Few bits hide that, and the error then says so. Over several steps
    the sum of directions is read, and its error is that of the weights alone: where a gradient is
    near 0, what *its* rounding does to the direction has no bound.

    Attributes:
      eps: :math:`\epsilon`.
      weight_decay: :math:`\lambda`.
      decoupled: Whether the decay acts on the weights beside the step.
      betas: How fast both moments forget, each in [0, 1).
      twice: As ``Sgd.twice``.
    """

    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    twice: int = 0

    def __post_init__(self) -> None:
        positive(eps=self.eps)
        for beta in self.betas:
            half_open(beta=beta)
        non_negative(weight_decay=self.weight_decay)

    def undo(
        self, moved: Known, params: NDArray[np.float64], *, rate: float, steps: int, slack: float
    ) -> Known:
        """As ``Sgd.undo``; of one step, infinite error where it was as long as it can be."""
        if steps > 1:
            return _along(moved, rate, slack)
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

    @property
    def adds_up(self) -> bool:
        """As ``Sgd.adds_up``: it is not."""
        return False

    @property
    def passes_on(self) -> float:
        """As ``Sgd.passes_on``: nothing is known, and nothing is counted."""
        return 0.0

    def of_means(self, patients: int) -> "Adam":
        """As ``Sgd.of_means``, at the same rate: Adam's steps don't grow with the gradients."""
        coupled = 1 if self.decoupled else patients
        return replace(self, eps=self.eps / patients, weight_decay=self.weight_decay / coupled)

    def _size(self, step: NDArray[np.float64]) -> NDArray[np.float64]:
        """The gradient's size of a step's, in units of the learning rate; infinite from 1 on."""
        short = np.maximum(1 - step, 0.0)
        with np.errstate(divide="ignore"):
            return np.where(short > 0, self.eps * step / short, np.inf)


Optimizer = Sgd | Adam
DESCENT = Sgd()
"""Plain descent, as a plan's own hospitals take their steps."""


def _along(moved: Known, rate: float, slack: float) -> Known:
    """The sum of the directions of several steps."""
    return Known(moved.centre / rate, moved.error / rate + slack * np.abs(moved.centre) / rate)
