"""Models in torch: what searching attacks differentiate, in parameters and in patients."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from aggregation.models.logistic import Logistic
from aggregation.models.model import Model
from aggregation.models.perceptron import Perceptron
from privacy.errors import RefusedError

__all__ = ["TorchView", "differentiable"]


@dataclass(frozen=True)
class TorchView:
    """A model's log-odds and losses, differentiable in both arguments.

    Attributes:
      model: Without a hidden layer, or with one of ReLU units.
    """

    model: Logistic | Perceptron

    def split(self, params: Float[Tensor, "dim"]) -> tuple[Tensor, ...]:
        """View the flat vector as weights and bias of each layer, in order."""
        model = self.model
        if isinstance(model, Perceptron):
            shapes: list[tuple[int, ...]] = [(model.width, model.features), (model.width,)]
            shapes += [(1, model.width), (1,)]
        else:
            shapes = [(1, model.features), (1,)]
        sizes = [torch.Size(shape).numel() for shape in shapes]
        parts = torch.split(params, sizes, dim=-1)
        return tuple(part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))

    def logits(
        self, params: Float[Tensor, "dim"], x: Float[Tensor, "*batch features"]
    ) -> Float[Tensor, "*batch"]:
        """Log-odds of disease."""
        weights, bias, *outer = self.split(params)
        first = torch.nn.functional.linear(x, weights, bias)
        if not outer:
            return first.squeeze(-1)
        return torch.nn.functional.linear(torch.relu(first), *outer).squeeze(-1)

    def loss(
        self,
        params: Float[Tensor, "dim"],
        x: Float[Tensor, "*batch features"],
        y: Float[Tensor, "*batch"],
    ) -> Float[Tensor, "*batch"]:
        """Binary cross-entropy of each patient, in nats."""
        return torch.nn.functional.binary_cross_entropy_with_logits(
            self.logits(params, x), y, reduction="none"
        )


def differentiable(model: Model) -> TorchView:
    """Return a model in torch.

    Raises:
      RefusedError: It is none of the two that are written out here.
    """
    if not isinstance(model, Logistic | Perceptron):
        raise RefusedError(
            f"No torch form of the model {model.kind!r} is known here: attacks that search need "
            "its loss in torch. Choose one that reads the first layer."
        )
    return TorchView(model)
