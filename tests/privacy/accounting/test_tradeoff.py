import dp_accounting as dp
import numpy as np
import pytest
from dp_accounting import NeighboringRelation as Relation
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri

from privacy.accounting import delta
from privacy.accounting.tradeoff import attack_risks, bayes_success, tradeoff_curve

ADD = Relation.ADD_OR_REMOVE_ONE


def gaussian_tradeoff(mu: float, alpha: float) -> float:
    """The least type II error at this type I error (Dong, Roth and Su 2022, Eq. 6)."""
    return float(ndtr(ndtri(1 - alpha) - mu))


def sampled(multiplier: float, prob: float, n: int) -> dp.DpEvent:
    one = dp.PoissonSampledDpEvent(prob, dp.GaussianDpEvent(multiplier))
    return dp.SelfComposedDpEvent(one, n)


@given(st.floats(0.3, 30))
def test_gaussian_releases_read_as_themselves(multiplier: float) -> None:
    event, mu = dp.GaussianDpEvent(multiplier), 1 / multiplier
    risks = attack_risks(event, relation=ADD)
    assert risks.worst_mu == pytest.approx(mu, rel=1e-4)
    assert risks.fitted_mu == pytest.approx(mu, rel=1e-3, abs=1e-4)
    assert risks.advantage == pytest.approx(2 * ndtr(mu / 2) - 1, rel=1e-6)
    assert bayes_success(event, prior=0.5, relation=ADD) == pytest.approx(ndtr(mu / 2), rel=1e-6)
    curve = tradeoff_curve(event, errors=[0.01, 0.3], relation=ADD)
    assert curve == pytest.approx([gaussian_tradeoff(mu, 0.01), gaussian_tradeoff(mu, 0.3)])


def test_worst_mu_lies_below_the_curve_and_above_the_fit() -> None:
    event = sampled(1.0, 0.1, 100)
    risks = attack_risks(event, relation=ADD)
    assert risks.fitted_mu < risks.worst_mu
    errors = [float(a) for a in np.geomspace(1e-5, 0.5, 40)]
    curve = tradeoff_curve(event, errors=errors, relation=ADD)
    for alpha, beta in zip(errors, curve, strict=True):
        assert gaussian_tradeoff(risks.worst_mu * 1.001, alpha) <= beta + 1e-9
        assert abs(gaussian_tradeoff(risks.fitted_mu, alpha) - beta) <= risks.regret * 1.1 + 1e-6
    assert risks.advantage == delta(event, epsilon=0.0, relation=ADD).upper


@given(st.floats(0.05, 0.95), st.floats(0.4, 5))
def test_bayes_success_is_the_best_threshold(prior: float, multiplier: float) -> None:
    x = np.linspace(-30, 30, 60_001)
    right = prior * ndtr(-(x - 1 / multiplier)) + (1 - prior) * ndtr(x)
    found = bayes_success(dp.GaussianDpEvent(multiplier), prior=prior, relation=ADD)
    assert found == pytest.approx(right.max(), abs=1e-6)
