import numpy as np
import pytest
from scipy import stats

from attacks.scoring.rates import (
    clopper_pearson,
    cluster_bootstrap,
    equivalence,
    student_half_width,
)
from privacy.errors import InvalidInputError


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (3, 30), (30, 30), (499, 1000)])
def test_clopper_pearson_agrees_with_scipy(successes: int, trials: int) -> None:
    exact = stats.binomtest(successes, trials).proportion_ci(0.95, method="exact")
    assert clopper_pearson(successes, trials) == pytest.approx((exact.low, exact.high))


@pytest.mark.parametrize("truth", [0.02, 0.1, 0.5, 0.9])
def test_clopper_pearson_covers_every_truth(truth: float) -> None:
    trials = 40
    mass = stats.binom.pmf(np.arange(trials + 1), trials, truth)
    covered = [
        low <= truth <= high
        for low, high in (clopper_pearson(k, trials) for k in range(trials + 1))
    ]
    assert mass[covered].sum() >= 0.95


def test_the_cluster_bootstrap_is_wider_where_patients_share_a_fate() -> None:
    rng = np.random.default_rng(0)
    fates = rng.normal(size=40)
    values = np.repeat(fates, 8)
    together = cluster_bootstrap(values, np.repeat(np.arange(40), 8), np.random.default_rng(1))
    apart = cluster_bootstrap(values, np.arange(320), np.random.default_rng(1))
    assert np.diff(together) > 2 * np.diff(apart)
    assert np.diff(together) == pytest.approx(2 * 1.96 * fates.std() / np.sqrt(40), rel=0.15)


def test_equivalence_needs_evidence_not_just_no_difference() -> None:
    rng = np.random.default_rng(0)
    many, few = rng.normal(0, 0.1, 400), rng.normal(0, 0.1, 6)
    assert equivalence(many, np.arange(400), rng, margin=0.02).equivalent
    assert not equivalence(few, np.arange(6), rng, margin=0.02).equivalent
    shifted = equivalence(many + 0.05, np.arange(400), rng, margin=0.02)
    assert not shifted.equivalent
    assert shifted.estimate == pytest.approx(0.05, abs=0.02)


def test_each_of_the_two_tests_errs_as_often_as_it_says() -> None:
    """Two one-sided tests at alpha: an interval of 1 - 2 alpha within the margin."""
    values, clusters = np.random.default_rng(3).normal(0, 0.1, 50), np.arange(50)
    found = equivalence(values, clusters, np.random.default_rng(1), margin=0.05, alpha=0.1)
    expected = cluster_bootstrap(values, clusters, np.random.default_rng(1), confidence=0.8)
    assert (found.low, found.high) == expected


def test_bad_inputs_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InvalidInputError, match="successes=3"):
        clopper_pearson(3, 2)
    with pytest.raises(InvalidInputError, match="2 clusters"):
        cluster_bootstrap(np.ones(4), np.zeros(4, dtype=np.int64), rng)
    with pytest.raises(InvalidInputError, match="margin"):
        equivalence(np.ones(4), np.arange(4), rng, margin=0.0)


def test_student_s_half_width_is_scipy_s_interval_and_covers() -> None:
    values = np.random.default_rng(0).normal(size=7)
    expected = stats.t.interval(0.9, 6, loc=values.mean(), scale=stats.sem(values))
    half = student_half_width(values, confidence=0.9)
    np.testing.assert_allclose([values.mean() - half, values.mean() + half], expected)
    with pytest.raises(InvalidInputError, match="two repetitions, got 1"):
        student_half_width(np.ones(1))
