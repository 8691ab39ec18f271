r"""A6: inversion of several local steps, unrolled (Dimitrov et al. 2022; Vero et al. 2023).

A FedAvg hospital sends the sum of the gradients that it stepped along,
:math:`\sum_s G(X_s; \theta_s)` with :math:`\theta_{s+1} = \theta_s - \eta\, G(X_s; \theta_s) / B`.
The attack walks the same steps with guessed patients, at parameters of their own for every
restart, and differentiates through the walk. Where every step takes all patients, the guesses are
the same in each; where steps are sampled, each step has guesses of its own. A captured client may
have made its steps by momentum or Adam: the walk makes them likewise, and what is compared is the
sum of their directions. Adam's are smoothed while guesses are moved, and not where they are judged.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from aggregation.capture.optimizers import DESCENT, Adam, Optimizer
from aggregation.models import HiddenLayer, Logistic, Model
from aggregation.plan import Plan
from attacks.knowledge.priors import Prior
from attacks.reconstructed import Note, Reconstruction, guesses, join
from attacks.searching.local_optimizers import Directions
from attacks.searching.relaxation import Relaxation
from attacks.searching.search import likeliest, match
from attacks.searching.search_settings import SearchSettings
from attacks.searching.surrogate import record_gradients
from attacks.views import Gradient, GradientView, Observation, require
from privacy.errors import RefusedError
from privacy.unit import Unit

__all__ = ["FedAvgInversion", "LocalWalk"]

_STEPS = (
    "The weights at both ends of {steps} steps tell no step's gradient: the steps were walked with "
    "guessed patients, and nothing is proved."
)
_MAKEUPS = (
    "Adam's steps do not tell how many patients had either outcome: {count} numbers were tried."
)
_SMOOTH = 0.03  # of Adam; of .003 to .3, what recovered most of five patients


@dataclass(frozen=True)
class LocalWalk:
    """Sum of what local steps went along, differentiable in the guessed patients.

    In plain descent that is the sum of the clipped gradients; an optimiser makes directions of the
    mean gradients, which are counted as many times as a batch has patients.

    Attributes:
      model: Any that ``differentiable`` takes; a perceptron's gradient is written out.
      params: First parameters ``[dim]``.
      clip_norm: Norm at which each patient's gradient is clipped; None: not clipped.
      step: What a step multiplies the summed gradient by: learning rate over batch size.
      steps: Local steps.
      shared: Whether every step takes the same patients; else they lie one step after the other.
      optimizer: What makes steps of the mean gradients.
      batch: Patients of a step, whose mean that is.
      smooth: Of Adam (``local_optimizers``).
    """

    model: Model | HiddenLayer
    params: Tensor
    clip_norm: float | None
    step: float
    steps: int
    shared: bool
    optimizer: Optimizer = DESCENT
    batch: float = 1.0
    smooth: float = 0.0

    def __call__(self, x: Tensor, y: Tensor, present: Tensor) -> Tensor:
        """Return each restart's update ``[restarts, dim]``."""
        params = self.params.expand(len(x), -1)
        total = torch.zeros_like(params)
        directions = Directions(self.optimizer, self.smooth)
        for s in range(self.steps):
            size = x.shape[1] if self.shared else x.shape[1] // self.steps
            part = slice(0, size) if self.shared else slice(s * size, (s + 1) * size)
            gradient = self.gradient(params, x[:, part], y[:, part], present[:, part])
            along = self.batch * directions(gradient / self.batch, params)
            total = total + along
            params = params - self.step * along
            if twice := self.optimizer.twice:
                last = torch.zeros_like(along[:, :-twice]), along[:, -twice:]
                params = params - self.step * torch.cat(last, dim=1)
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
        record_params = params[:, None].expand(-1, x.shape[1], -1)
        rows = record_gradients(model, record_params, x, y) * present[..., None]
        if self.clip_norm is not None:
            norms = torch.sqrt(rows.square().sum(-1, keepdim=True) + 1e-30)
            rows = rows * torch.clamp(self.clip_norm / norms, max=1.0)
        total: Tensor = rows.sum(1)
        return total


@dataclass(frozen=True)
class FedAvgInversion(SearchSettings):
    """The attack A6 on every single hospital's update of several local steps.

    Guarantees (each is a test in ``tests/attacks/searching/test_local_steps.py``):
      - the walk equals what the hospital sends, up to rounding;
      - undefended, small hospitals are recovered above guessing, whatever the optimiser;
      - with noise that drowns everything, the answer is the prior's best guess;
      - nothing is certified.
    """

    name: ClassVar[str] = "fedavg"
    needs: ClassVar[type[GradientView]] = GradientView

    restarts: int = 15
    iterations: int = 1500

    def reconstruct(self, observation: Observation, prior: Prior) -> Reconstruction:
        """Attack each update by itself, and put the records together.

        Raises:
          RefusedError: The adversary sees no gradient, sums of several hospitals' walks, whole
            updates clipped, or a model without a hidden layer.
        """
        view = require(observation, GradientView, self.name)
        plan = view.plan
        if plan.unit != Unit.PATIENT or isinstance(plan.model, Logistic):
            raise RefusedError(
                "Unrolling needs per-patient clipping and a hidden layer; this plan has unit "
                f"{plan.unit.value!r} and model {plan.model.kind!r}."
            )
        parts = [guesses(prior, 0)]
        for i, gradient in enumerate(view.gradients):
            if len(gradient.hospitals) != 1:
                raise RefusedError(
                    "A sum of several hospitals' walks has no one walk to unroll. Observe the run "
                    "as server_plain."
                )
            rng = np.random.default_rng([self.seed, i])
            parts.append(self._attack(plan, gradient, prior, rng))
        return join(*parts)

    def _attack(
        self, plan: Plan, gradient: Gradient, prior: Prior, rng: np.random.Generator
    ) -> Reconstruction:
        place = plan.hospitals.index(gradient.hospitals[0])
        size = round(plan.batch_sizes[place])
        shared = plan.sampling_size is None
        people = size if shared else size * plan.local_steps
        dtype = torch.float64
        plain = (
            gradient.optimizer == DESCENT
        )  # whose steps are the same whatever they are divided by
        walk = LocalWalk(
            plan.model,
            torch.tensor(gradient.params, dtype=dtype, device=self.device),
            plan.clip_norm,
            plan.learning_rate / plan.batch_sizes[place],
            plan.local_steps,
            shared,
            gradient.optimizer,
            1.0 if plain else plan.batch_sizes[place],
        )
        target = walk.params.new_tensor(gradient.integers * plan.step)
        counts = self._ill(plan, gradient, prior, people, rng)
        y = target.new_tensor(
            np.stack([np.repeat([0.0, 1.0], [people - ill, ill]) for ill in counts])
        ).repeat(-(-self.restarts // len(counts)), 1)[: self.restarts]
        present = torch.ones_like(y)
        relaxation = Relaxation.of(prior, dtype, self.device)
        variance = plan.step**2 * gradient.noise_std**2
        soft = match(
            replace(walk, smooth=_SMOOTH), target, relaxation, y, present, rng,
            iterations=self.iterations, rate=self.rate, variance=variance,
        )  # fmt: skip
        records = likeliest(walk, target, soft, y, prior, variance=variance)
        none = np.zeros(people)
        said = _unknown(plan, gradient, min(len(counts), self.restarts))
        return Reconstruction(records, none, none.astype(np.bool_), notes=said)

    def _ill(
        self, plan: Plan, gradient: Gradient, prior: Prior, people: int, rng: np.random.Generator
    ) -> list[int]:
        """How many are ill: declared, or by the last bias as if the model stood still.

        Adam tells its sign alone: then all that it allows, the likeliest first.
        """
        if gradient.labels is not None and len(gradient.labels) == people:
            return [int(gradient.labels.sum())]
        scores = plan.model.scores(gradient.params, prior.draw(512, rng))
        expected = people * float((1 / (1 + np.exp(-scores))).mean())
        moved, optimizer = float(gradient.integers[-1]) * plan.step, gradient.optimizer
        if isinstance(optimizer, Adam):
            fits = [n for n in range(people + 1) if (expected - n) * moved >= 0]
            return sorted(fits, key=lambda n: (abs(n - expected), n)) or [round(expected)]
        steps = optimizer.gain(plan.local_steps)
        if plan.sampling_size is not None:
            steps /= plan.local_steps
        return [int(np.clip(round(expected - moved / steps), 0, people))]


def _unknown(plan: Plan, gradient: Gradient, makeups: int) -> tuple[Note, ...]:
    """What a captured update of several steps does not say."""
    said = []
    if gradient.error is not None and plan.local_steps > 1:
        said.append(Note(_STEPS, "steps", steps=str(plan.local_steps)))
    if makeups > 1:
        said.append(Note(_MAKEUPS, "makeups", count=str(makeups)))
    return tuple(said)
