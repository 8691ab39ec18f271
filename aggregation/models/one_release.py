r"""Logistic regression from one release: a "model" whose sum over patients is its moments.

At no risk score at all, :math:`w = 0`, the loss of logistic regression has the gradient
:math:`-\sum_i \tilde x_i (y_i - \tfrac12)` and the curvature :math:`\sum_i \tilde x_i \tilde
x_i^\top / 4` (with :math:`\tilde x = (x, 1)`). Neither depends on what was trained before, so one
round opens both, and everybody takes the same Newton step from them. What is opened once is noised
once: all of the epsilon goes into it.

>>> import numpy as np
>>> model = Moments(features=1)
>>> rows = model.per_patient_gradients(np.zeros(5), np.array([[2.0], [-1.0]]), np.array([1, 0]))
>>> model.linear(-rows.mean(axis=0)).round(3).tolist()
[1.333, -0.667]
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int

from aggregation.models.model import Model
from privacy._validate import natural, non_negative
from privacy.errors import InvalidInputError

__all__ = ["Moments"]

_CURVED = 0.5
"""Weight of the curvature's entries beside the gradient's, in what is clipped and noised together.

Chosen among 1/10, 1/4, 1/2 and 1 on simulated studies (``experiments.studies.simulated``)."""


@dataclass(frozen=True)
class Moments(Model):
    r"""Weighted sums of a patient's curvature, then gradient, at :math:`w = 0`.

    A plan of one round needs no more; more rounds open the same again. Where patients are clipped,
    the same factor shortens a patient's curvature and gradient: they weigh less, and are moved
    nowhere.

    Guarantees (each is a test in ``tests/aggregation/models/test_one_release.py``):
      - a patient's row depends on that patient alone, to the last bit, and not on the parameters;
      - without clipping and noise the step is Newton's of logistic regression from 0;
      - the model does not depend on step and number of rounds, but through the ridge;
      - whatever noise opens, scores are finite.

    Attributes:
      features: Columns of a patient's row.
      width: 0: there is no hidden layer.
      ridge: Added to the opened curvature in every direction; ``above_noise``.
    """

    kind: ClassVar[str] = "moments"
    released: ClassVar[str] = "moments"
    features: int
    width: int = 0
    ridge: float = 0.0

    def __post_init__(self) -> None:
        natural(features=self.features, least=1)
        non_negative(ridge=self.ridge)
        if self.width:
            raise InvalidInputError(f"Moments have no hidden layer: width={self.width} must be 0.")

    @property
    def dim(self) -> int:
        """Number of distinct curvatures and of gradients."""
        size = self.features + 1
        return size * (size + 1) // 2 + size

    def initial(self, rng: np.random.Generator) -> Float[np.ndarray, "dim"]:
        """Return zeros."""
        return np.zeros(self.dim)

    def per_patient_gradients(
        self,
        params: Float[np.ndarray, "dim"],
        features: Float[np.ndarray, "patients features"],
        outcomes: Int[np.ndarray, "patients"],
        *,
        slots: Int[np.ndarray, "patients"] | None = None,
    ) -> Float[np.ndarray, "patients dim"]:
        r"""Return rows of :math:`-c\, \tilde x_a \tilde x_b / 4` (a <= b), then the gradient.

        Entries off the diagonal are there once and weigh :math:`\sqrt 2` times as much: the norm of
        a row is that of the whole matrix and the gradient.
        """
        whole = np.column_stack([features, np.ones(len(features))])
        first, second = self._pairs
        rows = np.empty((len(outcomes), self.dim))
        np.multiply(whole[:, first], whole[:, second], out=rows[:, : len(first)])
        rows[:, : len(first)] *= -self._weights
        np.multiply(whole, (0.5 - outcomes)[:, None], out=rows[:, len(first) :])
        return rows

    def scores(
        self,
        params: Float[np.ndarray, "dim"],
        features: Float[np.ndarray, "patients features"],
        *,
        slots: Int[np.ndarray, "patients"] | None = None,
    ) -> Float[np.ndarray, "patients"]:
        """Log-odds of disease of each patient, by ``linear``."""
        weights = self.linear(params)
        return np.asarray((np.ascontiguousarray(features) * weights[:-1]).sum(1) + weights[-1])

    def linear(self, params: Float[np.ndarray, "dim"]) -> Float[np.ndarray, "features+1"]:
        """Return the Newton step: weights of logistic regression, then its bias.

        The constant column's curvature is known to be 1/4; what it was opened as says how much of
        a mean patient the parameters hold. Curvatures below 0 are noise, and count as 0. Without
        anything that can be read the step is 0.
        """
        first, second = self._pairs
        curvature = np.zeros((self.features + 1, self.features + 1))
        curvature[first, second] = params[: len(first)] / self._weights / 4
        curvature[second, first] = curvature[first, second]
        held = 4 * curvature[-1, -1]
        if not held > 0:
            return np.zeros(self.features + 1)
        values, directions = np.linalg.eigh(curvature / held)
        spread = np.maximum(values, 0.0) + self.ridge / held
        along = directions.T @ (params[len(first) :] / held)
        steps = np.divide(along, spread, out=np.zeros_like(along), where=spread > _FLAT)
        return np.asarray(directions @ steps)

    def first_layer(
        self, vector: np.ndarray
    ) -> tuple[Float[np.ndarray, "units features"], Float[np.ndarray, "units"]]:
        """Return the gradient's weights as the only row, and its bias; curvatures stay aside."""
        flat = vector[-(self.features + 1) :].astype(np.float64)
        return flat[None, :-1], flat[-1:]

    def outer_weights(self, params: Float[np.ndarray, "dim"]) -> Float[np.ndarray, "units"]:
        """Return 1: the only unit is the output."""
        return np.ones(1)

    def above_noise(self, deviation: float) -> "Moments":
        r"""Return the same with a ridge as large as the noise's own curvature.

        A symmetric matrix of independent noise of deviation :math:`s` off its diagonal has
        eigenvalues up to :math:`2 s \sqrt d` (Wigner): below that nothing of patients can be seen.

        Args:
          deviation: Of the noise on each parameter.
        """
        off_diagonal = deviation / (math.sqrt(2) * _CURVED)
        return replace(self, ridge=2 * off_diagonal * math.sqrt(self.features + 1))

    def shifted(self, params: Float[np.ndarray, "dim"], offset: float) -> Float[np.ndarray, "dim"]:
        """Return the parameters as they are: nothing is trained around an offset.

        Raises:
          InvalidInputError: An offset: moments are taken where all log-odds are 0.
        """
        if offset != 0:
            raise InvalidInputError(
                f"Moments are taken at log-odds of 0, not of offset={offset:g}. Fit the intercept "
                "after the release, or train the model 'logistic'."
            )
        return params

    @property
    def _pairs(self) -> tuple[Int[np.ndarray, "pairs"], Int[np.ndarray, "pairs"]]:
        first, second = np.triu_indices(self.features + 1)
        return first, second

    @property
    def _weights(self) -> Float[np.ndarray, "pairs"]:
        first, second = self._pairs
        return np.where(first == second, 1.0, math.sqrt(2)) * _CURVED / 4


_FLAT = 1e-12  # of a mean patient's curvature: no direction of patients
