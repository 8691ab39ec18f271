r"""A6: inversion of several local steps, unrolled (Dimitrov et al. 2022; Vero et al. 2023).

A FedAvg hospital sends the sum of the gradients that it stepped along,
:math:`\sum_s G(X_s; \theta_s)` with :math:`\theta_{s+1} = \theta_s - \eta\, G(X_s; \theta_s) / B`.
The attack walks the same steps with guessed patients, at parameters of their own for every
restart, and differentiates through the walk. Where every step takes all patients, the guesses are
the same in each; where steps are sampled, each step has guesses of its own.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aggregation.models import HiddenLayer, Logistic, Model
from aggregation.plan import Plan
from attacks.knowledge.priors import Prior
from attacks.reconstructed import Reconstruction, guesses, join
from attacks.searching.relaxation import Relaxation
from attacks.searching.search import likeliest, match
from attacks.searching.surrogate import record_gradients
from attacks.views import Gradient, GradientView, Observation, require
from privacy._validate import natural, positive
from privacy.errors import RefusedError

__all__ = ["FedAvgInversion", "LocalWalk"]


@dataclass(frozen=True)
class LocalWalk:
    """Sum of clipped gradients along local steps, differentiable in the guessed patients.

    Attributes:
      model: Any that ``differentiable`` takes; a perceptron's gradient is written out.
      params: First parameters ``[dim]``.
      clip_norm: Norm at which each patient's gradient is clipped; None: not clipped.
      step: What a step multiplies the summed gradient by: learning rate over batch size.
      steps: Local steps.
      shared: Whether every step takes the same patients; else they lie one step after the other.
    """

    model: Model | HiddenLayer
    params: Tensor
    clip_norm: float | None
    step: float
    steps: int
    shared: bool

    def __call__(self, x: Tensor, y: Tensor, present: Tensor) -> Tensor:
        """Return each restart's update ``[restarts, dim]``."""
        params = self.params.expand(len(x), -1)
        total = torch.zeros_like(params)
        for s in range(self.steps):
            size = x.shape[1] if self.shared else x.shape[1] // self.steps
            part = slice(0, size) if self.shared else slice(s * size, (s + 1) * size)
            gradient = self.gradient(params, x[:, part], y[:, part], present[:, part])
            total = total + gradient
            params = params - self.step * gradient
        return total

    def gradient(self, params: Tensor, x: Tensor, y: Tensor, present: Tensor) -> Tensor:
        """Clipped gradients of one step, at parameters ``[restarts, dim]`` of their own."""
        model = self.model
        if not isinstance(model, HiddenLayer):
            return self._any(model, params, x, y, present)
        h, f = model.width, model.features
        w1, b1, w2, b2 = torch.split(params, [h * f, h, h, 1], dim=1)
        w1 = w1.reshape(-1, h, f)
        pre = x @ w1.transpose(1, 2) + b1[:, None]
        on = (pre > 0).to(x.dtype)
        active = pre * on
        delta = (torch.sigmoid((active * w2[:, None]).sum(-1) + b2) - y) * present
        if self.clip_norm is not None:
            outer = (on * w2[:, None].square()).sum(-1)
            squares = 1 + active.square().sum(-1) + outer * (1 + x.square().sum(-1))
            norms = torch.sqrt(delta.square() * squares + 1e-30)
            delta = delta * torch.clamp(self.clip_norm / norms, max=1.0)
        inner = delta[..., None] * on * w2[:, None]
        return torch.cat(
            [
                (inner.transpose(1, 2) @ x).flatten(1),
                inner.sum(1),
                (delta[..., None] * active).sum(1),
                delta.sum(1, keepdim=True),
            ],
            dim=1,
        )

    def _any(self, model: Model, params: Tensor, x: Tensor, y: Tensor, present: Tensor) -> Tensor:
        own = params[:, None].expand(-1, x.shape[1], -1)
        rows = record_gradients(model, own, x, y) * present[..., None]
        if self.clip_norm is not None:
            norms = torch.sqrt(rows.square().sum(-1, keepdim=True) + 1e-30)
            rows = rows * torch.clamp(self.clip_norm / norms, max=1.0)
        total: Tensor = rows.sum(1)
        return total


@dataclass(frozen=True)
class FedAvgInversion:
    """The attack A6 on every single hospital's update of several local steps.

    Guarantees (each is a test in ``tests/attacks/searching/test_local_steps.py``):
      - the walk equals what the hospital sends, up to rounding;
      - undefended, small hospitals are recovered above guessing;
      - with noise that drowns everything, the answer is the prior's best guess;
      - nothing is certified.

    Attributes:
      restarts: Guessed batches.
      iterations: Steps of each.
      rate: First step of the signed Adam; it falls to a tenth.
      seed: Draws the starts.
    """

    name: ClassVar[str] = "fedavg"
    needs: ClassVar[type[GradientView]] = GradientView

    restarts: int = 15
    iterations: int = 1500
    rate: float = 0.06
    seed: int = 0

    def __post_init__(self) -> None:
        natural(restarts=self.restarts, least=1)
        natural(iterations=self.iterations, least=1)
        positive(rate=self.rate)

    def reconstruct(self, observation: Observation, prior: Prior) -> Reconstruction:
        """Attack each update by itself, and put the records together.

        Raises:
          RefusedError: The adversary sees no gradient, sums of several hospitals' walks, whole
            updates clipped, or a model without a hidden layer.
        """
        view = require(observation, GradientView, self.name)
        plan = view.plan
        if plan.unit != "patient" or isinstance(plan.model, Logistic):
            raise RefusedError(
                "Unrolling needs per-patient clipping and a hidden layer; this plan has unit "
                f"{plan.unit!r} and model {plan.model.kind!r}."
            )
        parts = [guesses(prior, 0)]
        for i, gradient in enumerate(view.gradients):
            if len(gradient.hospitals) != 1:
                raise RefusedError(
                    "A sum of several hospitals' walks has no one walk to unroll. Observe the run "
                    "as server_plain."
                )
            rng = np.random.default_rng([self.seed, i])
            records = self._attack(plan, gradient, prior, rng)
            none = np.zeros(len(records))
            parts.append(Reconstruction(records, none, none.astype(np.bool_)))
        return join(*parts)

    def _attack(
        self, plan: Plan, gradient: Gradient, prior: Prior, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        place = plan.hospitals.index(gradient.hospitals[0])
        size = round(plan.batch_sizes[place])
        shared = plan.sampling_size is None
        people = size if shared else size * plan.local_steps
        dtype = torch.float64
        walk = LocalWalk(
            plan.model,
            torch.tensor(gradient.params, dtype=dtype),
            plan.clip_norm,
            plan.learning_rate / plan.batch_sizes[place],
            plan.local_steps,
            shared,
        )
        target = torch.tensor(gradient.integers * plan.step, dtype=dtype)
        y = self._labels(plan, gradient, prior, people, rng).expand(self.restarts, people)
        present = torch.ones((self.restarts, people), dtype=dtype)
        relaxation = Relaxation.of(prior, dtype)
        variance = plan.step**2 * gradient.noise_std**2
        soft = match(
            walk, target, relaxation, y, present, rng,
            iterations=self.iterations, rate=self.rate, variance=variance,
        )  # fmt: skip
        return likeliest(walk, target, soft, y, prior, variance=variance)

    def _labels(
        self, plan: Plan, gradient: Gradient, prior: Prior, people: int, rng: np.random.Generator
    ) -> Tensor:
        """Outcomes by count: declared, or read off the last bias as if the model stood still."""
        if gradient.labels is not None and len(gradient.labels) == people:
            ill = int(gradient.labels.sum())
        else:
            scores = plan.model.scores(gradient.params, prior.draw(512, rng))
            mean = float((1 / (1 + np.exp(-scores))).mean())
            steps = plan.local_steps if plan.sampling_size is None else 1
            ill = round(people * mean - float(gradient.integers[-1]) * plan.step / steps)
        ill = int(np.clip(ill, 0, people))
        return torch.tensor(np.repeat([0.0, 1.0], [people - ill, ill]))
