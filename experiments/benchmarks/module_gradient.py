"""Gradients of many guessed batches at one torch module, differentiable in the guesses.

Each restart has parameters of its own (the same numbers), so that one backward pass gives every
restart's gradient. A test holds them against autograd, one batch at a time.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn.functional import binary_cross_entropy_with_logits

__all__ = ["ModuleGradient"]


@dataclass(frozen=True)
class ModuleGradient:
    """Mean gradient of a batch's binary cross-entropy, flat, in the order of the parameters.

    Attributes:
      module: Gives one log-odds ``[patients, 1]`` for each row of inputs; it draws nothing and
        keeps nothing of a batch (no dropout, no running means: ``eval``).
    """

    module: torch.nn.Module

    def __call__(
        self,
        inputs: Float[Tensor, "restarts patients inputs"],
        y: Float[Tensor, "restarts patients"],
        present: Float[Tensor, "restarts patients"],
    ) -> Float[Tensor, "restarts dim"]:
        """Return each batch's gradient; absent patients (0 in ``present``) are not counted.

        Differentiable in the inputs where they want a gradient: through autograd, for torch.func's
        gradient of LayerNorm's weights is wrong once differentiated again (torch 2.13).
        """
        again = torch.is_grad_enabled() and inputs.requires_grad
        named = dict(self.module.named_parameters())

        def loss(parts: tuple[Tensor, ...], x: Tensor, y: Tensor, present: Tensor) -> Tensor:
            scores = functional_call(self.module, dict(zip(named, parts, strict=True)), (x,))
            nats = binary_cross_entropy_with_logits(scores.squeeze(-1), y, reduction="none")
            return (nats * present).sum() / present.sum()

        with torch.enable_grad():
            copies = tuple(
                value.detach().expand(len(inputs), *value.shape).requires_grad_(True)
                for value in named.values()
            )
            losses = vmap(loss)(copies, inputs, y, present)
            rows = torch.autograd.grad(losses.sum(), copies, create_graph=again)
        return torch.cat([part.flatten(1) for part in rows], dim=1)
