r"""Local optimisers in torch, differentiable in the gradients: what a walk of steps replays.

Adam's direction is a sign wherever a gradient is far above its :math:`\epsilon`, and a sign has no
slope to search along. So a search may smooth it: :math:`\epsilon` grows by a share of the
gradient's root mean square, and a coordinate that is small beside the others tells how small.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from aggregation.capture.optimizers import Adam, Optimizer

__all__ = ["Directions"]

_TINY = 1e-60  # under a root: at 0 it has no slope


@dataclass
class Directions:
    """One walk's state: gradient after gradient, the direction in which ``torch.optim`` steps.

    Attributes:
      optimizer: Whose directions.
      smooth: Share of the gradient's root mean square that Adam's epsilon grows by; 0: as it is.
    """

    optimizer: Optimizer
    smooth: float = 0.0
    _moments: list[Tensor] = field(default_factory=list)
    _steps: int = 0

    def __call__(self, gradient: Tensor, params: Tensor) -> Tensor:
        """Return what the parameters move against, over the learning rate ``[restarts, dim]``.

        Args:
          gradient: Of the mean loss.
          params: At which it was taken.
        """
        self._steps += 1
        if isinstance(self.optimizer, Adam):
            return self._adam(self.optimizer, gradient, params)
        if self.optimizer.weight_decay > 0:
            gradient = gradient + self.optimizer.weight_decay * params
        if self.optimizer.momentum == 0:
            return gradient
        velocity = gradient
        for kept in self._moments:
            velocity = gradient + self.optimizer.momentum * kept
        self._moments = [velocity]
        return (
            gradient + self.optimizer.momentum * velocity if self.optimizer.nesterov else velocity
        )

    def _adam(self, adam: Adam, gradient: Tensor, params: Tensor) -> Tensor:
        decay = adam.weight_decay * params
        if not adam.decoupled:
            gradient = gradient + decay
        means = (gradient, gradient.square())
        kept = self._moments or [torch.zeros_like(gradient)] * 2
        self._moments = [
            beta * old + (1 - beta) * new
            for beta, old, new in zip(adam.betas, kept, means, strict=True)
        ]
        first, second = (
            moment / (1 - beta**self._steps)
            for beta, moment in zip(adam.betas, self._moments, strict=True)
        )
        floor = adam.eps + self.smooth * means[1].detach().mean(-1, keepdim=True).sqrt()
        along = first / (torch.sqrt(second + _TINY) + floor)
        return along + decay if adam.decoupled else along
