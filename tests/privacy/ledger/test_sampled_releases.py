"""The sampler that runs is the one that is accounted for, and an event goes by its own name."""

import math
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from privacy.errors import (
    BudgetExceededError,
    InvalidInputError,
    RefusedError,
)
from privacy.ledger import Budget, Ledger, Release
from privacy.ledger.preset_order import renyi
from privacy.ledger.samplers import (
    AllPatients,
    FixedSize,
    Poisson,
    RandomAllocation,
    Sampler,
    Shuffled,
    TruncatedPoisson,
    claimed,
)
from tests.privacy.ledger.helpers import gaussian, public

STEP = gaussian(40.0)


def test_the_sampler_that_runs_is_the_sampler_that_is_accounted() -> None:
    ledger = Ledger.in_memory(budget=Budget(1.0))
    release = Release("update", STEP, declared_sampler=Poisson(0.1), actual_sampler=Shuffled(10))
    with pytest.raises(RefusedError, match="shuffled"):
        ledger.spend(release)
    assert [entry.kind for entry in ledger.entries()] == ["opening", "refusal"]


SAMPLED: list[tuple[dict[str, Any], Sampler]] = [
    ({"type": "PoissonSampledDpEvent", "sampling_probability": 0.1, "event": STEP}, Poisson(0.1)),
    (
        {
            "type": "SampledWithoutReplacementDpEvent",
            "source_dataset_size": 100,
            "sample_size": 10,
            "event": STEP,
        },
        FixedSize(10, 100),
    ),
    (
        {
            "type": "TruncatedSubsampledGaussianDpEvent",
            "dataset_size": 100,
            "sampling_probability": 0.1,
            "truncated_batch_size": 20,
            "noise_multiplier": 40.0,
        },
        TruncatedPoisson(0.1, 100, 20),
    ),
    ({"type": "ShuffledBatchesDpEvent", "batches": 10, "event": STEP}, Shuffled(10)),
    ({"type": "RandomAllocationDpEvent", "steps": 10, "event": STEP}, RandomAllocation(10)),
]
OTHERS: list[Sampler] = [
    AllPatients(),
    Poisson(0.2),
    FixedSize(11, 100),
    FixedSize(10, 99),
    TruncatedPoisson(0.1, 100, 21),
    TruncatedPoisson(0.1, 101, 20),
    TruncatedPoisson(0.2, 100, 20),
    Shuffled(9),
    RandomAllocation(9),
]


@pytest.mark.parametrize(
    "crowding", [FixedSize(5, 50), TruncatedPoisson(0.1, 50, 8), Shuffled(10)], ids=str
)
@pytest.mark.parametrize("composed", [False, True])
def test_whoever_comes_pushes_nobody_out_unless_that_is_accounted_for(
    crowding: Sampler, composed: bool
) -> None:
    """Batches of bounded size move twice as far as coming or going: 3.03 granted, 9.997 true."""
    event: Any = (
        {"type": "ComposedDpEvent", "events": [STEP, {"type": "NoOpDpEvent"}]} if composed else STEP
    )
    release = Release("update", event, declared_sampler=crowding, actual_sampler=crowding)
    for relation in ("ADD_OR_REMOVE_ONE", "REPLACE_ONE", "REPLACE_SPECIAL"):
        ledger = Ledger.in_memory(budget=Budget(100.0, relation=relation))
        if relation == "ADD_OR_REMOVE_ONE":
            with pytest.raises(RefusedError, match="changes who else is drawn"):
                ledger.spend(release)
        else:
            assert ledger.spend(release).kind == "release"
        for fair in (AllPatients(), Poisson(0.1), RandomAllocation(10)):
            other = Release("update", event, declared_sampler=fair, actual_sampler=fair)
            assert ledger.spend(other).kind == "release"


@pytest.mark.parametrize(("event", "own"), SAMPLED)
@pytest.mark.parametrize("wrap", [False, True])
def test_an_event_that_claims_sampling_needs_that_very_sampler(
    event: dict[str, Any], own: Sampler, wrap: bool
) -> None:
    # Beside a release of all patients, bounded batches need a relation that keeps their number.
    relation = "REPLACE_ONE" if wrap else "ADD_OR_REMOVE_ONE"
    ledger = Ledger.in_memory(budget=Budget(100.0, relation=relation))
    if wrap:
        inner = {"type": "SelfComposedDpEvent", "count": 2, "event": event}
        event = {"type": "ComposedDpEvent", "events": [STEP, inner]}
    assert claimed(event) == (own,)
    others = [*OTHERS, *(sampler for _, sampler in SAMPLED if sampler != own)]
    for other in others:
        with pytest.raises(RefusedError, match="its event claims"):
            ledger.spend(Release("update", event, declared_sampler=other, actual_sampler=other))
    release = Release("update", event, declared_sampler=own, actual_sampler=own)
    with suppress(BudgetExceededError, RefusedError):  # some have no Rényi divergence
        ledger.spend(release)
    assert "sampler" not in list(ledger.entries())[-1].content.get("why", "")


@pytest.mark.parametrize(
    "sampler",
    [
        "poisson",
        "not poisson",
        None,
        1,
        {"sampler": "not poisson"},
        {"sampler": "poisson"},
        {"sampler": "poisson", "probability": "0.1"},
        {"sampler": "poisson", "probability": True},
        {"sampler": "poisson", "probability": 1.5},
        {"sampler": "all", "probability": 0.1},
        {"sampler": "random allocation", "steps": 0},
        {"sampler": "fixed size", "size": 11, "of": 10},
        {"sampler": "fixed size", "size": 0.5, "of": 10},
    ],
)
def test_a_sampler_is_a_type_and_no_word(sampler: Any) -> None:
    content = Release("update", STEP).to_json()
    with pytest.raises(InvalidInputError):
        Release.from_json(content | {"declared_sampler": sampler})


@pytest.mark.parametrize(
    "event",
    [
        {"type": "ComposedDpEvent", "events": []},
        {"type": "SelfComposedDpEvent", "count": 0, "event": STEP},
        {"type": "PoissonSampledDpEvent", "sampling_probability": 0, "event": STEP},
        {"type": "ComposedDpEvent", "events": [public(), public()]},
        {"type": "ShuffledBatchesDpEvent", "batches": 3, "event": public()},
        {"type": "RandomAllocationDpEvent", "steps": 3, "event": public()},
        {
            "type": "SampledWithoutReplacementDpEvent",
            "source_dataset_size": 100,
            "sample_size": 0,
            "event": STEP,
        },
        {
            "type": "TruncatedSubsampledGaussianDpEvent",
            "dataset_size": 100,
            "sampling_probability": 0,
            "truncated_batch_size": 20,
            "noise_multiplier": 40.0,
        },
    ],
)
def test_an_event_that_does_nothing_goes_by_its_own_name(event: dict[str, Any]) -> None:
    ledger = Ledger.in_memory(budget=Budget(1.0))
    with pytest.raises(RefusedError, match="does nothing to any patient"):
        ledger.spend(Release("update", event, reason="because"))


@pytest.mark.parametrize("order", [2, 4, 8])
def test_a_shuffled_pass_costs_no_more_than_the_batch_that_holds_the_patient(order: int) -> None:
    """By integration: two batches, the patient at +1 or at -1 in one of them, the others at 0."""
    scale = 2.0
    x = np.linspace(-24, 24, 961)
    one, none = (np.exp(-((x - m) ** 2) / (2 * scale**2)) for m in (1.0, 0.0))
    p = (np.outer(one, none) + np.outer(none, one)) / 2
    q = p[::-1, ::-1]
    p, q = p / p.sum(), q / q.sum()
    found = np.log((p * (p / q) ** (order - 1)).sum()) / (order - 1)
    event = {"type": "ShuffledBatchesDpEvent", "batches": 2, "event": gaussian(scale)}
    bound = renyi(event, order, "REPLACE_ONE")
    assert 0 < found <= bound
    assert bound == renyi(gaussian(scale), order, "REPLACE_ONE")
    assert renyi(event, order, "ADD_OR_REMOVE_ONE") == math.inf
