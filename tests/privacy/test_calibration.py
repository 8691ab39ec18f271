import functools
import math

import dp_accounting as dp
import pytest
from dp_accounting import NeighboringRelation as Relation
from hypothesis import example, given, settings
from hypothesis import strategies as st

from privacy import calibration
from privacy.accounting import epsilon
from privacy.accounting.events import DistributedDiscreteGaussianDpEvent
from privacy.calibration import noise_multiplier
from privacy.errors import InvalidInputError
from privacy.reconstruction import success_bound
from tests.privacy.golden import golden

ADD, REPLACE = Relation.ADD_OR_REMOVE_ONE, Relation.REPLACE_ONE


def shared(z: float, n: int, prob: float = 1.0) -> dp.DpEvent:
    one = DistributedDiscreteGaussianDpEvent(z, 1000, 19, 3)
    return dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(prob, one), n)


def full_batch(z: float, n: int) -> dp.DpEvent:
    return dp.SelfComposedDpEvent(dp.GaussianDpEvent(z), n)


def test_the_articles_multipliers() -> None:
    table = golden("accounting")["article"]
    for n, value in table["multiplier_for_epsilon_1"].items():
        make = functools.partial(full_batch, n=int(n))
        found = noise_multiplier(make, target_epsilon=1.0, delta=1e-5, relation=ADD)
        assert found == pytest.approx(value, abs=6e-3)


@settings(max_examples=20)
@example(20.0, 1, 1e-5, ADD)  # less noise than half of the sensitivity
@given(
    st.floats(0.05, 20),
    st.integers(1, 1000),
    st.floats(1e-9, 1e-3),
    st.sampled_from([ADD, REPLACE]),
)
def test_full_batch_keeps_the_promise_and_not_more(
    target: float, n: int, delta: float, relation: Relation
) -> None:
    z = noise_multiplier(
        lambda z: shared(z, n), target_epsilon=target, delta=delta, relation=relation
    )
    assert epsilon(shared(z, n), delta=delta, relation=relation).upper <= target
    less = shared(z * (1 - 1e-4), n)
    assert epsilon(less, delta=delta, relation=relation).upper > target


@settings(max_examples=5)
@given(st.floats(0.2, 8), st.floats(0.02, 0.2), st.integers(20, 150))
def test_sampling_keeps_the_promise_and_little_more(target: float, prob: float, n: int) -> None:
    z = noise_multiplier(
        lambda z: shared(z, n, prob), target_epsilon=target, delta=1e-5, relation=ADD
    )
    assert epsilon(shared(z, n, prob), delta=1e-5, relation=ADD).upper <= target
    less = shared(z * (1 - 2e-3), n, prob)
    assert epsilon(less, delta=1e-5, relation=ADD).upper > target


@settings(max_examples=20)
@given(st.floats(0.01, 0.5), st.floats(1.05, 1.9), st.integers(1, 100))
def test_noise_for_a_reconstruction_risk(prior: float, times: float, n: int) -> None:
    target = prior * times
    z = noise_multiplier(
        lambda z: shared(z, n), target_success=target, prior_success=prior, delta=1e-5, relation=ADD
    )
    assert success_bound(shared(z, n), prior_success=prior, relation=ADD) <= target
    less = shared(z * (1 - 1e-4), n)
    assert success_bound(less, prior_success=prior, relation=ADD) > target


def test_what_no_noise_reaches_is_refused_naming_the_nearest() -> None:
    def spent(z: float) -> dp.DpEvent:
        return dp.ComposedDpEvent([dp.GaussianDpEvent(1.0), dp.GaussianDpEvent(z)])

    with pytest.raises(InvalidInputError, match=r"nearest is 4\.377"):
        noise_multiplier(spent, target_epsilon=1.0, delta=1e-5, relation=ADD)
    for target in (0.1, 0.2):
        with pytest.raises(InvalidInputError, match=rf"={target} > prior_success=0\.2"):
            noise_multiplier(
                spent, target_success=target, prior_success=0.2, delta=1e-5, relation=ADD
            )


def test_bad_parameters_are_refused() -> None:
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(InvalidInputError, match="target_epsilon="):
            noise_multiplier(dp.GaussianDpEvent, target_epsilon=bad, delta=1e-5, relation=ADD)
    with pytest.raises(InvalidInputError, match="either"):
        noise_multiplier(dp.GaussianDpEvent, delta=1e-5, relation=ADD)
    with pytest.raises(InvalidInputError, match="either"):
        noise_multiplier(
            dp.GaussianDpEvent, target_epsilon=1.0, target_success=0.5, prior_success=0.1,
            delta=1e-5, relation=ADD,
        )  # fmt: skip
    with pytest.raises(InvalidInputError, match="needs prior_success"):
        noise_multiplier(dp.GaussianDpEvent, target_success=0.5, delta=1e-5, relation=ADD)
    with pytest.raises(InvalidInputError, match="delta="):
        noise_multiplier(dp.GaussianDpEvent, target_epsilon=1.0, delta=0.0, relation=ADD)


def test_a_quick_road_that_tells_too_little_is_made_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is the full upper end; the noise rises to it by small steps."""

    def too_low(event: dp.DpEvent, *, delta: float, relation: Relation) -> float:
        return 0.998 * epsilon(event, delta=delta, relation=relation).upper

    monkeypatch.setattr(calibration, "upper_epsilon", too_low)
    make = functools.partial(shared, n=30, prob=0.1)  # its estimate lies below its upper end
    z = noise_multiplier(make, target_epsilon=2.0, delta=1e-5, relation=ADD)
    assert 2 * (1 - 1e-3) <= epsilon(make(z), delta=1e-5, relation=ADD).upper <= 2
