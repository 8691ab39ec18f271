"""A client that scales its loss is read as one that does not; its scale comes from its gradient."""

import dataclasses

import numpy as np
import pytest

from aggregation.data.patients import Patients
from aggregation.models import Perceptron
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.update import noised_update
from attacks.exact.closed_form import peel
from attacks.exact.scale import ScaledLoss, _factors, read_at_a_scale, scales
from attacks.knowledge.priors import Prior
from attacks.reconstructed import Reconstruction, guesses, join
from attacks.searching.cascade import Cascade
from attacks.searching.tableak import TabLeak
from attacks.views import Gradient, GradientView, Knowledge, Observation, SumPart, require
from experiments.replicate.certificates import hunt
from privacy.mechanisms import Seeded
from tests.attacks.runs import PRIOR, SCHEMA, cohort, run

PLAN = run().plan
POOL = cohort(1, size=300)["north"]
SCALES = [0.5, 1 / 8, 37 / 920, 2.0]


def batch(seed: int, size: int = 8) -> Patients:
    return POOL.take(np.random.default_rng([seed, 4]).choice(300, size, replace=False))


def sent(
    people: Patients,
    scale: float,
    *,
    seed: int = 0,
    clip_norm: float | None = None,
    radius: int = 2**24,
    width: int = 100,
) -> tuple[Plan, Gradient]:
    """What a client whose loss is scaled sends; the plan says nothing of it."""
    model = Perceptron(len(SCHEMA), width)
    plan = dataclasses.replace(PLAN, model=model, clip_norm=clip_norm, radius=radius)
    params = model.initial(np.random.default_rng(seed))
    own = dataclasses.replace(plan, model=ScaledLoss(model, scale))
    update = noised_update(own, "north", (people,), params, Seeded(seed))
    return plan, Gradient(0, (SumPart("north", params),), update, 0.0)


def as_set(records: np.ndarray) -> list[tuple[float, ...]]:
    return sorted(tuple(row) for row in np.round(records, 9).tolist())


class AtAScale:
    """The scale's search alone, as an attack."""

    name, needs = "at_a_scale", GradientView

    def reconstruct(self, observation: Observation, prior: Prior) -> Reconstruction:
        view = require(observation, GradientView, self.name)
        parts = [guesses(prior, 0)]
        for gradient in view.gradients:
            told = read_at_a_scale(view.plan, gradient, prior)
            if told is not None:
                found = told[0]
                parts.append(
                    Reconstruction(
                        found.records, found.certified.astype(np.float64), found.certified
                    )
                )
        return join(*parts)


@pytest.mark.parametrize("scale", SCALES)
def test_whatever_fraction_scales_the_loss_everybody_is_read_and_proved(scale: float) -> None:
    for seed in range(6):
        people = batch(seed)
        plan, gradient = sent(people, scale, seed=seed)
        assert scales(plan, gradient, PRIOR)[0] == pytest.approx(scale, rel=1e-3)
        told = read_at_a_scale(plan, gradient, PRIOR)
        assert told is not None
        found, read = told
        assert read == scale
        assert found.complete and found.certified.all()
        assert as_set(found.records) == as_set(people.features)
        np.testing.assert_array_equal(np.sort(found.labels), np.sort(people.outcomes))


def test_a_scale_that_is_no_fraction_is_read_and_nothing_is_proved() -> None:
    for seed in range(4):
        people = batch(seed)
        plan, gradient = sent(people, 0.1 * np.pi, seed=seed)
        told = read_at_a_scale(plan, gradient, PRIOR)
        assert told is not None
        assert told[1] == pytest.approx(0.1 * np.pi, rel=1e-5)
        assert as_set(told[0].records) == as_set(people.features)
        assert not told[0].certified.any()


@pytest.mark.parametrize(
    ("size", "radius", "proved"), [(3, 2**24, 0), (4, 2**24, 4), (3, 2**20, 0)]
)
def test_the_scale_itself_is_no_proof_of_the_record_that_told_it(
    size: int, radius: int, proved: int
) -> None:
    """Those beside it have to hit it by 24 bits, of ten that near-twins agree to by nature."""
    for seed in range(4):
        plan, gradient = sent(batch(seed, size), 0.5, seed=seed, radius=radius)
        told = read_at_a_scale(plan, gradient, PRIOR)
        assert told is not None
        found, scale = told
        assert (found.complete, scale, len(found.records)) == (True, 0.5, size)
        assert found.certified.sum() == proved


def test_the_cascade_finds_the_scale_and_searches_no_more() -> None:
    search = TabLeak(restarts=2, iterations=1)  # would find nobody
    for scale in (0.5, 1 / 8):
        plan, gradient = sent(batch(3), scale, seed=3)
        view = GradientView(plan, "server_plain", Knowledge(), (gradient,))
        found = Cascade(search).reconstruct(view, PRIOR)
        assert as_set(found.records) == as_set(batch(3).features)
        assert set(found.steps) == {"read at a scale"}
        assert found.certified.all()


def test_who_is_clipped_says_nothing_of_the_scale_and_is_read_all_the_same() -> None:
    for seed in range(4):
        people = batch(seed, 4)
        plan, gradient = sent(people, 0.5, seed=seed, clip_norm=0.8, radius=2**20)
        rows = plan.model.per_patient_gradients(gradient.params, people.features, people.outcomes)
        clipped = 0.5 * np.linalg.norm(rows, axis=1) > 0.8
        assert clipped.any() and not clipped.all()
        told = read_at_a_scale(plan, gradient, PRIOR)
        assert told is not None and told[1] == 0.5
        assert set(as_set(people.features)) <= set(as_set(told[0].records))
        # What clipping left of a patient is less than the scale, and tells nothing of it.
        assert np.allclose(_factors(plan, gradient, PRIOR).factors, 0.5, rtol=1e-3)


@pytest.mark.parametrize("times", [2, 3])
def test_a_patient_who_is_there_several_times_is_read_as_often(times: int) -> None:
    for seed in range(4):
        some = batch(seed, 6)
        people = some.take(np.array([0] * times + [1, 2, 3, 4, 5]))
        for scale in (1.0, 0.5):
            plan, gradient = sent(people, scale, seed=seed)
            view = GradientView(plan, "server_plain", Knowledge(), (gradient,))
            found = Cascade(TabLeak(restarts=2, iterations=1)).reconstruct(view, PRIOR)
            assert as_set(found.records) == as_set(people.features)
            single = [row not in as_set(people.features[:1]) for row in map(tuple, np.round(
                found.records, 9).tolist())]  # fmt: skip
            np.testing.assert_array_equal(found.certified, single)


def test_peeling_reads_each_copy_when_it_is_asked_to() -> None:
    people = batch(5, 3).take(np.array([0, 0, 1, 2]))
    plan, gradient = sent(people, 1.0, seed=5)
    found = peel(plan, gradient, PRIOR, copies=True)
    assert found.complete
    assert as_set(found.records) == as_set(people.features)
    assert not peel(plan, gradient, PRIOR).complete


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_twins_around_a_record_pass_for_it_and_prove_nothing(scale: float) -> None:
    """A model that does not look at age: two patients of 50 and 54 add what two of 52 do."""
    one = batch(7, 1)
    twins = np.repeat(one.features, 2, axis=0)
    twins[:, 0] = [-0.5, -0.1]
    people = Patients(twins, np.repeat(one.outcomes, 2))
    model = Perceptron(len(SCHEMA), 100)
    blind = model.initial(np.random.default_rng(7))
    blind[: 100 * len(SCHEMA)].reshape(100, -1)[:, 0] = 0.0
    plan = dataclasses.replace(PLAN, model=model)
    own = dataclasses.replace(plan, model=ScaledLoss(model, scale))
    update = noised_update(own, "north", (people,), blind, Seeded(7))
    gradient = Gradient(0, (SumPart("north", blind),), update, 0.0)
    told = read_at_a_scale(plan, gradient, PRIOR)
    assert told is not None and not told[0].certified.any()
    if scale == 1:  # at the plan's own scale a certificate takes the plan's word for it
        assert not peel(plan, gradient, PRIOR, copies=True).certified.any()
        view = GradientView(plan, "server_plain", Knowledge(), (gradient,))
        search = TabLeak(restarts=2, iterations=1)
        assert not Cascade(search).reconstruct(view, PRIOR).certified.any()


def test_a_lone_patient_is_read_at_any_scale_and_not_proved() -> None:
    for seed in range(4):
        people = batch(seed, 1)
        plan, gradient = sent(people, 0.3, seed=seed)
        told = read_at_a_scale(plan, gradient, PRIOR)
        assert told is not None
        assert as_set(told[0].records) == as_set(people.features)
        assert not told[0].certified.any()


def test_no_certificate_at_a_scale_is_false() -> None:
    found = hunt(AtAScale(), POOL, SCHEMA, batches=150, largest=13, seed=11, scaled=True)
    assert found.false == found.spoilt == 0
    assert found.certified > 100


@pytest.mark.nightly
def test_no_certificate_at_a_scale_is_false_in_five_thousand_batches() -> None:
    found = hunt(AtAScale(), POOL, SCHEMA, batches=5000, largest=13, seed=12, scaled=True)
    assert found.false == found.spoilt == 0
    assert found.certified > 4000


def test_nothing_is_read_where_nothing_stands_out() -> None:
    plan, gradient = sent(batch(0, 40), 0.5, width=16)
    told = read_at_a_scale(plan, gradient, PRIOR)
    assert told is None or not told[0].certified.any()
    noised = dataclasses.replace(plan, noise=NoiseKind.LOCAL, noise_multiplier=1.0, clip_norm=1.0)
    assert scales(noised, gradient, PRIOR) == ()
