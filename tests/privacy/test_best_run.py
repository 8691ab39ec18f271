"""The best of a drawn number of runs: one entry, the law of its number, and why it is drawn."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
from dp_accounting import NeighboringRelation as Relation
from dp_accounting import dp_event as dp
from scipy import stats

from privacy.accounting import delta
from privacy.accounting.drawn_runs import stopping_prob
from privacy.best_run import best_of_runs, draw_runs
from privacy.errors import BudgetExceededError, InvalidInputError, RefusedError
from privacy.ledger import Budget, Ledger, Release
from privacy.testing.plugin import FalseAlarms

ONE_RUN = Release("tuning", dp.GaussianDpEvent(8.0))


@pytest.mark.parametrize("shape", [0.0, 0.5, 1.0, 6.0])
@pytest.mark.parametrize("mean", [1.3, 4.0, 25.0])
def test_the_number_of_runs_has_its_law(
    mean: float, shape: float, false_alarms: FalseAlarms
) -> None:
    n = 4000
    drawn = np.array([draw_runs(mean=mean, shape=shape) for _ in range(n)])
    assert drawn.min() >= 1
    k = np.arange(1, 4000)
    stopping = stopping_prob(mean, shape)
    steps = np.log((k[:-1] + shape) / (k[:-1] + 1)) + math.log1p(-stopping)
    masses = np.exp(np.concatenate([[0.0], np.cumsum(steps)]))
    masses /= masses.sum()
    assert float(masses @ k) == pytest.approx(mean, rel=1e-6)
    cells = np.flatnonzero(masses * n >= 20)
    observed = np.array([(drawn == k[i]).sum() for i in cells])
    expected = masses[cells] * n
    observed = np.append(observed, n - observed.sum())
    expected = np.append(expected, n - expected.sum())
    some = expected > 5
    statistic = float((((observed - expected) ** 2) / expected)[some].sum())
    assert stats.chi2.sf(statistic, int(some.sum()) - 1) > false_alarms.share()


def test_one_run_is_one_run() -> None:
    assert {draw_runs(mean=1.0, shape=2.0) for _ in range(50)} == {1}


def test_a_selection_is_one_entry_and_the_best_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("privacy.best_run.draw_runs", lambda **_: 5)
    scores: Iterator[float] = iter([0.2, math.nan, 0.9, 0.9, 0.5])
    names = iter("abcde")
    ledger = Ledger.in_memory(budget=Budget(9.0))
    best = best_of_runs(ledger, ONE_RUN, lambda: (next(scores), next(names)), mean=4.0, shape=1.0)
    assert best == "c"
    entries = list(ledger.entries())
    assert [entry.kind for entry in entries] == ["opening", "release"]
    event = entries[-1].content["event"]
    assert event["type"] == "RepeatAndSelectDpEvent"
    assert (event["mean"], event["shape"]) == (4.0, 1.0)
    assert "0.9" not in str(entries[-1].content)
    monkeypatch.setattr("privacy.best_run.draw_runs", lambda **_: 2)
    hopeless = iter([math.nan, -math.inf])
    names = iter("ab")
    assert best_of_runs(ledger, ONE_RUN, lambda: (next(hopeless), next(names)), mean=2.0) == "a"
    late = iter([math.nan, 0.1])
    names = iter("ab")
    assert best_of_runs(ledger, ONE_RUN, lambda: (next(late), next(names)), mean=2.0) == "b"


@pytest.mark.parametrize(
    ("budget", "one_run", "error"),
    [
        (0.05, ONE_RUN, BudgetExceededError),
        (5.0, Release("tuning", dp.GaussianDpEvent(8.0), noise_source="none"), RefusedError),
        (5.0, Release("tuning", dp.NonPrivateDpEvent()), RefusedError),
    ],
)
def test_nothing_runs_before_it_is_granted(
    budget: float, one_run: Release, error: type[Exception]
) -> None:
    ledger = Ledger.in_memory(budget=Budget(budget))
    with pytest.raises(error):
        best_of_runs(ledger, one_run, lambda: pytest.fail("it ran"), mean=4.0)
    assert [entry.kind for entry in ledger.entries()] == ["opening", "refusal"]


def test_a_run_that_fails_stays_spent() -> None:
    ledger = Ledger.in_memory(budget=Budget(2.0))

    def run() -> tuple[float, str]:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        best_of_runs(ledger, ONE_RUN, run, mean=4.0)
    assert [entry.kind for entry in ledger.entries()] == ["opening", "release"]


@pytest.mark.parametrize(("mean", "shape"), [(0.5, 1.0), (2e6, 1.0), (2.0, -1.0), (math.nan, 1.0)])
def test_impossible_laws_are_refused(mean: float, shape: float) -> None:
    ledger = Ledger.in_memory(budget=Budget(2.0))
    with pytest.raises(InvalidInputError):
        best_of_runs(ledger, ONE_RUN, lambda: pytest.fail("it ran"), mean=mean, shape=shape)
    assert [entry.kind for entry in ledger.entries()] == ["opening"]


def test_a_fixed_number_of_runs_passes_the_bound_of_a_drawn_one() -> None:
    """Two answers, turned at epsilon 1: where all of twelve are low, that is seen."""
    own = math.e / (1 + math.e)
    run = dp.RandomizedResponseDpEvent(2 * (1 - own), 2)
    event = dp.RepeatAndSelectDpEvent(run, 12.0, 1.0)
    at = 4.5
    bound = delta(event, epsilon=at, relation=Relation.REPLACE_ONE).upper
    fixed = own**12 - math.exp(at) * (1 - own) ** 12
    assert fixed > 2 * bound
    stopping = stopping_prob(12.0, 1.0)

    def all_low(low: float) -> float:  # the generating function of a geometric number
        return stopping * low / (1 - (1 - stopping) * low)

    assert all_low(own) - math.exp(at) * all_low(1 - own) <= bound
