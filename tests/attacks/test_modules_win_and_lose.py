"""Every attack of the registry on every shipped torch module: it wins undefended and loses, or it
says that it reads a first layer, and that the module tells of none.

Line-ups, level and bound are those of ``test_wins_and_loses``. What is inferred from modules beside
whole patients (members, an attribute, a share) is in ``inference/test_modules.py``.
"""

import dataclasses
from typing import Any

import numpy as np
import pytest

from aggregation.models import Inputs, TorchModel
from aggregation.noise_kind import NoiseKind
from aggregation.update import noised_update
from attacks.informed.likelihood_ratio import LikelihoodRatio
from attacks.suite import ATTACKS, Arena, Attack, make_attack
from attacks.views import (
    Adversary,
    Gradient,
    GradientView,
    InformedView,
    Knowledge,
    Observation,
    SumPart,
)
from privacy.errors import InpatientError
from privacy.mechanisms import Seeded
from tests.attacks.informed.test_known_others import lone_target
from tests.attacks.runs import PRIOR, SCHEMA, run
from tests.attacks.test_wins_and_loses import Cases, few, judge, noise

MODELS = {
    name: TorchModel.of(name, Inputs.of(SCHEMA)) for name in ("deep", "embedded", "transformer")
}
FIRST_LAYER = {
    "closed_form": "it has no first_layer",
    "spear": "it has no first_layer",
    "informed_exact": "it has no first_layer",
    "differencing": "it has no first_layer",
    "disaggregation": "it has no first_layer",
    "imprint": "sets hidden units; the model 'torch' has none",
    "suppression": "sets hidden units; the model 'torch' has none",
    "fishing": "needs at least 3 hidden units; the model 'torch' has 0",
    "row_space": "needs a logistic model .* this plan has model 'torch'",
    "sratta": "reads hidden units .* this plan has model 'torch'",
}
"""What reads a first layer is not applicable, and says so."""


def single(model: TorchModel, *, defended: bool) -> Cases:
    """Hospitals of two patients, in clear."""
    people = few(520, 2)
    done = run(
        520, patients=people, model=model, sampling_size=None,
        **(noise(NoiseKind.LOCAL) if defended else {}),
    )  # fmt: skip
    view = done.view("server_plain")
    return [(view.only(hospital=n), p.features) for n, p in people.items()]


def walks(model: TorchModel, *, defended: bool) -> Cases:
    """Two local steps of the same hospitals."""
    people = few(521, 2)
    done = run(
        521, patients=people, model=model, sampling_size=None, local_steps=2,
        **(noise(NoiseKind.LOCAL, releases=2) if defended else {}),
    )  # fmt: skip
    view = done.view("server_plain")
    return [(view.only(hospital=n), p.features) for n, p in people.items()]


def line_ups(model: TorchModel, *, defended: bool) -> Cases:
    """Sealed sums of two hospitals of eight, of which the north's patients are looked for."""
    fields: dict[str, Any] = (
        noise(NoiseKind.SHARED) if defended else {"clip_norm": 1.0, "radius": 2**16}
    )
    everybody = few(522, 8)
    people = {name: everybody[name] for name in ("north", "east")}
    done = run(522, patients=people, model=model, scheme="bfv", sampling_size=None, **fields)
    view = done.view(Adversary("server_sealed", Knowledge(hospital="north")))
    return [(view, people["north"].features)]


def all_but_one(model: TorchModel, *, defended: bool) -> Cases:
    fields: dict[str, Any] = (
        noise(NoiseKind.LOCAL) if defended else {"clip_norm": 1.0, "radius": 2**16}
    )
    targets = [lone_target(row, model=model, **fields) for row in range(30, 36)]
    return [(view, target.features) for view, target in targets]


def ages(model: TorchModel, *, defended: bool) -> Cases:
    """Pairs of hospitals of one patient; one answers an older model at a lower weight."""
    fields: dict[str, Any] = (
        noise(NoiseKind.SHARED) if defended else {"clip_norm": 1.0, "radius": 2**20}
    )
    plan = dataclasses.replace(run().plan, sampling_size=None, scheme="bfv", model=model, **fields)
    cases: Cases = []
    for seed in (524, 525, 526, 527):
        rng, total = np.random.default_rng(seed), np.zeros(plan.model.dim, dtype=np.int64)
        parts, truth = [], []
        for name, weight in (("north", 1.0), ("east", 0.70710678)):
            people = few(seed, 1)[name]
            params = plan.first_model() + 0.05 * rng.normal(size=plan.model.dim)
            total += noised_update(plan, name, (people,), params, Seeded(seed), weight=weight)
            parts.append(SumPart(name, params, people.outcomes, weight))
            truth.append(people.features)
        gradient = Gradient(0, tuple(parts), total, plan.share_std * 2**0.5)
        view = GradientView(plan, "buffered", Knowledge(), (gradient,))
        cases.append((view, np.concatenate(truth)))
    return cases


ARENAS = {
    Arena.SINGLE: single,
    Arena.LOCAL_STEPS: walks,
    Arena.STALE: ages,
    Arena.LINE_UP: line_ups,
    Arena.ALL_BUT_ONE: all_but_one,
}
TRIED = sorted(set(ATTACKS) - set(FIRST_LAYER))
BY_DAY = ("fedavg", "ig", "likelihood_ratio", "stale")
"""The others search as ``ig`` does, or are tried in ``searching/test_torch_models.py``."""


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "name",
    [n if n in BY_DAY else pytest.param(n, marks=pytest.mark.nightly) for n in TRIED],
)
def test_it_wins_undefended_and_loses_at_epsilon_one(name: str, model: str) -> None:
    effort = (4, 80) if model == "transformer" or name == "stale" else (2, 50)
    attack: Attack = make_attack(name, restarts=effort[0], iterations=effort[1])
    if name == "likelihood_ratio":  # of strangers no outcome is known
        attack = LikelihoodRatio(draws=800, outcomes_known=False)
    cases = ARENAS[ATTACKS.find(name).arena]
    judge(attack, lambda *, defended: cases(MODELS[model], defended=defended))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", FIRST_LAYER)
def test_what_reads_a_first_layer_says_that_none_is_told(name: str, model: str) -> None:
    people = few(523, 2)
    done = run(523, patients=people, model=MODELS[model], sampling_size=None)
    view: Observation = done.view("server_plain").only(hospital="north")
    assert isinstance(view, GradientView)
    if name == "informed_exact":
        known = Knowledge(patients={"north": people["north"].take(np.array([0]))})
        view = InformedView(done.plan, "informed", known, view.gradients)
    if name == "disaggregation":  # twice the same sum: the hospital's own comes out of it
        (one,) = view.gradients
        view = dataclasses.replace(view, gradients=(one, dataclasses.replace(one, round=1)))
    attack = make_attack(name)
    with pytest.raises(InpatientError, match=FIRST_LAYER[name]):
        attack.reconstruct(view, PRIOR)
