"""What numbers may change is in every reading, each part of it, and on the safe side."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.accounting.convolution import convolution, log_moment
from privacy.accounting.cost import WorkBudget
from privacy.accounting.grids import Grid
from privacy.accounting.losses import Losses

STEP = 0.1
BARE = Losses(
    shift=0.0,
    first=-3,
    step=STEP,
    masses=np.array([0.1, 0.2, 0.0, 0.3, 0.15, 0.05, 0.2]),
    tilt=2.0,
    log_scale=-1.0,
    infinite=0.0,
    outside=0.0,
    error=1e-30,
    rounding=0.0,
)
EPSILONS = np.array([0.0, 0.07, 0.2, 0.29])
SCALES = np.exp(BARE.log_scale - BARE.tilt * EPSILONS)


def sums() -> np.ndarray:
    """The sum of the module, term by term."""
    x = (BARE.first + np.arange(BARE.size)) * STEP - EPSILONS[:, None]
    factors = np.where(x > 0, -np.expm1(-x) * np.exp(-BARE.tilt * x), 0.0)
    return np.asarray(factors @ BARE.masses)


def test_without_errors_both_ends_are_the_sum() -> None:
    np.testing.assert_allclose(BARE.upper_deltas(EPSILONS), SCALES * sums(), rtol=1e-12)
    np.testing.assert_allclose(BARE.lower_deltas(EPSILONS), SCALES * sums(), rtol=1e-12)


@pytest.mark.parametrize(("outside", "error"), [(1e-3, 1e-30), (0.0, 1e-4), (1e-3, 1e-4)])
def test_masses_that_may_be_wrong_are_allowed_for(outside: float, error: float) -> None:
    """At the worst loss, or at every one."""
    off = replace(BARE, outside=outside, error=error)
    most = max((1 - math.exp(-x)) * math.exp(-2 * x) for x in np.linspace(0, 3, 100_001))
    every = max(
        sum(
            (1 - math.exp(-(k * STEP + at))) * math.exp(-2 * (k * STEP + at))
            for k in range(BARE.size)
        )
        for at in np.linspace(0, STEP, 101)
    )
    least = outside * most + error * every
    added = off.upper_deltas(EPSILONS) / SCALES - sums()
    taken = sums() - off.lower_deltas(EPSILONS) / SCALES
    assert (added >= least * (1 - 1e-9)).all()
    assert (added <= outside * most * 1.001 + error * BARE.size * most * 1.001 + 1e-12).all()
    np.testing.assert_allclose(np.minimum(taken, sums()), np.minimum(added, sums()), rtol=1e-9)


def test_rounding_is_a_factor_on_either_side() -> None:
    off = replace(BARE, rounding=0.01)
    np.testing.assert_allclose(off.upper_deltas(EPSILONS), SCALES * sums() * math.exp(0.01))
    np.testing.assert_allclose(off.lower_deltas(EPSILONS), SCALES * sums() * math.exp(-0.01))


def test_an_infinite_loss_counts_above_alone() -> None:
    off = replace(BARE, infinite=0.05)
    np.testing.assert_allclose(off.upper_deltas(EPSILONS), SCALES * sums() + 0.05)
    np.testing.assert_allclose(off.lower_deltas(EPSILONS), SCALES * sums())
    assert off.upper_epsilon(0.04) == math.inf
    assert off.allowed(0.1) == pytest.approx(0.05)


def test_what_the_recursions_round_is_on_the_safe_side() -> None:
    """A million terms: each end lies off the sum by what its additions may have rounded."""
    long = replace(BARE, step=1e-6, first=0, masses=np.full(10**6, 1e-6), log_scale=0.0)
    at = np.array([0.0])
    x = np.arange(10**6) * 1e-6
    exact = math.fsum(1e-6 * -np.expm1(-x) * np.exp(-2 * x))
    assert 1e-10 < long.upper_deltas(at)[0] / exact - 1 < 1e-8
    assert 1e-10 < 1 - long.lower_deltas(at)[0] / exact < 1e-8


@given(st.floats(0.0, 5.0), st.integers(1, 6), st.floats(1e-6, 0.3))
def test_rows_have_moments_and_infinite_losses_of_their_own(
    tilt: float, rounds: int, infinite: float
) -> None:
    """Two stacked rows, counts 2 and 3, some rounds: the same as their outcomes tell."""
    masses = np.array([[0.2, 0.5, 0.3 - infinite], [0.6, 0.1, 0.3]])
    grid = Grid(
        np.array([-1, 0, 1]), np.maximum(masses, 0.0), np.array([infinite, 0.0]), np.zeros(2)
    )
    counts = np.array([2, 3])
    pieces = [(grid, counts)]
    found = convolution(pieces, step=STEP, tilt=tilt, budget=WorkBudget(), most=rounds).rounds(
        rounds
    )
    moments = grid.masses @ np.exp(tilt * grid.places * STEP)
    expected = float(counts @ np.log(moments))
    assert log_moment(pieces, step=STEP, tilt=tilt) == pytest.approx(expected)
    assert found.log_scale == pytest.approx(rounds * expected)
    assert found.infinite == pytest.approx(1 - (1 - infinite) ** (2 * rounds))


@pytest.mark.parametrize("moved", [-0.06, -0.23, 0.11])
def test_moved_losses_answer_as_if_the_question_had_been_moved(moved: float) -> None:
    other = replace(BARE, shift=moved)
    e = np.array([0.3, 0.34, 0.4])
    np.testing.assert_allclose(other.upper_deltas(e), BARE.upper_deltas(e - moved), rtol=1e-12)
    np.testing.assert_allclose(other.lower_deltas(e), BARE.lower_deltas(e - moved), rtol=1e-12)
    # Below epsilon 0 by a chord, from where the question itself is 0.
    (chord,) = other.upper_deltas(np.array([-3.0]))
    assert chord <= 1 - math.exp(-3.0) * (1 - BARE.upper_deltas(np.array([-moved]))[0]) + 1e-12
    assert other.allowed(0.3) == pytest.approx(BARE.allowed(0.3 - moved), abs=0)
    for target in (*BARE.upper_deltas(e - moved), 1e-40):
        assert other.upper_epsilon(target) == pytest.approx(BARE.upper_epsilon(target) + moved)
    for target in BARE.lower_deltas(e - moved) * (1 - 1e-9):
        if target > 0:
            assert other.lower_epsilon(target) == pytest.approx(BARE.lower_epsilon(target) + moved)
