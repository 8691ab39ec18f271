r"""TabLeak on Adult (Vero et al. 2023, Tables 1 and 2): batches of an untrained 100-100-2 network.

The paper's setting: labels known, 30 restarts, 1500 iterations, 50 batches. The network and its
one-hot input are the paper's; the search is ours (``attacks.search``). Where we differ: levels and
numbers of the attacker come from people who are not attacked, not from train and test together.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from aggregation.patients import Patients, Schema
from attacks.features import project
from attacks.priors import Prior
from attacks.relaxation import Relaxation
from attacks.scoring import baseline_accuracies, matched_accuracies
from attacks.search import align, median, optimise

__all__ = ["PUBLISHED", "OneHot", "Result", "TwoLayer", "attack_batch"]

PUBLISHED = {
    (8, "tableak"): (0.952, 0.088),
    (32, "tableak"): (0.791, 0.040),
    (8, "guess"): (0.539, 0.044),
}
"""Mean and standard deviation over batches of the paper's accuracies, by batch size and attack."""


@dataclass(frozen=True)
class OneHot:
    """Full one-hot columns, standardised, from our dummy-coded ones: ``x @ matrix + offset``.

    Attributes:
      matrix: ``[features, inputs]``.
      offset: ``[inputs]``.
    """

    matrix: Float[np.ndarray, "features inputs"]
    offset: Float[np.ndarray, "inputs"]

    @classmethod
    def of(cls, schema: Schema, people: Patients) -> "OneHot":
        """Standardise each column by the table."""
        width = len(schema)
        columns: list[tuple[NDArray[np.float64], float]] = [
            (np.eye(width)[i], 0.0) for i in range(width)
        ]
        for members in schema.groups.values():  # the reference: one minus the others
            row = np.zeros(width)
            row[list(members)] = -1.0
            columns.append((row, 1.0))
        matrix = np.stack([c for c, _ in columns], axis=1)
        offset = np.array([o for _, o in columns])
        raw = people.features @ matrix + offset
        mean, sd = raw.mean(axis=0), np.maximum(raw.std(axis=0), 1e-9)
        return cls(matrix / sd, (offset - mean) / sd)


@dataclass(frozen=True)
class TwoLayer:
    """Mean gradient of a ReLU network inputs-100-100-2 under cross-entropy, by hand, batched.

    Attributes:
      weights: Three matrices ``[out, in]``.
      biases: Three vectors.
      matrix: From our columns to the network's inputs.
      offset: Likewise.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    matrix: Tensor
    offset: Tensor

    @classmethod
    def untrained(cls, inputs: OneHot, rng: np.random.Generator) -> "TwoLayer":
        """Draw torch's default first weights."""
        sizes = (len(inputs.offset), 100, 100, 2)
        weights, biases = [], []
        for fan_in, fan_out in itertools.pairwise(sizes):
            bound = fan_in**-0.5
            draw = rng.uniform(-bound, bound, (fan_out, fan_in + 1))
            weights.append(torch.tensor(draw[:, :-1], dtype=torch.float32))
            biases.append(torch.tensor(draw[:, -1], dtype=torch.float32))
        return cls(
            tuple(weights),
            tuple(biases),
            torch.tensor(inputs.matrix, dtype=torch.float32),
            torch.tensor(inputs.offset, dtype=torch.float32),
        )

    def layers(self, x: Tensor, y: Tensor, present: Tensor) -> list[tuple[Tensor, Tensor]]:
        """What a layer's gradient is the product of: its error and its input, patient by patient.

        Both are ``[restarts, patients, units]``; the error is a share of the batch's mean.
        """
        w1, w2, w3 = self.weights
        b1, b2, b3 = self.biases
        a0 = x @ self.matrix + self.offset
        a1 = torch.relu(a0 @ w1.T + b1)
        a2 = torch.relu(a1 @ w2.T + b2)
        p = torch.softmax(a2 @ w3.T + b3, dim=-1)
        truth = torch.stack([1 - y, y], dim=-1)
        d3 = (p - truth) * present[..., None] / present.sum(1)[:, None, None]
        d2 = (d3 @ w3) * (a2.detach() > 0)
        d1 = (d2 @ w2) * (a1.detach() > 0)
        return [(d1, a0), (d2, a1), (d3, a2)]

    def __call__(self, x: Tensor, y: Tensor, present: Tensor) -> Tensor:
        """Gradients ``[restarts, dim]`` of guessed batches."""
        parts = []
        for d, a in self.layers(x, y, present):
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

        def losses(x: Tensor, y: Tensor, present: Tensor) -> Tensor:
            inner, square = torch.zeros(len(x)), torch.zeros(len(x))
            for k, (d, a) in enumerate(self.layers(x, y, present)):
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
    forward = TwoLayer.untrained(inputs, rng)
    labels = np.sort(batch.outcomes)
    truth = batch.features[np.argsort(batch.outcomes, kind="stable")]
    with torch.no_grad():
        target = forward(
            torch.tensor(truth, dtype=torch.float32)[None],
            torch.tensor(labels, dtype=torch.float32)[None],
            torch.ones((1, size)),
        )[0]
    y = torch.tensor(labels, dtype=torch.float32).expand(restarts, size)
    present, misfit = torch.ones((restarts, size)), forward.misfit(target)
    soft = optimise(
        Relaxation.of(prior, torch.float32), lambda x, _: misfit(x, y, present), restarts, size,
        rng, iterations=iterations, rate=0.06,
    )  # fmt: skip
    valid = np.stack([project(rows, prior.features) for rows in soft])
    with torch.no_grad():
        losses = misfit(torch.tensor(valid, dtype=torch.float32), y, present).numpy()
    order = np.argsort(losses, kind="stable")
    aligned = align([valid[i] for i in order], labels, prior.features)
    accuracy = matched_accuracies(median(aligned, prior.features), truth, prior.features)
    guess = baseline_accuracies(prior, truth, size, rng, draws=5)["draws"]
    return Result(float(accuracy.mean()), float((accuracy >= 1 - 1e-9).mean()), float(guess.mean()))
