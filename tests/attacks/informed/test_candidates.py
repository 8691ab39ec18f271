"""The exact likelihood of a finite pool, against the formula written out and against the bound."""

import dataclasses

import numpy as np
import pytest
from dp_accounting import ComposedDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from scipy import stats
from scipy.special import logsumexp

from aggregation.data.patients import Patients
from aggregation.models import Logistic
from aggregation.noise_kind import NoiseKind
from attacks.informed.candidates import article_log_ratios, log_ratios, matrix_log_ratios, posterior
from attacks.informed.known_others import InformedPool
from attacks.scoring.rates import clopper_pearson
from attacks.views import Adversary, InformedView, Knowledge, observe, require
from attacks.views.adversary import Place
from privacy.accounting.events import DiscreteGaussianDpEvent
from privacy.errors import RefusedError
from privacy.mechanisms import article_noise_std
from privacy.reconstruction import success_bound
from tests.attacks.informed.test_known_others import RELATION
from tests.attacks.runs import Run, cohort, run


@pytest.mark.parametrize("prob", [1.0, 0.3])
def test_log_ratios_are_those_of_the_sampled_gaussian(prob: float) -> None:
    rng = np.random.default_rng(0)
    rows, left = rng.integers(-40, 40, (2, 5, 6)), rng.integers(-40, 40, (2, 6))
    found = log_ratios(left, rows, std=20.0, prob=prob)
    for t in range(2):
        absent = stats.norm.logpdf(left[t], 0, 20).sum()
        for z in range(5):
            there = stats.norm.logpdf(left[t], rows[t, z], 20).sum()
            mixed = logsumexp([absent, there], b=[1 - prob, prob])
            assert found[t, z] == pytest.approx(mixed - absent)
    np.testing.assert_allclose(posterior(found).sum(-1), 1.0)


@pytest.mark.parametrize("prob", [1.0, 0.3])
def test_the_articles_scale_is_part_of_its_likelihood(prob: float) -> None:
    plan = dataclasses.replace(run().plan, noise=NoiseKind.ARTICLE, epsilon=1.0, model=Logistic(3))
    rng = np.random.default_rng(0)
    known, gradients = rng.normal(size=(1, 4)), rng.normal(size=(1, 3, 4))
    seen = np.rint(rng.normal(size=4) / plan.step).astype(np.int64)
    found = article_log_ratios(plan, seen, known, gradients, prob=prob)[0]

    def log_density(mean: np.ndarray) -> float:
        std = article_noise_std(mean, epsilon=1.0, delta=plan.delta)
        return float(np.sum(stats.norm.logpdf(seen * plan.step, mean, std)))

    absent = log_density(known[0])
    for z in range(3):
        there = log_density(known[0] + gradients[0, z])
        mixed = logsumexp([absent, there], b=[1 - prob, prob])
        assert found[z] == pytest.approx(mixed - absent, rel=1e-6)


def test_over_sampled_rounds_it_is_right_as_often_as_it_says_and_under_the_bound() -> None:
    """Two antipodal targets, in round 0 for certain, then drawn with probability 1/4."""
    rounds, prob, trials, radius = 12, 0.25, 20_000, 1024
    rng = np.random.default_rng(3)
    rows = np.array([[radius], [-radius]])
    targets = rng.integers(2, size=trials)
    logs = np.zeros((trials, 2))
    for t in range(rounds):
        q = 1.0 if t == 0 else prob
        drawn = rng.random(trials) < q
        noise = np.rint(rng.normal(0, 2.0 * radius, trials)).astype(np.int64)
        left = (rows[targets, 0] * drawn + noise)[:, None]
        logs += log_ratios(left, np.tile(rows, (trials, 1, 1)), std=2.0 * radius, prob=q)
    named = logs.argmax(axis=1)
    right = int((named == targets).sum())
    low, high = clopper_pearson(right, trials, confidence=0.999)
    said = posterior(logs).max(axis=1).mean()
    assert low < said < high
    one = DiscreteGaussianDpEvent(2.0, radius)
    later = SelfComposedDpEvent(PoissonSampledDpEvent(prob, one), rounds - 1)
    whole = ComposedDpEvent([one, later])
    bound = success_bound(whole, prior_success=0.5, relation=RELATION)
    assert low <= bound
    assert right / trials > 0.97 * bound


def informed(done: Run, target: int, *, colluder: str | None = None) -> InformedView:
    """Knows who was drawn when, but for one patient of the north, drawn in round 0."""
    first = done.drawn["north"][0][0].ids[target]
    batches: dict[Place, Patients] = {
        (t, name): batch.take(batch.ids != first) if name == "north" else batch
        for name, rounds in done.drawn.items()
        for t, (batch,) in rounds.items()
    }
    sent = {} if colluder is None else {(t, colluder): v for t, v in done.sent[colluder].items()}
    adversary = Adversary("informed", Knowledge(batches=batches, updates=sent))
    return require(observe(done.transcript, adversary), InformedView, "test")


def test_sampled_rounds_and_colluders_through_a_transcript() -> None:
    done = run(
        5, scheme="bfv", clip_norm=1.0, radius=4096, rounds=3, noise=NoiseKind.SHARED,
        noise_multiplier=0.3, colluders=1,
    )  # fmt: skip
    batch = done.drawn["north"][0][0]
    others = cohort(9)["north"].take(np.arange(9))
    pool = Patients(
        np.vstack([batch.features[:1], others.features]),
        np.concatenate([batch.outcomes[:1], others.outcomes]),
    )
    presence = np.array([1.0, *(done.plan.sampling_probs[0],) * 2])
    view = informed(done, 0, colluder="south")
    assert view.gradients[0].hospitals == ("north", "east", "west")
    assert view.gradients[0].noise_std == pytest.approx(0.3 * 4096)  # what the bound counts on
    assert InformedPool(pool, presence=presence).posterior(view).argmax() == 0
    with pytest.raises(RefusedError, match="sampled rounds"):
        InformedPool(pool).posterior(view)
    unknown = require(
        observe(done.transcript, Adversary("informed", Knowledge(patients=cohort(5)))),
        InformedView,
        "test",
    )
    with pytest.raises(RefusedError, match="was drawn in round 0"):
        InformedPool(pool, presence=presence).posterior(unknown)


def test_openings_that_share_noise_are_judged_together() -> None:
    """Two roads: the whitened distances here, scipy's density of the whole vector there."""
    rng = np.random.default_rng(3)
    openings = np.array([[1.0, 1, 0, 0], [-1, 0, 1, 0], [0, -1, -1, 1]])
    residuals, moves = rng.normal(size=(2, 3, 2)), rng.normal(size=(2, 5, 3, 2))
    found = matrix_log_ratios(residuals, moves, openings=openings, std=0.8)
    whole = np.kron(0.64 * openings @ openings.T, np.eye(2))
    law = stats.multivariate_normal(cov=whole)
    for k, residual in enumerate(residuals):
        gaps = (residual - moves[k]).reshape(5, -1)
        expected = law.logpdf(gaps) - law.logpdf(residual.ravel())
        np.testing.assert_allclose(found[k], expected, atol=1e-9)


def test_openings_of_fresh_uploads_alone_are_rounds() -> None:
    rng = np.random.default_rng(4)
    residuals, moves = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 5, 3, 4))
    found = matrix_log_ratios(residuals, moves, openings=np.eye(3), std=0.7)
    rounds = sum(log_ratios(residuals[:, t], moves[:, :, t], std=0.7, prob=1.0) for t in range(3))
    np.testing.assert_allclose(found, rounds, atol=1e-9)
