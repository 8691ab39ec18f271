r"""TabLeak on Adult (Vero et al. 2023, Tables 1 and 2): batches of an untrained 100-100-2 network.

The paper's setting: labels known, 30 restarts, 1500 iterations, 50 batches. The network and its
one-hot input are the paper's; so is the search, all restarts side by side
(``attacks.searching.descent``). Where we differ: levels and numbers of the attacker come from
people who are not attacked, not from train and test together.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from aggregation.data.patients import Patients, Schema
from attacks.knowledge.features import Feature, features_of, project
from attacks.knowledge.priors import Prior
from attacks.scoring import baseline_accuracies, matched_accuracies
from attacks.searching.descent import descend
from attacks.searching.search import align, median

__all__ = ["PUBLISHED", "OneHot", "Result", "Soft", "TwoLayer", "attack_batch"]

PUBLISHED = {
    (8, "tableak"): (0.952, 0.088),
    (32, "tableak"): (0.791, 0.040),
    (8, "guess"): (0.539, 0.044),
}
"""Mean and standard deviation over batches of the paper's accuracies, by batch size and attack."""


@dataclass(frozen=True)
class OneHot:
    """Full one-hot columns, standardised: numbers first, then each group, its reference first.

    Attributes:
      matrix: From our dummy-coded columns: ``x @ matrix`` is the one-hot row, less ``constant``.
      constant: 1 for references, 0 else.
      mean: Of each one-hot column over the table.
      sd: Its deviation.
    """

    matrix: Float[np.ndarray, "features inputs"]
    constant: Float[np.ndarray, "inputs"]
    mean: Float[np.ndarray, "inputs"]
    sd: Float[np.ndarray, "inputs"]

    @classmethod
    def of(cls, schema: Schema, people: Patients) -> "OneHot":
        """Standardise each column by the table."""
        identity = np.eye(len(schema))
        features = features_of(schema)
        columns = [identity[f.columns[0]] for f in features if f.numeric]
        constant = [0.0] * len(columns)
        for f in features:
            if not f.numeric:  # the reference is one minus the others
                members = identity[list(f.columns)]
                columns += [-members.sum(axis=0), *members]
                constant += [1.0] + [0.0] * len(members)
        matrix = np.stack(columns, axis=1)
        raw = people.features @ matrix + constant
        return cls(matrix, np.array(constant), raw.mean(axis=0), np.maximum(raw.std(axis=0), 1e-9))

    def __call__(self, x: Float[np.ndarray, "*shape features"]) -> Tensor:
        """The network's inputs ``[*shape, inputs]`` of patients."""
        raw = x @ self.matrix + self.constant
        return torch.tensor((raw - self.mean) / self.sd, dtype=torch.float32)


@dataclass(frozen=True)
class Soft:
    """Guessed batches as free numbers and logits (Vero et al. 2023, section 4.1).

    Attributes:
      features: Of the schema.
      low: Lower bound of each number, standardised.
      high: Its upper bound.
      scales: The prior's centre and spread of each number.
      log_priors: Log-probabilities of each categorical feature's levels.
      mean: Of each input.
      sd: Its deviation.
    """

    features: tuple[Feature, ...]
    low: Tensor
    high: Tensor
    scales: tuple[tuple[float, float], ...]
    log_priors: tuple[NDArray[np.float64], ...]
    mean: Tensor
    sd: Tensor

    @classmethod
    def of(cls, prior: Prior, inputs: OneHot) -> "Soft":
        """Take ranges and marginals from a prior."""
        numbers = [f for f in prior.features if f.numeric]
        return cls(
            prior.features,
            torch.tensor([f.low for f in numbers], dtype=torch.float32),
            torch.tensor([f.high for f in numbers], dtype=torch.float32),
            tuple(prior.scale(f) for f in numbers),
            tuple(np.log(prior.levels[f.name]) for f in prior.features if not f.numeric),
            torch.tensor(inputs.mean, dtype=torch.float32),
            torch.tensor(inputs.sd, dtype=torch.float32),
        )

    def start(self, restarts: int, size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Draw first numbers from the prior, and first logits near its log-probabilities."""
        centre, spread = np.array(self.scales).T
        value = centre + spread * rng.normal(size=(restarts, size, len(centre)))
        share = ((value - self.low.numpy()) / (self.high - self.low).numpy()).clip(0.02, 0.98)
        logits = 0.5 * np.concatenate(self.log_priors)
        logits = logits + rng.uniform(-1, 1, (restarts, size, len(logits)))
        return (
            torch.logit(torch.tensor(share, dtype=torch.float32)),
            torch.tensor(logits, dtype=torch.float32),
        )

    def columns(self, numbers: Tensor, logits: Tensor) -> list[Tensor]:
        """All numbers in one tensor, then each group's probabilities."""
        values = self.low + (self.high - self.low) * torch.sigmoid(numbers)
        groups = torch.split(logits, [len(p) for p in self.log_priors], dim=-1)
        return [values, *(torch.softmax(z, dim=-1) for z in groups)]

    def inputs(self, numbers: Tensor, logits: Tensor) -> Tensor:
        """The network's inputs, softened."""
        return (torch.cat(self.columns(numbers, logits), dim=-1) - self.mean) / self.sd

    def patients(self, numbers: Tensor, logits: Tensor) -> Float[np.ndarray, "restarts size x"]:
        """Valid patients, in our columns."""
        values, *groups = (c.numpy().astype(np.float64) for c in self.columns(numbers, logits))
        x = np.zeros((*values.shape[:2], sum(len(f.columns) for f in self.features)))
        x[..., [f.columns[0] for f in self.features if f.numeric]] = values
        for f, shares in zip((f for f in self.features if not f.numeric), groups, strict=True):
            x[..., list(f.columns)] = shares[..., 1:]
        return np.stack([project(rows, self.features) for rows in x])


@dataclass(frozen=True)
class TwoLayer:
    """Mean gradient of a ReLU network inputs-100-100-2 under cross-entropy, by hand, batched.

    Attributes:
      weights: Three matrices ``[out, in]``.
      biases: Three vectors.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]

    @classmethod
    def untrained(cls, inputs: int, rng: np.random.Generator) -> "TwoLayer":
        """Draw torch's default first weights."""
        sizes = (inputs, 100, 100, 2)
        weights, biases = [], []
        for fan_in, fan_out in itertools.pairwise(sizes):
            bound = fan_in**-0.5
            draw = rng.uniform(-bound, bound, (fan_out, fan_in + 1))
            weights.append(torch.tensor(draw[:, :-1], dtype=torch.float32))
            biases.append(torch.tensor(draw[:, -1], dtype=torch.float32))
        return cls(tuple(weights), tuple(biases))

    def layers(self, a0: Tensor, y: Tensor, present: Tensor) -> list[tuple[Tensor, Tensor]]:
        """What a layer's gradient is the product of: its error and its input, patient by patient.

        Both are ``[restarts, patients, units]``; the error is a share of the batch's mean.
        """
        w1, w2, w3 = self.weights
        b1, b2, b3 = self.biases
        a1 = torch.relu(a0 @ w1.T + b1)
        a2 = torch.relu(a1 @ w2.T + b2)
        p = torch.softmax(a2 @ w3.T + b3, dim=-1)
        truth = torch.stack([1 - y, y], dim=-1)
        d3 = (p - truth) * present[..., None] / present.sum(1)[:, None, None]
        d2 = (d3 @ w3) * (a2.detach() > 0)
        d1 = (d2 @ w2) * (a1.detach() > 0)
        return [(d1, a0), (d2, a1), (d3, a2)]

    def __call__(self, inputs: Tensor, y: Tensor, present: Tensor) -> Tensor:
        """Gradients ``[restarts, dim]`` of guessed batches."""
        parts = []
        for d, a in self.layers(inputs, y, present):
            parts += [(d.transpose(1, 2) @ a).flatten(1), d.sum(1)]
        return torch.cat(parts, dim=1)

    def misfit(self, target: Tensor) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """One minus the cosine of guessed batches' gradients to a target: ``[restarts]``.

        No gradient is written out: a product of errors and inputs meets the target patient by
        patient, and itself in two small Gram matrices.
        """
        sizes = [n for w, b in zip(self.weights, self.biases, strict=True)
                 for n in (w.numel(), b.numel())]  # fmt: skip
        seen = torch.split(target, sizes)
        norm = target.norm()

        def losses(inputs: Tensor, y: Tensor, present: Tensor) -> Tensor:
            inner, square = torch.zeros(len(y)), torch.zeros(len(y))
            for k, (d, a) in enumerate(self.layers(inputs, y, present)):
                shown = a @ seen[2 * k].reshape(d.shape[-1], -1).T + seen[2 * k + 1]
                inner = inner + (d * shown).sum((1, 2))
                square = square + ((d @ d.mT) * (a @ a.mT + 1)).sum((1, 2))
            return torch.rsub(inner / (norm * square.clamp(min=1e-30).sqrt()), 1)

        return losses


@dataclass(frozen=True)
class Result:
    """One batch: share of mixed features right, by attack, and of records right in all."""

    accuracy: float
    exact: float
    guess: float


def attack_batch(
    people: Patients,
    schema: Schema,
    inputs: OneHot,
    *,
    size: int,
    seed: int,
    restarts: int = 30,
    iterations: int = 1500,
) -> Result:
    """Attack one random batch of an untrained network with known labels."""
    rng = np.random.default_rng([seed, size])
    chosen = rng.choice(len(people), size, replace=False)
    batch = people.take(chosen)
    prior = Prior.from_table(schema, people.take(np.setdiff1d(np.arange(len(people)), chosen)))
    network = TwoLayer.untrained(len(inputs.constant), rng)
    labels = np.sort(batch.outcomes)
    truth = batch.features[np.argsort(batch.outcomes, kind="stable")]
    y = torch.tensor(labels, dtype=torch.float32).expand(restarts, size)
    present, soft = torch.ones((restarts, size)), Soft.of(prior, inputs)
    with torch.no_grad():
        target = network(inputs(truth)[None], y[:1], present[:1])[0]
    misfit, free = network.misfit(target), soft.start(restarts, size, rng)
    descend(
        free, lambda: misfit(soft.inputs(*free), y, present), iterations=iterations, rate=0.06
    )  # fmt: skip
    with torch.no_grad():
        valid = soft.patients(*free)
        losses = misfit(inputs(valid), y, present).numpy()
    order = np.argsort(losses, kind="stable")
    aligned = align([valid[i] for i in order], labels, prior.features)
    accuracy = matched_accuracies(median(aligned, prior.features), truth, prior.features)
    guess = baseline_accuracies(prior, truth, size, rng, draws=5)["draws"]
    return Result(float(accuracy.mean()), float((accuracy >= 1 - 1e-9).mean()), float(guess.mean()))
