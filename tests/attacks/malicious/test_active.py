import dataclasses
from typing import Any

import numpy as np
import pytest

from aggregation.data.patients import Patients
from aggregation.federation import Federation
from aggregation.models import Logistic, Perceptron
from aggregation.noise_kind import NoiseKind
from attacks.exact.closed_form import ClosedForm
from attacks.knowledge.replay import integer_rows
from attacks.malicious.active import (
    Imprint,
    Suppression,
    imprint_model,
    isolation_rate,
    suppressing_model,
)
from attacks.scoring import score
from attacks.scoring.rates import clopper_pearson
from attacks.views import Gradient, GradientView, Knowledge, SumPart
from privacy.errors import InvalidInputError, RefusedError
from privacy.mechanisms import Seeded
from tests.attacks.runs import PRIOR, SCHEMA, cohort, run

PLAN = dataclasses.replace(run().plan, scheme="bfv", sampling_size=None)


def opened_sum(parts: dict[str, tuple[Patients, np.ndarray]], **fields: Any) -> GradientView:
    """The opened sum of hospitals that were each sent a model and did not check it."""
    plan = dataclasses.replace(PLAN, **fields)
    total = np.zeros(plan.model.dim, dtype=np.int64)
    for people, params in parts.values():
        total += integer_rows(plan, params, people.features, people.outcomes).sum(axis=0)
    if plan.share_std:
        total += Seeded(1).discrete_gaussian(plan.share_std, plan.model.dim)
    contributions = tuple(SumPart(name, params) for name, (_, params) in parts.items())
    gradient = Gradient(0, contributions, total, plan.share_std)
    return GradientView(plan, "active", Knowledge(), (gradient,))


def imprinted(seed: int, size: int, **fields: Any) -> tuple[GradientView, np.ndarray]:
    model = Perceptron(len(SCHEMA), 400)
    params = imprint_model(model, PRIOR, np.random.default_rng(seed))
    people = cohort(seed, size=size)
    view = opened_sum({n: (p, params) for n, p in people.items()}, model=model, **fields)
    return view, np.concatenate([p.features for p in people.values()])


def test_imprint_isolates_as_many_as_theory_says() -> None:
    found = total = 0
    for seed in range(4):
        view, truth = imprinted(seed, size=20)
        scored = score(Imprint().reconstruct(view, PRIOR), truth, PRIOR, np.random.default_rng(0))
        assert scored.false_certificates == 0
        found += scored.certified
        total += len(truth)
    # The bins fit the prior, not these patients: they are fewer and less even than the units.
    low, high = clopper_pearson(found, total)
    assert low > isolation_rate(80, 80)
    assert high <= isolation_rate(80, 400) + 0.02
    assert isolation_rate(80, 400) == pytest.approx((399 / 400) ** 79)


def test_with_noise_imprint_certifies_nothing() -> None:
    view, _ = imprinted(
        0,
        size=20,
        noise=NoiseKind.SHARED,
        colluders=1,
        clip_norm=1.0,
        radius=4096,
        noise_multiplier=0.5,
    )
    found = Imprint().reconstruct(view, PRIOR)
    assert not found.certified.any()
    assert len(found) == 240


def test_suppression_makes_the_sum_the_targets_own() -> None:
    params = PLAN.model.initial(np.random.default_rng(0))
    dead = suppressing_model(PLAN.model, params)
    people = {n: p.take(np.arange(6)) for n, p in cohort(3).items()}
    sent = {n: (p, params if n == "south" else dead) for n, p in people.items()}
    view = opened_sum(sent)
    with pytest.raises(RefusedError, match="different models"):
        ClosedForm().reconstruct(view, PRIOR)
    alone = Suppression().alone(view)
    assert [g.hospitals for g in alone.gradients] == [("south",)]
    scored = score(
        Suppression().reconstruct(view, PRIOR),
        people["south"].features,
        PRIOR,
        np.random.default_rng(0),
    )
    assert scored.certified >= 4
    assert scored.false_certificates == 0
    honest = opened_sum({n: (p, params) for n, p in people.items()})
    assert Suppression().alone(honest).gradients == ()
    with pytest.raises(RefusedError, match="nobody stands alone"):
        Suppression().reconstruct(honest, PRIOR)
    two = opened_sum({n: (p, dead if n == "north" else params) for n, p in people.items()})
    assert Suppression().alone(two).gradients == ()


@pytest.mark.parametrize("malicious", ["imprint", "suppression"])
def test_hospitals_refuse_a_model_that_does_not_follow(malicious: str) -> None:
    people = cohort(0)
    federation = Federation.simulated(dataclasses.replace(PLAN, scheme="plain"), people, seed=0)
    hospital = federation._hospitals["north"]
    hospital.join()
    honest = PLAN.first_model()
    params = (
        imprint_model(PLAN.model, PRIOR, np.random.default_rng(0))
        if malicious == "imprint"
        else suppressing_model(PLAN.model, honest)
    )
    with pytest.raises(RefusedError, match="does not follow"):
        hospital.contribute(params, round_=0)


def test_models_without_hidden_units_are_refused() -> None:
    logistic = Logistic(len(SCHEMA))
    with pytest.raises(InvalidInputError, match="hidden"):
        imprint_model(logistic, PRIOR, np.random.default_rng(0))
    with pytest.raises(InvalidInputError, match="hidden"):
        suppressing_model(logistic, np.zeros(logistic.dim))
    view = run(model=logistic).view("server_plain")
    with pytest.raises(InvalidInputError, match="hidden"):
        Imprint().reconstruct(view, PRIOR)
