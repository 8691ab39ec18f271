"""Epsilon after each of many rounds, without composing each of them anew."""

import math
from collections.abc import Iterator

import numpy as np
from dp_accounting import NeighboringRelation as Relation
from dp_accounting import dp_event as dp
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.special import ndtri

from privacy._validate import natural, unit_open
from privacy.accounting.composition import Composition, Parts, affordable_spread, compose_rounds
from privacy.accounting.cost import WorkBudget
from privacy.accounting.discrete import zcdp_epsilon
from privacy.accounting.gaussian import gaussian_deltas
from privacy.accounting.lowered import Lowered
from privacy.accounting.lowering import lower
from privacy.accounting.renyi import renyi_epsilon
from privacy.accounting.roads import QUICK

__all__ = ["budget_curve"]

_FLOAT = 1e-9
_RATIO = 1.03  # between the rounds at which a composition is computed


def budget_curve(
    event: dp.DpEvent, *, rounds: int, delta: float, relation: Relation
) -> tuple[Float[np.ndarray, "rounds"], Float[np.ndarray, "rounds"]]:
    """Return bounds on epsilon after 1, 2, ... ``rounds`` releases of ``event``: below and above.

    Guarantees (each is a test in ``tests/privacy/accounting/test_budget.py``):
      - both are non-decreasing, and lower <= truth <= upper after every round;
      - without sampling every round is exact; otherwise the ends are the certified ones of rounds
        at most 3 % apart, since epsilon does not fall from one round to the next.

    Args:
      event: What is released in one round.
      rounds: At least 1.
      delta: In (0, 1).
      relation: dp-accounting's relation between neighbouring data sets.
    """
    natural(rounds=rounds, least=1)
    unit_open(delta=delta)
    above, below = lower(event, relation, "above"), lower(event, relation, "below")
    if above.mu and below.mu and not above.unbounded:
        n = np.arange(1, rounds + 1)
        # As ``intervals``: delta(e) <= e^slack delta'(e - 2 slack), and the reverse from below.
        upper = _epsilons(above.mu * np.sqrt(n), delta * np.exp(-n * above.slack) * (1 - _FLOAT))
        lower_ = _epsilons(below.mu * np.sqrt(n), delta * np.exp(n * below.slack) * (1 + _FLOAT))
        high = np.where(upper > 0, upper * (1 + _FLOAT) + 2 * n * above.slack, 0.0)
        low = np.maximum(lower_ * (1 - _FLOAT) - 2 * n * below.slack, 0.0)
    else:
        low, high = _bracketed(above, below, rounds, delta)
    return np.maximum.accumulate(low), np.minimum.accumulate(high[::-1])[::-1]


def _bracketed(
    above: Lowered, below: Lowered, rounds: int, delta: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute both ends at a few hundred rounds; epsilon does not fall from one to the next."""
    marks = _marks(rounds)
    counts = np.array(marks, dtype=np.float64)
    low, high = np.zeros(len(marks)), np.full(len(marks), math.inf)
    if above.parts and not above.unbounded:
        composed = _composed(above.parts, marks, delta, below=False)
        for i, one in enumerate(composed or ()):
            slack = marks[i] * above.slack
            upper = one.upper_epsilon(delta * math.exp(-slack))
            high[i] = upper + 2 * slack if upper > 0 else 0.0
    if below.parts and not below.unbounded:
        composed = _composed(below.parts, marks, delta, below=True)
        for i, one in enumerate(composed or ()):
            slack = marks[i] * below.slack
            raised = delta * math.exp(slack) + marks[i] * below.lost
            low[i] = one.lower_epsilon(raised) - 2 * slack if raised < 1 else 0.0
    if not above.unbounded and (above.slack > 0 or above.by_moments or math.isinf(high[-1])):
        for i, n in enumerate(counts):
            bound = zcdp_epsilon(rho=n * above.rho, xi=n * above.xi, delta=delta)
            reduced = delta * math.exp(-n * above.slack)
            parts = tuple((profile, count * marks[i]) for profile, count in above.parts)
            by_moments = renyi_epsilon(parts, reduced) + 2 * n * above.slack
            high[i] = min(high[i], bound, by_moments)
    every = np.arange(1, rounds + 1)
    return low[np.searchsorted(marks, every, "right") - 1], high[np.searchsorted(marks, every)]


def _composed(
    parts: Parts, marks: list[int], delta: float, *, below: bool
) -> Iterator[Composition] | None:
    """Compose for each mark on the finest grid of a few that is affordable (``cost``)."""
    budget = WorkBudget()
    typical = affordable_spread(parts, budget)
    if typical is None:
        return None
    for share in (2 * QUICK, 8 * QUICK):
        compositions = compose_rounds(
            parts, marks, step=share * typical, delta=delta, below=below, budget=budget
        )
        if compositions is not None:
            return compositions
    return None


def _marks(rounds: int) -> list[int]:
    """Return 1 to ``rounds``, thinned to steps of at most ``_RATIO``."""
    marks = [1]
    while marks[-1] < rounds:
        marks.append(min(rounds, max(marks[-1] + 1, int(marks[-1] * _RATIO))))
    return marks


def _epsilons(mus: NDArray[np.float64], deltas: NDArray[np.float64]) -> NDArray[np.float64]:
    """Invert the Gaussian profile for many mus at once, from above."""
    low, high = np.zeros_like(mus), mus * (mus / 2 - ndtri(deltas))
    for _ in range(60):
        middle = (low + high) / 2
        enough = gaussian_deltas(middle, mus) <= deltas
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    free = gaussian_deltas(np.zeros_like(mus), mus) <= deltas
    return np.where(free, 0.0, high)
