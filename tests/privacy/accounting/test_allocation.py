"""Random allocation against enumeration, an integral, draws, and another library's proved ends."""

import itertools
import math
import warnings

import numpy as np
import pytest
from dp_accounting import NeighboringRelation as Relation
from dp_accounting import dp_event as dp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from scipy.integrate import quad
from scipy.special import ndtr

from privacy.accounting import epsilon
from privacy.accounting.allocation import Allocated
from privacy.accounting.events import (
    DiscreteGaussianDpEvent,
    DistributedDiscreteGaussianDpEvent,
    LinearOpeningsDpEvent,
    RandomAllocationDpEvent,
    SeenAllocationDpEvent,
    SkellamDpEvent,
)
from privacy.accounting.lowering import lower
from privacy.accounting.profiles import FiniteOutcomes, GaussianProfile
from privacy.errors import InvalidInputError
from privacy.testing.plugin import FalseAlarms

ADD, REPLACE, SPECIAL = (
    Relation.ADD_OR_REMOVE_ONE,
    Relation.REPLACE_ONE,
    Relation.REPLACE_SPECIAL,
)
EPSILONS = np.array([-3.0, -1.0, -0.2, 0.0, 0.1, 0.4, 1.0, 2.0, 4.0])
Floats = NDArray[np.float64]


def passes(steps: int, noise: float, count: int) -> dp.DpEvent:
    one = RandomAllocationDpEvent(steps, dp.GaussianDpEvent(noise))
    return dp.SelfComposedDpEvent(one, count)


def enumerated(masses: tuple[tuple[float, float], ...], steps: int) -> tuple[Floats, Floats]:
    """Both deltas of all sequences of outcomes, one by one."""
    remove, add = np.zeros(len(EPSILONS)), np.zeros(len(EPSILONS))
    for seen in itertools.product(range(len(masses)), repeat=steps):
        q = math.prod(masses[o][1] for o in seen)
        p = (
            math.fsum(
                masses[seen[i]][0] * math.prod(masses[o][1] for j, o in enumerate(seen) if j != i)
                for i in range(steps)
            )
            / steps
        )
        remove += np.maximum(p - np.exp(EPSILONS) * q, 0.0)
        add += np.maximum(q - np.exp(EPSILONS) * p, 0.0)
    return remove, add


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=4).filter(
        lambda rows: all(sum(column) for column in zip(*rows, strict=True))
    ),
    st.integers(1, 5),
)
def test_both_ends_enclose_an_enumeration(rows: list[tuple[int, int]], steps: int) -> None:
    """Outcomes that one side never shows included: a ratio of 0, and one of infinity."""
    totals = [sum(column) for column in zip(*rows, strict=True)]
    masses = tuple((p / totals[0], q / totals[1]) for p, q in rows if p or q)
    inner = FiniteOutcomes(masses)
    above, below = Allocated(steps, inner), Allocated(steps, inner, attained=True)
    exact = enumerated(masses, steps)
    for upper, truth, under in zip(
        above.deltas(EPSILONS), exact, below.deltas(EPSILONS), strict=True
    ):
        assert (upper >= truth * (1 - 1e-9) - 1e-12).all()
        assert (under <= truth * (1 + 1e-9) + 1e-12).all()
        assert (upper - under <= 0.05 * truth + 0.02).all()


def call(ratio: float, strike: float, mu: float) -> float:
    """E[(R - strike)_+] of R = e^(mu z - mu^2 / 2), z standard normal."""
    if strike <= 0:
        return ratio - strike
    d = -math.log(strike) / mu
    return float(ndtr(d + mu / 2) - strike * ndtr(d - mu / 2))


@pytest.mark.parametrize("mu", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("at", [0.05, 0.5, 2.0])
def test_two_steps_of_a_gaussian_enclose_an_integral(mu: float, at: float) -> None:
    def inside(z: float) -> float:
        first = math.exp(mu * z - mu**2 / 2)
        return math.exp(-(z**2) / 2) * call(1.0, 2 * math.exp(at) - first, mu) / 2

    truth = quad(inside, -12, 12 + mu, epsabs=1e-14, limit=500)[0] / math.sqrt(2 * math.pi)
    inner = GaussianProfile(mu)
    upper = float(Allocated(2, inner).deltas(np.array([at]))[0][0])
    under = float(Allocated(2, inner, attained=True).deltas(np.array([at]))[0][0])
    assert under * (1 - 1e-9) <= truth <= upper * (1 + 1e-9)
    assert upper - under <= 3e-3 * truth + 1e-12


@pytest.mark.parametrize("steps", [3, 40])
def test_draws_of_the_ratio_agree(steps: int, false_alarms: FalseAlarms) -> None:
    """The mean of so many ratios under Q, drawn; and under P with one step of the unit's own."""
    rng = np.random.default_rng(3)
    mu, n = 1.2, 200_000
    z = rng.normal(size=(n, steps))
    s = np.exp(mu * z - mu**2 / 2).mean(axis=1)
    z[:, 0] += mu
    with_unit = np.exp(mu * z - mu**2 / 2).mean(axis=1)
    for at in (0.1, 0.4):
        inner = GaussianProfile(mu)
        removed = 1 - math.exp(at) / with_unit
        for draws, side in (
            (np.maximum(removed, 0.0), 0),
            (np.maximum(1 - math.exp(at) * s, 0), 1),
        ):
            upper = float(Allocated(steps, inner).deltas(np.array([at]))[side][0])
            under = float(Allocated(steps, inner, attained=True).deltas(np.array([at]))[side][0])
            reach = stats.norm.isf(false_alarms.share()) * draws.std() / math.sqrt(n)
            assert under <= draws.mean() + reach
            assert upper >= draws.mean() - reach
            assert reach < 0.1 * upper  # draws that say something


def test_a_hundred_steps_and_ten_passes_cost_what_was_published() -> None:
    """Feldman, Shenfeld and others: 1.66 to 1.74, where Poisson samples cost 1.83."""
    found = epsilon(passes(100, 1.0, 10), delta=1e-5, relation=ADD)
    assert 1.66 <= found.lower <= found.upper <= 1.74
    assert found.upper - found.lower <= 0.003
    poisson = dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(0.01, dp.GaussianDpEvent(1.0)), 1000)
    assert found.upper < epsilon(poisson, delta=1e-5, relation=ADD).lower
    assert epsilon(passes(100, 1.0, 10), delta=1e-5, relation=SPECIAL).upper == found.upper


@pytest.mark.parametrize(
    ("steps", "noise", "count", "at"),
    [
        (2, 0.7, 3, 1e-3),
        (7, 2.5, 12, 1e-6),
        pytest.param(64, 0.8, 1, 1e-6, marks=pytest.mark.nightly),
        pytest.param(300, 1.5, 5, 1e-4, marks=pytest.mark.nightly),
    ],
)
def test_another_library_proves_nothing_on_the_other_side_of_an_end(
    steps: int, noise: float, count: int, at: float
) -> None:
    from PLD_accounting import (
        AllocationSchemeConfig,
        BoundType,
        PrivacyParams,
        gaussian_allocation_epsilon_configurable,
    )

    ours = epsilon(passes(steps, noise, count), delta=at, relation=ADD)
    params = PrivacyParams(sigma=noise, num_steps=steps, num_selected=1, num_epochs=count, delta=at)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        below, above = (
            gaussian_allocation_epsilon_configurable(
                params=params, config=AllocationSchemeConfig(), bound_type=end
            )
            for end in (BoundType.IS_DOMINATED, BoundType.DOMINATES)
        )
    assert below <= ours.upper * (1 + 1e-9) + 1e-9
    assert ours.lower <= above * (1 + 1e-9) + 1e-9
    assert ours.upper - ours.lower <= 0.012 * ours.upper + 1e-3


@pytest.mark.parametrize("at", [1e-3, 1e-6, 1e-12])
def test_more_steps_and_more_noise_never_cost_more(at: float) -> None:
    ends = [epsilon(passes(t, 1.0, 3), delta=at, relation=ADD) for t in (1, 2, 3, 10, 1000, 2**30)]
    for more, fewer in itertools.pairwise(ends):
        assert fewer.lower <= more.upper
        assert fewer.upper < more.upper
    assert epsilon(passes(10, 1.5, 3), delta=at, relation=ADD).upper < ends[3].upper
    whole = epsilon(dp.SelfComposedDpEvent(dp.GaussianDpEvent(1.0), 3), delta=at, relation=ADD)
    assert ends[0].upper == whole.upper


def test_shared_integers_cost_what_a_gaussian_costs_and_the_slack_of_every_step() -> None:
    gaussian = epsilon(passes(100, 1.0, 10), delta=1e-5, relation=ADD)
    for inner in (
        DiscreteGaussianDpEvent(1.0, 1000),
        DistributedDiscreteGaussianDpEvent(1.0, 1000, 20, 4),
    ):
        event = RandomAllocationDpEvent(100, inner)
        found = epsilon(dp.SelfComposedDpEvent(event, 10), delta=1e-5, relation=ADD)
        assert found.upper == pytest.approx(gaussian.upper, rel=1e-3)
        assert found.lower <= gaussian.upper
        for side in ("above", "below"):
            one, all_steps = (lower(e, ADD, side) for e in (inner, event))
            assert all_steps.slack == 100 * one.slack
            assert all_steps.slack > 0


@pytest.mark.parametrize(
    ("inner", "relation"),
    [
        (dp.GaussianDpEvent(2.0), REPLACE),  # a record that is replaced keeps its step
        (SkellamDpEvent(2.0, 100, 5), ADD),  # of which only Renyi divergences are known
        (DiscreteGaussianDpEvent(0.5, 1), ADD),
        (LinearOpeningsDpEvent(2.0, 1000, 5, 1.0, 2, 4, 1.0, 2.0), ADD),
        (dp.NonPrivateDpEvent(), ADD),
    ],
    ids=lambda value: type(value).__name__,
)
def test_where_nothing_is_known_to_be_lower_a_pass_costs_one_step(
    inner: dp.DpEvent, relation: Relation
) -> None:
    event = RandomAllocationDpEvent(50, inner)
    whole = epsilon(inner, delta=1e-5, relation=relation)
    found = epsilon(event, delta=1e-5, relation=relation)
    assert found.upper == whole.upper
    assert found.lower <= whole.lower


def test_a_replaced_record_costs_at_least_a_removed_one() -> None:
    event = passes(50, 1.0, 4)
    replaced, removed = (epsilon(event, delta=1e-5, relation=r) for r in (REPLACE, ADD))
    assert replaced.lower == pytest.approx(removed.lower, rel=1e-3)
    assert replaced.upper > removed.upper


def test_a_step_of_several_releases_is_bounded_from_above() -> None:
    inner = dp.ComposedDpEvent([dp.GaussianDpEvent(2.0), dp.LaplaceDpEvent(2.0)])
    found = epsilon(RandomAllocationDpEvent(50, inner), delta=1e-5, relation=ADD)
    assert found.upper < 0.5 * epsilon(inner, delta=1e-5, relation=ADD).lower
    assert found.lower == 0
    two = dp.SelfComposedDpEvent(dp.GaussianDpEvent(2.0), 2)
    joined = epsilon(RandomAllocationDpEvent(50, two), delta=1e-5, relation=ADD)
    gaussian = dp.GaussianDpEvent(math.sqrt(2.0))
    same = epsilon(RandomAllocationDpEvent(50, gaussian), delta=1e-5, relation=ADD)
    assert (joined.lower, joined.upper) == pytest.approx((same.lower, same.upper), rel=1e-6)


def test_narrow_and_wide_noise_have_finite_ends() -> None:
    for noise in (0.1, 50.0, 1e6):
        for steps in (3, 1000):
            found = epsilon(passes(steps, noise, 5), delta=1e-6, relation=ADD)
            assert 0 <= found.lower <= found.upper < math.inf
            whole = dp.SelfComposedDpEvent(dp.GaussianDpEvent(noise), 5)
            # Where no grid is affordable, all that is left is a step that is known, by Renyi.
            assert found.upper <= 1.01 * epsilon(whole, delta=1e-6, relation=ADD).upper


def test_randomised_response_is_not_allocated() -> None:
    event = RandomAllocationDpEvent(5, dp.RandomizedResponseDpEvent(0.5, 3))
    with pytest.raises(InvalidInputError, match="allocates randomised response"):
        epsilon(event, delta=1e-5, relation=SPECIAL)


@pytest.mark.parametrize("steps", [0, -1, 1.5, True, "3", 2**30 + 1])
def test_steps_are_counted(steps: object) -> None:
    event = RandomAllocationDpEvent(steps, dp.GaussianDpEvent(1.0))  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=r"event\.steps=.*whole number from 1 to 2\^30"):
        epsilon(event, delta=1e-5, relation=ADD)


@pytest.mark.parametrize("relation", [ADD, REPLACE])
def test_an_allocation_that_is_seen_costs_one_step_a_pass(relation: Relation) -> None:
    inner = DiscreteGaussianDpEvent(2.0, 100)
    seen, one = (
        epsilon(dp.SelfComposedDpEvent(event, 3), delta=1e-5, relation=relation)
        for event in (SeenAllocationDpEvent(20, inner), inner)
    )
    assert (seen.lower, seen.upper) == (one.lower, one.upper)
