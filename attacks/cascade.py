"""The cascade: what is exact first, then what can be unmixed, then what has to be searched.

Each step works on what the earlier ones left unexplained, so that the search, which is a thousand
times dearer, meets a smaller batch or none at all.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from aggregation.plan import Plan
from attacks.closed_form import peel
from attacks.priors import Prior
from attacks.reconstruction import Reconstruction, guesses, join
from attacks.spear import unmix
from attacks.tableak import TabLeak
from attacks.views import Gradient, GradientView, Observation, require

__all__ = ["Cascade"]


@dataclass(frozen=True)
class Cascade:
    """A1, then A2, then A4, on every sum of gradients in a view.

    Guarantees (each is a test in ``tests/attacks/test_cascade.py``):
      - no worse than its parts, undefended; no false certificate;
      - where the exact steps explain everything, nothing is searched;
      - with noise it is the search alone, and certifies nothing.

    Attributes:
      search: The last step; its seed is the cascade's.
    """

    name: ClassVar[str] = "cascade"
    needs: ClassVar[type[GradientView]] = GradientView

    search: TabLeak = field(default_factory=TabLeak)

    def reconstruct(self, observation: Observation, prior: Prior) -> Reconstruction:
        """Attack each gradient of the view by itself, and put the records together.

        Raises:
          RefusedError: The adversary sees no gradient, or sums at different models.
        """
        view = require(observation, GradientView, self.name)
        parts = [
            self._attack(view.plan, g, prior, np.random.default_rng([self.search.seed, i]))
            for i, g in enumerate(view.gradients)
        ]
        return join(guesses(prior, 0), *parts)

    def _attack(
        self, plan: Plan, gradient: Gradient, prior: Prior, rng: np.random.Generator
    ) -> Reconstruction:
        whole = unmix(plan, gradient, gradient.integers, prior)
        if whole.complete:
            return Reconstruction(whole.records, whole.certified.astype(float), whole.certified)
        found = peel(plan, gradient, prior)
        confidence = np.where(found.certified, 1.0, 1 - 2.0**-found.bits)
        read = Reconstruction(found.records, confidence, found.certified)
        if found.complete:
            return read
        rest = unmix(plan, gradient, found.residual, prior)
        if rest.complete:
            both = rest.certified.astype(float)
            return join(read, Reconstruction(rest.records, both, rest.certified))
        left = replace(gradient, integers=found.residual)
        return join(read, self.search.attack(plan, left, prior, rng))
