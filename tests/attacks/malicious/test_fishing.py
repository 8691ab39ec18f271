import dataclasses
from typing import Any

import numpy as np
import pytest

from aggregation.data.patients import Patients
from aggregation.federation import Federation
from aggregation.models import Logistic, Perceptron
from aggregation.noise_kind import NoiseKind
from attacks.knowledge.replay import integer_rows
from attacks.malicious.fishing import Fishing
from attacks.scoring import score
from attacks.scoring.rates import clopper_pearson
from attacks.views import Gradient, GradientView, Knowledge, SumPart
from privacy.errors import RefusedError
from privacy.mechanisms import Seeded
from tests.attacks.runs import PRIOR, SCHEMA, cohort, run

PLAN = dataclasses.replace(
    run().plan, scheme="bfv", sampling_size=None, model=Perceptron(len(SCHEMA), 300)
)
ATTACK = Fishing()


def fished(seed: int, **fields: Any) -> tuple[GradientView, np.ndarray]:
    """Four hospitals of 60 that answer whatever they are asked, in one sealed sum."""
    plan = dataclasses.replace(PLAN, **fields)
    people = cohort(seed)
    source = Seeded(seed)

    def ask(params: np.ndarray) -> Gradient:
        total = np.zeros(plan.model.dim, dtype=np.int64)
        for p in people.values():
            total += integer_rows(plan, params, p.features, p.outcomes).sum(axis=0)
            if plan.share_std:
                total += source.discrete_gaussian(plan.share_std, plan.model.dim)
        parts = tuple(SumPart(name, params) for name in people)
        return Gradient(0, parts, total, plan.share_std * 2)

    view = GradientView(plan, "active", Knowledge(), ATTACK.fish(plan, PRIOR, ask))
    return view, np.concatenate([p.features for p in people.values()])


@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_most_patients_of_a_sealed_sum_are_isolated_and_certified(clip_norm: float | None) -> None:
    """Most: more than half, for certain; on a seed that the attack had not been run on."""
    view, truth = fished(620, clip_norm=clip_norm)
    scored = score(ATTACK.reconstruct(view, PRIOR), truth, PRIOR, np.random.default_rng(0))
    assert scored.false_certificates == 0
    low, _ = clopper_pearson(scored.certified, len(truth), confidence=0.999)
    assert low > 0.5


def test_with_noise_it_loses() -> None:
    view, truth = fished(
        0, noise=NoiseKind.SHARED, colluders=1, clip_norm=1.0, radius=4096, noise_multiplier=2.0
    )
    found = ATTACK.reconstruct(view, PRIOR)
    assert not found.certified.any()
    np.testing.assert_array_equal(found.records, PRIOR.best_guesses(len(truth)))


def test_two_in_a_slab_are_not_taken_for_one() -> None:
    """Near-twins of one outcome stay in one slab of few, and no certificate names their mixture."""
    plan = dataclasses.replace(PLAN, model=Perceptron(len(SCHEMA), 6))
    people = cohort(3)["north"].take(np.arange(1))
    twin = people.features.copy()
    twin[0, 5] += 1 / 20.0  # one millimetre of mercury
    pair = Patients(np.vstack([people.features, twin]), np.repeat(people.outcomes, 2))

    def ask(params: np.ndarray) -> Gradient:
        total = integer_rows(plan, params, pair.features, pair.outcomes).sum(axis=0)
        return Gradient(0, (SumPart("north", params),), total, 0.0)

    coarse = dataclasses.replace(ATTACK, stages=1)
    view = GradientView(plan, "active", Knowledge(), coarse.fish(plan, PRIOR, ask))
    assert not coarse.reconstruct(view, PRIOR).certified.any()


def test_hospitals_that_recompute_the_model_refuse_the_first_question() -> None:
    plan = dataclasses.replace(PLAN, scheme="plain")
    hospital = Federation.simulated(plan, cohort(0), seed=0)._hospitals["north"]
    hospital.join()

    def ask(params: np.ndarray) -> Gradient:
        hospital.contribute(params, round_=0)
        raise AssertionError("the hospital answered")

    with pytest.raises(RefusedError, match="does not follow"):
        ATTACK.fish(plan, PRIOR, ask)


def test_other_models_are_refused() -> None:
    with pytest.raises(RefusedError, match=r"Fishing\.fish"):
        ATTACK.reconstruct(run().view("server_plain"), PRIOR)
    with pytest.raises(RefusedError, match="3 hidden units"):
        ATTACK.reconstruct(run(model=Logistic(11)).view("server_plain"), PRIOR)
