r"""A9: a server that chooses the model: imprint weights, and gradients suppressed in all but one.

Encryption does nothing against either: what is opened is the honest sum at a dishonest model. What
does help is that hospitals recompute the model and refuse any other
(``aggregation.roles.hospital``).

**Imprint** (Fowl et al. 2022, *Robbing the Fed*, section 3): all units look along one direction and
differ in their threshold only, so that unit k is active for the patients above it. Adjacent units'
gradients differ by the patients between two thresholds; a patient alone there is read off. Of n
patients and K equally likely bins one is isolated with probability :math:`(1 - 1/K)^{n-1}`.

**Suppression** (Pasquini, Francati, Ateniese 2022, *Eluding Secure Aggregation*, section 4): all
hospitals but the target get units that never fire. Their first layer's gradient is zero, and the
sum of all is the target's own.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.special import ndtri

from aggregation.models import HiddenLayer, Model
from attacks.exact.closed_form import (
    ClosedForm,
    distinguishable,
    expected_patients,
    first_layer,
    outer_weights,
    readable,
)
from attacks.knowledge.capabilities import hidden_layer
from attacks.knowledge.features import Feature, project
from attacks.knowledge.priors import Prior
from attacks.knowledge.replay import integer_rows
from attacks.reconstructed import Reconstruction, guesses, join
from attacks.views import Gradient, GradientView, Observation, require
from privacy._validate import finite_array
from privacy.errors import InvalidInputError, RefusedError

__all__ = ["Imprint", "Suppression", "imprint_model", "isolation_rate", "suppressing_model"]

_OUTER = 0.01  # so small that the imprinted model's predictions stay near one half
_DEAD = -1e6


def imprint_model(
    model: Model, prior: Prior, rng: np.random.Generator, *, draws: int = 4096
) -> Float[np.ndarray, "dim"]:
    """Return parameters whose units are thresholds along one random direction.

    The thresholds are quantiles of public draws, so that the bins are about equally likely.

    Raises:
      InvalidInputError: A model without a hidden layer.
    """
    width = _needs_hidden(model).width
    direction = rng.normal(size=model.features)
    direction /= np.linalg.norm(direction)
    along = prior.draw(draws, rng) @ direction
    # A normal fit, not raw quantiles: grid values would give many equal thresholds.
    levels = ndtri((np.arange(width) + 0.5) / width)
    thresholds = along.mean() + along.std() * levels
    return np.concatenate(
        [np.tile(direction, width), -thresholds, np.full(width, _OUTER), np.zeros(1)]
    )


def suppressing_model(model: Model, params: Float[np.ndarray, "dim"]) -> Float[np.ndarray, "dim"]:
    """Return the same parameters with hidden units that never fire.

    Raises:
      InvalidInputError: A model without a hidden layer.
    """
    weights, biases = _needs_hidden(model).first_layer(params)
    dead = params.copy()
    dead[: weights.size] = 0.0
    dead[weights.size : weights.size + biases.size] = _DEAD
    return dead


def isolation_rate(patients: int, bins: int) -> float:
    """Return the probability that one of ``patients`` is alone in its bin of ``bins``."""
    return float((1 - 1 / bins) ** (patients - 1))


@dataclass(frozen=True)
class Imprint:
    """Read isolated patients off the gradients of an imprinted model.

    Guarantees (each is a test in ``tests/attacks/malicious/test_active.py``):
      - as many patients of a large batch are isolated as theory says, sealed or not;
      - a certified record is a patient; with noise nothing is certified.
    """

    name: ClassVar[str] = "imprint"
    needs: ClassVar[type[GradientView]] = GradientView

    def reconstruct(self, observation: Observation, prior: Prior) -> Reconstruction:
        """Attack each gradient of the view by itself, and put the records together.

        Raises:
          RefusedError: The adversary sees no gradient, or sums at different models.
          InvalidInputError: A model without a hidden layer.
        """
        view = require(observation, GradientView, self.name)
        _needs_hidden(view.plan.model)
        parts = [guesses(prior, 0)]
        for g in view.gradients:
            reconstruction = (
                self._read(view, g, prior.features) if readable(view.plan) else guesses(prior, 0)
            )
            missing = max(0, expected_patients(view.plan, g) - len(reconstruction))
            parts += [reconstruction, guesses(prior, missing)]
        return join(*parts)

    def _read(
        self, view: GradientView, gradient: Gradient, features: tuple[Feature, ...]
    ) -> Reconstruction:
        plan = view.plan
        params = finite_array(params=gradient.params)
        thresholds = -first_layer(plan, params)[1]
        order = np.argsort(thresholds, kind="stable")
        weights, biases = (part[order] for part in first_layer(plan, gradient.integers))
        # Patients above both thresholds cancel to the last integer: their rounded rows are equal
        # wherever the outer weights are.
        dw = weights - np.concatenate([weights[1:], np.zeros((1, weights.shape[1]))])
        db = biases - np.concatenate([biases[1:], np.zeros(1)])
        rounding = 0.5 if plan.clip_norm is None else 1.0
        bins = np.flatnonzero(np.abs(db) > 4 * rounding)
        records = project(dw[bins] / db[bins, None], features)
        slack = rounding * (1 + np.abs(records)) + 1e-6
        fits = (np.abs(dw[bins] - records * db[bins, None]) <= slack).all(axis=1)
        bins, records = bins[fits], records[fits]
        labels = (db[bins] / outer_weights(plan, params)[order[bins]] < 0).astype(np.int64)
        rows = integer_rows(plan, params, records, labels)
        sure = self._proved(plan_rows=rows, bins=order[bins], db=db[bins], view=view)
        certified = sure & distinguishable(plan, rows, features)
        return Reconstruction(records, np.where(certified, 1.0, 0.5), certified)

    def _proved(
        self,
        *,
        plan_rows: NDArray[np.int64],
        bins: NDArray[np.int64],
        db: NDArray[np.float64],
        view: GradientView,
    ) -> NDArray[np.bool_]:
        """Whether the record's own p - y gives the very integer that its bin shows, finely enough.

        A mixture's sum of p - y would have to equal that of the record that it imitates: one of
        two values out of all that the integers could show there (``attacks.exact.closed_form``,
        rule 2).
        """
        want = np.array(
            [first_layer(view.plan, row)[1][k] for row, k in zip(plan_rows, bins, strict=True)]
        )
        fine = np.abs(db) >= 2**16
        return np.asarray((want == db) & fine, dtype=np.bool_)


@dataclass(frozen=True)
class Suppression:
    """Read the one hospital of a sum whose model the server did not kill.

    Guarantees (each is a test in ``tests/attacks/malicious/test_active.py``):
      - the sum's first layer is the target's own, to the last integer;
      - a sum in which nobody, or more than one, was left alive is not read.
    """

    name: ClassVar[str] = "suppression"
    needs: ClassVar[type[GradientView]] = GradientView

    def reconstruct(self, observation: Observation, prior: Prior) -> Reconstruction:
        """Read each such sum in closed form, as its one hospital's own gradient.

        Raises:
          RefusedError: The adversary sees no gradient, or the server silenced nobody.
          InvalidInputError: A model without a hidden layer.
        """
        view = self.alone(observation)
        if not view.gradients:
            raise RefusedError(
                "In no sum were all hospitals but one given a model that is dead, so that nobody "
                "stands alone. Attack the sums as they are."
            )
        return ClosedForm().reconstruct(view, prior)

    def alone(self, observation: Observation) -> GradientView:
        """Return the sums whose contributors are all silent but one, as that one's own gradients.

        The last bias still holds everybody's; what reads the first layer does not need it.

        Raises:
          RefusedError: The adversary sees no gradient.
          InvalidInputError: A model without a hidden layer.
        """
        view = require(observation, GradientView, self.name)
        hidden = _needs_hidden(view.plan.model)
        kept = []
        for g in view.gradients:
            loud = tuple(c for c in g.contributions if not _is_dead(hidden, c.params))
            if len(loud) == 1 and len(g.contributions) > 1:
                kept.append(replace(g, contributions=loud))
        return replace(view, gradients=tuple(kept))


def _needs_hidden(model: Model) -> HiddenLayer:
    hidden = hidden_layer(model)
    if hidden is None:
        raise InvalidInputError(
            f"An active server sets hidden units; the model {model.kind!r} has none. Use mlp."
        )
    return hidden


def _is_dead(hidden: HiddenLayer, params: NDArray[np.float64]) -> bool:
    weights, biases = hidden.first_layer(params)
    return not weights.any() and bool((biases < 0).all())
