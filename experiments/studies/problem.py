r"""Logistic regression at several hospitals, in plain numpy: what the learning experiments train.

The objective of all patients together is

.. math:: F(w) = \sum_k p_k F_k(w), \qquad
   F_k(w) = \frac{1}{n_k} \sum_{i \in k} \log(1 + e^{x_i w}) - y_i x_i w
   + \frac{\lambda}{2 n} \|w\|^2,

with :math:`p_k = n_k / n`; the intercept is the last parameter and is not penalised. Nothing here
is clipped or noised: rules are compared on what they converge to, privacy is measured elsewhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from aggregation.data.patients import Patients
from aggregation.rules.posterior_mode import posterior_mode
from experiments.evaluation import Scored
from privacy._validate import positive
from privacy.errors import InvalidInputError

__all__ = ["LogisticProblem", "scored_by", "scores"]

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class LogisticProblem:
    r"""Hospitals and what they minimise together.

    Attributes:
      patients: By hospital, in order.
      ridge: :math:`\lambda`, in patients; it makes the optimum unique.

    Raises:
      InvalidInputError: No hospital, one without patients, or ``ridge`` is not positive.
    """

    patients: Mapping[str, Patients]
    ridge: float = 1.0

    def __post_init__(self) -> None:
        positive(ridge=self.ridge)
        empty = [name for name, p in self.patients.items() if len(p) == 0]
        if empty or not self.patients:
            raise InvalidInputError(
                f"Hospitals {empty} have no patients: give at least one hospital, and leave the "
                "empty ones out."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Hospitals, in order."""
        return tuple(self.patients)

    @cached_property
    def total(self) -> int:
        """Patients of all hospitals."""
        return sum(len(p) for p in self.patients.values())

    @cached_property
    def shares(self) -> dict[str, float]:
        """p_k: each hospital's share of the patients."""
        return {name: len(p) / self.total for name, p in self.patients.items()}

    @cached_property
    def dim(self) -> int:
        """Length of the parameter vector: columns and intercept."""
        return int(next(iter(self.patients.values())).features.shape[1]) + 1

    @cached_property
    def _designs(self) -> dict[str, Vector]:
        return {name: _design(p.features) for name, p in self.patients.items()}

    @cached_property
    def _penalty(self) -> Vector:
        return np.append(np.full(self.dim - 1, self.ridge / self.total), 0.0)

    def residual_mean(self, name: str, params: Float[np.ndarray, "dim"]) -> Vector:
        """Gradient of one hospital's mean loss, without the penalty; 0 without patients."""
        design = self._designs[name]
        residuals = _residuals(design, params, self.patients[name])
        return np.asarray(design.T @ residuals / len(design))

    def gradient(self, name: str, params: Float[np.ndarray, "dim"]) -> Vector:
        """Gradient of one hospital's objective F_k."""
        return np.asarray(self.residual_mean(name, params) + self._penalty * params)

    def weighted_gradient(
        self,
        name: str,
        params: Float[np.ndarray, "dim"],
        weights: Float[np.ndarray, "n"],
        total_weight: float,
    ) -> Vector:
        """One hospital's part of F's gradient times ``whole``, the sum of all patients' weights."""
        design = self._designs[name]
        summed = design.T @ (weights * _residuals(design, params, self.patients[name]))
        return np.asarray(summed + total_weight * self.shares[name] * self._penalty * params)

    def losses(self, name: str, params: Float[np.ndarray, "dim"]) -> Vector:
        """Loss of each patient of one hospital, in nats, without the penalty."""
        logits = self._designs[name] @ params
        return np.asarray(np.logaddexp(0.0, logits) - self.patients[name].outcomes * logits)

    def objective(self, params: Float[np.ndarray, "dim"]) -> float:
        """F, in nats a patient."""
        loss = sum(float(self.losses(name, params).sum()) for name in self.patients)
        return loss / self.total + 0.5 * float(self._penalty @ params**2)

    @cached_property
    def optimum(self) -> Vector:
        """The minimiser of F, by Newton's method to 1e-12: pooled training."""
        design = np.concatenate(list(self._designs.values()))
        pooled = Patients.together(self.patients.values())
        return posterior_mode(design, pooled.outcomes, precision=self.total * self._penalty)

    def gap(self, params: Float[np.ndarray, "dim"]) -> float:
        """F less its minimum, in nats a patient."""
        return max(0.0, self.objective(params) - self.objective(self.optimum))

    def alone(self, name: str) -> "LogisticProblem":
        """One hospital's own problem, with its part of the ridge: F is their mean, by patients."""
        return LogisticProblem({name: self.patients[name]}, self.ridge / len(self.patients))


def scores(params: Float[np.ndarray, "dim"], features: Float[np.ndarray, "n features"]) -> Vector:
    """Log-odds of each patient."""
    return np.asarray(features @ params[:-1] + params[-1])


def scored_by(
    params: Float[np.ndarray, "dim"], patients: Mapping[str, Patients]
) -> dict[str, Scored]:
    """Every hospital's patients with their log-odds."""
    return {name: Scored(scores(params, p.features), p.outcomes) for name, p in patients.items()}


def _design(features: Float[np.ndarray, "n features"]) -> Vector:
    return np.concatenate([features, np.ones((len(features), 1))], axis=1)


def _risks(logits: Vector) -> Vector:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)))


def _residuals(design: Vector, params: Vector, patients: Patients) -> Vector:
    outcomes: Int[np.ndarray, n] = patients.outcomes
    return np.asarray(_risks(design @ params) - outcomes)
