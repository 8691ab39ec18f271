r"""The models that hospitals train together: logistic regression and a one-layer perceptron.

A model is data (its kind and sizes); its parameters are one flat float64 vector, in the order of
``layout``. Training sums *per-patient* gradients, each by arithmetic along its patient's row alone
(``aggregation.gradients``); what attacks and evaluation differentiate is written in torch.

>>> model = Model("logistic", features=3)
>>> model.dim, model.layout
(4, (('weight', (1, 3)), ('bias', (1,))))
>>> g = model.per_patient_gradients(np.zeros(4), np.ones((2, 3)), np.array([0, 1]))
>>> g.tolist()
[[0.5, 0.5, 0.5, 0.5], [-0.5, -0.5, -0.5, -0.5]]
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from aggregation.gradients import logistic_gradients, perceptron_gradients
from privacy._validate import natural
from privacy.errors import InvalidInputError

__all__ = ["Model"]


@dataclass(frozen=True)
class Model:
    r"""A binary classifier over flat parameters.

    ``logistic``: :math:`f(x) = w x + b`. ``mlp``: :math:`f(x) = w_2\,\mathrm{relu}(W_1 x + b_1) +
    b_2`. The loss of a patient is :math:`\log(1 + e^{f(x)}) - y f(x)` (binary cross-entropy).

    Guarantees (each is a test in ``tests/aggregation/test_models.py``):
      - ``per_patient_gradients`` equals Opacus's per-sample gradients, and those of
        ``torch.func``, to 1e-10;
      - row i depends on patient i alone, to the last bit;
      - everything is float64, and the same bits in, the same bits out.

    Attributes:
      kind: ``logistic`` or ``mlp``.
      features: Columns of a patient's row.
      width: Hidden units; 0 for ``logistic``.

    Raises:
      InvalidInputError: An unknown kind, or a width that does not fit it.
    """

    kind: str
    features: int
    width: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("logistic", "mlp"):
            raise InvalidInputError(f"Unknown model {self.kind!r}; choose logistic or mlp.")
        natural(features=self.features, least=1)
        if self.kind == "mlp":
            natural(width=self.width, least=1)
        elif self.width:
            raise InvalidInputError(
                f"A logistic model has no hidden layer: width={self.width} must be 0."
            )

    @property
    def layout(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Name and shape of each tensor, in the order of the flat vector."""
        if self.kind == "logistic":
            return (("weight", (1, self.features)), ("bias", (1,)))
        return (
            ("weight1", (self.width, self.features)),
            ("bias1", (self.width,)),
            ("weight2", (1, self.width)),
            ("bias2", (1,)),
        )

    @property
    def dim(self) -> int:
        """Length of the flat parameter vector."""
        return sum(math.prod(shape) for _, shape in self.layout)

    def initial(self, rng: np.random.Generator) -> Float[np.ndarray, "dim"]:
        """Return first parameters: zeros for logistic, He-uniform layers for the perceptron.

        All parties draw them from a jointly committed seed, so that no server chooses them.
        """
        if self.kind == "logistic":
            return np.zeros(self.dim)
        parts = []
        for name, shape in self.layout:
            fan_in = self.features if name.endswith("1") else self.width
            bound = 1 / math.sqrt(fan_in)  # torch.nn.Linear's default
            parts.append(rng.uniform(-bound, bound, math.prod(shape)))
        return np.concatenate(parts)

    def split(self, params: Float[Tensor, "dim"]) -> dict[str, Tensor]:
        """View the flat vector as the named tensors of ``layout``."""
        sizes = [math.prod(shape) for _, shape in self.layout]
        parts = torch.split(params, sizes, dim=-1)
        return {
            name: part.reshape(shape)
            for (name, shape), part in zip(self.layout, parts, strict=True)
        }

    def logits(
        self, params: Float[Tensor, "dim"], x: Float[Tensor, "*batch features"]
    ) -> Float[Tensor, "*batch"]:
        """Log-odds of disease; differentiable in both arguments."""
        p = self.split(params)
        if self.kind == "logistic":
            return torch.nn.functional.linear(x, p["weight"], p["bias"]).squeeze(-1)
        hidden = torch.relu(torch.nn.functional.linear(x, p["weight1"], p["bias1"]))
        return torch.nn.functional.linear(hidden, p["weight2"], p["bias2"]).squeeze(-1)

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

    def shifted(self, params: Float[np.ndarray, "dim"], offset: float) -> Float[np.ndarray, "dim"]:
        """Return parameters whose log-odds are higher by ``offset`` for everybody."""
        if offset == 0:
            return params
        moved = params.copy()
        moved[-1] += offset  # the last parameter is the output's bias
        return moved

    def per_patient_gradients(
        self,
        params: Float[np.ndarray, "dim"],
        features: Float[np.ndarray, "patients features"],
        outcomes: Int[np.ndarray, "patients"],
    ) -> Float[np.ndarray, "patients dim"]:
        """Gradient of each patient's loss at ``params``, one row a patient."""
        if self.kind == "logistic":
            return logistic_gradients(params, features, outcomes)
        return perceptron_gradients(params, features, outcomes, width=self.width)

    def scores(
        self, params: Float[np.ndarray, "dim"], features: Float[np.ndarray, "patients features"]
    ) -> Float[np.ndarray, "patients"]:
        """Log-odds of disease of each patient."""
        with torch.no_grad():
            logits = self.logits(
                torch.tensor(params, dtype=torch.float64),
                torch.tensor(features, dtype=torch.float64),
            )
        return np.asarray(logits.numpy())
