"""Every attack of the registry refuses what it cannot read, and reads no more than its view."""

import copy
import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest

from aggregation.data.patients import Patients
from aggregation.models import make_model
from aggregation.plan import Plan
from attacks.knowledge.priors import Prior
from attacks.suite import ATTACKS, make_attack
from attacks.views import (
    Adversary,
    GradientView,
    InformedView,
    Knowledge,
    Name,
    Observation,
    SumPart,
    observe,
)
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError
from tests.attacks.runs import PRIOR, SCHEMA, cohort, run

DONE = run()
EVERY = pytest.mark.parametrize("name", list(ATTACKS))


def seen(name: str, **changed: Any) -> Observation:
    """One hospital's gradient in the kind of view that the attack needs, with fields changed."""
    whole = DONE.view("server_plain")
    gradient = whole.gradients[0]
    for key, value in changed.items():  # past the constructor: data that came from elsewhere
        gradient = dataclasses.replace(gradient)
        object.__setattr__(gradient, key, value)
    kind = make_attack(name).needs
    if kind is InformedView:
        known = Knowledge(patients={"north": cohort(0)["north"]})
        return InformedView(whole.plan, "informed", known, (gradient,))
    return GradientView(whole.plan, "server_plain", Knowledge(), (gradient,))


def attack(name: str, observation: Observation) -> None:
    make_attack(name, restarts=1, iterations=1).reconstruct(observation, PRIOR)


@EVERY
def test_a_view_that_lacks_what_it_needs_is_refused(name: str) -> None:
    for position in ("eavesdropper", "public"):
        with pytest.raises(RefusedError, match=f"attack '{name}' needs a"):
            attack(name, observe(DONE.transcript, position))


def part(params: np.ndarray) -> SumPart:
    one = SumPart("north", np.zeros(DONE.plan.model.dim))
    object.__setattr__(one, "params", params)
    return one


@EVERY
def test_broken_gradients_are_refused(name: str) -> None:
    integers = DONE.view("server_plain").gradients[0].integers
    broken = integers.astype(np.float64)
    broken[3] = np.nan
    params = DONE.plan.first_model()
    params[0] = np.inf
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"integers": broken}, InvalidInputError, "NaN"),
        ({"integers": np.abs(broken[4:])}, InvalidInputError, "Expected"),
        ({"integers": integers[:-1]}, InvalidInputError, "integers and as many"),
        ({"contributions": (part(params),)}, InvalidInputError, "sent to north is broken"),
        ({"integers": np.zeros_like(integers)}, RefusedError, "batch is empty"),
    ]
    for changed, error, words in cases:
        with pytest.raises(error, match=words):
            attack(name, seen(name, **changed))


@EVERY
def test_dead_layers_and_unknown_activations_are_refused(name: str) -> None:
    dead = np.zeros(DONE.plan.model.dim, dtype=np.int64)
    dead[-1] = 1234  # only the last bias moved
    with pytest.raises(RefusedError, match="layer is dead"):
        attack(name, seen(name, integers=dead))
    view = seen(name)
    model = copy.copy(view.plan.model)
    object.__setattr__(model, "kind", "gelu")
    object.__setattr__(model, "first_layer", None)
    plan = dataclasses.replace(view.plan)
    object.__setattr__(plan, "model", model)
    with pytest.raises(InvalidInputError, match="'gelu'"):
        attack(name, dataclasses.replace(view, plan=plan))


def test_models_and_plans_of_unknown_kinds_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="gelu"):
        make_model("gelu", 3, 4)
    content = DONE.plan.to_bytes().replace(b'"mlp"', b'"gelu"')
    with pytest.raises(CorruptMessageError, match="gelu"):
        Plan.from_bytes(content)


SENTINEL = 0.123456789012345  # on no grid, in no message


def test_a_sentinel_in_the_truth_reaches_no_view() -> None:
    """A patient's very value is in no adversary's view, unless the adversary holds the patient."""
    people = {}
    for name, p in cohort(0).items():
        features = p.features.copy()
        features[:, 6] = SENTINEL
        people[name] = Patients(features, p.outcomes)
    done = run(patients=people)
    mark = np.float64(SENTINEL).tobytes()
    assert mark in pickle.dumps(done.drawn["north"][0][0].features)  # it would be seen
    names: tuple[Name, ...] = (
        "eavesdropper", "server_plain", "server_sealed", "buffered", "longitudinal", "active",
        "key_holder", "public",
    )  # fmt: skip
    for name in names:
        assert mark not in pickle.dumps(observe(done.transcript, name))
    sent = {(0, "north"): done.view("server_plain").gradients[0].integers}
    known = {"north": people["north"]}
    sealed = run(patients=people, scheme="bfv", clip_norm=1.0, radius=4096)
    for adversary in (
        Adversary("colluding", Knowledge(patients=known, updates=sent)),
        Adversary("informed", Knowledge(patients=known)),
    ):
        view = observe(sealed.transcript, adversary)
        assert mark in pickle.dumps(view)
        assert mark not in pickle.dumps(dataclasses.replace(view, knowledge=Knowledge()))


def test_colluders_hold_their_own_patients_in_the_prior() -> None:
    public, own = cohort(1)["east"], cohort(2)["south"]
    prior = Prior.held(SCHEMA, {"south": own}, public)
    both = Patients(
        np.concatenate([public.features, own.features]),
        np.concatenate([public.outcomes, own.outcomes]),
    )
    expected = Prior.from_table(SCHEMA, both, source="table and south")
    assert prior == expected
    assert Prior.held(SCHEMA, {}).source == "schema"
