"""Calibration against the definitions and an independent fit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression

from experiments.evaluation import Scored, brier, calibration, chance_ece, reliability
from privacy.errors import InvalidInputError


def draw(seed: int, n: int, *, intercept: float = 0.0, slope: float = 1.0) -> Scored:
    """Outcomes whose true log-odds are intercept + slope * score."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(scale=1.5, size=n)
    risks = 1 / (1 + np.exp(-(intercept + slope * scores)))
    return Scored(scores, (rng.random(n) < risks).astype(np.int64))


def test_the_truth_lies_in_the_intervals() -> None:
    found = calibration(draw(0, 4_000, intercept=0.5))
    assert found.in_the_large is not None
    assert found.in_the_large.lower < 0.5 < found.in_the_large.upper
    assert found.in_the_large.half_width < 0.1
    tilted = calibration(draw(1, 4_000, slope=0.6))
    assert tilted.slope is not None
    assert tilted.slope.lower < 0.6 < tilted.slope.upper


def test_the_slope_is_that_of_an_independent_fit() -> None:
    site = draw(2, 500, intercept=-1.0, slope=0.7)
    other = LogisticRegression(C=np.inf, tol=1e-10).fit(site.scores[:, None], site.outcomes)
    found = calibration(site)
    assert found.slope is not None
    assert found.slope.value == pytest.approx(float(other.coef_[0, 0]), abs=1e-5)


@given(seed=st.integers(0, 10_000), shift=st.floats(-3, 3))
def test_in_the_large_is_undone_by_shifting_the_scores(seed: int, shift: float) -> None:
    site = draw(seed, 60)
    before, after = calibration(site).in_the_large, calibration(site.shifted(shift)).in_the_large
    assert before is not None
    assert after is not None
    assert after.value == pytest.approx(before.value - shift, abs=1e-7)


def test_at_zero_in_the_large_expected_equals_observed() -> None:
    site = draw(3, 300, intercept=1.0)
    found = calibration(site).in_the_large
    assert found is not None
    assert calibration(site.shifted(found.value)).expected_over_observed == pytest.approx(1.0)


def test_ece_is_the_weighted_gap_of_the_bins() -> None:
    site = Scored(np.log(np.array([0.25] * 4 + [0.5] * 4) / np.array([0.75] * 4 + [0.5] * 4)),
                  np.array([1, 1, 0, 0, 1, 1, 1, 1]))  # fmt: skip
    table = reliability(site)
    np.testing.assert_allclose(table.predicted, [0.25, 0.5])
    np.testing.assert_allclose(table.observed, [0.5, 1.0])
    assert table.patients.tolist() == [4, 4]
    assert table.ece == pytest.approx(0.375)
    assert calibration(site).brier == pytest.approx((2 * 0.0625 + 2 * 0.5625 + 4 * 0.25) / 8)


def test_wilson_interval_is_the_published_one() -> None:
    # None of 10: [0, .2775]; Newcombe (1998), Statistics in Medicine 17:857, score method.
    table = reliability(Scored(np.zeros(10), np.zeros(10, dtype=np.int64)), bins=1)
    assert table.lower[0] == pytest.approx(0.0, abs=1e-15)
    assert table.upper[0] == pytest.approx(0.2775, abs=5e-5)


@given(seed=st.integers(0, 10_000), n=st.integers(1, 60), bins=st.integers(1, 12))
def test_bins_hold_every_patient_once_in_order(seed: int, n: int, bins: int) -> None:
    rng = np.random.default_rng(seed)
    site = Scored(np.rint(rng.normal(size=n)), rng.integers(2, size=n))
    table = reliability(site, bins=bins)
    assert table.patients.sum() == n
    assert len(table.patients) <= bins
    assert (np.diff(table.predicted) > 0).all()
    assert (table.lower <= table.observed + 1e-12).all()
    assert (table.observed <= table.upper + 1e-12).all()


def test_what_does_not_exist_is_none() -> None:
    ill_only = calibration(Scored(np.array([0.0, 1.0]), np.array([1, 1])))
    assert (ill_only.in_the_large, ill_only.slope) == (None, None)
    assert ill_only.expected_over_observed is not None
    assert calibration(Scored(np.zeros(2), np.array([0, 0]))).expected_over_observed is None
    separated = calibration(Scored(np.array([-1.0, 1.0]), np.array([0, 1])))
    assert separated.slope is None
    assert separated.in_the_large is not None
    assert calibration(Scored(np.ones(4), np.array([0, 1, 0, 1]))).slope is None


def test_extreme_scores_do_not_overflow() -> None:
    found = calibration(Scored(np.array([-900.0, 900.0, -900.0, 900.0]), np.array([0, 1, 0, 1])))
    assert (found.brier, found.ece, found.in_the_large) == (0.0, 0.0, None)


def test_no_patients_is_an_error() -> None:
    with pytest.raises(InvalidInputError, match="No patients"):
        reliability(Scored(np.empty(0), np.empty(0, dtype=np.int64)))


def test_right_risks_pass_the_error_by_chance_once_in_twenty() -> None:
    passed = [
        calibration(site).ece > chance_ece(site, draws=400)
        for site in (draw(seed, 150) for seed in range(600))
    ]
    assert binomtest(sum(passed), len(passed), 0.05).pvalue > 1e-3
    tilted = [draw(seed, 150, slope=0.3) for seed in range(100)]
    assert np.mean([calibration(site).ece > chance_ece(site, draws=400) for site in tilted]) > 0.9
    with pytest.raises(InvalidInputError, match="patients=0"):
        chance_ece(draw(0, 0))


def test_repeating_a_cross_validation_does_not_pass_for_more_patients() -> None:
    site = draw(4, 120, intercept=0.4)
    assert chance_ece(site, site, site) == pytest.approx(chance_ece(site))
    one, three = brier({"a": site}), brier(*[{"a": site}] * 3)
    assert (three.value, three.half_width) == pytest.approx((one.value, one.half_width))


def test_the_brier_score_s_interval_is_that_of_a_mean_and_covers() -> None:
    site = draw(5, 90)
    errors = (site.risks - site.outcomes) ** 2
    found = brier({"a": site})
    assert found.value == pytest.approx(errors.mean())
    assert found.half_width == pytest.approx(1.959964 * stats.sem(errors))
    truth = float(np.mean(brier({"a": draw(6, 400_000), "b": draw(7, 200_000)}).value))
    covered = []
    for seed in range(500):
        both = brier({"a": draw(2 * seed, 200), "b": draw(2 * seed + 1, 100)})
        covered.append(both.lower <= truth <= both.upper)
    assert binomtest(sum(covered), len(covered), 0.95).pvalue > 1e-3
