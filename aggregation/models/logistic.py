"""Logistic regression."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit

from aggregation.models.model import Model
from privacy._validate import natural
from privacy.errors import InvalidInputError

__all__ = ["Logistic"]


@dataclass(frozen=True)
class Logistic(Model):
    r"""The log-odds :math:`f(x) = w x + b`; parameters are the weights, then the bias.

    Attributes:
      features: Columns of a patient's row.
      width: 0: there is no hidden layer.
    """

    kind: ClassVar[str] = "logistic"
    features: int
    width: int = 0

    def __post_init__(self) -> None:
        natural(features=self.features, least=1)
        if self.width:
            raise InvalidInputError(
                f"A logistic model has no hidden layer: width={self.width} must be 0."
            )

    @property
    def dim(self) -> int:
        """Length of the flat parameter vector."""
        return self.features + 1

    def initial(self, rng: np.random.Generator) -> Float[np.ndarray, "dim"]:
        """Return zeros."""
        return np.zeros(self.dim)

    def scores(
        self,
        params: Float[np.ndarray, "dim"],
        features: Float[np.ndarray, "patients features"],
        *,
        slots: Int[np.ndarray, "patients"] | None = None,
    ) -> Float[np.ndarray, "patients"]:
        """Log-odds of disease of each patient."""
        products = np.ascontiguousarray(features) * params[:-1]
        return np.asarray(products.sum(axis=1) + params[-1])

    def per_patient_gradients(
        self,
        params: Float[np.ndarray, "dim"],
        features: Float[np.ndarray, "patients features"],
        outcomes: Int[np.ndarray, "patients"],
        *,
        slots: Int[np.ndarray, "patients"] | None = None,
    ) -> Float[np.ndarray, "patients dim"]:
        r"""Return the rows :math:`(p_i - y_i) (x_i, 1)`."""
        residuals = expit(self.scores(params, features)) - outcomes
        rows = np.empty((len(outcomes), len(params)))
        np.multiply(features, residuals[:, None], out=rows[:, :-1])
        rows[:, -1] = residuals
        return rows

    def first_layer(
        self, vector: np.ndarray
    ) -> tuple[Float[np.ndarray, "units features"], Float[np.ndarray, "units"]]:
        """Return the weights as the only row, and the bias."""
        flat = vector.astype(np.float64)
        return flat[None, :-1], flat[-1:]

    def outer_weights(self, params: Float[np.ndarray, "dim"]) -> Float[np.ndarray, "units"]:
        """Return 1: the only unit is the output."""
        return np.ones(1)
