"""Random mixtures of all noises: the interval is as narrow as a certified answer is promised to be.

Discrete Gaussian noise is wide here (hundreds of steps): of narrow noise the worst direction of a
patient's vector is not known, and no numbers would close that gap.
"""

import math

import pytest
from dp_accounting import NeighboringRelation as Relation
from dp_accounting import dp_event as dp
from hypothesis import example, given, settings
from hypothesis import strategies as st

from privacy.accounting import delta, epsilon
from privacy.accounting.events import DiscreteGaussianDpEvent

ADD, REPLACE = Relation.ADD_OR_REMOVE_ONE, Relation.REPLACE_ONE


def logs(least: float, most: float) -> st.SearchStrategy[float]:
    return st.floats(math.log(least), math.log(most)).map(math.exp)


NOISE = logs(0.4, 20.0)
WIDE = st.one_of(
    st.builds(dp.GaussianDpEvent, NOISE),
    st.builds(DiscreteGaussianDpEvent, NOISE, st.sampled_from([256, 4096])),
)
NARROW = st.one_of(
    st.builds(dp.LaplaceDpEvent, NOISE),
    st.builds(dp.DiscreteLaplaceDpEvent, logs(0.05, 2.5), st.integers(1, 5)),
)
SAMPLED = st.builds(dp.PoissonSampledDpEvent, logs(1e-4, 1.0), WIDE)
SAMPLED_LAPLACE = st.builds(
    dp.PoissonSampledDpEvent, logs(1e-4, 1.0), st.builds(dp.LaplaceDpEvent, NOISE)
)


def mixtures(*leaves: st.SearchStrategy[dp.DpEvent]) -> st.SearchStrategy[dp.DpEvent]:
    count = logs(1.0, 1000.0).map(int)
    repeated = st.builds(dp.SelfComposedDpEvent, st.one_of(*leaves), count)
    return st.builds(dp.ComposedDpEvent, st.lists(repeated, min_size=1, max_size=5))


def several(*counted: tuple[dp.DpEvent, int]) -> dp.DpEvent:
    return dp.ComposedDpEvent([dp.SelfComposedDpEvent(event, n) for event, n in counted])


RARE = dp.PoissonSampledDpEvent(0.000347, DiscreteGaussianDpEvent(0.602, 4096))
UNLIKE = several(  # two discrete Laplace noises of one kind, whose mean has far larger moments
    (dp.LaplaceDpEvent(10.3), 34),
    (dp.PoissonSampledDpEvent(0.00296, dp.GaussianDpEvent(2.02)), 348),
    (dp.DiscreteLaplaceDpEvent(0.0528, 3), 696),
    (dp.DiscreteLaplaceDpEvent(1.42, 2), 16),
)


def narrow(event: dp.DpEvent, target: float, relation: Relation) -> None:
    found = epsilon(event, delta=target, relation=relation)
    assert found.upper - found.lower <= 0.01 * found.upper + 2e-3
    assert found.lower >= 0.98 * found.upper - 2e-3


@settings(max_examples=150)
@given(mixtures(WIDE, NARROW, SAMPLED, SAMPLED_LAPLACE), st.floats(-30.0, -1.0))
@example(several((RARE, 13), (dp.LaplaceDpEvent(1.05), 8), (dp.GaussianDpEvent(14.9), 5)), -29.78)
@example(UNLIKE, -25.66)
@example(several((dp.LaplaceDpEvent(1.93), 4)), -22.23)
def test_mixtures_are_narrow(event: dp.DpEvent, exponent: float) -> None:
    narrow(event, 10.0**exponent, ADD)


@settings(max_examples=60)
@given(mixtures(WIDE, NARROW, SAMPLED), st.floats(-30.0, -1.0))
def test_mixtures_are_narrow_when_a_patient_is_replaced(event: dp.DpEvent, exponent: float) -> None:
    """But for sampled Laplace noise, of which no pair is known to be the worst."""
    narrow(event, 10.0**exponent, REPLACE)


@pytest.mark.parametrize(
    ("prob", "noise", "rounds", "at"),
    [(1.2e-4, 0.8, 4684, 3.96), (3e-4, 1.5, 200, 0.4), (5e-4, 3.0, 1000, 0.05)],
)
def test_tiny_deltas_of_rare_samples_are_narrow(
    prob: float, noise: float, rounds: int, at: float
) -> None:
    sampled = dp.PoissonSampledDpEvent(prob, dp.GaussianDpEvent(noise))
    found = delta(dp.SelfComposedDpEvent(sampled, rounds), epsilon=at, relation=ADD)
    assert 0 < found.upper < 1e-9
    assert found.upper - found.lower <= 0.011 * found.upper


@pytest.mark.parametrize("at", [0.1, 1.0])
def test_no_delta_passes_the_chance_that_a_patient_is_ever_drawn(at: float) -> None:
    """A grid of losses up to hundreds is too coarse for what is as rare as this."""
    sampled = dp.PoissonSampledDpEvent(1e-11, dp.GaussianDpEvent(0.125))
    found = delta(dp.SelfComposedDpEvent(sampled, 10), epsilon=at, relation=ADD)
    assert found.upper <= 1e-10 * (1 + 2e-4)
    assert found.method == "total variation"
