"""The informed adversary meets the proven bound from below, and never passes it."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from dp_accounting import NeighboringRelation
from scipy import integrate, stats

from aggregation.data.patients import Patients
from aggregation.models import Logistic, Model, Perceptron
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from attacks.informed.candidates import log_ratios
from attacks.informed.known_others import (
    InformedExact,
    InformedPool,
    InformedSearch,
    residuals,
)
from attacks.knowledge.features import errors
from attacks.knowledge.replay import integer_rows
from attacks.reconstructed import guesses
from attacks.scoring.rates import clopper_pearson
from attacks.views import (
    Adversary,
    Gradient,
    InformedView,
    Knowledge,
    SumPart,
    observe,
    require,
)
from privacy.accounting.events import DiscreteGaussianDpEvent
from privacy.calibration import noise_multiplier
from privacy.errors import InvalidInputError, RefusedError
from privacy.mechanisms import Seeded
from privacy.reconstruction import success_bound
from tests.attacks.runs import PRIOR, cohort, run

RELATION = NeighboringRelation.ADD_OR_REMOVE_ONE
RADIUS = 1024
TRIALS = 20_000


def plan(features: int, multiplier: float) -> Plan:
    return Plan(
        run="canaries",
        model=Logistic(features),
        hospitals=("north",),
        declared_sizes=(50,),
        rounds=1,
        learning_rate=1.0,
        noise=NoiseKind.LOCAL,
        scheme="plain",
        clip_norm=1.0,
        radius=RADIUS,
        noise_multiplier=multiplier,
    )


def antipodal() -> Patients:
    """At zero weights the two gradients are -g and g, both clipped to the full radius."""
    x = np.full((2, 4), 50.0)
    return Patients(x, np.array([0, 1]))


def orthogonal(count: int) -> Patients:
    return Patients(1e4 * np.eye(count), np.ones(count, dtype=np.int64))


def hits(canaries: Patients, setting: Plan, trials: int, seed: int) -> int:
    """Draw a target, add the discrete noise, and count how often the attack names it."""
    rng = np.random.default_rng(seed)
    source = Seeded(seed)
    params = np.zeros(setting.model.dim)
    rows = integer_rows(setting, params, canaries.features, canaries.outcomes)
    targets = rng.integers(len(canaries), size=trials)
    noise = source.discrete_gaussian(setting.share_std, trials * setting.model.dim)
    seen = rows[targets] + noise.reshape(trials, -1)
    shown = np.broadcast_to(rows, (trials, *rows.shape))
    named = log_ratios(seen, shown, std=setting.share_std, prob=1.0).argmax(axis=1)
    return int((named == targets).sum())


def event_at(multiplier: float) -> DiscreteGaussianDpEvent:
    return DiscreteGaussianDpEvent(multiplier, RADIUS)


@pytest.fixture(scope="module", params=[1.0, 4.0, 8.0], ids=lambda e: f"eps={e:g}")
def multiplier(request: pytest.FixtureRequest) -> float:
    epsilon: float = request.param
    return noise_multiplier(event_at, target_epsilon=epsilon, delta=1e-5, relation=RELATION)


def test_antipodal_candidates_meet_the_bound_and_do_not_pass_it(multiplier: float) -> None:
    bound = success_bound(event_at(multiplier), prior_success=0.5, relation=RELATION)
    named = hits(antipodal(), plan(4, multiplier), TRIALS, seed=1)
    low, _ = clopper_pearson(named, TRIALS, confidence=0.99)
    assert named / TRIALS >= 0.98 * bound
    assert low <= bound


def test_ten_orthogonal_candidates_are_named_as_often_as_is_optimal(multiplier: float) -> None:
    """Integral of phi(x - mu) Phi(x)^9: the optimum for ten orthogonal gradients of norm mu."""
    optimum = integrate.quad(
        lambda x: stats.norm.pdf(x - 1 / multiplier) * stats.norm.cdf(x) ** 9, -12, 30
    )[0]
    trials = 8 * TRIALS  # near chance, two percent are few hits
    named = hits(orthogonal(10), plan(10, multiplier), trials, seed=2)
    low, _ = clopper_pearson(named, trials, confidence=0.99)
    assert named / trials >= 0.98 * optimum
    assert low <= optimum
    bound = success_bound(event_at(multiplier), prior_success=0.1, relation=RELATION)
    assert low <= bound
    assert 0.85 < optimum / bound <= 1.0


def test_the_whole_road_gives_the_same_answer_as_the_formula() -> None:
    """Through a federation's transcript: subtract the known, name the target."""
    done = run(
        4,
        sampling_size=None,
        clip_norm=1.0,
        radius=4096,
        rounds=2,
        noise=NoiseKind.LOCAL,
        noise_multiplier=0.05,
    )
    people = cohort(4)["north"]
    known = {"north": people.take(np.arange(1, len(people)))}
    adversary = Adversary("informed", Knowledge(patients=known))
    view = require(observe(done.transcript, adversary), InformedView, "test").only(hospital="north")
    assert residuals(view).shape == (2, done.plan.model.dim)
    pool = people.take(np.arange(10))
    attack = InformedPool(pool)
    posterior = attack.posterior(view)
    assert posterior.argmax() == 0
    found = attack.reconstruct(view, PRIOR)
    np.testing.assert_array_equal(found.records[0], people.features[0])
    assert not found.certified.any()
    wishful = InformedPool(pool, log_prior=np.log(np.array([1e-300] + [1 / 9] * 9)))
    assert wishful.posterior(view)[0] < posterior[0] + 1e-12


def lone_target(row: int, **fields: Any) -> tuple[InformedView, Patients]:
    people = cohort(1)["east"]
    setting = dataclasses.replace(run(1).plan, sampling_size=None, **fields)
    params = setting.model.initial(np.random.default_rng(0))
    target = people.take(np.array([row]))
    rest = people.take(np.arange(len(people)) != row)
    integers = sum(
        integer_rows(setting, params, p.features, p.outcomes).sum(axis=0) for p in (target, rest)
    )
    noise = Seeded(row).discrete_gaussian(max(setting.share_std, 1e-3), setting.model.dim)
    gradient = Gradient(
        0, (SumPart("east", params),), np.asarray(integers) + noise, setting.share_std
    )
    view = InformedView(setting, "informed", Knowledge(patients={"east": rest}), (gradient,))
    return view, target


@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_without_noise_the_search_finds_the_target(clip_norm: float | None) -> None:
    right = 0
    for row in range(3):
        view, target = lone_target(row, clip_norm=clip_norm, radius=2**16)
        found = InformedSearch(restarts=6, iterations=200).reconstruct(view, PRIOR)
        assert len(found) == 2
        right += bool(np.allclose(found.records[0], target.features[0]))
    assert right >= 2


def test_drowned_in_noise_the_search_answers_with_the_mode() -> None:
    view, _ = lone_target(
        0, clip_norm=1.0, radius=4096, noise=NoiseKind.LOCAL, noise_multiplier=100.0
    )
    rare = dataclasses.replace(PRIOR, outcome_rate=0.1)
    found = InformedSearch(restarts=2, iterations=100).reconstruct(view, rare)
    numbers = [f.columns[0] for f in PRIOR.features if f.numeric]
    assert np.abs(found.records[:, numbers] - PRIOR.modes(2)[:, numbers]).max() < 0.3
    assert not found.certified.any()
    np.testing.assert_allclose(found.confidence, [0.9, 0.1], atol=0.05)  # the outcome's own rate


def test_what_is_not_known_to_the_last_integer_is_refused() -> None:
    known = Adversary("informed", Knowledge(patients=cohort(0)))
    sampled = observe(run().transcript, known)
    with pytest.raises(RefusedError, match="sampled rounds"):
        InformedPool(antipodal()).posterior(sampled)
    whole = require(observe(run(sampling_size=None).transcript, known), InformedView, "test")
    with pytest.raises(RefusedError, match="several sums"):
        residuals(whole)
    with pytest.raises(RefusedError, match="informed_pool"):
        InformedPool(antipodal()).posterior(observe(run().transcript, "server_plain"))
    with pytest.raises(InvalidInputError, match="one log_prior"):
        InformedPool(antipodal(), log_prior=np.zeros(3))


@pytest.mark.parametrize("model", [Logistic(11), Perceptron(11, 40)], ids=str)
def test_without_noise_the_target_is_read_off_and_certified(model: Model) -> None:
    for row in range(4):
        view, target = lone_target(row, model=model, clip_norm=1.0, radius=2**20)
        found = InformedExact().reconstruct(view, PRIOR)
        np.testing.assert_allclose(found.records, target.features, atol=1e-9)
        assert found.certified.all()


@pytest.mark.parametrize("model", [Logistic(11), Perceptron(11, 40)], ids=str)
def test_through_little_noise_the_target_is_read_off_and_through_more_nobody_is(
    model: Model,
) -> None:
    fields: dict[str, Any] = {
        "model": model, "clip_norm": 1.0, "radius": 4096, "noise": NoiseKind.LOCAL,
    }  # fmt: skip
    for row in range(8):
        view, target = lone_target(row, noise_multiplier=0.003, **fields)
        found = InformedExact().reconstruct(view, PRIOR)
        assert not errors(found.records, target.features, PRIOR.features).any()
        assert found.confidence[0] > 0.5 and not found.certified.any()
        view, _ = lone_target(row, noise_multiplier=0.1, **fields)
        drowned = InformedExact().reconstruct(view, PRIOR)
        np.testing.assert_array_equal(drowned.records, guesses(PRIOR, 1).records)
        assert not drowned.confidence.any()
