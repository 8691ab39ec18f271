"""Calibration over hospitals: its slope and bands by another road, and the interval's coverage."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import binom

from experiments.evaluation import Scored, reliability
from experiments.studies.joining.calibrated import calibrated

NAMES = ("a", "b", "c")
Folds = list[dict[str, Scored]]


def network(
    seed: int, *, hospitals: int = 3, slope: float = 1.0, spread: float = 0.0, size: int = 30
) -> Folds:
    """Two folds; a hospital's slope is off by its own, everybody's scores are ``slope`` off."""
    found: Folds = []
    own = spread * np.random.default_rng([seed, 7]).normal(size=hospitals)
    for fold in range(2):
        sites = {}
        for k in range(hospitals):
            rng = np.random.default_rng([seed, fold, k])
            scores = 1.5 * rng.normal(size=size + k)
            risks = 1 / (1 + np.exp(-(slope + own[k]) * scores))
            sites[str(k)] = Scored(scores, (rng.random(size + k) < risks).astype(np.int64))
        found.append(sites)
    return found


def pooled(folds: Folds) -> Scored:
    sites = [site for fold in folds for site in fold.values()]
    return Scored(
        np.concatenate([s.scores for s in sites]), np.concatenate([s.outcomes for s in sites])
    )


def test_the_slope_is_the_mean_of_the_seeds_fits() -> None:
    seeds = [network(seed) for seed in range(3)]
    expected = []
    for folds in seeds:
        site = pooled(folds)

        def loss(at: np.ndarray, site: Scored = site) -> float:
            logits = at[0] + at[1] * site.scores
            return float((np.logaddexp(0, logits) - site.outcomes * logits).sum())

        expected.append(minimize(loss, np.zeros(2), tol=1e-12).x[1])
    found = calibrated(("0", "1", "2"), seeds)
    assert found.slope.value == pytest.approx(np.mean(expected), abs=1e-5)


def test_bands_are_those_of_the_evaluation() -> None:
    folds = network(1, hospitals=8)
    found, one = calibrated([str(k) for k in range(8)], [folds]), reliability(pooled(folds))
    np.testing.assert_allclose([b.predicted for b in found.bands], one.predicted)
    np.testing.assert_allclose([b.observed.value for b in found.bands], one.observed)
    np.testing.assert_allclose([b.patients for b in found.bands], one.patients)
    assert all(b.observed.lower <= b.observed.value <= b.observed.upper for b in found.bands)


def test_seeds_weigh_the_same_and_a_band_counts_patients_of_one() -> None:
    folds = network(1, hospitals=8)
    names = [str(k) for k in range(8)]
    once, twice = calibrated(names, [folds]), calibrated(names, [folds, folds])
    assert twice.slope.value == pytest.approx(once.slope.value)
    assert [b.patients for b in twice.bands] == [b.patients for b in once.bands]


def test_the_slopes_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """40 hospitals whose slopes differ; 95 % is nominal, and percentiles are a little short."""
    runs, held = 150, 0
    names = [str(k) for k in range(40)]
    for run in range(runs):
        found = calibrated(names, [network(run, hospitals=40, slope=0.8, spread=0.2, size=40)])
        held += found.slope.lower <= _TRUTH <= found.slope.upper
    assert held >= binom.ppf(1e-6, runs, 0.90), held


_TRUTH = 0.785
"""Of very many such hospitals: what the pooled fit goes to (``test_the_truth...``)."""


def test_the_truth_of_the_coverage_is_what_very_many_hospitals_give() -> None:
    names = [str(k) for k in range(4000)]
    found = calibrated(names, [network(1, hospitals=4000, slope=0.8, spread=0.2, size=10)])
    assert found.slope.value == pytest.approx(_TRUTH, abs=0.01)
