"""The cascade: what is exact first, then what can be unmixed, then what has to be searched.

Each step works on what the earlier ones left unexplained, so that the search, which is a thousand
times dearer, meets a smaller batch or none at all. A gradient that is not explained as it stands
may be one of a scaled loss: its scale is searched before its patients are (``exact.scale``).
Of a model that says of no first layer nothing can be read: there the search is all there is.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from aggregation.models import LinearInput
from aggregation.plan import Plan
from attacks.exact.closed_form import Found, expected_patients, peel
from attacks.exact.legible import hidden_by_rounding
from attacks.exact.scale import read_at_a_scale
from attacks.exact.spear import Spear, unmix
from attacks.knowledge.priors import Prior
from attacks.reconstructed import Reconstruction, guesses, join
from attacks.searching.tableak import TabLeak
from attacks.views import Gradient, GradientView, Observation, require

__all__ = ["Cascade"]


@dataclass(frozen=True)
class Cascade:
    """A1, then A2, then A4, on every sum of gradients in a view.

    Guarantees (each is a test in ``tests/attacks/searching/test_cascade.py``):
      - no worse than its parts, undefended; no false certificate;
      - where the exact steps explain everything, nothing is searched;
      - with noise nothing is certified;
      - every record says which step it comes from.

    Confidences: 1 for a certificate; one minus the chance of a coincidence for what was read
    without one; the restarts' agreement for what was searched. ``attacks.knowledge.confidence``
    turns the last into frequencies by simulating public batches.

    Attributes:
      search: The last step; its seed is the cascade's.
    """

    name: ClassVar[str] = "cascade"
    needs: ClassVar[type[GradientView]] = GradientView

    search: TabLeak = field(default_factory=TabLeak)

    def foretell(self, observation: Observation) -> str:
        """Say what unmixing will cost, and what of it is not tried, before the attack starts.

        Raises:
          RefusedError: The adversary sees no gradient.
        """
        return Spear().foretell(observation)

    def reconstruct(self, observation: Observation, prior: Prior) -> Reconstruction:
        """Attack each gradient of the view by itself, and put the records together.

        Raises:
          RefusedError: The adversary sees no gradient, or sums at different models.
        """
        view = require(observation, GradientView, self.name)
        parts = []
        for i, g in enumerate(view.gradients):
            reconstruction = self._attack(
                view.plan, g, prior, np.random.default_rng([self.search.seed, i])
            )
            parts.append(
                replace(reconstruction, notes=hidden_by_rounding(view.plan, g, prior.features))
            )
        return join(guesses(prior, 0), *parts)

    def _attack(
        self, plan: Plan, gradient: Gradient, prior: Prior, rng: np.random.Generator
    ) -> Reconstruction:
        if not isinstance(plan.model, LinearInput):
            return _searched(self.search.attack(plan, gradient, prior, rng))
        whole = unmix(plan, gradient, gradient.integers, prior)
        if whole.complete:
            return _records(whole, whole.certified.astype(float), "unmixed")
        reading = peel(plan, gradient, prior, copies=True)
        read = _records(reading, reading.confidence, "read")
        if reading.complete:
            return read
        rest = unmix(plan, gradient, reading.residual, prior)
        if rest.complete:
            return join(read, _records(rest, rest.certified.astype(float), "unmixed"))
        residual_gradient = replace(gradient, integers=reading.residual)
        scaled = read_at_a_scale(plan, gradient, prior)
        if scaled is not None and len(scaled[0].records) > len(reading.records):
            reading, scale = scaled
            read = _records(reading, reading.certified.astype(float), "read at a scale")
            if reading.complete or len(reading.records) >= expected_patients(plan, gradient):
                return read
            whole_loss = np.rint(reading.residual / scale).astype(np.int64)
            residual_gradient = replace(gradient, integers=whole_loss)
        return join(read, _searched(self.search.attack(plan, residual_gradient, prior, rng)))


def _records(reading: Found, confidence: NDArray[np.float64], step: str) -> Reconstruction:
    return Reconstruction(
        reading.records, confidence, reading.certified, (step,) * len(reading.records)
    )


def _searched(reconstruction: Reconstruction) -> Reconstruction:
    steps = tuple("guessed" if c == 0 else "searched" for c in reconstruction.confidence)
    return replace(reconstruction, steps=steps)
