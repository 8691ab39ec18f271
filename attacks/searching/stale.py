r"""Sums of gradients at *different* models: what a buffered server opens (A6 for asynchrony).

A hospital that is slow answers an old model, and may be weighed for it before its noise. The opened
sum is :math:`S = \sum_k a_k\, G(X_k; \theta_k) + N`, with every :math:`\theta_k` in the transcript
and every weight :math:`a_k` signed beside the upload. An attack on one model cannot read that; this
one gives every contributor patients of its own, sends them through the model that it answered, and
moves all of them until the weighted sum is likely under the law of the noise, with clipping inside
the graph. (Stale mixtures are Nguyen et al. 2022, *FedBuff*, Algorithm 1; the search is
``attacks.searching.tableak``'s, Vero et al. 2023.)

Cost: as TabLeak's, with the patients of all contributors of one sum.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binom
from torch import Tensor

from aggregation.plan import Plan
from attacks.exact.closed_form import expected_patients
from attacks.knowledge.batches import last_bias_moments
from attacks.knowledge.priors import Prior
from attacks.reconstructed import Reconstruction, guesses, join
from attacks.searching.relaxation import Relaxation
from attacks.searching.search import likeliest, match
from attacks.searching.search_settings import SearchSettings
from attacks.searching.surrogate import BatchGradient
from attacks.views import Gradient, GradientView, Observation, SumPart, require
from privacy.errors import RefusedError
from privacy.unit import Unit

__all__ = ["StaleInversion", "StaleMixture"]

_DRAWS = 4096  # of counts of the ill, from the prior


@dataclass(frozen=True)
class StaleMixture:
    """The weighted sum of several batches' gradients, each at a model of its own.

    Attributes:
      parts: Each contributor's gradient.
      weights: What each is multiplied by.
      sizes: Patients of each; they lie one contributor after the other.
    """

    parts: tuple[BatchGradient, ...]
    weights: tuple[float, ...]
    sizes: tuple[int, ...]

    def __call__(self, x: Tensor, y: Tensor, present: Tensor) -> Tensor:
        """Return each restart's sum ``[restarts, dim]``."""
        total = torch.zeros(())
        start = 0
        for part, weight, size in zip(self.parts, self.weights, self.sizes, strict=True):
            patients = slice(start, start + size)
            total = total + weight * part(x[:, patients], y[:, patients], present[:, patients])
            start += size
        return total


@dataclass(frozen=True)
class StaleInversion(SearchSettings):
    """Invert every sum of a view, whatever models its contributors answered.

    Guarantees (each is a test in ``tests/attacks/searching/test_stale.py``):
      - the mixture equals what the hospitals' updates sum to, up to rounding;
      - undefended, patients of a stale sum are recovered above guessing;
      - with noise that drowns everything, the answer is the prior's best guess;
      - nothing is certified.
    """

    name: ClassVar[str] = "stale"
    needs: ClassVar[type[GradientView]] = GradientView

    restarts: int = 8
    iterations: int = 500

    def reconstruct(self, observation: Observation, prior: Prior) -> Reconstruction:
        """Attack each sum of the view by itself, and put the records together.

        Raises:
          RefusedError: The adversary sees no gradient; or several local steps, or whole updates
            clipped, which the mixture does not walk.
        """
        view = require(observation, GradientView, self.name)
        if view.plan.local_steps > 1 or view.plan.unit != Unit.PATIENT:
            raise RefusedError(
                "A stale mixture is of one-step uploads; this plan walks "
                f"{view.plan.local_steps} steps with the {view.plan.unit} as the unit. Use fedavg."
            )
        parts = [guesses(prior, 0)]
        for i, gradient in enumerate(view.gradients):
            records = self._attack(
                view.plan, gradient, prior, np.random.default_rng([self.seed, i])
            )
            none = np.zeros(len(records))
            parts.append(Reconstruction(records, none, none.astype(np.bool_)))
        return join(*parts)

    def _attack(
        self, plan: Plan, gradient: Gradient, prior: Prior, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        makeups = _makeups(plan, gradient, prior, rng, most=max(1, self.restarts // 2))
        which = np.arange(self.restarts) % len(makeups)
        mixture = StaleMixture(
            tuple(
                BatchGradient.at(plan.model, c.params, plan.clip_norm, torch.float64, self.device)
                for c in gradient.contributions
            ),
            tuple(c.weight for c in gradient.contributions),
            tuple(len(part) for part in makeups[0]),
        )
        labels = np.stack([np.concatenate(makeups[i]) for i in which]).astype(np.float64)
        y = torch.tensor(labels, device=self.device)
        people, present = y.shape[1], torch.ones_like(y)
        target = y.new_tensor(gradient.integers * plan.step)
        variance = 0.0
        if gradient.noise_std > 0:
            variance = plan.step**2 * (gradient.noise_std**2 + people / 12)
        soft = match(
            mixture, target, Relaxation.of(prior, torch.float64, self.device), y, present, rng,
            iterations=self.iterations, rate=self.rate, variance=variance,
        )  # fmt: skip
        return likeliest(mixture, target, soft, y, prior, variance=variance)


def _makeups(
    plan: Plan, gradient: Gradient, prior: Prior, rng: np.random.Generator, *, most: int
) -> list[list[NDArray[np.int64]]]:
    """Outcomes of each contributor: declared, or the likeliest counts by the sum's last bias."""
    parts = gradient.contributions
    sizes = [_size(plan, gradient, c) for c in parts]
    if all(c.labels is not None for c in parts):
        return [[c.labels for c in parts if c.labels is not None]]
    moments = []
    for c in parts:
        alone = Gradient(gradient.round, (c,), gradient.integers, gradient.noise_std)
        moments.append(last_bias_moments(plan, alone, prior, rng))
    ill = np.stack([rng.binomial(n, prior.outcome_rate, _DRAWS) for n in sizes], axis=1)
    for k, c in enumerate(parts):
        if c.labels is not None:
            ill[:, k] = c.labels.sum()
    ill = np.unique(ill, axis=0)
    mean, variance = np.zeros(len(ill)), np.full(len(ill), gradient.noise_std**2 + 1.0)
    score = np.zeros(len(ill))
    for k, ((m0, v0), (m1, v1)) in enumerate(moments):
        a, n, i = parts[k].weight, sizes[k], ill[:, k]
        mean += a * ((n - i) * m0 + i * m1)
        variance += a**2 * ((n - i) * v0 + i * v1)
        score += binom.logpmf(i, n, prior.outcome_rate)
    score -= 0.5 * ((gradient.integers[-1] - mean) ** 2 / variance + np.log(variance))
    best = np.argsort(-score, kind="stable")[:most]
    return [
        [
            c.labels if c.labels is not None else np.repeat(np.array([0, 1]), [n - i, i])
            for c, n, i in zip(parts, sizes, ill[row], strict=True)
        ]
        for row in best
    ]


def _size(plan: Plan, gradient: Gradient, part: SumPart) -> int:
    """Patients of one contributor: declared with their outcomes, or expected."""
    if part.labels is not None:
        return len(part.labels)
    alone = Gradient(gradient.round, (part,), gradient.integers, gradient.noise_std)
    return max(1, expected_patients(plan, alone))
