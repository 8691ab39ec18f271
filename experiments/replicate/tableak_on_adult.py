r"""TabLeak on Adult (Vero et al. 2023, Tables 1 and 2): batches of an untrained 100-100-2 network.

The paper's setting: labels known, 30 restarts, 1500 iterations, 50 batches. The network and its
one-hot input are the paper's; the search is the suite's own (``attacks.searching``), so that what
the paper is held against is what attacks elsewhere. Where we differ: levels and numbers of the
attacker come from people who are not attacked, not from train and test together, and the better
half of the restarts votes.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from aggregation.data.patients import Patients, Schema
from attacks.knowledge.features import features_of, project
from attacks.knowledge.priors import Prior
from attacks.scoring import baseline_accuracies, matched_accuracies
from attacks.searching.relaxation import Relaxation
from attacks.searching.search import best_half, match, median
from attacks.searching.tableak import TabLeak

__all__ = ["PUBLISHED", "OneHot", "Result", "TwoLayer", "attack_batch", "recovered"]

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

    def __call__(self, x: Float[Tensor, "*shape features"]) -> Tensor:
        """The network's inputs ``[*shape, inputs]`` of patients, valid ones or soft."""
        matrix = torch.tensor(self.matrix / self.sd, dtype=x.dtype)
        return x @ matrix + torch.tensor((self.constant - self.mean) / self.sd, dtype=x.dtype)


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

    def __call__(self, inputs: Tensor, y: Tensor, present: Tensor) -> Tensor:
        """Gradients ``[restarts, dim]`` of guessed batches ``[restarts, patients, inputs]``."""
        w1, w2, w3 = self.weights
        b1, b2, b3 = self.biases
        a1 = torch.relu(inputs @ w1.T + b1)
        a2 = torch.relu(a1 @ w2.T + b2)
        p = torch.softmax(a2 @ w3.T + b3, dim=-1)
        truth = torch.stack([1 - y, y], dim=-1)
        d3 = (p - truth) * present[..., None] / present.sum(1)[:, None, None]
        d2 = (d3 @ w3) * (a2.detach() > 0)
        d1 = (d2 @ w2) * (a1.detach() > 0)
        parts = []
        for d, a in ((d1, inputs), (d2, a1), (d3, a2)):
            parts += [(d.mT @ a).flatten(1), d.sum(1)]
        return torch.cat(parts, dim=1)


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
    with torch.no_grad():
        y = torch.tensor(labels, dtype=torch.float32)[None]
        target = network(inputs(_patients(truth[None])), y, torch.ones((1, size)))[0]
    reconstruction = recovered(
        target, labels, network, inputs, prior, rng, restarts=restarts, iterations=iterations
    )
    accuracy = matched_accuracies(reconstruction, truth, prior.features)
    guess = baseline_accuracies(prior, truth, size, rng, draws=5)["draws"]
    return Result(float(accuracy.mean()), float((accuracy >= 1 - 1e-9).mean()), float(guess.mean()))


def recovered(
    target: Float[Tensor, "dim"],
    labels: Int[np.ndarray, "patients"],
    network: Callable[[Tensor, Tensor, Tensor], Tensor],
    inputs: Callable[[Tensor], Tensor],
    prior: Prior,
    rng: np.random.Generator,
    *,
    restarts: int,
    iterations: int,
) -> Float[np.ndarray, "patients features"]:
    """Return the people whose mean gradient it is, as the search finds them.

    Args:
      target: The gradient.
      labels: Theirs, in order.
      network: At which it was taken: inputs, outcomes and presence to gradients, as ``TwoLayer``.
      inputs: What the network is given of a person, as ``OneHot``.
      prior: Of other people.
      rng: Of the starts.
      restarts: Of the search.
      iterations: Of each.
    """
    y = torch.tensor(labels, dtype=torch.float32).expand(restarts, len(labels))
    present = torch.ones((restarts, len(labels)))

    def forward(x: Tensor, y: Tensor, present: Tensor) -> Tensor:
        return network(inputs(x), y, present)

    relaxation = Relaxation.of(prior, torch.float32)
    soft = match(
        forward, target, relaxation, y, present, rng, iterations=iterations, rate=TabLeak.rate
    )
    valid = np.stack([project(rows, prior.features) for rows in soft])
    with torch.no_grad():
        misfits = (forward(_patients(valid), y, present) - target).square().sum(1).numpy()
    return median(best_half([*valid], misfits, labels, prior.features), prior.features)


def _patients(x: NDArray[np.float64]) -> Tensor:
    return torch.tensor(x, dtype=torch.float32)
