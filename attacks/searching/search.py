"""Searches share this: match a gradient, align restarts, vote."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from attacks.knowledge.features import Feature, errors, project
from attacks.knowledge.priors import Prior
from attacks.searching.descent import descend
from attacks.searching.relaxation import Relaxation

__all__ = ["agreement", "align", "best_half", "likeliest", "match", "median"]

Forward = Callable[[Tensor, Tensor, Tensor], Tensor]


def match(
    forward: Forward,
    target: Float[Tensor, "dim"],
    relaxation: Relaxation,
    labels: Float[Tensor, "restarts patients"],
    present: Float[Tensor, "restarts patients"],
    rng: np.random.Generator,
    *,
    iterations: int,
    rate: float,
    variance: float = 0.0,
) -> Float[np.ndarray, "restarts patients features"]:
    """Move guessed batches until their gradient looks like ``target``; return soft patients.

    Args:
      forward: Guessed patients, outcomes and presence to gradients ``[restarts, dim]``.
      target: The gradient that was seen, in units of the parameters.
      relaxation: From free numbers to soft patients.
      labels: Outcome of each guessed patient.
      present: 1 for a patient, 0 for padding.
      rng: Draws the starts.
      iterations: Steps.
      rate: First step, in the free numbers; it falls to a tenth.
      variance: Of the noise on each coordinate, in squared units of the parameters. 0: the loss is
        one minus the cosine; else the negative log-posterior.
    """
    unit = target / torch.linalg.vector_norm(target).clamp(min=1e-30)

    def losses(x: Tensor, shares: Tensor) -> Tensor:
        seen = forward(x, labels, present)
        if variance > 0:
            likelihood = (seen - target).square().sum(1) / (2 * variance)
            return likelihood + (relaxation.negative_log_prior(x, shares) * present).sum(1)
        norms = torch.linalg.vector_norm(seen, dim=1).clamp(min=1e-30)
        return torch.rsub((seen @ unit) / norms, 1)

    free = relaxation.start(labels.shape[0], labels.shape[1], rng)
    descend(free, lambda: losses(*relaxation.soften(*free)), iterations=iterations, rate=rate)
    with torch.no_grad():
        return relaxation.to_numpy(relaxation.soften(*free)[0])


def likeliest(
    forward: Forward,
    target: Float[Tensor, "dim"],
    soft: Float[np.ndarray, "restarts patients features"],
    labels: Float[Tensor, "restarts patients"],
    prior: Prior,
    *,
    variance: float,
) -> Float[np.ndarray, "patients features"]:
    """Return the best batch once it is made valid, or the prior's guesses if noise drowned it.

    A number that is fitted to pure noise gains one half of log-likelihood on average; twice that is
    asked for (Akaike 1974).

    Args:
      forward: As ``match``'s.
      target: As ``match``'s.
      soft: What ``match`` returned.
      labels: Outcome of each guessed patient.
      prior: Whose guesses stand against the best batch.
      variance: Of the noise on each coordinate; 0: nothing is held against the guesses.
    """
    valid = np.stack([project(rows, prior.features) for rows in soft])
    people, width = soft.shape[1:]
    blind = prior.best_guesses(people)
    present = torch.ones_like(labels)
    with torch.no_grad():
        losses, guessed = (
            (forward(torch.tensor(x, dtype=target.dtype, device=target.device), y, p) - target)
            .square()
            .sum(1)
            for x, y, p in ((valid, labels, present), (blind[None], labels[:1], present[:1]))
        )
    best = int(losses.argmin())
    drowned = float(guessed[0] - losses[best]) < 2 * variance * people * width
    return blind if drowned else np.asarray(valid[best])


def align(
    pool: Sequence[Float[np.ndarray, "patients features"]],
    labels: Int[np.ndarray, "patients"],
    features: tuple[Feature, ...],
) -> Float[np.ndarray, "restarts patients features"]:
    """Align every batch of a pool to its first, patient by patient (Hungarian, within outcomes)."""
    best = pool[0]
    aligned = [best]
    for other in pool[1:]:
        cost = errors(other, best, features).mean(-1).T.astype(np.float64)
        cost += 10.0 * (labels[:, None] != labels[None, :])
        aligned.append(other[linear_sum_assignment(cost)[1]])
    return np.stack(aligned)


def best_half(
    valid: Sequence[Float[np.ndarray, "patients features"]],
    misfits: Float[np.ndarray, "restarts"],
    labels: Int[np.ndarray, "patients"],
    features: tuple[Feature, ...],
) -> Float[np.ndarray, "pool patients features"]:
    """Return the batches that fit best, at least one, each aligned to the very best: who votes."""
    order = np.argsort(misfits, kind="stable")
    return align([valid[i] for i in order[: (len(valid) + 1) // 2]], labels, features)


def agreement(
    aligned: Float[np.ndarray, "restarts patients features"],
    records: Float[np.ndarray, "patients features"],
    features: tuple[Feature, ...],
) -> Float[np.ndarray, "patients mixed"]:
    """Share of aligned batches that have each feature of each record right."""
    patients = np.arange(len(records))
    right = [~errors(rows, records, features)[patients, patients] for rows in aligned]
    return np.asarray(np.mean(right, axis=0))


def median(
    aligned: Float[np.ndarray, "restarts patients features"], features: tuple[Feature, ...]
) -> Float[np.ndarray, "patients features"]:
    """Elementwise median, made valid: the majority's level, the median number."""
    return project(np.median(aligned, axis=0), features)
