"""AUC within hospitals against the definition, pair by pair, and intervals against known ones."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from experiments.evaluation import Scored, auc, bootstrap_auc, bootstrap_difference, delong, join
from privacy.errors import InvalidInputError

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "cohorts_evaluation.json").read_text())


def site(rng: np.random.Generator, n: int, *, folds: int = 1, ties: bool = False) -> Scored:
    outcomes = rng.permutation(np.arange(n) % 2)
    scores = rng.normal(size=n) + outcomes
    if ties:
        scores = np.rint(scores)
    return Scored(scores, outcomes, rng.integers(folds, size=n))


def wins_and_pairs(s: Scored) -> tuple[float, int]:
    wins, pairs = 0.0, 0
    for i in range(len(s)):
        for j in range(len(s)):
            if s.outcomes[i] > s.outcomes[j] and s.folds[i] == s.folds[j]:
                pairs += 1
                wins += float(s.scores[i] > s.scores[j]) + 0.5 * float(s.scores[i] == s.scores[j])
    return wins, pairs


@given(seed=st.integers(0, 10_000), folds=st.integers(1, 3), ties=st.booleans())
def test_auc_is_wins_over_pairs_of_the_same_hospital_and_model(
    seed: int, folds: int, ties: bool
) -> None:
    rng = np.random.default_rng(seed)
    sites = {name: site(rng, n, folds=folds, ties=ties) for name, n in (("a", 12), ("b", 17))}
    counted = [wins_and_pairs(s) for s in sites.values()]
    expected = sum(w for w, _ in counted) / sum(p for _, p in counted)
    assert auc(sites) == pytest.approx(expected, abs=1e-12)


def test_one_hospital_is_the_usual_auc() -> None:
    s = site(np.random.default_rng(0), 200, ties=True)
    assert auc({"a": s}) == pytest.approx(float(roc_auc_score(s.outcomes, s.scores)), abs=1e-12)


def test_telling_hospitals_apart_earns_nothing() -> None:
    ill = Scored(np.full(10, 5.0), np.array([1] * 9 + [0]))
    well = Scored(np.full(10, -5.0), np.array([1] + [0] * 9))
    assert auc({"ill": ill, "well": well}) == 0.5


def test_folds_are_never_compared_with_each_other() -> None:
    one = {"a": Scored(np.array([0.0, 1.0]), np.array([0, 1]))}
    two = {"a": Scored(np.array([100.0, 101.0]), np.array([0, 1]))}
    assert auc(join(one, two)) == 1.0
    assert join(one, two)["a"].folds.tolist() == [0, 0, 1, 1]


def naive_delong_variance(s: Scored) -> float:
    """DeLong et al. (1988), Eqs. 4 to 6, for one AUC."""
    ill, well = s.scores[s.outcomes == 1], s.scores[s.outcomes == 0]
    kernel = (ill[:, None] > well[None, :]) + 0.5 * (ill[:, None] == well[None, :])
    v10, v01 = kernel.mean(axis=1), kernel.mean(axis=0)
    return float(v10.var(ddof=1) / len(ill) + v01.var(ddof=1) / len(well))


@given(seed=st.integers(0, 10_000), n=st.integers(8, 40), ties=st.booleans())
def test_delong_is_the_papers_for_one_hospital(seed: int, n: int, ties: bool) -> None:
    s = site(np.random.default_rng(seed), n, ties=ties)
    found = delong({"a": s})
    if found.method == "DeLong":
        half = 1.959963984540054 * math.sqrt(naive_delong_variance(s))
        assert found.lower == pytest.approx(max(0.0, found.value - half), abs=1e-12)
        assert found.upper == pytest.approx(min(1.0, found.value + half), abs=1e-12)


def test_perfect_ranking_or_a_lone_negative_still_has_an_interval() -> None:
    perfect = delong({"a": Scored(np.arange(20.0), np.array([0] * 10 + [1] * 10))})
    assert (perfect.value, perfect.upper, perfect.method) == (1.0, 1.0, "Newcombe")
    assert 0.6 < perfect.lower < 0.9
    lone = delong({"a": Scored(np.arange(20.0) % 7, np.array([0] + [1] * 19))})
    assert lone.method == "Newcombe"
    assert lone.half_width > 0.3


@pytest.mark.parametrize("name", ["cleveland", "hungary", "switzerland", "va"])
def test_few_negatives_give_the_width_of_hanley_and_mcneil(name: str) -> None:
    known = GOLDEN["hanley_mcneil"][name]
    s = _exact_auc(known["positives"], known["negatives"], known["auc"])
    assert delong({"a": s}).half_width == pytest.approx(known["half_width"], rel=0.25)


def _exact_auc(positives: int, negatives: int, value: float) -> Scored:
    """Normal scores at regular quantiles, shifted to the AUC."""
    from statistics import NormalDist

    normal = NormalDist()
    shift = math.sqrt(2) * normal.inv_cdf(value)
    ill = [normal.inv_cdf((i + 0.5) / positives) + shift for i in range(positives)]
    well = [normal.inv_cdf((i + 0.5) / negatives) for i in range(negatives)]
    return Scored(np.array(ill + well), np.array([1] * positives + [0] * negatives))


def test_bootstrap_and_delong_agree() -> None:
    rng = np.random.default_rng(3)
    sites = {"a": site(rng, 300), "b": site(rng, 150)}
    boot, closed = bootstrap_auc(sites, replicates=2_000, seed=1), delong(sites)
    assert boot.value == closed.value
    assert boot.half_width == pytest.approx(closed.half_width, rel=0.1)
    assert bootstrap_auc(sites, replicates=50, seed=1) == bootstrap_auc(
        sites, replicates=50, seed=1
    )


@pytest.mark.parametrize("method", [delong, bootstrap_auc])
def test_intervals_cover_and_ones_a_third_narrower_do_not(method: object) -> None:
    assert callable(method)
    truth = 0.7602499  # of two normals one SD apart: Phi(1 / sqrt 2)
    covered, narrowed, trials = 0, 0, 300
    rng = np.random.default_rng(7)
    for _ in range(trials):
        options = {"replicates": 300} if method is bootstrap_auc else {}
        found = method({"a": site(rng, 120)}, **options)
        covered += found.lower <= truth <= found.upper
        narrowed += abs(truth - found.value) <= found.half_width * 2 / 3
    assert narrowed / trials < 0.885 < covered / trials  # nominal: .81 and .95


def test_pairing_removes_what_two_models_share() -> None:
    rng = np.random.default_rng(5)
    s = site(rng, 400)
    close = Scored(s.scores + rng.normal(scale=0.05, size=400), s.outcomes)
    paired = bootstrap_difference([{"a": s}], [{"a": close}], seed=2)
    assert paired.lower <= paired.value <= paired.upper
    assert paired.half_width < delong({"a": s}).half_width / 5
    nothing = bootstrap_difference([{"a": s}], [{"a": s}], seed=2)
    assert (nothing.lower, nothing.value, nothing.upper) == (0.0, 0.0, 0.0)


def test_pairing_needs_the_same_patients() -> None:
    rng = np.random.default_rng(5)
    with pytest.raises(InvalidInputError, match="same patients of 'a'"):
        bootstrap_difference([{"a": site(rng, 10)}], [{"a": site(rng, 12)}])


def test_no_pair_at_all_is_an_error() -> None:
    with pytest.raises(InvalidInputError, match="no pair to compare"):
        auc({"a": Scored(np.zeros(3), np.ones(3, dtype=np.int64))})


def test_scores_are_finite_and_lengths_agree() -> None:
    with pytest.raises(InvalidInputError, match="scores=array with 1 NaN"):
        Scored(np.array([np.nan]), np.array([1]))
    with pytest.raises(InvalidInputError, match="outcomes in"):
        Scored(np.array([0.0]), np.array([2]))


def test_repeating_a_cross_validation_does_not_pass_for_more_patients() -> None:
    sites = {"a": site(np.random.default_rng(0), 60), "b": site(np.random.default_rng(1), 40)}
    once, thrice = bootstrap_auc(sites), bootstrap_auc(sites, sites, sites)
    assert (thrice.lower, thrice.upper) == pytest.approx((once.lower, once.upper), abs=1e-12)
    other = {name: Scored(-s.scores, s.outcomes) for name, s in sites.items()}
    both = bootstrap_auc(sites, other)
    assert both.value == pytest.approx(0.5)
    assert both.half_width == pytest.approx(0.0, abs=1e-12)  # the same draws: mirrored exactly
