"""The fleet: the same integers, events and draws as hospitals one by one."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from aggregation.data.patients import Patients
from aggregation.engines.fleet import Fleet
from aggregation.federation import Federation
from aggregation.models import Logistic
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.releases import round_event
from aggregation.sealing.plain import read_update
from aggregation.sized import sealing_for
from privacy.errors import InvalidInputError, RefusedError
from privacy.unit import Unit
from tests.aggregation.parts import patients, plan


@dataclass(frozen=True)
class Block:
    features: NDArray[np.float64]
    outcomes: NDArray[np.int64]
    offsets: NDArray[np.int64]


def hospitals(count: int = 40, features: int = 5) -> dict[str, Patients]:
    sizes = np.random.default_rng(1).integers(0, 30, count)
    sizes[:3] = (0, 1, 29)  # nobody, a single patient
    return {f"h{k:03d}": patients(k, int(n), features) for k, n in enumerate(sizes)}


def cut(cohort: dict[str, Patients], block: int) -> Iterator[Block]:
    members = list(cohort.values())
    for first in range(0, len(members), block):
        own = members[first : first + block]
        yield Block(
            np.concatenate([p.features for p in own]),
            np.concatenate([p.outcomes for p in own]),
            np.cumsum([0, *(len(p) for p in own)]),
        )


def plan_of(cohort: dict[str, Patients], **changes: object) -> Plan:
    fields: dict[str, object] = {
        "model": Logistic(5),
        "hospitals": tuple(cohort),
        "declared_sizes": tuple(max(8, len(p)) for p in cohort.values()),
        "clip_norm": 0.3,
        "radius": 64,  # coarse: many rows need the repair
    }
    return plan(**(fields | changes))


@pytest.mark.parametrize(
    "changes",
    [{}, {"sampling_size": 6}, {"noise": NoiseKind.LOCAL, "colluders": 0}],
    ids=["shared", "sampled", "local"],
)
@pytest.mark.parametrize(("block", "threads"), [(40, 1), (7, 2)])
def test_forty_hospitals_send_what_hospital_objects_send(
    changes: dict[str, object], block: int, threads: int
) -> None:
    cohort = hospitals()
    agreed = plan_of(cohort, **changes)
    federation = Federation.simulated(agreed, cohort, seed=5)
    outcome = federation.run()
    fleet = Fleet.simulated(agreed, lambda: cut(cohort, block), seed=5, threads=threads)
    parameters = sealing_for(agreed).parameters
    params = agreed.first_model()
    for round_ in range(agreed.rounds):
        ours = np.concatenate(list(fleet.updates(params)))
        sent = [m for m in outcome.transcript if m.kind == "update" and m.round == round_]
        theirs = np.stack([read_update(parameters, m.payload) for m in sent])
        assert (ours == theirs).all()
        params = agreed.advance(params, ours.sum(axis=0))
        assert (params == outcome.models[round_ + 1]).all()
    for k, name in enumerate(agreed.hospitals):
        assert fleet.event(k) == round_event(agreed, name)


def test_a_round_is_the_sum_of_its_updates() -> None:
    cohort = hospitals()
    agreed = plan_of(cohort)
    one, two = (Fleet.simulated(agreed, lambda: cut(cohort, 9), seed=0) for _ in range(2))
    params = agreed.first_model()
    moved, took_part = one.advance(params)
    total = sum(u.sum(axis=0) for u in two.updates(params))
    assert (moved == agreed.advance(params, np.asarray(total))).all()
    assert took_part == sum(len(p) for p in cohort.values())
    assert one.phases.gradients > 0 and one.phases.noise > 0


def test_a_patients_gradient_does_not_depend_on_who_else_is_there() -> None:
    rng = np.random.default_rng(0)
    x, y, w = rng.normal(size=(500, 18)), rng.integers(0, 2, 500), rng.normal(size=19)
    model = Logistic(18)
    whole = model.per_patient_gradients(w, x, y)
    low = 0
    while low < 500:
        high = low + int(rng.integers(1, 40))
        assert (model.per_patient_gradients(w, x[low:high], y[low:high]) == whole[low:high]).all()
        low = high


def test_exact_noise_has_the_share_s_spread() -> None:
    cohort = {f"h{k}": patients(k, 0, 5) for k in range(200)}
    agreed = plan_of(cohort)
    drawn = np.concatenate(list(Fleet(agreed, lambda: cut(cohort, 64)).updates(np.zeros(6))))
    assert abs(drawn.std() / agreed.share_std - 1) < 0.15  # 1200 draws: 7 standard errors


def test_a_plan_beyond_the_budget_reads_nobody() -> None:
    cohort = hospitals()
    with pytest.raises(RefusedError, match=r"no patient was read"):
        Fleet(plan_of(cohort), lambda: pytest.fail("read"), target_epsilon=0.1)
    protected = Fleet(plan_of(cohort), lambda: cut(cohort, 8), target_epsilon=100.0)
    assert 0 < protected.spent <= 100.0


def test_what_the_path_does_not_cover_is_refused() -> None:
    cohort = hospitals()
    with pytest.raises(InvalidInputError, match="Use Federation"):
        Fleet(plan_of(cohort, unit=Unit.HOSPITAL), lambda: cut(cohort, 8))
    short = Fleet.simulated(plan_of(cohort), lambda: list(cut(cohort, 8))[:-1], seed=0)
    with pytest.raises(InvalidInputError, match="The blocks hold 32 hospitals"):
        short.advance(np.zeros(6))
    crowded = plan_of(cohort, declared_sizes=(1,) * 40)
    with pytest.raises(InvalidInputError, match="more patients than"):
        Fleet.simulated(crowded, lambda: cut(cohort, 8), seed=0).advance(np.zeros(6))
