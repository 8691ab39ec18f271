"""Epsilon after each of many rounds, without composing each of them anew."""

import numpy as np
from dp_accounting import NeighboringRelation as Relation
from dp_accounting import SelfComposedDpEvent
from dp_accounting import dp_event as dp
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr, ndtri

from privacy._validate import natural, unit_open
from privacy.accounting.events import check
from privacy.accounting.intervals import epsilon, upper_epsilon
from privacy.accounting.lowering import lower

__all__ = ["budget_curve"]

_FLOAT = 1e-9
_RATIO = 1.05  # between the rounds at which a composition is computed


def budget_curve(
    event: dp.DpEvent, *, rounds: int, delta: float, relation: Relation
) -> tuple[Float[np.ndarray, "rounds"], Float[np.ndarray, "rounds"]]:
    """Return bounds on epsilon after 1, 2, ... ``rounds`` releases of ``event``: below and above.

    Guarantees (each is a test in ``tests/privacy/accounting/test_budget.py``):
      - both are non-decreasing, and lower <= truth <= upper after every round;
      - without sampling every round is exact; otherwise the ends are the certified ones of rounds
        at most 5 % apart, since epsilon does not fall from one round to the next.

    Args:
      event: What is released in one round.
      rounds: At least 1.
      delta: In (0, 1).
      relation: dp-accounting's relation between neighbouring data sets.
    """
    natural(rounds=rounds, least=1)
    unit_open(delta=delta)
    check(event)
    above, below = lower(event, relation, "above"), lower(event, relation, "below")
    if above.mu and below.mu and not above.narrow:
        n = np.arange(1, rounds + 1)
        # As ``intervals``: delta(e) <= e^slack delta'(e - 2 slack), and the reverse from below.
        upper = _epsilons(above.mu * np.sqrt(n), delta * np.exp(-n * above.slack) * (1 - _FLOAT))
        lower_ = _epsilons(below.mu * np.sqrt(n), delta * np.exp(n * below.slack) * (1 + _FLOAT))
        high = np.where(upper > 0, upper * (1 + _FLOAT) + 2 * n * above.slack, 0.0)
        low = np.maximum(lower_ * (1 - _FLOAT) - 2 * n * below.slack, 0.0)
    else:
        low, high = _bracketed(event, rounds, delta, relation)
    return np.maximum.accumulate(low), np.minimum.accumulate(high[::-1])[::-1]


def _bracketed(
    event: dp.DpEvent, rounds: int, delta: float, relation: Relation
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low, high = np.empty(rounds), np.empty(rounds)
    done = 0
    while done < rounds:
        last = min(rounds, max(done + 1, int((done + 1) * _RATIO)))
        first_event = SelfComposedDpEvent(event, done + 1)
        last_event = SelfComposedDpEvent(event, last)
        low[done:last] = epsilon(first_event, delta=delta, relation=relation, width=0.05).lower
        high[done:last] = upper_epsilon(last_event, delta=delta, relation=relation)
        done = last
    return low, high


def _epsilons(mus: NDArray[np.float64], deltas: NDArray[np.float64]) -> NDArray[np.float64]:
    """Invert the Gaussian profile for many mus at once, from above."""
    low, high = np.zeros_like(mus), mus * (mus / 2 - ndtri(deltas))
    for _ in range(60):
        middle = (low + high) / 2
        upper = ndtr(mus / 2 - middle / mus)
        enough = upper - np.exp(middle + log_ndtr(-mus / 2 - middle / mus)) <= deltas
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    free = ndtr(mus / 2) - ndtr(-mus / 2) <= deltas
    return np.where(free, 0.0, high)
