"""What each rule declares about its sensitivity, checked on neighbouring cohorts."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aggregation.data.patients import Patients
from aggregation.models import Logistic
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.rules import (
    RULES,
    Agnostic,
    BoundedInfluence,
    FedAvg,
    FedNova,
    FedSGD,
    Importance,
    LogitAdjustment,
    Rule,
    Scaffold,
    walk,
)
from aggregation.rules.agnostic import loss_release
from aggregation.sealing.slots import SlotGroup
from aggregation.update import local_update, noised_update
from privacy.errors import InvalidInputError
from privacy.mechanisms import Seeded, clip, to_integers
from privacy.unit import Unit
from tests.aggregation.parts import plan

Array = NDArray[np.float64]
RADIUS = 1_000
LOSS = SlotGroup("loss", 1, clip_norm=1.0, radius=1000, noise_multiplier=0.0)
BARE: dict[str, Any] = {
    "model": Logistic(3),
    "noise": NoiseKind.NONE,
    "noise_multiplier": 0.0,
    "colluders": 0,
    "declared_sizes": (200, 200, 200),
    "radius": RADIUS,
}
ONE_STEP: dict[str, Rule] = {
    "fedsgd": FedSGD(),
    "importance by label": Importance(prevalences={"north": 0.7}, target=0.1),
    "importance by covariates": Importance({"north": [1.0, 0.0, 0.0, 0.0]}),
    "logit adjustment": LogitAdjustment({"north": 0.7}),
    "bounded influence": BoundedInfluence(0.7),
    "agnostic": Agnostic({"north": 200, "east": 200, "south": 200}),
}


def planned(rule: Rule, **changes: Any) -> Plan:
    scalars = (LOSS,) if rule.contract.alone else ()
    return plan(**(BARE | {"rule": rule, "scalars": scalars} | changes))


def sent(rule: Rule, group: Patients, params: Array, **changes: Any) -> NDArray[np.int64]:
    made = planned(rule, **changes)
    steps = made.used_rule.steps_of("north", made.local_steps)
    weight = 1.0 if rule.contract.alone else rule.weight((), "north", 0)
    return noised_update(made, "north", (group,) * steps, params, Seeded(0), weight=weight)


@pytest.mark.parametrize("name", ONE_STEP)
@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), patients=st.integers(1, 30), scale=st.floats(0.1, 20))
def test_one_step_rules_move_by_the_clip_norm_at_most(
    name: str, seed: int, patients: int, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    group = Patients(scale * rng.normal(size=(patients, 3)), rng.integers(2, size=patients))
    params = rng.normal(size=4)
    fewer = group.take(np.arange(patients - 1))
    one, two = (sent(ONE_STEP[name], each, params) for each in (group, fewer))
    assert np.linalg.norm(one - two) <= RADIUS


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), patients=st.integers(1, 30))
def test_a_cut_loss_moves_by_its_bound_at_most(seed: int, patients: int) -> None:
    losses = np.random.default_rng(seed).exponential(3.0, size=patients)
    moved = loss_release(losses, bound=1.0) - loss_release(losses[:-1], bound=1.0)
    assert 0 <= moved <= 1.0 + 1e-12


@pytest.mark.parametrize(
    "rule",
    [
        FedAvg(),
        FedAvg({"north": 0.5, "east": 0.25, "south": 0.25}),
        FedNova(steps={"north": 3, "east": 1, "south": 2}, steps_scale=0.2),
        Scaffold(),
    ],
    ids=["fedavg", "weighted", "fednova", "scaffold"],
)
@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 20))
def test_what_a_hospital_sends_as_a_whole_is_bounded_extra_coordinates_included(
    rule: Rule, seed: int, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    group = Patients(scale * rng.normal(size=(20, 3)), rng.integers(2, size=20))
    found = sent(rule, group, rng.normal(size=4), unit=Unit.HOSPITAL, local_steps=2, clip_norm=0.3)
    assert found.shape == (4 + rule.contract.extra,)
    assert np.linalg.norm(found) <= RADIUS * rule.weight((), "north", 0)


def test_a_weight_of_nothing_sends_nothing_and_its_noise_stays() -> None:
    group = Patients(np.ones((5, 3)), np.ones(5, dtype=np.int64))
    for unit in Unit:
        quiet = plan(**(BARE | {"unit": unit}))
        noisy = plan(**(BARE | {"unit": unit, "noise": NoiseKind.SHARED, "noise_multiplier": 2.0,
                                "colluders": 1}))  # fmt: skip
        silent, noise = (
            local_update(made, "north", (group,), np.zeros(4), Seeded(0), weight=0.0)[0]
            for made in (quiet, noisy)
        )
        assert not silent.any() and noise.any()


def test_prevalence_counted_from_raw_patients_breaks_the_patient_as_the_unit() -> None:
    # Forty patients alike and one more who is ill: all forty move with the counted prevalence.
    features = np.array([[1.6, 0.0, 0.0]] * 40 + [[-1.6, 0.0, 0.0]])
    outcomes = np.array([0, 1] * 20 + [1])

    def emitted(n: int) -> NDArray[np.int64]:
        counted = LogitAdjustment({"north": float(outcomes[:n].mean())})
        return sent(counted, Patients(features[:n], outcomes[:n]), np.zeros(4))

    assert np.linalg.norm(emitted(41) - emitted(40)) > 1.2 * RADIUS


def test_after_a_local_step_one_patient_moves_the_sum_by_more_than_the_clip_norm() -> None:
    # The sum of clipped gradients over two local steps: the patient's own share is 2 C at most, but
    # the second step's model carries it into all the others' gradients.
    features = np.array([[0.9, 0.0, 0.0]] * 120 + [[-2.0, 0.0, 0.0]])
    outcomes = np.array([0, 1] * 60 + [1])

    def emitted(n: int) -> NDArray[np.int64]:
        group = Patients(features[:n], outcomes[:n])
        return sent(FedSGD(), group, np.zeros(4), local_steps=2, learning_rate=60.0)

    assert np.linalg.norm(emitted(121) - emitted(120)) > 2.5 * RADIUS


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), patients=st.integers(0, 20), cut=st.integers(0, 20))
def test_splitting_a_hospital_in_two_gives_the_same_integers(
    seed: int, patients: int, cut: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = 3 * rng.normal(size=(patients, 4))

    def integers(part: Array) -> NDArray[np.int64]:
        return to_integers(clip(part, clip_norm=1.0), radius=1_000).sum()

    assert np.array_equal(integers(rows), integers(rows[:cut]) + integers(rows[cut:]))


@pytest.mark.parametrize("patients", [0, 1])
@pytest.mark.parametrize("name", ONE_STEP)
def test_hospitals_without_patients_or_with_one_are_defined(name: str, patients: int) -> None:
    group = Patients(np.ones((patients, 3)), np.ones(patients, dtype=np.int64))
    found = sent(ONE_STEP[name], group, np.zeros(4))
    assert found.shape == (4,)
    assert np.linalg.norm(found) <= RADIUS
    assert found.any() == bool(patients)


def test_every_rule_says_what_crosses_and_whom_it_protects() -> None:
    contracts = {
        n: rule.adds if hasattr(rule, "adds") else rule.contract for n, rule in RULES.items()
    }
    assert len(contracts) == 19
    for name, contract in contracts.items():
        assert isinstance(contract.name, str) and contract.name == name
        assert contract.source
        assert contract.crosses
        assert (contract.unit == "unprotected") == (name == "article")
        assert (contract.unit == "none") == contract.crosses.startswith("nothing")
    assert {n for n, c in contracts.items() if c.unit == "patient"} == {
        "fedsgd",
        "agnostic",
        "importance",
        "logit adjustment",
        "bounded influence",
        "buffered",
        "fedasync",
        "memory",
    }


def test_walking_is_gradient_descent_and_leaves_the_start_alone() -> None:
    start = np.array([4.0])
    walked = walk(start, lambda w: w, steps=3, rate=0.5)
    assert (float((start - 0.5 * walked)[0]), float(start[0])) == (0.5, 4.0)
    assert walk(start, lambda w: w, steps=0, rate=0.5).tolist() == [0.0]
    with pytest.raises(InvalidInputError, match="rate=0"):
        walk(start, lambda w: w, steps=1, rate=0.0)
