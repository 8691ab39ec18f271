import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.ledger.rounding import down, up
from privacy.report.printed import gaussian_mu, percent_up, power


@given(st.floats(1e-9, 1e9))
def test_up_is_never_below_and_down_never_above(value: float) -> None:
    assert float(up(value)) >= value
    assert float(down(value)) <= value
    assert float(up(value)) <= value * 1.001
    assert float(down(value)) >= value * 0.999


@given(st.floats(0.0, 1.0))
def test_percent_up_is_never_below(value: float) -> None:
    assert float(percent_up(value).removesuffix(" %")) / 100 >= value - 1e-9


def test_spelling() -> None:
    assert up(math.inf) == "∞"
    assert up(0.0) == "0"
    assert up(1.0) == "1"
    assert up(120000.0) == "120000"
    assert power(1e-5) == "1e-5"
    assert power(2.34e-7) == "2.34e-7"
    assert power(0.0) == "0"
    assert power(1.0) == "1"


@pytest.mark.parametrize(
    ("noise_multiplier", "epsilon"),
    # The analytic Gaussian (Balle and Wang 2018) at delta = 1e-5: sigma of epsilon 1, and the
    # closed form of 1000 releases at sigma 4.8448.
    [(3.7306, 1.0), (4.8448 / math.sqrt(1000), 48.372)],
)
def test_mu_is_that_of_the_gaussian(noise_multiplier: float, epsilon: float) -> None:
    assert gaussian_mu(epsilon, 1e-5) == pytest.approx(1 / noise_multiplier, rel=2e-4)
