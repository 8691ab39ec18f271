"""Limits of work and memory: what is too dear falls back, says so, and never below the truth."""

import math

import dp_accounting as dp
import mpmath
import numpy as np
import pytest
from dp_accounting import NeighboringRelation as Relation
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from privacy.accounting import cost, delta, epsilon, roads
from privacy.accounting.budget import budget_curve
from privacy.accounting.composition import Parts, compose, compose_below, compose_rounds
from privacy.accounting.convolution import _log_finite
from privacy.accounting.cost import TooDearError, WorkBudget
from privacy.accounting.grids import Grid
from privacy.accounting.intervals import upper_epsilon
from privacy.accounting.profiles import (
    FiniteOutcomes,
    GaussianProfile,
    Profile,
    Sampled,
    SkellamOutcomes,
)
from privacy.accounting.renyi import divergences, renyi_delta, renyi_epsilon
from privacy.accounting.tilt import at_delta
from privacy.errors import InvalidInputError
from privacy.reconstruction import success_bound
from tests.privacy.accounting.test_events import trees

ADD = Relation.ADD_OR_REMOVE_ONE
probs, mus = st.floats(1e-4, 0.5), st.floats(0.05, 3.0)


def sampled(noise_multiplier: float, prob: float, n: int) -> dp.DpEvent:
    one = dp.PoissonSampledDpEvent(prob, dp.GaussianDpEvent(noise_multiplier))
    return dp.SelfComposedDpEvent(one, n)


def many(kinds: int) -> Parts:
    return tuple((Sampled(0.01 + 1e-5 * i, GaussianProfile(1.0)), 1) for i in range(kinds))


def rounds_of_local_steps(rounds: int) -> dp.DpEvent:
    """Each round's own composition is sampled: every one of them needs a grid of its own."""
    return dp.ComposedDpEvent(
        [dp.PoissonSampledDpEvent(0.1, sampled(1.0 + 1e-3 * i, 0.5, 10)) for i in range(rounds)]
    )


def test_a_budget_pays_before_the_work_and_never_more_than_it_has() -> None:
    budget = WorkBudget(10.0)
    budget.spend(7.0)
    for dear in (3.5, math.inf, math.nan):
        with pytest.raises(TooDearError):
            budget.spend(dear)
    assert budget.left == 3.0


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.floats(0.01, 1.0))
def test_prices_grow_with_every_size(rows: int, points: int, prob: float) -> None:
    plain, deeper = GaussianProfile(1.0), Sampled(prob, GaussianProfile(1.0))
    wide: Profile = FiniteOutcomes(((0.01, 0.01),) * 100)
    price = cost.gridding(plain, rows, points, 1)
    assert price > rows * points * 100  # nanoseconds: what one takes on an idle machine
    assert price < cost.gridding(plain, rows + 1, points, 1)
    assert price < cost.gridding(plain, rows, points + 1, 1)
    assert price < cost.gridding(deeper, rows, points, 1) < cost.gridding(wide, rows, points, 1)
    assert cost.transform(points) < cost.transform(points + 1)


def test_less_than_it_takes_gives_nothing_and_more_changes_nothing() -> None:
    parts = many(3)
    full, spent = compose(parts, at_delta(1e-5), step=1e-2), WorkBudget()
    assert full is not None
    compose(parts, at_delta(1e-5), step=1e-2, budget=spent)
    takes = WorkBudget().left - spent.left
    assert compose(parts, at_delta(1e-5), step=1e-2, budget=WorkBudget(0.9 * takes)) is None
    again = compose(parts, at_delta(1e-5), step=1e-2, budget=WorkBudget(1.01 * takes))
    assert again is not None
    assert again.upper_epsilon(1e-5) == full.upper_epsilon(1e-5)
    assert compose_below(parts, at_delta(1e-5), step=1e-2, budget=WorkBudget(1e6)) is None
    assert compose_rounds(parts, [5], step=1e-2, delta=1e-5, budget=WorkBudget(1e6)) is None


def test_the_price_does_not_depend_on_what_was_computed_before() -> None:
    left = []
    for _ in range(2):
        budget = WorkBudget()
        compose(many(4), at_delta(1e-5), step=1e-2, budget=budget)
        left.append(budget.left)
    assert left[0] == left[1]


def test_too_much_work_falls_back_and_says_so() -> None:
    """Thirty rounds of local steps, all different: about a second each, and 20 s are allowed."""
    found = epsilon(rounds_of_local_steps(30), delta=1e-5, relation=ADD)
    assert found.method == "Renyi DP"
    assert "2 GB or 20 s (predicted" in found.why
    few = epsilon(rounds_of_local_steps(2), delta=1e-5, relation=ADD)
    assert few.method == "privacy loss distribution"
    assert few.upper < found.upper < math.inf
    at = delta(rounds_of_local_steps(30), epsilon=found.upper, relation=ADD)
    assert at.method == "Renyi DP"
    assert 0 < at.upper < 1.001e-5
    quick = upper_epsilon(rounds_of_local_steps(30), delta=1e-5, relation=ADD)
    assert quick == pytest.approx(found.upper)


def test_too_much_memory_falls_back_to_renyi_and_says_so() -> None:
    event = sampled(1.0, 0.01, 10**15)
    found = epsilon(event, delta=1e-5, relation=ADD)
    assert found.method == "Renyi DP"
    assert "2 GB or 20 s (predicted" in found.why
    library = RdpAccountant().compose(event)
    # Whole orders alone: twice what orders near 1 would give, where so much is lost.
    assert library.get_epsilon(1e-5) <= found.upper < 2 * library.get_epsilon(1e-5)
    assert upper_epsilon(event, delta=1e-5, relation=ADD) == pytest.approx(found.upper)
    assert success_bound(event, prior_success=0.1, relation=ADD) == 1.0


def test_a_coarser_grid_is_taken_before_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Grids of a hundredth of the usual size allowed: what can be afforded is given, certified."""
    event = sampled(1.0, 0.02, 500)
    usual = epsilon(event, delta=1e-5, relation=ADD)
    assert "finer" not in usual.why
    monkeypatch.setattr(cost, "LARGEST_GRID", 1000)
    coarse = epsilon(event, delta=1e-5, relation=ADD, width=1e-4)
    assert coarse.method == "privacy loss distribution"
    assert "A finer grid would take more than 2 GB or 20 s" in coarse.why
    assert coarse.lower <= usual.upper
    assert usual.lower <= coarse.upper
    assert 0 < coarse.upper - coarse.lower < 0.5 * coarse.upper


def test_hardly_any_sampling_of_hardly_any_noise() -> None:
    """Losses that reach far beyond their typical size: no grid fits; and none may be refused."""
    for prob in (1e-11, 1e-200):
        for relation in (ADD, Relation.REPLACE_ONE):
            event = sampled(0.125, prob, 100)
            found = delta(event, epsilon=1.0, relation=relation)
            drawn = 100 * prob * stats.norm.sf((math.log(1.7 / prob) - 32) / 8)
            assert 0 <= found.lower <= 2 * drawn
            assert found.upper > drawn
            assert prob > 1e-100 or found.upper < 1e-290  # no float, and yet not nothing
            assert epsilon(event, delta=1e-5, relation=relation).upper < math.inf


def test_a_width_that_no_grid_reaches_is_not_run_after() -> None:
    found = epsilon(sampled(1.0, 0.01, 1000), delta=1e-5, relation=ADD, width=1e-9)
    assert 0 < found.upper - found.lower < 1e-3


def test_a_single_release_whose_grid_is_too_dear_is_bounded_too() -> None:
    event = dp.PoissonSampledDpEvent(0.5, sampled(1.0, 0.01, 10**12))
    found = epsilon(event, delta=1e-5, relation=ADD)
    assert found.method == "Renyi DP"
    assert math.isfinite(found.upper)


def test_budget_curves_stay_within_the_limits() -> None:
    low, high = budget_curve(rounds_of_local_steps(30), rounds=3, delta=1e-5, relation=ADD)
    assert np.isfinite(high).all()
    assert (low == 0).all()


@settings(max_examples=20)
@given(st.lists(st.tuples(probs, mus, st.integers(1, 50)), min_size=1, max_size=5))
def test_renyi_divergences_are_the_librarys(rows: list[tuple[float, float, int]]) -> None:
    parts = tuple((Sampled(q, GaussianProfile(mu)), n) for q, mu, n in rows)
    ours = divergences((*parts, (GaussianProfile(0.3), 2)))
    accountant = RdpAccountant([2, 3, 8, 64])
    for q, mu, n in rows:
        accountant.compose(dp.PoissonSampledDpEvent(q, dp.GaussianDpEvent(1 / mu)), n)
    accountant.compose(dp.GaussianDpEvent(1 / 0.3), 2)
    assert ours is not None
    assert ours[[0, 1, 6, 21]] == pytest.approx(accountant._rdp, rel=1e-6)


def test_renyi_divergences_lie_above_sixty_digits() -> None:
    for q, mu in ((0.01, 1.0), (1e-6, 0.1), (1e-11, 8.0), (0.3, 0.02)):
        found = divergences(((Sampled(q, GaussianProfile(mu)), 1),))
        assert found is not None
        with mpmath.workdps(60):
            p, m = mpmath.mpf(q), mpmath.mpf(mu)
            for at, order in ((0, 2), (6, 8), (21, 64)):
                terms = (
                    math.comb(order, k)
                    * (1 - p) ** (order - k)
                    * p**k
                    * mpmath.exp(m**2 * (k * k - k) / 2)
                    for k in range(order + 1)
                )
                truth = mpmath.log(sum(terms)) / (order - 1)
                assert truth <= found[at] <= truth * (1 + 1e-9) + 3e-12


def test_renyi_of_many_releases_lies_above_the_truth() -> None:
    parts = many(200)
    grid = roads.quick_grid(parts, at_delta(1e-5))
    assert grid is not None
    truth = grid.upper_epsilon(1e-5)
    assert truth * 0.99 < renyi_epsilon(parts, 1e-5) < 1.5 * truth + 1
    assert renyi_delta(parts, truth) > 0.9e-5
    assert renyi_delta(parts, renyi_epsilon(parts, 1e-5)) <= 1.01e-5
    library = RdpAccountant()
    for i in range(200):
        one = dp.GaussianDpEvent(1.0)
        library.compose(dp.PoissonSampledDpEvent(0.01 + 1e-5 * i, one))
    assert library.get_epsilon(1e-5) == pytest.approx(renyi_epsilon(parts, 1e-5), rel=0.05)
    unknown = (*parts, (SkellamOutcomes(4.0, 1), 1))  # only from below has it a profile
    assert renyi_epsilon(unknown, 1e-5) == math.inf
    assert renyi_delta(unknown, 1.0) == 1.0


def test_losses_without_end_are_all_counted() -> None:
    """Mass at an infinite loss is mass at an infinite loss, however much of it there is."""
    grid = Grid(np.array([0]), np.array([[0.1], [1.0]]), np.array([0.9, 0.0]), np.zeros(2))
    found = _log_finite([(grid, np.array([3, 5]))])
    assert math.exp(found) == pytest.approx(0.1**3, rel=1e-9)


@settings(max_examples=60)
@given(trees, st.sampled_from(list(Relation)))
def test_any_tree_is_bounded_or_refused_by_name(event: dp.DpEvent, relation: Relation) -> None:
    """Numbers of every size: no crash, no NaN, no end beyond the other."""
    try:
        found = delta(event, epsilon=1.0, relation=relation)
    except InvalidInputError as refused:
        assert "event" in str(refused)
        return
    assert 0 <= found.lower <= found.estimate <= found.upper <= 1


def test_where_rounding_hides_everything_another_road_is_taken() -> None:
    """A sample that hardly anybody is in, of noise that hides nothing: the factor was no float."""
    one = dp.PoissonSampledDpEvent(1e-33, dp.dp_event.DiscreteLaplaceDpEvent(999999.0, 1))
    event = dp.SelfComposedDpEvent(one, 10**11)
    for found in (
        delta(event, epsilon=1.0, relation=Relation.ADD_OR_REMOVE_ONE),
        epsilon(event, delta=1e-5, relation=Relation.ADD_OR_REMOVE_ONE),
    ):
        assert 0 <= found.lower <= found.upper < 1
