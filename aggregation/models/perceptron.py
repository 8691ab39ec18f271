"""A perceptron of one hidden layer."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit

from aggregation.models.model import Model
from privacy._validate import natural

__all__ = ["Perceptron"]

_BLOCK = 2**22  # numbers held at once


@dataclass(frozen=True)
class Perceptron(Model):
    r"""The log-odds :math:`f(x) = w_2\,\mathrm{relu}(W_1 x + b_1) + b_2`.

    Parameters are :math:`W_1` by rows, :math:`b_1`, :math:`w_2`, :math:`b_2`.

    Attributes:
      features: Columns of a patient's row.
      width: Hidden units.
    """

    kind: ClassVar[str] = "mlp"
    features: int
    width: int

    def __post_init__(self) -> None:
        natural(features=self.features, least=1)
        natural(width=self.width, least=1)

    @property
    def dim(self) -> int:
        """Length of the flat parameter vector."""
        return self.width * (self.features + 2) + 1

    def initial(self, rng: np.random.Generator) -> Float[np.ndarray, "dim"]:
        """Draw He-uniform layers, as ``torch.nn.Linear`` does."""
        parts = []
        for fan_in, sizes in (
            (self.features, (self.width * self.features, self.width)),
            (self.width, (self.width, 1)),
        ):
            bound = 1 / math.sqrt(fan_in)
            parts += [rng.uniform(-bound, bound, size) for size in sizes]
        return np.concatenate(parts)

    def hidden(
        self, params: Float[np.ndarray, "dim"], features: Float[np.ndarray, "patients features"]
    ) -> Float[np.ndarray, "patients units"]:
        """Return what the units give, by arithmetic along each patient's row."""
        weights, bias = self.first_layer(params)
        x = np.ascontiguousarray(features)
        return np.asarray(np.maximum((x[:, None, :] * weights).sum(axis=2) + bias, 0.0))

    def scores(
        self,
        params: Float[np.ndarray, "dim"],
        features: Float[np.ndarray, "patients features"],
        *,
        slots: Int[np.ndarray, "patients"] | None = None,
    ) -> Float[np.ndarray, "patients"]:
        """Log-odds of disease of each patient."""
        outer = self.outer_weights(params)
        parts = [
            (self.hidden(params, features[part]) * outer).sum(axis=1)
            for part in self._blocks(len(features))
        ]
        return np.asarray(np.concatenate([np.zeros(0), *parts]) + params[-1])

    def per_patient_gradients(
        self,
        params: Float[np.ndarray, "dim"],
        features: Float[np.ndarray, "patients features"],
        outcomes: Int[np.ndarray, "patients"],
        *,
        slots: Int[np.ndarray, "patients"] | None = None,
    ) -> Float[np.ndarray, "patients dim"]:
        r"""Return the rows :math:`(a_i x_i^\top, a_i, r_i h_i, r_i)`.

        :math:`h = \mathrm{relu}(W_1 x + b_1)`, :math:`r = \sigma(w_2 h + b_2) - y`,
        :math:`a = r\, w_2 [h > 0]`.
        """
        outer, last = self.outer_weights(params), params[-1]
        cut, width = self.width * self.features, self.width
        rows = np.empty((len(outcomes), len(params)))
        for part in self._blocks(len(outcomes)):
            x = np.ascontiguousarray(features[part])
            hidden = self.hidden(params, x)
            residuals = expit((hidden * outer).sum(axis=1) + last) - outcomes[part]
            active = residuals[:, None] * outer * (hidden > 0)
            some = rows[part]
            some[:, :cut] = (active[:, :, None] * x[:, None, :]).reshape(len(x), cut)
            some[:, cut : cut + width] = active
            some[:, cut + width : -1] = residuals[:, None] * hidden
            some[:, -1] = residuals
        return rows

    def first_layer(
        self, vector: np.ndarray
    ) -> tuple[Float[np.ndarray, "units features"], Float[np.ndarray, "units"]]:
        """Return :math:`W_1` and :math:`b_1`."""
        cut = self.width * self.features
        flat = vector[: cut + self.width].astype(np.float64)
        return flat[:cut].reshape(self.width, self.features), flat[cut:]

    def outer_weights(self, params: Float[np.ndarray, "dim"]) -> Float[np.ndarray, "units"]:
        """Return :math:`w_2`."""
        return params[-self.width - 1 : -1]

    def _blocks(self, patients: int) -> list[slice]:
        step = max(1, _BLOCK // (self.width * self.features))
        return [slice(start, start + step) for start in range(0, patients, step)]
