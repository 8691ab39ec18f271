from typing import Literal

import dp_accounting as dp
import numpy as np
import pytest
from dp_accounting import NeighboringRelation as Relation

from privacy.accounting import epsilon
from privacy.accounting.budget import budget_curve
from privacy.accounting.classes import in_classes
from privacy.accounting.events import DistributedDiscreteGaussianDpEvent, SkellamDpEvent
from privacy.accounting.profiles import Gaussian, Sampled

ADD = Relation.ADD_OR_REMOVE_ONE


@pytest.mark.parametrize(
    ("event", "rounds"),
    [
        (dp.GaussianDpEvent(30.0), 10_000),
        (DistributedDiscreteGaussianDpEvent(30.0, 1000, 19, 3), 10_000),
        (dp.PoissonSampledDpEvent(0.05, dp.GaussianDpEvent(1.5)), 30),
        (SkellamDpEvent(30.0, 1000, 19), 20),
    ],
    ids=["gaussian", "discrete", "sampled", "skellam"],
)
def test_curve_brackets_every_round_and_never_falls(event: dp.DpEvent, rounds: int) -> None:
    low, high = budget_curve(event, rounds=rounds, delta=1e-5, relation=ADD)
    assert len(low) == len(high) == rounds
    assert (np.diff(low) >= 0).all()
    assert (np.diff(high) >= 0).all()
    for n in (1, 2, rounds // 3, rounds):
        found = epsilon(dp.SelfComposedDpEvent(event, n), delta=1e-5, relation=ADD)
        assert low[n - 1] <= found.upper
        assert high[n - 1] >= found.lower
        assert high[n - 1] <= found.upper * 1.05 + 1e-3


def test_without_sampling_every_round_is_the_single_answer() -> None:
    for event in (
        dp.GaussianDpEvent(3.0),
        DistributedDiscreteGaussianDpEvent(22.0, 1, 1, 400),  # narrow shares: a slack to be seen
    ):
        low, high = budget_curve(event, rounds=100, delta=1e-5, relation=ADD)
        for n in (1, 10, 100):
            found = epsilon(dp.SelfComposedDpEvent(event, n), delta=1e-5, relation=ADD)
            assert low[n - 1] == pytest.approx(found.lower, rel=1e-7)
            assert high[n - 1] == pytest.approx(found.upper, rel=1e-7)


def test_many_different_releases_are_bracketed_by_classes() -> None:
    schedule = [
        dp.PoissonSampledDpEvent(0.01, dp.GaussianDpEvent(2.0 * 0.999**k)) for k in range(150)
    ]
    found = epsilon(dp.ComposedDpEvent(schedule), delta=1e-5, relation=ADD)
    # Two neighbours that bracket it: the first release, and the last, throughout.
    ends = [
        epsilon(dp.SelfComposedDpEvent(schedule[k], 150), delta=1e-5, relation=ADD) for k in (0, -1)
    ]
    assert ends[0].lower < found.lower < found.upper < ends[1].upper
    assert found.upper < found.lower * 1.1


def test_classes_round_to_the_stated_side_and_keep_the_count() -> None:
    rng = np.random.default_rng(3)
    parts = tuple(
        (Sampled(float(q), Gaussian(float(mu))), 2)
        for q, mu in zip(rng.uniform(0.01, 0.9, 90), rng.uniform(0.1, 2, 90), strict=True)
    )
    sides: tuple[Literal["above", "below"], ...] = ("above", "below")
    for side in sides:
        classes = in_classes(parts, side)
        assert len(classes) <= 64
        assert sum(n for _, n in classes) == 180
    grid = np.linspace(-1, 5, 50)
    few = parts[:65]
    profile = few[0][0]
    for side, sign in zip(sides, (1, -1), strict=True):
        rounded = in_classes(((profile, 1), *few[1:]), side)[0][0]
        for a, b in zip(rounded.deltas(grid), profile.deltas(grid), strict=True):
            assert (sign * (a - b) >= -1e-12).all()
    assert in_classes(parts[:64], "above") == parts[:64]
