import math

import numpy as np
import pytest
from scipy import stats

from privacy.errors import InvalidInputError
from privacy.mechanisms import Seeded, article_noise, article_noise_std
from privacy.testing.plugin import FalseAlarms


def test_scale_is_the_articles_formula(false_alarms: FalseAlarms) -> None:
    gradient = np.array([[3.0], [4.0]])
    # 5 sqrt(2 ln 125000) = 5 * 4.84480521
    assert article_noise_std(gradient, epsilon=1.0, delta=1e-5) == pytest.approx(24.2240, abs=1e-4)
    noised = [
        article_noise(gradient, epsilon=2.0, delta=1e-5, source=Seeded(i)) - gradient
        for i in range(2000)
    ]
    assert noised[0].shape == (2, 1)
    assert stats.kstest(np.ravel(noised) / 12.1120, "norm").pvalue > false_alarms.share()


def test_a_zero_gradient_gets_no_noise_at_all() -> None:
    zero = np.zeros(4)
    released = article_noise(zero, epsilon=1.0, delta=1e-5, source=Seeded(1))
    assert (released == 0).all()
    assert not np.shares_memory(released, zero)  # what is uploaded is no view of the gradient


def test_the_scale_of_the_noise_tells_the_norm() -> None:
    """A thousand coordinates of noise give the norm away, without the gradient."""
    for norm in (0.1, 1.0, 10.0):
        gradient = np.zeros(1000)
        gradient[0] = norm
        released = article_noise(gradient, epsilon=1.0, delta=1e-5, source=Seeded(2))
        guess = released[1:].std() / math.sqrt(2 * math.log(1.25e5))
        assert guess == pytest.approx(norm, rel=0.1)


def test_bad_parameters_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="epsilon="):
        article_noise(np.ones(2), epsilon=0.0, delta=1e-5, source=Seeded(1))
    with pytest.raises(InvalidInputError, match="delta="):
        article_noise(np.ones(2), epsilon=1.0, delta=0.0, source=Seeded(1))
    with pytest.raises(InvalidInputError, match="NaN"):
        article_noise(np.array([np.nan]), epsilon=1.0, delta=1e-5, source=Seeded(1))
