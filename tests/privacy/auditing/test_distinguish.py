import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from privacy.accounting.gaussian import gaussian_epsilon
from privacy.auditing import distinguish, scale_epsilon
from privacy.mechanisms import Seeded, article_noise
from privacy.testing.plugin import FalseAlarms
from tests.privacy.golden import golden


def test_published_scale_epsilons() -> None:
    for dim, value in golden("auditing")["scale"]["values"].items():
        found = scale_epsilon(1.1, dim=int(dim), delta=1e-5)
        assert found == pytest.approx(value, abs=0.06)
        assert scale_epsilon(1 / 1.1, dim=int(dim), delta=1e-5) == pytest.approx(found, rel=1e-9)
    assert scale_epsilon(1.0, dim=5, delta=1e-5) == 0.0


def test_scale_epsilon_is_the_integral_in_one_dimension() -> None:
    x = np.linspace(-60, 60, 400_001)
    rho, delta = 1.5, 1e-3
    p = np.exp(-(x**2) / 2)
    q = np.exp(-(x**2) / (2 * rho**2)) / rho
    p, q = p / p.sum(), q / q.sum()
    epsilon = scale_epsilon(rho, dim=1, delta=delta)
    worst = max(np.maximum(a - math.exp(epsilon) * b, 0).sum() for a, b in ((p, q), (q, p)))
    assert worst == pytest.approx(delta, rel=1e-4)


def test_the_articles_mechanism_is_told_apart_beyond_its_claim() -> None:
    """Norms 1 and 1.1, claimed epsilon 1: a thousand coordinates tell which."""
    source = Seeded(4)

    def release(trials: int, with_patient: bool) -> NDArray[np.float64]:
        gradient = np.zeros(1000)
        gradient[0] = 1.1 if with_patient else 1.0
        return np.array(
            [
                article_noise(gradient, epsilon=1.0, delta=1e-5, source=source)[1:].std()
                for _ in range(trials)
            ]
        )

    assert distinguish(release, trials=1000, delta=1e-5) > 4


def test_gaussian_noise_is_not_accused_of_more_than_it_has(false_alarms: FalseAlarms) -> None:
    rng = np.random.default_rng(6)
    epsilon = gaussian_epsilon(mu=1.0, delta=1e-2)

    def release(trials: int, with_patient: bool) -> NDArray[np.float64]:
        return rng.normal(size=trials) + with_patient

    bounds = [distinguish(release, trials=2000, delta=1e-2) for _ in range(200)]
    accused = sum(b > epsilon for b in bounds)
    assert binomtest(accused, 200, 0.05, alternative="greater").pvalue > false_alarms.share()
    assert np.median(bounds) > 1.0


def test_a_gradient_of_zero_norm_has_no_finite_epsilon() -> None:
    source = Seeded(5)

    def release(trials: int, with_patient: bool) -> NDArray[np.float64]:
        gradient = np.full(2, 0.1 if with_patient else 0.0)
        return np.array(
            [
                float(np.abs(article_noise(gradient, epsilon=1.0, delta=1e-5, source=source)).max())
                for _ in range(trials)
            ]
        )

    small, large = (distinguish(release, trials=n, delta=1e-5) for n in (60, 1000))
    assert large > small + 2  # grows with the number of runs, without end


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
def test_all_right_is_worth_two_exact_binomial_bounds(confidence: float) -> None:
    """n hits of n, no alarm in n: each bound by Clopper and Pearson takes half of the risk."""
    trials, delta = 50, 1e-3
    alpha = (1 - confidence) / 2
    least = alpha ** (1 / trials)
    truth = math.log((least - delta) / (1 - least))
    found = distinguish(
        lambda n, with_patient: np.full(n, float(with_patient)),
        trials=trials,
        delta=delta,
        confidence=confidence,
    )
    assert found == pytest.approx(truth, rel=1e-9)
