"""Arrangements against brute force: covariances of small traces, worst directions by search."""

import dp_accounting as dp
import numpy as np
import pytest
from dp_accounting import NeighboringRelation as Relation
from hypothesis import given
from hypothesis import strategies as st

from privacy.accounting.events import DistributedDiscreteGaussianDpEvent
from privacy.accounting.units import in_several_hospitals, leverage
from privacy.errors import InvalidInputError
from privacy.testing.strategies import arrivals

ADD = Relation.ADD_OR_REMOVE_ONE


def test_a_patient_in_two_hospitals_counts_twice_in_a_sum() -> None:
    share = DistributedDiscreteGaussianDpEvent(4.0, 1000, 19, 3)
    event = dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(0.1, share), 5)
    worse = in_several_hospitals(event, hospitals=2)
    assert worse == dp.SelfComposedDpEvent(DistributedDiscreteGaussianDpEvent(2.0, 2000, 19, 3), 5)
    assert in_several_hospitals(event, hospitals=1) == event
    mixed = dp.ComposedDpEvent([dp.GaussianDpEvent(4.0), dp.LaplaceDpEvent(6.0), dp.NoOpDpEvent()])
    assert in_several_hospitals(mixed, hospitals=2) == dp.ComposedDpEvent(
        [dp.GaussianDpEvent(2.0), dp.LaplaceDpEvent(3.0), dp.NoOpDpEvent()]
    )
    with pytest.raises(InvalidInputError, match="RandomizedResponse"):
        in_several_hospitals(dp.dp_event.RandomizedResponseDpEvent(0.5, 2), hospitals=2)


def squared_distance(openings: np.ndarray, moved: np.ndarray) -> float:
    """Mahalanobis, by the covariance of what is seen: noise of standard deviation 1."""
    seen = openings @ moved
    covariance = openings @ openings.T
    return float(np.einsum("td,ts,sd->", seen, np.linalg.pinv(covariance), seen))


@given(arrivals(contributors=4, openings=5, most=2), st.integers(0, 2**32 - 1))
def test_no_direction_passes_the_leverage(who: np.ndarray, seed: int) -> None:
    """Uploads appear in up to two sums each; an owner's patients are moved in random directions."""
    openings = who.astype(np.float64)
    rng = np.random.default_rng(seed)
    owners = ("a", "a", "b", "b")
    for unit in ("a", "b"):
        own = [j for j, owner in enumerate(owners) if owner == unit]
        allowed = leverage(openings, owners=owners)[unit]
        if not openings[:, own].any():
            assert allowed == pytest.approx(0, abs=1e-12)
            continue
        best = 0.0
        for _ in range(30):
            moved = np.zeros((4, 3))
            directions = rng.normal(size=(len(own), 3))
            moved[own] = directions / np.linalg.norm(directions, axis=1, keepdims=True)
            best = max(best, squared_distance(openings, moved))
        for signs in ((1, 1), (1, -1)):  # aligned and opposed: the extremes for two uploads
            moved = np.zeros((4, 3))
            moved[own, 0] = signs
            best = max(best, squared_distance(openings, moved))
        assert best <= allowed * (1 + 1e-9)
        assert best >= allowed * (1 - 1e-6)  # two uploads: the bound is attained


def test_memory_and_repetition_cost_what_the_projector_says() -> None:
    """Golden arithmetic: one sum of n shares costs 1/n; a hospital r times in it, r^2 / n."""
    for n, r in ((4, 1), (4, 2), (6, 3)):
        openings = np.ones((1, n))
        owners = tuple("a" if j < r else f"b{j}" for j in range(n))
        assert leverage(openings, owners=owners)["a"] == pytest.approx(r**2 / n, rel=1e-8)


def test_opposed_uploads_of_one_owner_cost_no_more_than_the_worst_direction() -> None:
    """The complement of (1, 1, 1): absolute entries add up to 4, no unit directions pass 3."""
    openings = np.array([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0]])
    found = leverage(openings, owners=("a", "a", "a"))
    assert found["a"] == pytest.approx(3.0, rel=1e-9)


def test_simulated_openings_have_the_distance_that_is_accounted() -> None:
    """The likelihood ratio of simulated memory openings has variance mu squared."""
    rng = np.random.default_rng(2)
    openings = np.array([[1.0, 1.0, 0.0], [-1.0, 0.0, 1.0]])
    owners = ("a", "b", "a")
    block = (np.linalg.pinv(openings) @ openings)[np.ix_([0, 2], [0, 2])]
    moved = np.array([1.0, 0.0, np.sign(block[0, 1]) or 1.0])
    noise = rng.normal(scale=1.5, size=(200_000, 3)) @ openings.T
    covariance = 1.5**2 * openings @ openings.T
    ratio = noise @ np.linalg.solve(covariance, openings @ moved)
    found = leverage(openings, owners=owners)["a"] / 1.5**2
    assert ratio.var() == pytest.approx(found, rel=0.02)


def test_bad_arrangements_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="one owner an upload"):
        leverage(np.ones((1, 3)), owners=("a",))
