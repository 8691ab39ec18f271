"""Losses of some mass lie on the grid: compositions of them are as narrow as those of others."""

import math

import mpmath as mp
import numpy as np
import pytest
from dp_accounting import NeighboringRelation as Relation
from dp_accounting import dp_event as dp
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.accounting import epsilon
from privacy.accounting.lattice import aligned
from privacy.accounting.profiles import (
    DiscreteLaplaceProfile,
    FiniteOutcomes,
    GaussianProfile,
    LaplaceProfile,
    Profile,
    Sampled,
)

ADD = Relation.ADD_OR_REMOVE_ONE


def response(loss: float) -> FiniteOutcomes:
    own = 1 / (1 + math.exp(-loss))
    return FiniteOutcomes(((own, 1 - own), (1 - own, own)))


@given(st.sampled_from([0, 1, 2]), st.floats(1e-3, 30.0), st.floats(1e-4, 1.0), st.booleans())
def test_the_loss_is_a_multiple_of_the_step_and_a_hair_on_the_right_side(
    kind: int, loss: float, share: float, below: bool
) -> None:
    loss = min(loss, 9.0) if kind == 2 else loss  # a quotient's logarithm loses digits
    profile = (LaplaceProfile(loss), DiscreteLaplaceProfile(loss, 3), response(loss))[kind]
    step = share * loss
    found = aligned(((GaussianProfile(1.0), 5), (profile, 3)), step, below=below)
    assert found <= step * (1 + 1e-12)
    assert found > 0.5 * step
    many = round(loss / found)
    assert many * found == pytest.approx(
        loss, rel=1e-11 if isinstance(profile, FiniteOutcomes) else 1e-15
    )
    if not isinstance(profile, FiniteOutcomes):
        assert (many * found <= loss) if below else (many * found >= loss)


def test_the_losses_that_weigh_most_settle_it() -> None:
    parts = ((LaplaceProfile(0.7), 2), (DiscreteLaplaceProfile(0.3, 1), 50))
    assert aligned(parts, 0.1, below=False) == pytest.approx(0.3 / 3)
    assert aligned(
        ((LaplaceProfile(0.7), 2), (DiscreteLaplaceProfile(0.3, 1), 1)), 0.1, below=False
    ) == (pytest.approx(0.1))
    assert aligned(((LaplaceProfile(0.75), 2),), 0.1, below=False) == pytest.approx(0.75 / 8)


@pytest.mark.parametrize(
    "profile",
    [
        GaussianProfile(1.0),
        Sampled(0.2, LaplaceProfile(1.0)),  # its two ends have no common part
        FiniteOutcomes(((0.2, 0.1), (0.5, 0.3), (0.3, 0.6))),  # nor have these losses
        LaplaceProfile(0.05),  # shorter than the step
    ],
)
def test_where_nothing_fits_the_step_stays(profile: Profile) -> None:
    assert aligned(((profile, 4),), 0.1, below=True) == 0.1


@given(st.floats(0.02, 4.0), st.integers(2, 60), st.floats(-30.0, -1.0))
def test_two_losses_many_times_are_known_to_their_last_digits(
    loss: float, count: int, exponent: float
) -> None:
    """A binomial sum of forty digits: discrete Laplace noise that a patient moves by one step."""
    with mp.workdps(40):
        a, target = mp.mpf(loss), mp.mpf(10) ** mp.mpf(exponent)
        up = 1 / (1 + mp.exp(-a))
        places = [(2 * k - count) * a for k in range(count + 1)]
        masses = [mp.binomial(count, k) * up**k * (1 - up) ** (count - k) for k in range(count + 1)]

        def delta(e: mp.mpf) -> mp.mpf:
            pairs = zip(masses, places, strict=True)
            return mp.fsum(m * -mp.expm1(e - loss) for m, loss in pairs if loss > e)

        low, high = mp.mpf(0), count * a
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if delta(middle) > target else (low, middle)
        truth = float(high)
    event = dp.SelfComposedDpEvent(dp.DiscreteLaplaceDpEvent(loss, 1), count)
    found = epsilon(event, delta=10.0**exponent, relation=ADD)
    assert found.lower <= truth * (1 + 1e-9)
    assert truth <= found.upper * (1 + 1e-9) + 1e-15
    assert found.upper - found.lower <= 2e-4 * truth + 1e-6


@settings(max_examples=40)
@given(st.floats(0.05, 3.0), st.integers(2, 40))
def test_where_delta_is_tiny_laplace_noise_costs_its_largest_loss(shift: float, count: int) -> None:
    event = dp.SelfComposedDpEvent(dp.LaplaceDpEvent(1 / shift), count)
    most = count * shift
    target = 1e-9 * 2.0**-count  # all losses are the largest with a chance of 2^-count
    found = epsilon(event, delta=target, relation=ADD)
    assert found.upper == pytest.approx(most, rel=1e-4)
    assert found.lower >= 0.98 * most - 2e-3
    assert np.isfinite(found.estimate)
