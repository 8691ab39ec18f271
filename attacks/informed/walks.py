r"""Updates of several local steps: what given batches send, and walks that end where one ended.

A hospital that walks several steps moves the model by each batch, so that one patient changes what
all later ones add. Who knows the batches replays the walk. Who knows nobody draws whole walks of
public people and looks at their sums; but a drawn walk leads elsewhere than the one that was seen,
and gradients elsewhere are other gradients. So a drawn walk is bent until it ends where the seen
one did (a bridge): with :math:`\theta_s` its models, T its sum, S the one that was seen, the same
batches are sent through :math:`\theta_s - c\,(S - T)\,s / k`, k steps, c what a step
multiplies a sum by. Their gradients' sum has, to first order, the law of what was seen.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.special import logsumexp

from aggregation.data.patients import Patients
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from attacks.informed.others import normal_ratio, scaled_density
from attacks.informed.seen_sums import ROUNDING, Openings
from attacks.knowledge.replay import integer_rows

__all__ = ["Walk", "bridged", "bridged_together", "drawn_batches", "walk_ratios", "walked"]

_WALKS = 16  # over which is averaged what one person changes
_BATCHES = 512  # walks that the article's law is averaged over

Batches = Sequence[Patients]


@dataclass(frozen=True)
class Walk:
    """A walk of several local steps.

    Attributes:
      models: At which each step's gradients are taken, ``[steps, dim]``.
      sums: Of each step's clipped and rounded gradients, without noise, in integer steps.
      sent: The sum of what moved the model: of ``sums`` and their noise.
    """

    models: Float[np.ndarray, "steps dim"]
    sums: Float[np.ndarray, "steps dim"]
    sent: Float[np.ndarray, "dim"]


def walked(
    plan: Plan,
    hospital: str,
    params: Float[np.ndarray, "dim"],
    batches: Batches,
    noise: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
) -> Walk:
    """Walk as a hospital does.

    Guarantees (each is a test in ``tests/attacks/informed/test_walks.py``):
      - without noise ``sent`` is what the hospital sends, to the last integer.

    Args:
      plan: What was agreed.
      hospital: Whose walk: its batch size is declared.
      params: The model of the round.
      batches: The patients of each local step.
      noise: Draws what is added to a step's sum, in integer steps; None: there is none.
    """
    models, sums = [], []
    sent = np.zeros(len(params))
    for batch in batches:
        models.append(params)
        sums.append(_sum(plan, params, batch))
        step = sums[-1] if noise is None else sums[-1] + noise(sums[-1])
        params = params - _move(plan, hospital) * step
        sent = sent + step
    return Walk(np.stack(models), np.stack(sums), sent)


def bridged(
    plan: Plan, hospital: str, walk: Walk, batches: Batches, ends: Float[np.ndarray, "dim"]
) -> Walk:
    """Bend a drawn walk so that it leads to a given sum, and send its batches along it.

    Args:
      plan: What was agreed.
      hospital: Whose walk.
      walk: That was drawn.
      batches: The patients of its steps.
      ends: The sum that it is to lead to, in integer steps.
    """
    missing = _move(plan, hospital) * (ends - walk.sent)
    shares = np.arange(len(walk.models))[:, None] / len(walk.models)
    models = walk.models - shares * missing
    later = [_sum(plan, m, b) for m, b in zip(models[1:], batches[1:], strict=True)]
    return Walk(models, np.stack([walk.sums[0], *later]), ends)


def bridged_together(
    plan: Plan,
    walks: Mapping[str, Walk],
    batches: Mapping[str, Batches],
    ends: Float[np.ndarray, "dim"],
) -> dict[str, Walk]:
    """Bend all hospitals' walks, each by as much, so that together they lead to a given sum.

    Args:
      plan: What was agreed.
      walks: That were drawn, by hospital.
      batches: The patients of their steps.
      ends: The sum that they are to lead to, in integer steps.
    """
    missing = (ends - sum(walk.sent for walk in walks.values())) / len(walks)
    return {n: bridged(plan, n, w, batches[n], w.sent + missing) for n, w in walks.items()}


def drawn_batches(
    plan: Plan, hospital: str, people: Patients, rng: np.random.Generator, *, less: float = 0.0
) -> list[Patients]:
    """Draw the batches of one walk from public people: the same in each step, or each anew.

    Args:
      plan: What was agreed.
      hospital: Whose walk.
      people: Public ones.
      rng: Draws.
      less: Patients by whom the first batch is expected to be smaller: who is looked at apart.
    """
    size = plan.batch_sizes[plan.hospitals.index(hospital)]
    if plan.sampling_size is None:
        batch = people.take(rng.integers(len(people), size=max(0, round(size - less))))
        return [batch] * plan.local_steps
    sizes = rng.poisson([max(0.0, size - less), *[size] * (plan.local_steps - 1)])
    return [people.take(rng.integers(len(people), size=count)) for count in sizes]


def walk_ratios(
    opening: Openings,
    hospital: str,
    people: Patients,
    drawn: Patients,
    rng: np.random.Generator,
) -> Float[np.ndarray, "people"]:
    """Return each person's log-ratio by one sum of several local steps, of one hospital or more.

    What a person changes is the mean over some walks with the person in the first batch (in all of
    them, where all patients are), less those without.

    Args:
      opening: One sum.
      hospital: Whose patients the people would be.
      people: Candidates.
      drawn: Public people, as many as there are walks.
      rng: Draws the walks.
    """
    plan, seen = opening.plan, opening.seen[0]
    params = {u.hospital: u.params for u in opening.uploads}
    article = plan.noise == NoiseKind.ARTICLE
    count = _BATCHES if article else len(drawn)
    sums: list[NDArray[np.float64]] = []
    changes: list[list[NDArray[np.float64]]] = []
    for _ in range(count):
        batches = {
            n: drawn_batches(plan, n, drawn, rng, less=opening.prob(n) * (n == hospital))
            for n in params
        }
        walks = {n: walked(plan, n, params[n], batches[n], _noise(plan, rng)) for n in params}
        bent = bridged_together(plan, walks, batches, seen)
        sums.append(np.sum([walk.sums for walk in bent.values()], axis=0))
        if len(changes) < _WALKS:
            changes.append([])
            for i in range(len(people)):
                with_one = _joined(plan, batches[hospital], people.take(np.array([i])))
                walk = walked(plan, hospital, params[hospital], with_one)
                joined_walks = {**walks, hospital: walk}
                there = bridged_together(plan, joined_walks, {**batches, hospital: with_one}, seen)
                moved_to = np.sum([walk.sums for walk in there.values()], axis=0)
                changes[-1].append(moved_to - sums[-1])
    steps, moved = np.stack(sums), np.mean(changes, axis=0)
    if article:
        apart = range(plan.local_steps)
        beside = np.broadcast_to(seen, steps[:, 0].shape)

        def law(added: NDArray[np.float64]) -> NDArray[np.float64]:
            log_densities = scaled_density(
                plan, beside, [steps[:, s] for s in apart], [added[:, s] for s in apart]
            )
            return np.asarray(logsumexp(log_densities, axis=0))

        return law(moved) - law(np.zeros_like(moved[:1]))
    total = steps.sum(axis=1)
    apart_from_mean = total - total.mean(axis=0)
    held = sum(opening.expected(n) for n in params) * plan.local_steps
    cov = apart_from_mean.T @ apart_from_mean / count
    cov += np.eye(len(seen)) * (opening.noise[0, 0] + held * ROUNDING)
    values, axes = np.linalg.eigh(cov)
    return normal_ratio((seen - total.mean(axis=0)) @ axes, moved.sum(axis=1) @ axes, values)


def _joined(plan: Plan, batches: Batches, person: Patients) -> list[Patients]:
    """The same batches with one person more: in the first step, or in all of them."""

    def more(batch: Patients) -> Patients:
        return Patients(
            np.concatenate([batch.features, person.features]),
            np.concatenate([batch.outcomes, person.outcomes]),
        )

    if plan.sampling_size is None:
        return [more(batches[0])] * len(batches)
    return [more(batches[0]), *batches[1:]]


def _noise(
    plan: Plan, rng: np.random.Generator
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    factor = math.sqrt(2 * math.log(1.25 / plan.delta)) / (plan.epsilon or math.inf)

    def draw(total: NDArray[np.float64]) -> NDArray[np.float64]:
        article = plan.noise == NoiseKind.ARTICLE
        std = factor * float(np.linalg.norm(total)) if article else plan.share_std
        return rng.normal(0.0, 1.0, len(total)) * std if std > 0 else np.zeros(len(total))

    return draw


def _move(plan: Plan, hospital: str) -> float:
    """What a local step multiplies a sum of integers by."""
    size = plan.batch_sizes[plan.hospitals.index(hospital)]
    return plan.learning_rate * plan.step / size


def _sum(plan: Plan, params: NDArray[np.float64], batch: Patients) -> NDArray[np.float64]:
    if len(batch) == 0:
        return np.zeros(len(params))
    rows = integer_rows(plan, params, batch.features, batch.outcomes)
    return np.asarray(rows.sum(axis=0), dtype=np.float64)
