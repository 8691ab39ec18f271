"""Signed descent with a falling step: what every search moves its guesses by.

Only the sign of the loss's gradient counts, so that restarts stay independent of each other though
their losses are added (Vero et al. 2023, section 5). The steps are Adam's (Kingma and Ba 2015,
Algorithm 1) on those signs, in place; a test holds them against ``torch.optim.Adam``, bit for bit.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["descend"]

_FIRST, _SECOND, _FLOOR = 0.9, 0.999, 1e-8  # decays of the moments, and what keeps them off 0


def descend(
    free: Sequence[Tensor],
    losses: Callable[[], Tensor],
    *,
    iterations: int,
    rate: float,
    last: float = 0.1,
) -> Tensor:
    """Move free tensors, in place, down the sum of the losses.

    Args:
      free: Leaves; their gradients are switched on.
      losses: Computes each restart's loss ``[restarts]`` at the tensors as they are.
      iterations: Steps.
      rate: First step.
      last: What the step has fallen to in the end, as a share of the first; linearly.

    Returns:
      The losses before the last step, detached.
    """
    for tensor in free:
        tensor.requires_grad_(True)
    means = [torch.zeros_like(tensor) for tensor in free]
    squares = [torch.zeros_like(tensor) for tensor in free]
    loss = torch.zeros(0)
    for step in range(1, iterations + 1):
        loss = losses()
        slopes = torch.autograd.grad(loss.sum(), free)
        size, scale = rate / (1 - _FIRST**step), (1 - _SECOND**step) ** 0.5
        with torch.no_grad():
            for tensor, slope, mean, square in zip(free, slopes, means, squares, strict=True):
                sign = slope.sign()
                mean.lerp_(sign, 1 - _FIRST)
                square.mul_(_SECOND).addcmul_(sign, sign, value=1 - _SECOND)
                tensor.addcdiv_(mean, square.sqrt().div_(scale).add_(_FLOOR), value=-size)
        rate *= 1 + (last - 1) / (iterations + (step - 1) * (last - 1))
    return loss.detach()
