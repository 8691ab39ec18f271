"""Clipped gradients of many guessed batches at once, differentiable in the guesses.

Written out by hand for the two models of this project: the gradient of one hidden layer is a few
matrix products, so that only one backward pass is needed and hundreds of guesses run side by side.
Any other model is differentiated by autograd, record by record. A test holds each against
``Model.per_patient_gradients``.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import vmap

from aggregation.models import Logistic, Model, Perceptron
from aggregation.models.differentiable import differentiable
from attacks.searching.device import PROCESSOR

__all__ = ["BatchGradient", "record_gradients"]


@dataclass(frozen=True)
class BatchGradient:
    """Sum of a batch's clipped gradients at one model.

    Attributes:
      model: Any that ``differentiable`` has a torch form of.
      params: Flat parameters, in the dtype and on the device that everything is computed in.
      clip_norm: Norm at which each patient's gradient is clipped; None: not clipped.
    """

    model: Model
    params: Tensor
    clip_norm: float | None

    @classmethod
    def at(
        cls,
        model: Model,
        params: Float[np.ndarray, "dim"],
        clip_norm: float | None,
        dtype: torch.dtype,
        device: str = PROCESSOR,
    ) -> "BatchGradient":
        """Take the parameters over from numpy, onto a device."""
        return cls(model, torch.tensor(params, dtype=dtype, device=device), clip_norm)

    def __call__(
        self,
        x: Float[Tensor, "restarts patients features"],
        y: Float[Tensor, "restarts patients"],
        present: Float[Tensor, "restarts patients"],
    ) -> Float[Tensor, "restarts dim"]:
        """Return each guessed batch's gradient; absent patients (0 in ``present``) add nothing."""
        if isinstance(self.model, Logistic):
            return self._logistic(x, y, present)
        if not isinstance(self.model, Perceptron):
            return self._any(x, y, present)
        parts = differentiable(self.model).split(self.params)
        weights, bias, outer_rows, last = parts
        outer = outer_rows[0]
        pre = x @ weights.T + bias
        on = (pre.detach() > 0).to(x.dtype)
        active = torch.relu(pre)
        delta = (torch.sigmoid(active @ outer + last) - y) * present
        if self.clip_norm is not None:
            width = on @ outer.square()
            squares = 1 + active.square().sum(-1) + width * (1 + x.square().sum(-1))
            delta = delta * self._shrink(delta.square() * squares)
        inner = delta.unsqueeze(-1) * on  # times the outer weights, once patients are summed
        return torch.cat(
            [
                (inner.transpose(1, 2) @ x * outer[:, None]).flatten(1),
                inner.sum(1) * outer,
                (delta.unsqueeze(1) @ active).squeeze(1),
                delta.sum(1, keepdim=True),
            ],
            dim=1,
        )

    def _logistic(self, x: Tensor, y: Tensor, present: Tensor) -> Tensor:
        weights, bias = differentiable(self.model).split(self.params)
        delta = (torch.sigmoid(x @ weights[0] + bias) - y) * present
        if self.clip_norm is not None:
            delta = delta * self._shrink(delta.square() * (1 + x.square().sum(-1)))
        return torch.cat([(delta.unsqueeze(1) @ x).squeeze(1), delta.sum(1, keepdim=True)], dim=1)

    def _any(self, x: Tensor, y: Tensor, present: Tensor) -> Tensor:
        copies = self.params.expand(*x.shape[:-1], -1)
        rows = record_gradients(self.model, copies, x, y)
        rows = rows * present.unsqueeze(-1)
        if self.clip_norm is not None:
            rows = rows * self._shrink(rows.square().sum(-1)).unsqueeze(-1)
        total: Tensor = rows.sum(1)
        return total

    def _shrink(self, squared_norms: Tensor) -> Tensor:
        """Abadi et al. 2016, Algorithm 1: 1 / max(1, norm / C)."""
        norms = torch.sqrt(squared_norms + 1e-30)
        return torch.clamp(float(self.clip_norm or 0) / norms, max=1.0)


def record_gradients(
    model: Model,
    params: Float[Tensor, "restarts patients dim"],
    x: Float[Tensor, "restarts patients features"],
    y: Float[Tensor, "restarts patients"],
) -> Float[Tensor, "restarts patients dim"]:
    """Return each record's gradient at parameters of its own, whatever the model.

    Differentiable again in patients and parameters, where either is to be: through autograd, for
    torch.func's gradient of LayerNorm's weights is wrong once differentiated again (torch 2.13).
    """
    again = torch.is_grad_enabled() and (x.requires_grad or params.requires_grad)
    with torch.enable_grad():
        copies = params.clone() if params.requires_grad else params.clone().requires_grad_(True)
        losses = vmap(vmap(differentiable(model).loss))(copies, x, y)
        (rows,) = torch.autograd.grad(losses.sum(), copies, create_graph=again)
    return rows
