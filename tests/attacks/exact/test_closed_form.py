import dataclasses
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from aggregation.data.patients import Patients
from aggregation.models import Logistic, Perceptron
from aggregation.noise_kind import NoiseKind
from aggregation.update import noised_update
from attacks.exact.closed_form import ClosedForm, _bits, _Blur, first_layer, peel
from attacks.knowledge.features import errors
from attacks.scoring import score
from attacks.views import Gradient, GradientView, Knowledge, SumPart
from experiments.replicate.certificates import hunt
from privacy.errors import InvalidInputError, RefusedError
from privacy.mechanisms import Seeded
from privacy.unit import Unit
from tests.attacks.runs import PRIOR, SCHEMA, Run, cohort, run

PLAN = run().plan


def batch_view(
    patients: Patients,
    *,
    width: int = 100,
    clip_norm: float | None = None,
    radius: int = 2**24,
    local_steps: int = 1,
    noise_multiplier: float = 0.0,
    seed: int = 0,
) -> GradientView:
    """The update of one batch, computed as a hospital does it, without a federation around it."""
    plan = dataclasses.replace(
        PLAN,
        model=Perceptron(len(SCHEMA), width) if width else Logistic(len(SCHEMA)),
        clip_norm=clip_norm,
        radius=radius,
        local_steps=local_steps,
        noise=NoiseKind.LOCAL if noise_multiplier else NoiseKind.NONE,
        noise_multiplier=noise_multiplier,
    )
    params = plan.model.initial(np.random.default_rng(seed))
    update = noised_update(plan, "north", (patients,) * local_steps, params, Seeded(seed))
    gradient = Gradient(0, (SumPart("north", params),), update, plan.share_std)
    return GradientView(plan, "server_plain", Knowledge(), (gradient,))


def test_no_certificate_is_false() -> None:
    pool = cohort(1, size=300)["north"]
    found = hunt(ClosedForm(), pool, SCHEMA, batches=300, largest=13, seed=1)
    assert found.false == found.spoilt == 0
    assert found.certified > 300


@pytest.mark.nightly
def test_no_certificate_is_false_in_ten_thousand_batches() -> None:
    pool = cohort(2, size=300)["north"]
    found = hunt(ClosedForm(), pool, SCHEMA, batches=10_000, largest=13, seed=2)
    assert found.false == found.spoilt == 0
    assert found.certified > 10_000


def test_undefended_batches_of_eight_are_read_off() -> None:
    correct = total = 0
    for seed in range(3):
        done = run(seed)
        for g in done.view("server_plain").gradients:
            truth = done.truth(round_=0, hospitals=g.hospitals).features
            view = done.view("server_plain").only(hospital=g.hospitals[0])
            scored = score(
                ClosedForm().reconstruct(view, PRIOR), truth, PRIOR, np.random.default_rng(0)
            )
            assert scored.false_certificates == 0
            correct += int(scored.exact().sum())
            total += len(truth)
    assert correct / total > 0.8


@pytest.mark.parametrize("width", [0, 100], ids=["logistic", "mlp"])
def test_a_lone_patient_is_recovered_exactly(width: int) -> None:
    patients = cohort(2)["south"]
    for i in range(10):
        one = patients.take(np.array([i]))
        found = ClosedForm().reconstruct(batch_view(one, width=width), PRIOR)
        np.testing.assert_array_equal(found.records, one.features)
        assert found.certified.all()


def test_coarse_integers_are_read_and_prove_nothing() -> None:
    """Whole replay is no proof where the next value of a number gives the same integers."""
    read = 0
    for i in range(10):
        one = cohort(2)["south"].take(np.array([i]))
        view = batch_view(one, radius=2**10)
        found = peel(view.plan, view.gradients[0], PRIOR)
        read += found.complete
        assert not found.certified.any()
    assert read


def test_a_lone_patient_is_read_through_little_noise() -> None:
    patients = cohort(2)["south"]
    for i in range(10):
        one = patients.take(np.array([i]))
        view = batch_view(one, clip_norm=1.0, radius=4096, noise_multiplier=0.001, seed=i)
        found = ClosedForm().reconstruct(view, PRIOR)
        assert not errors(found.records[:1], one.features, PRIOR.features).any()
        assert found.confidence[0] > 0.5 and not found.certified.any()


@pytest.mark.parametrize("noise_multiplier", [3e-4, 1e-3, 3e-3, 5e-3])
def test_under_noise_it_claims_no_more_than_is_right(noise_multiplier: float) -> None:
    pool = cohort(3, size=300)["north"]
    claimed: list[float] = []
    right: list[bool] = []
    for seed in range(60):
        drawn = np.random.default_rng([seed, 7]).choice(300, 1 + seed % 5, replace=False)
        batch = pool.take(drawn)
        view = batch_view(
            batch, clip_norm=1.0, radius=4096, noise_multiplier=noise_multiplier, seed=seed
        )
        found = ClosedForm().reconstruct(view, PRIOR)
        assert not found.certified.any()
        some = found.confidence > 0
        claimed += found.confidence[some].tolist()
        wrong = errors(found.records[some], batch.features, PRIOR.features)
        right += [bool(one.any()) for one in np.atleast_2d(~wrong.any(axis=2))]
    assert len(claimed) > 60
    # As many right as claimed, or more: else an event of probability under 1 in 1000.
    assert (
        binomtest(sum(right), len(right), float(np.mean(claimed)), alternative="less").pvalue > 1e-3
    )


@pytest.mark.parametrize("steps", [0.05, 2.0])
def test_even_noise_that_leaves_the_integers_nearly_alone_certifies_nothing(steps: float) -> None:
    for i in range(5):
        one = cohort(2)["south"].take(np.array([i]))
        view = batch_view(one, clip_norm=1.0, radius=2**24, noise_multiplier=steps / 2**24, seed=i)
        found = ClosedForm().reconstruct(view, PRIOR)
        np.testing.assert_allclose(found.records[0], one.features[0])
        assert found.confidence[0] > 0.99 and not found.certified.any()


def test_a_record_is_refuted_by_a_silent_unit_where_it_would_be_loud() -> None:
    one = cohort(2)["south"].take(np.array([0]))
    view = batch_view(one)
    (gradient,) = view.gradients
    asked = (view.plan, gradient.params, gradient.integers, one.features[0])
    blur = _Blur.of(view.plan, gradient, 0.0)
    assert _bits(*asked, gradient.integers, PRIOR.features, blur) > 24
    _, biases = first_layer(view.plan, gradient.integers)
    loud = int(np.flatnonzero(biases)[0])
    silenced = gradient.integers.copy()
    inputs, width = view.plan.model.features, len(biases)
    silenced[loud * inputs : (loud + 1) * inputs] = 0
    silenced[width * inputs + loud] = 0
    assert _bits(*asked, silenced, PRIOR.features, blur) == 0


def test_louder_noise_leaves_the_prior_s_guesses() -> None:
    for seed in range(10):
        crowd = cohort(seed)["north"].take(np.arange(8))
        view = batch_view(crowd, clip_norm=1.0, radius=4096, noise_multiplier=0.05, seed=seed)
        found = ClosedForm().reconstruct(view, PRIOR)
        np.testing.assert_array_equal(found.records, PRIOR.best_guesses(8))
        assert not found.confidence.any()


def test_what_is_not_found_is_guessed() -> None:
    crowd = cohort(0, size=300)["north"]
    view = batch_view(crowd, width=20)
    found = ClosedForm().reconstruct(view, PRIOR)
    assert not found.certified.any()
    np.testing.assert_array_equal(found.records, PRIOR.best_guesses(8))


@pytest.mark.parametrize(
    "fields",
    [
        {"noise": NoiseKind.ARTICLE, "epsilon": 50.0},
        {"noise": NoiseKind.LOCAL, "clip_norm": 1.0, "radius": 4096, "noise_multiplier": 0.001},
        {"local_steps": 3},
        {"unit": Unit.HOSPITAL, "clip_norm": 1.0, "radius": 4096},
    ],
    ids=["article", "noise", "local steps", "hospital"],
)
def test_noise_and_local_steps_certify_nothing(fields: dict[str, Any]) -> None:
    found = ClosedForm().reconstruct(Run.view(run(**fields), "server_plain"), PRIOR)
    assert not found.certified.any()
    assert len(found) >= 32


def test_a_sealed_sum_without_noise_certifies_no_stranger() -> None:
    done = run(scheme="bfv", clip_norm=1.0, radius=4096, sampling_size=2)
    view = done.view("server_sealed")
    truth = done.truth(round_=0, hospitals=done.plan.hospitals).features
    found = ClosedForm().reconstruct(view, PRIOR)
    assert score(found, truth, PRIOR, np.random.default_rng(0)).false_certificates == 0


def test_peeling_explains_the_whole_update() -> None:
    patients = cohort(1)["east"].take(np.arange(5))
    view = batch_view(patients)
    found = peel(view.plan, view.gradients[0], PRIOR)
    assert found.complete
    assert not found.residual.any()
    assert found.certified.all()
    assert sorted(map(tuple, found.records)) == sorted(map(tuple, patients.features))


def test_broken_gradients_are_refused() -> None:
    view = batch_view(cohort(1)["east"].take(np.arange(5)))
    gradient = view.gradients[0]
    params = gradient.params.copy()
    params[3] = np.nan
    broken = dataclasses.replace(gradient, contributions=(SumPart("north", params),))
    with pytest.raises(InvalidInputError, match="NaN"):
        ClosedForm().reconstruct(dataclasses.replace(view, gradients=(broken,)), PRIOR)
    two = (gradient.contributions[0], SumPart("east", gradient.params + 1))
    mixed = dataclasses.replace(gradient, contributions=two)
    with pytest.raises(RefusedError, match="different models"):
        ClosedForm().reconstruct(dataclasses.replace(view, gradients=(mixed,)), PRIOR)
    dead = dataclasses.replace(gradient, integers=np.zeros_like(gradient.integers))
    with pytest.raises(RefusedError, match="nothing to reconstruct"):
        ClosedForm().reconstruct(dataclasses.replace(view, gradients=(dead,)), PRIOR)
