"""Ledgers of a fleet: entries of hospital objects, spent before anybody is read; refusals."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from aggregation.engines.fleet import Fleet
from aggregation.federation import Federation
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from privacy.errors import InvalidInputError, RefusedError
from privacy.ledger import Budget, Ledger, SigningKey
from tests.aggregation.engines.test_fleet import Block, cut, hospitals, plan_of

# What names the moment, the key or the random salt of a sealed update.
PASSING = ("public_key", "enrolled", "digest", "entry")


def ledger(name: str, plan: Plan, epsilon: float = math.inf) -> Ledger:
    return Ledger.in_memory(hospital=name, budget=Budget(epsilon=epsilon, delta=plan.delta))


def told(book: Ledger) -> list[tuple[str, dict[str, Any]]]:
    return [
        (e.kind, {k: v for k, v in e.content.items() if k not in PASSING}) for e in book.entries()
    ]


@pytest.mark.parametrize(
    "changes",
    [{}, {"sampling_size": 6}, {"noise": NoiseKind.LOCAL, "colluders": 0}],
    ids=["shared", "sampled", "local"],
)
def test_forty_ledgers_hold_what_hospital_objects_write(changes: dict[str, object]) -> None:
    cohort = hospitals()
    agreed = plan_of(cohort, **changes)
    federation = Federation.simulated(agreed, cohort, seed=5)
    outcome = federation.run()
    books = [ledger(name, agreed) for name in cohort]
    fleet = Fleet.simulated(
        agreed, lambda: cut(cohort, 7), seed=5, threads=2, ledgers=books.__getitem__
    )
    params = agreed.first_model()
    for round_ in range(agreed.rounds):
        params, _ = fleet.advance(params)
        assert (params == outcome.models[round_ + 1]).all()
    for name, book in zip(cohort, books, strict=True):
        assert told(book) == told(federation.ledger(name))
        assert book.pending() == ()
    assert fleet.phases.ledgers > 0


def test_all_ledgers_are_asked_before_the_first_block() -> None:
    cohort = hospitals()
    agreed = plan_of(cohort)
    books = [ledger(name, agreed) for name in cohort]

    def watched() -> Iterator[Block]:
        kinds = [[e.kind for e in book.entries()] for book in books]
        assert all(k[-1] == "release" for k in kinds)
        yield from cut(cohort, 8)

    fleet = Fleet.simulated(agreed, watched, seed=0, ledgers=books.__getitem__)
    for _ in range(2):
        fleet.advance(agreed.first_model())


def test_a_hospital_out_of_budget_is_left_out_and_the_others_send_the_same() -> None:
    cohort = hospitals()
    agreed = plan_of(cohort, smallest_sum=38)
    poor = {3, 21}
    books = [ledger(n, agreed, 0.01 if k in poor else math.inf) for k, n in enumerate(cohort)]
    fleet = Fleet.simulated(agreed, lambda: cut(cohort, 9), seed=5, ledgers=books.__getitem__)
    rich = Fleet.simulated(agreed, lambda: cut(cohort, 9), seed=5)
    params = agreed.first_model()
    ours, theirs = (np.concatenate(list(f.updates(params))) for f in (fleet, rich))
    others = np.array([k not in poor for k in range(len(cohort))])
    assert (ours[~others] == 0).all()
    assert (ours[others] == theirs[others]).all()
    for k in poor:
        assert [e.kind for e in books[k].entries()] == ["opening", "refusal"]
    _, took_part = fleet.advance(params)
    members = enumerate(cohort.values())
    assert took_part == sum(len(p) for k, p in members if k not in poor)


def test_a_sum_with_too_little_noise_reads_nobody() -> None:
    cohort = hospitals()
    agreed = plan_of(cohort)  # sized for all forty
    books = [ledger(n, agreed, 0.01 if k == 0 else math.inf) for k, n in enumerate(cohort)]
    unread = cast(Any, lambda: pytest.fail("read"))
    fleet = Fleet.simulated(agreed, unread, seed=0, ledgers=books.__getitem__)
    with pytest.raises(RefusedError, match="39 of 40 ledgers grant round 0"):
        fleet.advance(agreed.first_model())


def test_ledgers_in_files_are_fetched_and_let_go(tmp_path: Path) -> None:
    cohort = dict(list(hospitals().items())[:4])
    agreed = plan_of(cohort, noise=NoiseKind.LOCAL, colluders=0, noise_multiplier=40.0)
    key = SigningKey.generate()
    for name in cohort:
        budget = Budget(epsilon=1.0, delta=agreed.delta)
        Ledger.create(tmp_path / f"{name}.jsonl", hospital=name, key=key, budget=budget)

    def fetch(hospital: int) -> Ledger:
        return Ledger.open(tmp_path / f"{agreed.hospitals[hospital]}.jsonl", key=key)

    fleet = Fleet(agreed, lambda: cut(cohort, 2), ledgers=fetch)  # the operating system's noise
    params = agreed.first_model()
    for _ in range(agreed.rounds):
        params, _ = fleet.advance(params)
    for k in range(4):
        kinds = [e.kind for e in fetch(k).entries()]
        assert kinds == ["opening", "plan", *["release", "sealed"] * agreed.rounds]
        assert fetch(k).state().committed <= 1.0


def test_only_plain_bytes_are_told() -> None:
    cohort = hospitals()
    with pytest.raises(InvalidInputError, match="scheme='plain'"):
        Fleet(
            plan_of(cohort, scheme="bfv"), lambda: cut(cohort, 8), ledgers=lambda _: pytest.fail()
        )
