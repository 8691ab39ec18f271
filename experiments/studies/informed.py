"""Line-ups before the strongest adversary: it knows everybody but the target, and who was drawn.

Of a run it sees what its position sees, in *all* rounds; it knows every other training patient, who
of them was drawn when, and that the target was drawn in the first round (later: with the plan's
probability); where sums are sealed it colludes with as many hospitals as the plan allows for. The
ten people of the line-up are its prior. Its answer is the maximum of the exact posterior
(``attacks.pool``), so that no attack on this view names the target more often, and the proven bound
is for it in particular: what lies between the two is the geometry of the ten gradients.

Nothing that the line-up rests on is given away: folds are drawn at random within hospital and
outcome, so that given all other training patients each of the ten is equally likely to be the one
who took part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from aggregation.federation import Outcome
from aggregation.patients import Patients
from aggregation.plan import Plan
from attacks.pool import article_log_ratios, log_ratios
from attacks.replay import integer_rows
from attacks.views import Gradient, GradientView
from privacy.errors import RefusedError

__all__ = ["Group", "log_likelihoods", "name_targets"]


@dataclass(frozen=True)
class Group:
    """One line-up.

    Attributes:
      hospital: Where all ten were treated.
      target: The target's place among the patients of the hospital's first batch.
      people: ``[people, features]``, standardised, the target first.
      outcome: That of all ten.
      traits: Of the target, for scoring alone.
    """

    hospital: str
    target: int
    people: Float[np.ndarray, "people features"]
    outcome: int
    traits: tuple[str, ...] = ()


def name_targets(
    view: GradientView, outcome: Outcome, groups: Sequence[Group], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the place that the adversary names in each line-up; ties are broken at random."""
    logs = log_likelihoods(view, outcome, groups)
    best = logs >= logs.max(axis=1, keepdims=True) - 1e-9
    return np.array([int(rng.choice(np.flatnonzero(row))) for row in best], dtype=np.int64)


def log_likelihoods(
    view: GradientView, outcome: Outcome, groups: Sequence[Group]
) -> Float[np.ndarray, "groups people"]:
    """Return the log-likelihood of every candidate of every line-up, over all rounds.

    It equals ``attacks.informed.InformedPool`` with each target's own knowledge, one by one (a
    test holds it against that); here what all targets share is subtracted once a round.

    Args:
      view: Single updates, or sums, of all rounds.
      outcome: The run: who was drawn, and what colluding hospitals sent.
      groups: The line-ups, all of one number of people.

    Raises:
      RefusedError: Several local steps, or the hospital as the unit.
    """
    plan = view.plan
    if plan.local_steps > 1 or plan.unit != "patient":
        raise RefusedError("The informed adversary reads one-step sums of patients' gradients.")
    people = np.stack([g.people for g in groups])
    logs = np.zeros(people.shape[:2])
    for gradient in view.gradients:
        places = np.array([i for i, g in enumerate(groups) if g.hospital in gradient.hospitals])
        if len(places):
            chosen = [groups[i] for i in places]
            logs[places] += _one_round(plan, gradient, outcome, chosen, people[places])
    return logs


def _one_round(
    plan: Plan,
    gradient: Gradient,
    outcome: Outcome,
    groups: Sequence[Group],
    people: NDArray[np.float64],
) -> NDArray[np.float64]:
    round_, params = gradient.round, gradient.params
    drawn = {name: outcome.drawn[name][round_][0] for name in gradient.hospitals}
    count, k, features = people.shape
    labels = np.repeat([g.outcome for g in groups], k).astype(np.int64)
    present = np.array([_was_drawn(g, outcome, round_) for g in groups])
    logs = np.zeros((count, k))
    article = plan.noise == "article"

    def rows_of(x: NDArray[np.float64], y: NDArray[np.int64]) -> NDArray[np.float64]:
        if article:
            return plan.model.per_patient_gradients(params, x, y)
        return integer_rows(plan, params, x, y).astype(np.float64)

    rows = rows_of(people.reshape(-1, features), labels).reshape(count, k, -1)
    own = rows[:, 0] * present[:, None]  # the one patient whom the adversary doesn't know
    sums = {n: rows_of(p.features, p.outcomes).sum(axis=0) for n, p in drawn.items()}
    for hospital in dict.fromkeys(g.hospital for g in groups):
        at = np.array([i for i, g in enumerate(groups) if g.hospital == hospital])
        prob = 1.0 if round_ == 0 else plan.sampling_probs[plan.hospitals.index(hospital)]
        if article:
            known = sums[hospital] - own[at]
            logs[at] = article_log_ratios(plan, gradient.integers, known, rows[at], prob=prob)
            continue
        colluders = _colluders(plan, gradient, hospital)
        left = gradient.integers.astype(np.float64)
        for name in gradient.hospitals:
            left = left - (outcome.sent[name][round_] if name in colluders else sums[name])
        honest = len(gradient.hospitals) - len(colluders)
        std = plan.share_std * honest**0.5
        logs[at] = log_ratios(left + own[at], rows[at], std=std, prob=prob)
    return logs


def _colluders(plan: Plan, gradient: Gradient, target: str) -> tuple[str, ...]:
    """As many hospitals as the plan's noise allows for, the target's not among them."""
    others = [name for name in gradient.hospitals if name != target]
    return tuple(others[: plan.colluders])


def _was_drawn(group: Group, outcome: Outcome, round_: int) -> bool:
    first: Mapping[int, tuple[Patients, ...]] = outcome.drawn[group.hospital]
    target = first[0][0].ids[group.target]
    return bool((first[round_][0].ids == target).any())
