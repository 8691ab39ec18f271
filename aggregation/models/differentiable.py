"""Models in torch: what searching attacks differentiate, in parameters and in patients."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call

from aggregation.models.logistic import Logistic
from aggregation.models.model import Model
from aggregation.models.perceptron import Perceptron
from aggregation.models.torch_model import TorchModel, program_of
from privacy.errors import RefusedError

__all__ = ["TorchView", "differentiable"]


@dataclass(frozen=True)
class TorchView:
    """A model's log-odds and losses, differentiable in both arguments.

    Attributes:
      model: Without a hidden layer, with one of ReLU units, or any torch module.
    """

    model: Logistic | Perceptron | TorchModel

    def split(self, params: Float[Tensor, "dim"]) -> tuple[Tensor, ...]:
        """View the flat vector as weights and bias of each layer, in order; a module's by name."""
        model = self.model
        if isinstance(model, TorchModel):
            shapes = [shape for _, shape in model.parameters]
        elif isinstance(model, Perceptron):
            shapes = [(model.width, model.features), (model.width,)]
            shapes += [(1, model.width), (1,)]
        else:
            shapes = [(1, model.features), (1,)]
        sizes = [math.prod(shape) for shape in shapes]
        parts = torch.split(params, sizes, dim=-1)
        return tuple(part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))

    def logits(
        self, params: Float[Tensor, "dim"], x: Float[Tensor, "*batch features"]
    ) -> Float[Tensor, "*batch"]:
        """Log-odds of disease."""
        if isinstance(self.model, TorchModel):
            return self._module_losses(params, x, x.new_zeros(x.shape[:-1]))[0]
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
        """Binary cross-entropy of each patient, in nats, or the module's own loss."""
        if isinstance(self.model, TorchModel):
            return self._module_losses(params, x, y)[1]
        return torch.nn.functional.binary_cross_entropy_with_logits(
            self.logits(params, x), y, reduction="none"
        )

    def _module_losses(self, params: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        model = self.model
        assert isinstance(model, TorchModel)  # noqa: S101 - for the type alone
        named = zip(model.parameters, self.split(params), strict=True)
        scores, losses = functional_call(
            program_of(model).recorded,
            {f"module.{name}": part for (name, _), part in named},
            (x.reshape(-1, x.shape[-1]), y.reshape(-1), 0.0),
        )
        return scores.reshape(x.shape[:-1]), losses.reshape(x.shape[:-1])


def differentiable(model: Model) -> TorchView:
    """Return a model in torch.

    Raises:
      RefusedError: It is of another kind.
    """
    if not isinstance(model, Logistic | Perceptron | TorchModel):
        raise RefusedError(
            f"No torch form of the model {model.kind!r} is known here: attacks that search need "
            "its loss in torch. Choose one that reads the first layer."
        )
    if isinstance(model, TorchModel):
        program_of(model)  # not first inside a transform, where its checks can't draw
    return TorchView(model)
