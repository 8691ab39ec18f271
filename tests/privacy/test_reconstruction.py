"""The bound against closed forms, riskcal, a two-sample Monte Carlo, and a real attack."""

import math
import tomllib
from importlib.util import find_spec
from pathlib import Path

import dp_accounting as dp
import mpmath
import numpy as np
import pytest
from dp_accounting import NeighboringRelation as Relation
from dp_accounting.pld import privacy_loss_distribution
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement
from scipy.special import ndtr, ndtri
from scipy.stats import beta as beta_law

from privacy.accounting.discrete import sandwich
from privacy.accounting.events import (
    DiscreteGaussianDpEvent,
    DistributedDiscreteGaussianDpEvent,
    SkellamDpEvent,
)
from privacy.calibration import noise_multiplier
from privacy.errors import InvalidInputError
from privacy.reconstruction import success_bound, success_curve
from tests.privacy.golden import golden

GOLDEN = golden("reconstruction")
RISKCAL = golden("riskcal")
ROOT = Path(__file__).resolve().parents[2]
ADD, REPLACE = Relation.ADD_OR_REMOVE_ONE, Relation.REPLACE_ONE
priors = st.floats(1e-4, 0.9)


def sampled(multiplier: float, prob: float, n: int) -> dp.DpEvent:
    one = dp.PoissonSampledDpEvent(prob, dp.GaussianDpEvent(multiplier))
    return dp.SelfComposedDpEvent(one, n)


def full_batch(multiplier: float, n: int) -> dp.DpEvent:
    return dp.SelfComposedDpEvent(dp.GaussianDpEvent(multiplier), n)


def test_published_values() -> None:
    for target, value in GOLDEN["full_batch"].items():
        z = noise_multiplier(
            dp.GaussianDpEvent, target_epsilon=float(target), delta=1e-5, relation=ADD
        )
        found = success_bound(dp.GaussianDpEvent(z), prior_success=0.1, relation=ADD)
        assert found == pytest.approx(value, abs=6e-5)
    for n, value in golden("accounting")["article"]["success_at_prior_0.1"].items():
        found = success_bound(full_batch(4.8448, int(n)), prior_success=0.1, relation=ADD)
        assert found == pytest.approx(value, abs=6e-4)
    for n, value in golden("accounting")["article"]["success_at_prior_0.1_above"].items():
        found = success_bound(full_batch(4.8448, int(n)), prior_success=0.1, relation=ADD)
        assert value < found <= 1


@pytest.mark.parametrize("prob", GOLDEN["epsilon_4_rounds_100"])
def test_equal_epsilon_is_not_equal_reconstruction(prob: str) -> None:
    z = noise_multiplier(
        lambda z: sampled(z, float(prob), 100), target_epsilon=4.0, delta=1e-5, relation=ADD
    )
    found = success_bound(sampled(z, float(prob), 100), prior_success=0.1, relation=ADD)
    assert found == pytest.approx(GOLDEN["epsilon_4_rounds_100"][prob], abs=1e-3)


def test_what_a_naive_monte_carlo_misses() -> None:
    """Truth .99997 where an importance-weighted estimate from one sample said .361."""
    table = GOLDEN["monte_carlo_fails"]
    found = success_bound(full_batch(0.6, 10), prior_success=0.1, relation=ADD)
    assert found == pytest.approx(table["truth"], abs=6e-6)
    assert table["estimate"] < 0.4 * found


@given(st.floats(0.3, 50), st.integers(1, 1000), priors, st.sampled_from([ADD, REPLACE]))
def test_full_batch_is_the_closed_form(
    multiplier: float, n: int, prior: float, relation: Relation
) -> None:
    mu = math.sqrt(n) / multiplier * (2 if relation is REPLACE else 1)
    found = success_bound(full_batch(multiplier, n), prior_success=prior, relation=relation)
    assert found == pytest.approx(ndtr(ndtri(prior) + mu), rel=1e-8)
    assert prior <= found <= 1


@given(st.floats(0.3, 20), st.floats(0.01, 0.99), priors)
def test_one_sampled_release_is_the_closed_form(
    multiplier: float, prob: float, prior: float
) -> None:
    """Neyman and Pearson: the best test is a threshold, and a patient not drawn is guessed."""
    event = dp.PoissonSampledDpEvent(prob, dp.GaussianDpEvent(multiplier))
    truth = (1 - prob) * prior + prob * ndtr(ndtri(prior) + 1 / multiplier)
    found = success_bound(event, prior_success=prior, relation=ADD)
    assert found == pytest.approx(truth, rel=1e-6)
    assert found >= truth * (1 - 1e-12)


@pytest.mark.parametrize(("multiplier", "prob", "n", "prior", "theirs"), RISKCAL["rows"])
def test_riskcal_agrees(
    multiplier: float, prob: float, n: int, prior: float, theirs: float
) -> None:
    """Its values are committed, as it has wheels for few Pythons and machines."""
    found = success_bound(sampled(multiplier, prob, n), prior_success=prior, relation=ADD)
    assert found <= theirs + 2e-3
    assert found == pytest.approx(theirs, abs=0.02)


def riskcal_is_due() -> bool:
    """Return whether this project's own metadata asks for riskcal here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = map(Requirement, project["optional-dependencies"]["test"])
    (marker,) = (one.marker for one in asked if one.name == "riskcal")
    return marker is not None and marker.evaluate()


def test_the_committed_values_are_riskcals_wherever_it_can_be_installed() -> None:
    assert not riskcal_is_due() or find_spec("riskcal")
    if find_spec("riskcal"):
        from riskcal.analysis import get_beta_from_pld

        for multiplier, prob, n, prior, value in RISKCAL["rows"]:
            pld = privacy_loss_distribution.from_gaussian_mechanism(
                multiplier, sampling_prob=prob, value_discretization_interval=1e-3
            ).self_compose(n)
            # the worse of both directions
            assert 1 - float(get_beta_from_pld(pld, prior)) == pytest.approx(value, abs=1e-8)
    assert len(RISKCAL["rows"]) == 24


def test_two_sample_monte_carlo_lies_within_its_confidence() -> None:
    """Threshold from one sample without the patient, power from another with it."""
    multiplier, prob, n, prior, draws = 1.0, 0.2, 20, 0.1, 400_000
    rng = np.random.default_rng(11)

    def losses(with_patient: bool) -> np.ndarray:
        total = np.zeros(draws)
        for _ in range(n):
            x = rng.normal(size=draws)
            if with_patient:
                x += (rng.random(draws) < prob) / multiplier
            total += np.log1p(prob * np.expm1(x / multiplier - 0.5 / multiplier**2))
        return total

    without, with_ = np.sort(losses(False)), losses(True)
    bound = success_bound(sampled(multiplier, prob, n), prior_success=prior, relation=ADD)
    # Thresholds whose exceedance without the patient is certainly below, and above, the prior.
    spread = 5 * math.sqrt(prior * (1 - prior) / draws)
    for level, above in ((prior - spread, False), (prior + spread, True)):
        hits = int((with_ > without[int(draws * (1 - level))]).sum())
        low = beta_law.ppf(1e-6, hits, draws - hits + 1)
        high = beta_law.ppf(1 - 1e-6, hits + 1, draws - hits)
        assert (bound <= high + 2e-3) if above else (bound >= low)


def test_the_best_attack_meets_the_bound_and_none_passes_it() -> None:
    """Ten candidates in orthogonal directions, a Gaussian release: the likeliest is guessed."""
    rng = np.random.default_rng(5)
    candidates, trials = 10, 40_000
    for multiplier in (0.7, 1.5, 4.0):
        target = rng.integers(candidates, size=trials)
        release = rng.normal(size=(trials, candidates)) * multiplier
        release[np.arange(trials), target] += 1.0
        success = (release.argmax(axis=1) == target).mean()
        event = dp.GaussianDpEvent(multiplier)
        bound = success_bound(event, prior_success=1 / candidates, relation=ADD)
        noise = 4 * math.sqrt(0.25 / trials)
        assert success <= bound + noise
        assert success >= 1 / candidates + 0.5 * (bound - 1 / candidates) - noise


@settings(max_examples=10)
@given(st.floats(0.6, 10), st.floats(0.02, 1.0), st.integers(1, 60))
def test_more_of_anything_bad_is_never_less_risk(multiplier: float, prob: float, n: int) -> None:
    kappas = [0.01, 0.1, 0.5]
    curve = success_curve(sampled(multiplier, prob, n), prior_successes=kappas, relation=ADD)
    assert curve == sorted(curve)
    assert all(k <= g <= 1 for k, g in zip(kappas, curve, strict=True))
    for worse in (
        sampled(multiplier * 0.8, prob, n),
        sampled(multiplier, min(1.0, prob * 1.3), n),
        sampled(multiplier, prob, n + 5),
    ):
        worst = success_curve(worse, prior_successes=kappas, relation=ADD)
        # A composed bound is an upper one, up to .2 % above the truth.
        assert all(a <= b * 1.002 for a, b in zip(curve, worst, strict=True))


def test_discrete_noise_is_bounded_too() -> None:
    gaussian = success_bound(full_batch(10.0, 100), prior_success=0.1, relation=ADD)
    wide = DistributedDiscreteGaussianDpEvent(10.0, 1000, 19, 3)
    found = success_bound(dp.SelfComposedDpEvent(wide, 100), prior_success=0.1, relation=ADD)
    assert gaussian <= found <= gaussian * (1 + 1e-6)
    narrow = success_bound(DiscreteGaussianDpEvent(1.0, 1), prior_success=0.1, relation=ADD)
    x = np.arange(-40, 41)
    p = np.exp(-(x**2) / 2)
    p /= p.sum()
    # Best test at level .1 between N_Z(1) and its shift by one, randomised at the threshold.
    q_tail = np.cumsum(p[::-1])[::-1]
    at = int(np.argmax(q_tail <= 0.1))
    share = (0.1 - q_tail[at]) / p[at - 1]
    power = q_tail[at - 1] + share * p[at - 2]
    assert power <= narrow <= 1
    skellam = success_bound(SkellamDpEvent(3.0, 100, 5), prior_success=0.1, relation=ADD)
    assert success_bound(dp.GaussianDpEvent(3.0), prior_success=0.1, relation=ADD) < skellam < 0.5


def test_the_slack_of_discrete_noise_is_paid_on_both_errors() -> None:
    event = dp.SelfComposedDpEvent(DistributedDiscreteGaussianDpEvent(22.0, 1, 1, 400), 100)
    bound = sandwich(std=22.0, radius=1, coordinates=1, contributors=400)
    slack, mu = 100 * bound.slack_above, 10 * bound.mu_above
    assert slack > 1e-3
    found = success_bound(event, prior_success=0.1, relation=ADD)
    truth = ndtr(ndtri(0.1 * math.exp(slack)) + mu) * math.exp(slack)
    assert found == pytest.approx(truth, rel=1e-7)


def test_nothing_released_and_everything_released() -> None:
    assert success_bound(dp.NoOpDpEvent(), prior_success=0.1, relation=ADD) == 0.1
    assert success_bound(dp.NonPrivateDpEvent(), prior_success=0.1, relation=ADD) == 1.0
    for bad in (0.0, 1.0, math.nan):
        with pytest.raises(InvalidInputError, match="prior_success"):
            success_bound(dp.NoOpDpEvent(), prior_success=bad, relation=ADD)


@pytest.mark.parametrize("kappa", [1e-12, 1e-11, 1e-9, 1e-6, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("mu", [0.1, 1.0, 3.0])
def test_on_a_grid_small_priors_keep_their_bound(kappa: float, mu: float) -> None:
    """Two halves of one Gaussian: what the grid cuts off must be small beside kappa."""
    half = dp.PoissonSampledDpEvent(1 - 1e-12, dp.GaussianDpEvent(math.sqrt(2) / mu))
    found = success_bound(
        dp.SelfComposedDpEvent(half, 2), prior_success=kappa, relation=Relation.ADD_OR_REMOVE_ONE
    )
    truth = float(ndtr(ndtri(kappa) + mu))
    assert truth * (1 - 1e-9) <= found <= 1.01 * truth


def test_where_no_grid_is_affordable_moments_bound_reconstruction() -> None:
    event = dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(0.5, dp.GaussianDpEvent(1e6)), 10**9)
    found = success_bound(event, prior_success=0.1, relation=Relation.ADD_OR_REMOVE_ONE)
    # To first order the composition is a Gaussian of mu = q sqrt(T) / sigma.
    assert float(ndtr(ndtri(0.1) + 0.5 * math.sqrt(1e9) / 1e6)) <= found < 0.12


def test_floats_never_round_a_bound_below_forty_digits() -> None:
    """Of a Gaussian the bound is Phi(Phi^-1(kappa) + 1 / sigma): not a last digit is given away."""
    with mpmath.workdps(40):
        for sigma in (0.3, 0.7, 1.0, 3.0, 11.0):
            for kappa in (1e-9, 1e-4, 0.01, 0.1, 0.3, 0.5, 0.9):
                quantile = mpmath.sqrt(2) * mpmath.erfinv(2 * mpmath.mpf(kappa) - 1)
                exact = mpmath.ncdf(quantile + 1 / mpmath.mpf(sigma))
                bound = success_bound(dp.GaussianDpEvent(sigma), prior_success=kappa, relation=ADD)
                assert exact <= bound <= exact * (1 + 1e-8)
