r"""Membership from the final model: was this person among the patients? By LiRA and by RMIA.

Shadow models are trained by the public plan on random halves of people whom the adversary holds; a
person's loss under shadows with and without that person says how the target model's loss is to be
read: the likelihood ratio of two normal fits (Carlini et al. 2022, *Membership Inference Attacks
From First Principles*, Algorithm 1), or how the model's probability of the true outcome compares to
the shadows' mean, and this ratio to other people's (Zarifzadeh, Liu, Shokri 2024, *Low-Cost
High-Power Membership Inference Attacks*, equations 6 to 9). All shadows are trained at once, as one
batched walk.

Both read answers alone, so that a buyer of the model's answers is as good as their digits let it.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor

from aggregation.data.patients import Patients
from aggregation.models import Logistic
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from attacks.searching.local_steps import LocalWalk
from attacks.views import AnswersView, Observation, require
from privacy._validate import natural, positive
from privacy.errors import InvalidInputError, RefusedError
from privacy.mechanisms.article_noise import article_noise_std
from privacy.unit import Unit

__all__ = ["Lira", "Rmia", "auc", "confidences", "train_shadows"]

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
    needs: ClassVar[type[AnswersView]] = AnswersView

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
          RefusedError: The adversary gets no answers of the model, or the plan's training is none
            that shadows repeat.
          InvalidInputError: Fewer than two people.
        """
        view = require(observation, AnswersView, self.name)
        members, shadow = _shadowed(view, people, self.shadows, self.seed)
        seen = confidences(view, people)
        return _log_normal(seen, shadow, members) - _log_normal(seen, shadow, ~members)


@dataclass(frozen=True)
class Rmia:
    """Score people by how many others the model is less surer of than its shadows are.

    Guarantees (each is a test in ``tests/attacks/inference/test_membership.py``):
      - an overfitted model tells members from strangers;
      - at a small epsilon it tells nothing.

    Attributes:
      shadows: Models to train; each person is in about half of them.
      gamma: By what factor a person's ratio has to pass another's.
      seed: Draws the halves and the shadows' noise.
    """

    name: ClassVar[str] = "rmia"
    needs: ClassVar[type[AnswersView]] = AnswersView

    shadows: int = 64
    gamma: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        natural(shadows=self.shadows, least=8)
        positive(gamma=self.gamma)

    def scores(self, observation: Observation, people: Patients) -> Float[np.ndarray, "people"]:
        """Return the share of the others whom each person's ratio passes; above half: a member.

        Args and errors are those of ``Lira.scores``.
        """
        view = require(observation, AnswersView, self.name)
        _, shadow = _shadowed(view, people, self.shadows, self.seed)
        ratio = expit(confidences(view, people)) / expit(shadow).mean(axis=0)
        others = np.sort(ratio)
        below = np.searchsorted(others, ratio / self.gamma, side="right") - (self.gamma <= 1)
        return np.asarray(below / (len(people) - 1))


def _shadowed(
    view: AnswersView, people: Patients, shadows: int, seed: int
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Who is in which shadow, and each shadow's confidence in each person, as it would be told."""
    if len(people) < 2:
        raise InvalidInputError("Membership is judged among at least two people.")
    rng = np.random.default_rng(seed)
    members = rng.random((shadows, len(people))) < 0.5
    models = train_shadows(view.plan, people, members, rng)
    model, signs = view.plan.model, _signs(people)
    shadow_confidences = [view.as_told(model.scores(m, people.features)) * signs for m in models]
    return members, np.stack(shadow_confidences)


def train_shadows(
    plan: Plan,
    people: Patients,
    members: Bool[np.ndarray, "shadows people"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "shadows dim"]:
    """Train one model a row of ``members``, by the plan, all patients in every round.

    The noise of the plan is added, scaled to the shadows' size as the plan's own is to its size.
    The article's, whose scale follows each hospital's upload, is that of hospitals of the declared
    sizes among whom people are dealt at random.

    Raises:
      RefusedError: A logistic model, sampling, several local steps, or the hospital as the unit.
    """
    if (
        isinstance(plan.model, Logistic)
        or plan.draws_patients
        or plan.correlated is not None
        or plan.local_steps > 1
        or plan.unit != Unit.PATIENT
    ):
        raise RefusedError(
            "Shadow models repeat full-batch training of a model with hidden layers; this plan "
            "does otherwise."
        )
    size = float(members.sum(axis=1).mean())
    noise: float | Tensor = (
        plan.share_std * len(plan.hospitals) ** 0.5 * plan.step * size / plan.normaliser
    )
    step = plan.learning_rate / size
    first = torch.tensor(plan.first_model())
    walk = LocalWalk(plan.model, first, plan.clip_norm, step, 1, shared=True)
    count = len(members)
    x = torch.tensor(people.features).expand(count, -1, -1)
    y = torch.tensor(people.outcomes, dtype=torch.float64).expand(count, -1)
    present = torch.tensor(members, dtype=torch.float64)
    groups, ratio = [present], 0.0
    if plan.noise == NoiseKind.ARTICLE and plan.epsilon is not None:
        groups = _dealt(plan, present, rng)
        ratio = article_noise_std(np.ones(1), epsilon=plan.epsilon, delta=plan.delta)
    params = walk.params.expand(count, -1)
    kept: list[Tensor] = []
    with torch.no_grad():
        for _ in range(plan.rounds):
            parts = torch.stack([walk.gradient(params, x, y, group) for group in groups])
            if ratio:
                noise = ratio * parts.square().sum((0, 2)).sqrt()[:, None]
            drawn = torch.tensor(rng.normal(0.0, 1.0, tuple(params.shape)))
            params = params - step * (parts.sum(0) + noise * drawn)
            kept = [*kept, params][-plan.average_last :]
    return np.asarray(torch.stack(kept).mean(0).numpy())


def _dealt(plan: Plan, present: Tensor, rng: np.random.Generator) -> list[Tensor]:
    """Each hospital's part of the shadows' people, dealt by the declared sizes."""
    sizes = np.array(plan.declared_sizes, dtype=np.float64)
    whose = torch.tensor(rng.choice(len(sizes), tuple(present.shape), p=sizes / sizes.sum()))
    return [present * (whose == k) for k in range(len(sizes))]


def confidences(view: AnswersView, people: Patients) -> Float[np.ndarray, "people"]:
    """Return the log-odds that the model answers for the true outcome: log p / (1 - p)."""
    return np.asarray(view.log_odds(people.features) * _signs(people))


def _signs(people: Patients) -> NDArray[np.float64]:
    return 2.0 * people.outcomes - 1


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
