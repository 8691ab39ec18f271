"""Risks by name: an attribute's bound against Bayes's guess and its primal, and the others."""

import math

import numpy as np
import pytest
from dp_accounting import NeighboringRelation as Relation
from dp_accounting import dp_event as dp
from numpy.typing import NDArray
from scipy import stats
from scipy.special import ndtr, ndtri

from privacy.accounting import delta
from privacy.accounting.events import DistributedDiscreteGaussianDpEvent, SkellamDpEvent
from privacy.accounting.lowering import lower
from privacy.errors import InvalidInputError
from privacy.named_risks import FALSE_POSITIVES, named_risks
from privacy.reconstruction import attribute_bound, success_bound
from privacy.testing.plugin import FalseAlarms

ADD = Relation.ADD_OR_REMOVE_ONE


def best_guess(mu: float, prior: list[float], rng: np.random.Generator, n: int) -> float:
    """Bayes's guess at records in directions of their own, the best of 1,000 draws each."""
    k = len(prior)
    value = rng.choice(k, size=n, p=prior)
    seen = rng.normal(size=(n, k)) + mu * np.eye(k)[value]
    odds = np.log(np.array(prior)) + mu * seen
    return float((odds.argmax(axis=1) == value).mean())


@pytest.mark.parametrize("mu", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("prior", [[0.7, 0.2, 0.1], [0.5, 0.5], [0.4, 0.3, 0.2, 0.05, 0.05]])
def test_no_guess_at_an_attribute_passes_its_bound(
    mu: float, prior: list[float], false_alarms: FalseAlarms
) -> None:
    event = dp.GaussianDpEvent(1 / mu)
    bound = attribute_bound(event, prior=prior, relation=ADD)
    n = 40_000
    hits = best_guess(mu, prior, np.random.default_rng(8), n)
    assert stats.binomtest(round(hits * n), n, bound, alternative="greater").pvalue > (
        false_alarms.share()
    )
    assert max(prior) <= bound <= success_bound(event, prior_success=max(prior), relation=ADD)


@pytest.mark.parametrize("mu", [0.5, 2.0])
def test_an_attributes_bound_is_the_best_share_of_what_a_guess_may_claim(mu: float) -> None:
    """The primal: shares q_i of Q, each worth Phi(Phi^-1(q_i) + mu), tried on a grid."""
    prior = [0.6, 0.3, 0.1]
    q = np.linspace(0.0, 1.0, 801)
    first, second = np.meshgrid(q, q, indexing="ij")
    third = 1 - first - second
    inside = third >= 0

    def worth(share: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(ndtr(ndtri(share) + mu))

    total = 0.6 * worth(first[inside]) + 0.3 * worth(second[inside]) + 0.1 * worth(third[inside])
    found = attribute_bound(dp.GaussianDpEvent(1 / mu), prior=prior, relation=ADD)
    assert total.max() <= found <= total.max() + 1e-4


@pytest.mark.parametrize(
    "event",
    [
        dp.GaussianDpEvent(2.0),
        dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(0.1, dp.GaussianDpEvent(1.0)), 20),
        DistributedDiscreteGaussianDpEvent(2.0, 50, 5, 3),
        SkellamDpEvent(3.0, 20, 5),
        dp.NoOpDpEvent(),
        dp.NonPrivateDpEvent(),
    ],
    ids=lambda event: type(event).__name__,
)
def test_equal_values_are_reconstruction_and_unequal_ones_less(event: dp.DpEvent) -> None:
    for n in (2, 10):
        equal = attribute_bound(event, prior=[1 / n] * n, relation=ADD)
        assert equal == pytest.approx(
            success_bound(event, prior_success=1 / n, relation=ADD), rel=2e-3
        )
    uneven = attribute_bound(event, prior=[0.5, 0.2, 0.2, 0.1, 0.0], relation=ADD)
    assert 0.5 <= uneven <= success_bound(event, prior_success=0.5, relation=ADD)


def test_the_slack_of_shared_noise_is_paid_on_both_sides() -> None:
    """P <= e^s P' for what is guessed, and Q' <= e^s Q for what all guesses share."""
    shares = DistributedDiscreteGaussianDpEvent(1.1 * 40**0.5, 1, 1, 40)
    above = lower(shares, ADD, "above")
    assert above.mu is not None
    assert above.slack > 1e-5
    same = attribute_bound(dp.GaussianDpEvent(1 / above.mu), prior=[0.5, 0.5], relation=ADD)
    found = attribute_bound(shares, prior=[0.5, 0.5], relation=ADD)
    assert found >= math.exp(above.slack) * (same + 0.4 * above.slack)


@pytest.mark.parametrize("prior", [[], [1.0], [0.5, 0.4], [0.5, 0.6], [-0.5, 1.5], [math.nan, 1.0]])
def test_a_prior_is_two_probabilities_or_more(prior: list[float]) -> None:
    with pytest.raises(InvalidInputError, match="prior"):
        attribute_bound(dp.GaussianDpEvent(1.0), prior=prior, relation=ADD)


def test_the_named_risks_of_a_gaussian_have_closed_forms() -> None:
    mu = 0.7
    found = named_risks(
        dp.GaussianDpEvent(1 / mu), relation=ADD, prior_success=1 / 8, prior=[0.5, 0.5], targets=3
    )
    assert found.advantage == pytest.approx(2 * ndtr(mu / 2) - 1, rel=1e-6)
    for rate, truth in zip(found.true_positives, ndtr(ndtri(FALSE_POSITIVES) + mu), strict=True):
        assert rate == pytest.approx(truth, rel=1e-6)
    named = ndtr(ndtri(1 / 8) + mu)
    assert found.reidentified == pytest.approx(named, rel=1e-6)
    assert found.attribute == pytest.approx(ndtr(mu), rel=1e-4)  # ndtri(1/2) is 0
    assert found.expected_named == pytest.approx(3 * named, rel=1e-6)
    assert found.any_named == pytest.approx(min(1.0, 3 * named), rel=1e-6)


def test_the_risks_of_a_run_are_above_those_of_its_parts() -> None:
    part = dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(0.05, dp.GaussianDpEvent(1.0)), 10)
    small, large = (
        named_risks(dp.SelfComposedDpEvent(part, n), relation=ADD, prior=[0.9, 0.1], targets=2)
        for n in (1, 4)
    )
    assert small.advantage < large.advantage
    assert small.true_positives < large.true_positives
    assert small.reidentified < large.reidentified
    assert small.attribute is not None
    assert large.attribute is not None
    assert 0.9 <= small.attribute < large.attribute
    assert (
        large.advantage == delta(dp.SelfComposedDpEvent(part, 4), epsilon=0.0, relation=ADD).upper
    )


def test_without_a_prior_no_attribute_is_told() -> None:
    found = named_risks(dp.GaussianDpEvent(1.0), relation=ADD)
    assert found.attribute is None
    assert found.expected_named == found.any_named == found.reidentified
    for bad in ({"prior_success": 0.0}, {"targets": 0}):
        with pytest.raises(InvalidInputError):
            named_risks(dp.GaussianDpEvent(1.0), relation=ADD, **bad)
