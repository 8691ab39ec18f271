r"""The best of several runs on a hospital's own patients, as one release (private selection).

A model's settings that were chosen on patients tell of them. Here each run is itself private, its
score a part of it; how many there are is drawn (``privacy.accounting.drawn_runs``), and the best
one alone comes back: the others leave no trace, so the hospital that runs them pays once. Where
anybody sees the candidates on the way (sums that are opened, scores that are compared elsewhere),
all of them are releases and compose.

**A fixed number of runs is no substitute.** Of two answers that one patient turns at epsilon 1, the
best of five at every time turns at epsilon 5: where all five are low, that is seen.

>>> from dp_accounting import GaussianDpEvent
>>> from privacy.ledger import Budget, Ledger, Release
>>> ledger = Ledger.in_memory(budget=Budget(2.0))
>>> one_run = Release("tuning", GaussianDpEvent(8.0))
>>> best_of_runs(ledger, one_run, lambda: (0.5, "ridge 1"), mean=4.0, shape=1.0)
'ridge 1'
>>> [entry.kind for entry in ledger.entries()]
['opening', 'release']
"""

import dataclasses
import math
import os
from collections.abc import Callable
from typing import TypeVar

from dp_accounting import dp_event as dp

from privacy._validate import non_negative, positive
from privacy.accounting.drawn_runs import stopping_prob
from privacy.errors import InvalidInputError
from privacy.ledger import Ledger, Release

__all__ = ["best_of_runs", "draw_runs"]

_T = TypeVar("_T")
_MOST = 10**8


def best_of_runs(
    ledger: Ledger,
    one_run: Release,
    run: Callable[[], tuple[float, _T]],
    *,
    mean: float,
    shape: float = 1.0,
) -> _T:
    """Enter the selection, then run as often as is drawn, and return the best run alone.

    Guarantees (each is a test in ``tests/privacy/test_best_run.py``):
      - nothing runs unless the ledger has granted the selection, which is one entry whatever
        happens after it;
      - the number of runs has the law that was entered, by the operating system's randomness (to
        2^-53 of its mass), and depends on nothing else;
      - the best score wins, the first of equals; a score that is no number loses to all others.

    Args:
      ledger: Of the hospital whose patients are used.
      one_run: What a single run does, its score included: event, samplers, clip norm.
      run: Does it, with noise of its own each time, and returns its score and its outcome. It must
        keep, log and send nothing.
      mean: How many runs on average, at least 1.
      shape: 0: logarithmic, 1: geometric, above: nearer a fixed number, and dearer.

    Raises:
      BudgetExceededError: The ledger can't afford it; nothing ran.
      RefusedError: As ``Ledger.spend``.
      InvalidInputError: ``mean`` or ``shape`` is out of range.
    """
    _check(mean, shape)
    event = dp.RepeatAndSelectDpEvent(one_run.event, mean, shape)
    ledger.spend(dataclasses.replace(one_run, event=event))
    best_score, best = _scored(run())
    for _ in range(draw_runs(mean=mean, shape=shape) - 1):
        score, outcome = _scored(run())
        if score > best_score:
            best_score, best = score, outcome
    return best


def draw_runs(*, mean: float, shape: float) -> int:
    """Return K, at least 1, by the operating system's randomness.

    Raises:
      InvalidInputError: ``mean`` is not between 1 and a million, or ``shape`` not between 0 and
        1000.
    """
    _check(mean, shape)
    if mean == 1:
        return 1
    stopping = stopping_prob(mean, shape)
    log = math.log(stopping)
    first = (
        -(1 - stopping) / log if shape == 0 else shape * (1 - stopping) / math.expm1(-shape * log)
    )
    uniform = (int.from_bytes(os.urandom(8), "little") >> 11) * 2.0**-53
    runs, mass = 1, first
    while uniform >= mass and runs < _MOST:
        uniform -= mass
        mass *= (1 - stopping) * (runs + shape) / (runs + 1)
        runs += 1
    return runs


def _scored(scored: tuple[float, _T]) -> tuple[float, _T]:
    score, outcome = scored
    return (-math.inf if math.isnan(score) else score), outcome


def _check(mean: float, shape: float) -> None:
    positive(mean=mean)
    non_negative(shape=shape)
    if not 1 <= mean <= 1e6 or shape > 1000:
        raise InvalidInputError(
            f"Expected mean={mean} between 1 and 1e6 runs and shape={shape} between 0 and 1000."
        )
