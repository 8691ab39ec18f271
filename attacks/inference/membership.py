r"""Membership from the final model: was this person among the patients? By LiRA.

Shadow models are trained by the public plan on random halves of people whom the adversary holds; a
person's loss under shadows with and without that person says how the target model's loss is to be
read: the likelihood ratio of two normal fits (Carlini et al. 2022, *Membership Inference Attacks
From First Principles*, Algorithm 1). All shadows are trained at once, as one batched walk.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from aggregation.data.patients import Patients
from aggregation.plan import Plan
from attacks.knowledge.capabilities import hidden_layer, needs_hidden
from attacks.searching.local_steps import LocalWalk
from attacks.views import Observation, PublicView, require
from privacy._validate import natural
from privacy.errors import InvalidInputError, RefusedError

__all__ = ["Lira", "auc", "confidences", "train_shadows"]

_LEAST_SPREAD = 1e-3


@dataclass(frozen=True)
class Lira:
    """Score people by how likely they are members.

    Guarantees (each is a test in ``tests/attacks/inference/test_membership.py``):
      - an overfitted model tells members from strangers;
      - at a small epsilon it tells nothing.

    Attributes:
      shadows: Models to train; each person is in about half of them.
      seed: Draws the halves and the shadows' noise.
    """

    name: ClassVar[str] = "lira"
    needs: ClassVar[type[PublicView]] = PublicView

    shadows: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        natural(shadows=self.shadows, least=8)

    def scores(self, observation: Observation, people: Patients) -> Float[np.ndarray, "people"]:
        """Return each person's log-likelihood ratio, member against stranger.

        Args:
          observation: The public view.
          people: Whom to judge; the adversary holds their records, not whether they took part.

        Raises:
          RefusedError: Not a public view, or a plan whose training the shadows do not repeat.
          InvalidInputError: Fewer than two people.
        """
        view = require(observation, PublicView, self.name)
        if len(people) < 2:
            raise InvalidInputError("Membership is judged among at least two people.")
        rng = np.random.default_rng(self.seed)
        members = rng.random((self.shadows, len(people))) < 0.5
        models = train_shadows(view.plan, people, members, rng)
        shadow = np.stack([confidences(view.plan, m, people) for m in models])
        seen = confidences(view.plan, view.params, people)
        return _log_normal(seen, shadow, members) - _log_normal(seen, shadow, ~members)


def train_shadows(
    plan: Plan,
    people: Patients,
    members: Bool[np.ndarray, "shadows people"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "shadows dim"]:
    """Train one model a row of ``members``, by the plan, all patients in every round.

    The noise of the plan is added, scaled to the shadows' size as the plan's own is to its size.

    Raises:
      RefusedError: A logistic model, sampling, several local steps, or the article's noise.
    """
    if (
        hidden_layer(plan.model) is None
        or plan.sampling_size is not None
        or plan.local_steps > 1
        or plan.noise == "article"
    ):
        raise RefusedError(
            "Shadow models repeat full-batch training of a perceptron; this plan does otherwise."
        )
    size = float(members.sum(axis=1).mean())
    noise = plan.share_std * len(plan.hospitals) ** 0.5 * plan.step * size / plan.normaliser
    step = plan.learning_rate / size
    model, first = needs_hidden(plan.model), torch.tensor(plan.first_model())
    walk = LocalWalk(model, first, plan.clip_norm, step, 1, shared=True)
    count = len(members)
    x = torch.tensor(people.features).expand(count, -1, -1)
    y = torch.tensor(people.outcomes, dtype=torch.float64).expand(count, -1)
    present = torch.tensor(members, dtype=torch.float64)
    params = walk.params.expand(count, -1)
    kept: list[torch.Tensor] = []
    with torch.no_grad():
        for _ in range(plan.rounds):
            gradient = walk.gradient(params, x, y, present)
            drawn = torch.tensor(rng.normal(0.0, 1.0, tuple(params.shape)))
            params = params - step * (gradient + noise * drawn)
            kept = [*kept, params][-plan.average_last :]
    return np.asarray(torch.stack(kept).mean(0).numpy())


def confidences(
    plan: Plan, params: Float[np.ndarray, "dim"], people: Patients
) -> Float[np.ndarray, "people"]:
    """Return the log-odds that the model gives the true outcome: log p / (1 - p)."""
    return np.asarray(plan.model.scores(params, people.features) * (2 * people.outcomes - 1))


def auc(scores: Float[np.ndarray, "people"], members: Bool[np.ndarray, "people"]) -> float:
    """Return the chance that a member outscores a stranger, ties for one half."""
    inside, outside = scores[members], scores[~members]
    above = (inside[:, None] > outside).mean()
    return float(above + 0.5 * (inside[:, None] == outside).mean())


def _log_normal(
    seen: NDArray[np.float64], shadow: NDArray[np.float64], chosen: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Log-density of what was seen under a normal fit to the chosen shadows, person by person."""
    weights = chosen / np.maximum(chosen.sum(axis=0), 1)
    mean = (weights * shadow).sum(axis=0)
    variance = (weights * (shadow - mean) ** 2).sum(axis=0) + _LEAST_SPREAD**2
    return np.asarray(-0.5 * ((seen - mean) ** 2 / variance + np.log(variance)))
