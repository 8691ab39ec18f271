"""Null calibration, published ceilings, and audits of a mechanism whose epsilon is known."""

import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom, binomtest

from privacy.accounting.gaussian import gaussian_mu
from privacy.auditing import (
    Audit,
    audit,
    ceiling,
    epsilon_lower_bound,
    gaussian_lower_bound,
    split_lower_bound,
)
from privacy.errors import InvalidInputError
from privacy.testing.plugin import FalseAlarms
from tests.privacy.golden import golden

GOLDEN = golden("auditing")
Floats = NDArray[np.float64]


def test_published_ceilings() -> None:
    for n, value in GOLDEN["ceilings"]["values"].items():
        assert ceiling(int(n), delta=0.0, confidence=0.95) == pytest.approx(value, abs=6e-4)


def naive_chance(r: int, v: int, m: int, epsilon: float, delta: float) -> float:
    """The theorem, term by term."""
    p = math.exp(epsilon) / (1 + math.exp(epsilon))
    beta = [binom.sf(v - i - 1, r, p) for i in range(m + 1)]
    return float(beta[0] + 2 * m * delta * max((beta[i] - beta[0]) / i for i in range(1, m + 1)))


@settings(max_examples=50)
@given(st.integers(1, 60), st.data(), st.sampled_from([0.0, 1e-5, 1e-3]))
def test_bound_is_the_root_of_the_theorem(r: int, data: st.DataObject, delta: float) -> None:
    v = data.draw(st.integers(0, r))
    m = data.draw(st.integers(r, 90))
    found = epsilon_lower_bound(r, v, m, delta=delta, confidence=0.95)
    if found > 0:
        assert naive_chance(r, v, m, found, delta) <= 0.05 * (1 + 1e-6)
    assert naive_chance(r, v, m, found * (1 + 1e-6) + 1e-6, delta) >= 0.05 * (1 - 1e-4)


@pytest.mark.parametrize("r", [5, 40, 1000])
def test_a_bound_lies_below_its_closed_form_and_close_to_it(r: int) -> None:
    """All of r right: p^r = 1 - confidence, and p = e^epsilon / (1 + e^epsilon)."""
    with mp.workdps(40):
        p = mp.mpf(1 - 0.95) ** (mp.mpf(1) / r)
        truth = mp.log(p / (1 - p))
        found = epsilon_lower_bound(r, r, r, delta=0.0, confidence=0.95)
        assert truth * (1 - mp.mpf("1e-8")) < found < truth


def refuted(mu: float, r: int, v: int, m: int, alpha: float) -> bool:
    """Mahloujifar et al. 2024, Algorithm 3, read again from the paper, with 30 digits.

    r_i and h_i, downwards from i = v: masses of wrong and of right guesses with i of them right.
    """
    with mp.workdps(30):
        tail = mp.mpf(alpha)
        wrong, right = tail * (r - v) / m, tail * v / m
        for i in reversed(range(v)):
            at = mp.sqrt(2) * mp.erfinv(2 * right - 1) - mu
            least = max(wrong, mp.ncdf(at))
            right, wrong = right + mp.mpf(i) / (r - i) * (least - wrong), least
            if right + wrong > mp.mpf(r) / m:  # they never fall again
                return True
        return False


@pytest.mark.parametrize(("r", "v", "m"), [(60, 50, 80), (100, 100, 100), (150, 100, 400)])
def test_the_gaussian_bound_is_of_a_mu_that_is_refuted_and_the_next_is_not(
    r: int, v: int, m: int
) -> None:
    found = gaussian_lower_bound(r, v, m, delta=1e-5, confidence=0.95)
    mu = gaussian_mu(epsilon=found, delta=1e-5)
    assert refuted(mu, r, v, m, 1 - 0.95)
    assert not refuted(mu * (1 + 3e-5), r, v, m, 1 - 0.95)


def test_chance_level_guesses_show_nothing_in_95_of_100(false_alarms: FalseAlarms) -> None:
    rng = np.random.default_rng(7)
    for confidence in (0.95, 0.8):
        right = rng.binomial(500, 0.5, 4000)
        values, times = np.unique(right, return_counts=True)
        alarms = sum(
            n
            for v, n in zip(values, times, strict=True)
            if epsilon_lower_bound(500, int(v), 500, delta=1e-5, confidence=confidence) > 0
        )
        assert (
            binomtest(alarms, 4000, 1 - confidence, alternative="greater").pvalue
            > false_alarms.share()
        )
        alarms = sum(
            n
            for v, n in zip(values, times, strict=True)
            if gaussian_lower_bound(500, int(v), 500, delta=1e-5, confidence=confidence) > 0
        )
        assert (
            binomtest(alarms, 4000, 1 - confidence, alternative="greater").pvalue
            > false_alarms.share()
        )


def test_randomised_response_is_not_accused_of_more_than_it_has(false_alarms: FalseAlarms) -> None:
    """The mechanism that meets the theorem: the bound passes epsilon in at most 1 of 20 runs."""
    rng = np.random.default_rng(9)
    epsilon, m = 1.5, 300
    p = math.exp(epsilon) / (1 + math.exp(epsilon))
    values, back = np.unique(rng.binomial(m, p, 4000), return_inverse=True)
    bounds = np.array(
        [epsilon_lower_bound(m, int(v), m, delta=0.0, confidence=0.95) for v in values]
    )[back]
    accused = int((bounds > epsilon).sum())
    assert binomtest(accused, 4000, 0.05, alternative="greater").pvalue > false_alarms.share()
    assert np.median(bounds) > 1.1  # and it sees most of it


def gaussian_canaries(epsilon: float, canaries: int, seed: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Orthogonal canaries under the Gaussian mechanism, half of them in."""
    mu = gaussian_mu(epsilon=epsilon, delta=1e-5)
    members = np.arange(canaries) % 2 == 0
    return np.random.default_rng(seed).normal(size=canaries) + mu * members, members


@pytest.mark.parametrize("row", GOLDEN["one_run"]["rows"], ids=str)
def test_audits_of_the_gaussian_mechanism(row: list[float]) -> None:
    """A published median of five is an ordinary one among our medians of five.

    The medians were made with the threshold chosen on one half of the canaries and the bound taken
    on the other; they scatter by some .3, so they are placed among 500 resampled ones.
    """
    epsilon, canaries, *published = row
    bounds = (epsilon_lower_bound, gaussian_lower_bound)
    found = np.zeros((2, 7))
    for seed in range(7):
        scores, members = gaussian_canaries(float(epsilon), int(canaries), seed)
        for which, bound in enumerate(bounds):
            found[which, seed] = split_lower_bound(
                scores,
                members,
                bound=bound,
                delta=1e-5,
                confidence=0.95,
                rng=np.random.default_rng(seed),
            )
    for runs, value in zip(found, published, strict=True):
        picks = np.random.default_rng(0).integers(7, size=(500, 5))
        low, high = np.quantile(np.median(runs[picks], axis=1), [0.005, 0.995])
        assert low - 0.01 <= value <= high + 0.01
        assert (runs <= epsilon).mean() > 0.75  # each passes it in at most one run of twenty
    assert np.median(found[1]) >= np.median(found[0])


def test_choosing_on_one_half_does_not_accuse_chance(false_alarms: FalseAlarms) -> None:
    """Scores that know nothing: more than 0 in at most one run of twenty."""
    rng = np.random.default_rng(3)
    alarms = 0
    for _ in range(60):
        members = rng.random(100) < 0.5
        found = split_lower_bound(
            rng.normal(size=100),
            members,
            bound=epsilon_lower_bound,
            delta=1e-5,
            confidence=0.95,
            rng=rng,
        )
        alarms += found > 0
    assert binomtest(alarms, 60, 0.05, alternative="greater").pvalue > false_alarms.share()


@given(st.integers(2, 300), st.data())
def test_more_right_guesses_never_lower_it(r: int, data: st.DataObject) -> None:
    v = data.draw(st.integers(0, r - 1))
    m = data.draw(st.integers(r, 400))

    def bound(v: int, m: int, delta: float) -> float:
        return epsilon_lower_bound(r, v, m, delta=delta, confidence=0.95)

    assert bound(v, m, 1e-6) <= bound(v + 1, m, 1e-6) + 1e-9
    assert bound(v, m, 1e-4) <= bound(v, m, 1e-6) + 1e-9
    assert bound(v, m + 100, 1e-4) <= bound(v, m, 1e-4) + 1e-9


def test_a_bound_that_equals_the_claim_does_not_refute_it() -> None:
    assert not Audit(claimed=1.0, lower_bound=1.0, power=3.0).falsified
    assert Audit(claimed=1.0, lower_bound=math.nextafter(1.0, 2.0), power=3.0).falsified


def test_a_report_says_falsified_or_how_far_it_could_see() -> None:
    found = audit(1000, 1000, 1000, claimed=1.0, delta=0.0)
    assert found.falsified
    assert str(found) == "falsified: epsilon >= 5.81, claimed 1"
    found = audit(100, 52, 100, claimed=1.0, delta=0.0)
    assert not found.falsified
    assert str(found) == "not falsified, with power to see epsilon >= 3.49 at most"


def test_impossible_counts_are_refused() -> None:
    for r, v, m in ((3, 4, 5), (6, 2, 5), (-1, 0, 5)):
        with pytest.raises(InvalidInputError):
            epsilon_lower_bound(r, v, m, delta=0.0, confidence=0.95)
    for confidence in (0.0, 1.0, math.nan):
        with pytest.raises(InvalidInputError, match="confidence"):
            epsilon_lower_bound(2, 1, 3, delta=0.0, confidence=confidence)


@pytest.mark.parametrize("canaries", [0, 1])
def test_halves_of_fewer_than_two_canaries_are_refused(canaries: int) -> None:
    with pytest.raises(InvalidInputError, match="canaries"):
        split_lower_bound(
            np.zeros(canaries),
            np.zeros(canaries, dtype=np.bool_),
            bound=epsilon_lower_bound,
            delta=1e-5,
            confidence=0.95,
            rng=np.random.default_rng(0),
        )
