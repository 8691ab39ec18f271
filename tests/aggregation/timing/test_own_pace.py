"""The true asynchronous run: private, sealed, and the same integers whichever scheme seals."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dp_accounting import NeighboringRelation, NonPrivateDpEvent, SelfComposedDpEvent
from numpy.typing import NDArray

from aggregation.agreement import Agreement, Trajectory, memory_events
from aggregation.data.patients import Patients
from aggregation.engines.clear import follow
from aggregation.federation import Federation, Outcome
from aggregation.models import Logistic, Model
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.releases import round_event
from aggregation.rules import (
    Buffered,
    Call,
    FedAsync,
    FedAvg,
    FedSGD,
    Memory,
    Rule,
    Scaffold,
    corrected,
)
from aggregation.timing import Pace, Trigger, leverage, simulate
from aggregation.timing.allowance import allowed_uploads
from attacks.views import observe
from privacy.accounting import epsilon
from privacy.accounting.events import DistributedDiscreteGaussianDpEvent, LinearOpeningsDpEvent
from privacy.errors import BudgetExceededError, InvalidInputError, RefusedError
from privacy.ledger import load_trust, verify
from privacy.mechanisms import clip
from privacy.unit import Unit

NAMES = ("a", "b", "c", "d")
PACES = {name: Pace(d) for name, d in zip(NAMES, (1.0, 1.5, 4.0, 3.0), strict=True)}
TRIGGER = Trigger(count=3, distinct=3)
SCHEDULE = simulate(PACES, TRIGGER, horizon=15.0, seed=0, waits=True)
PILOT = simulate(PACES, TRIGGER, horizon=500.0, seed=1, waits=True).rates
RULE = corrected(dict.fromkeys(NAMES, 1.0), PILOT)
MEMORY = Memory(shares=dict.fromkeys(NAMES, 1.0))


def patients(seed: int, n: int) -> Patients:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, 3))
    return Patients(features, (features[:, 0] + rng.normal(size=n) > 0).astype(np.int64))


PATIENTS = {name: patients(k, 20 + 5 * k) for k, name in enumerate(NAMES)}
PLAN = Plan(
    run="asynchronous",
    model=Logistic(3),
    hospitals=NAMES,
    declared_sizes=tuple(len(p) for p in PATIENTS.values()),
    rounds=1,
    learning_rate=2.0,
    noise=NoiseKind.SHARED,
    scheme="plain",
    clip_norm=1.0,
    radius=1_000,
    noise_multiplier=4.0,
    colluders=1,
    smallest_sum=3,
)
QUIET = dataclasses.replace(PLAN, noise=NoiseKind.NONE, noise_multiplier=0.0, colluders=0)


def run(plan: Plan, patients: dict[str, Patients] = PATIENTS, **options: Any) -> Outcome:
    chosen: dict[str, Any] = {"seed": 5, "rule": RULE, "schedule": SCHEDULE} | options
    return Federation.simulated(plan, patients, **chosen).run()


def clipped_mean(call: Call) -> NDArray[np.float64]:
    """A hospital's update as a displacement, as the plan has it but for the integers."""
    p = PATIENTS[call.hospital]
    rows = PLAN.model.per_patient_gradients(call.params, p.features, p.outcomes)
    total = clip(rows, clip_norm=1.0).values.sum(axis=0)
    return np.asarray(-2.0 * total / sum(PLAN.declared_sizes))


@pytest.mark.parametrize(
    "rule",
    [RULE, MEMORY, Memory(hospitals=4), Buffered(), Buffered(oldest=0), FedSGD()],
    ids=["corrected", "memory", "ca2fl", "fedbuff", "stale dropped", "fedsgd"],
)
def test_without_noise_it_is_the_rule_in_clear_to_within_rounding(rule: Rule) -> None:
    in_clear = follow(rule, SCHEDULE, PLAN.first_model(), update=clipped_mean).models
    found = run(QUIET, rule=rule).models
    assert len(found) == len(SCHEDULE.openings) + 1 > 4
    np.testing.assert_allclose(found, in_clear, atol=1e-2)
    assert np.abs(found[-1]).max() > 0.1


def test_the_fastest_half_alone_is_a_rule_like_any_other() -> None:
    fast = {name: PACES[name] for name in ("a", "b")}
    schedule = simulate(fast, Trigger.synchronous(2), horizon=9.0, seed=0, waits=True)
    rule = Buffered(shares={"a": 0.6, "b": 1.0}, discount=False, scale=2.0)
    found = run(dataclasses.replace(QUIET, smallest_sum=2), rule=rule, schedule=schedule)
    in_clear = follow(rule, schedule, PLAN.first_model(), update=clipped_mean).models
    np.testing.assert_allclose(found.models, in_clear, atol=1e-2)
    assert not found.transcript.select(kind="update", sender="c")
    noisy = dataclasses.replace(PLAN, smallest_sum=2)
    assert np.isfinite(run(noisy, rule=rule, schedule=schedule).params).all()


def test_a_real_run_at_own_pace_leaves_ledgers_that_an_auditor_accepts(tmp_path: Path) -> None:
    plan = dataclasses.replace(PLAN, scheme="shares", noise_multiplier=20.0)
    federation = Federation.real(
        plan, PATIENTS, out=tmp_path, target_epsilon=9.0, rule=MEMORY, schedule=SCHEDULE
    )
    federation.run()
    federation.save(tmp_path)
    verdict = verify([tmp_path], trust=load_trust(tmp_path / "trust.json"))
    assert verdict.status == 0, [f for f in verdict.findings if f.level == "FAIL"]


def test_updates_opened_alone_run_in_clear_or_with_all_of_the_noise_at_each_hospital() -> None:
    alone = simulate(PACES, Trigger(1, 1), horizon=6.0, seed=0, waits=True)
    quiet = dataclasses.replace(QUIET, smallest_sum=1)
    found = run(quiet, rule=FedAsync(), schedule=alone).models
    in_clear = follow(FedAsync(), alone, PLAN.first_model(), update=clipped_mean).models
    np.testing.assert_allclose(found, in_clear, atol=1e-2)
    local = dataclasses.replace(PLAN, noise=NoiseKind.LOCAL, colluders=0, smallest_sum=1)
    ledgers = run(local, rule=FedAsync(), schedule=alone).ledgers
    events = [e.content["event"] for e in ledgers["a"].entries() if e.kind == "release"]
    assert {str(e["type"]) for e in events} == {"DiscreteGaussianDpEvent"}
    with pytest.raises(RefusedError, match="no sealing can help"):
        run(PLAN, rule=FedAsync())
    with pytest.raises(RefusedError, match="no sealing can help"):
        run(dataclasses.replace(quiet, scheme="shares"), rule=FedAsync(), schedule=alone)


def test_every_scheme_opens_to_the_same_integers() -> None:
    plain = run(PLAN)
    for scheme in ("shares", "bfv"):
        sealed = run(dataclasses.replace(PLAN, scheme=scheme))
        assert np.array_equal(sealed.opened, plain.opened)
        assert np.array_equal(sealed.models, plain.models)


def test_the_final_model_of_a_schedule_is_not_guessed_from_messages() -> None:
    with pytest.raises(RefusedError, match="along a schedule, which no message tells"):
        observe(run(QUIET).transcript, "public")


def test_every_upload_is_a_release_of_its_own_weight() -> None:
    found = run(PLAN)
    for name, ledger in found.ledgers.items():
        releases = [e for e in ledger.entries() if e.kind == "release"]
        uploads = [a for o in SCHEDULE.openings for a in o.arrivals if a.hospital == name]
        assert len(releases) == len(uploads)
    assert RULE.shares is not None
    weights = {m.sender: m.public["weight"] for m in found.transcript.select(kind="update")}
    assert weights == pytest.approx(RULE.shares, abs=1e-3)
    for name, weight in RULE.shares.items():
        event = round_event(PLAN, name, weight=weight)
        assert event.radius == math.floor(weight * 1_000), name
        assert event.noise_multiplier * event.radius == pytest.approx(4_000)
        assert isinstance(event, DistributedDiscreteGaussianDpEvent)
        assert event.contributors == 2  # three in the smallest sum, one of them colluding


def test_a_lighter_upload_costs_less_so_that_the_fast_do_not_overspend() -> None:
    relation = NeighboringRelation.ADD_OR_REMOVE_ONE
    assert RULE.shares is not None
    spent = {}
    for name, weight in RULE.shares.items():
        event = round_event(PLAN, name, weight=weight)
        count = sum(a.hospital == name for o in SCHEDULE.openings for a in o.arrivals)
        spent[name] = epsilon(
            SelfComposedDpEvent(event, count), delta=1e-5, relation=relation
        ).upper
    assert spent["a"] < spent["c"]  # a uploads three times as often


def test_the_transcript_is_in_order_of_time_and_complete() -> None:
    found = run(PLAN)
    times = [m.time for m in found.transcript]
    assert times == sorted(times)
    arrivals = sum(len(o.arrivals) for o in SCHEDULE.openings)
    assert len(found.transcript.select(kind="update")) == arrivals
    assert len(found.transcript.select(kind="model")) == arrivals
    assert len(found.transcript.select(kind="total")) == len(SCHEDULE.openings)
    assert len(found.transcript.select(kind="opened")) == 5 * len(SCHEDULE.openings)


def test_uploads_within_the_limit_fit_the_budget_and_one_more_does_not() -> None:
    event = round_event(PLAN, "a")
    limit = allowed_uploads(event, target_epsilon=2.0, delta=1e-5)
    relation = NeighboringRelation.ADD_OR_REMOVE_ONE

    def upper(count: int) -> float:
        return epsilon(SelfComposedDpEvent(event, count), delta=1e-5, relation=relation).upper

    assert upper(limit) <= 2.0 < upper(limit + 1)
    assert allowed_uploads(event, target_epsilon=0.01, delta=1e-5) == 0


def test_a_budget_that_is_passed_stops_the_run_before_the_patients_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def read(*_: object) -> None:
        raise AssertionError("a patient was read")

    monkeypatch.setattr(Model, "per_patient_gradients", read)
    with pytest.raises(BudgetExceededError):
        run(PLAN, target_epsilon=0.05)


def test_unprotected_runs_say_so_in_the_ledger() -> None:
    assert isinstance(round_event(QUIET, "a"), NonPrivateDpEvent)
    ledger = run(QUIET).ledgers["a"]
    (first, *_) = [e for e in ledger.entries() if e.kind == "release"]
    assert "unprotected" in str(first.content)


def test_a_hospital_without_patients_sends_noise_and_counts_as_any_other() -> None:
    empty = {**PATIENTS, "b": Patients(np.empty((0, 3)), np.empty(0, dtype=np.int64))}
    found = run(PLAN, empty)
    assert np.isfinite(found.models).all()
    assert len(found.transcript.select(kind="update", sender="b")) > 0


def test_what_is_not_covered_is_refused() -> None:
    twice = simulate(PACES, Trigger(5, 3), horizon=20.0, seed=0)
    with pytest.raises(InvalidInputError, match="twice in the sum"):
        run(PLAN, schedule=twice)
    with pytest.raises(InvalidInputError, match="noise='local'"):
        run(dataclasses.replace(PLAN, noise=NoiseKind.LOCAL, colluders=0), rule=MEMORY)
    with pytest.raises(InvalidInputError, match="local_steps=1"):
        run(dataclasses.replace(QUIET, local_steps=2))
    for rule in (RULE, MEMORY):
        with pytest.raises(RefusedError, match="can't be opened under 'pairwise'"):
            run(dataclasses.replace(PLAN, scheme="pairwise"), rule=rule)
    with pytest.raises(RefusedError, match="can't be opened under 'pairwise'"):
        rounds = dataclasses.replace(PLAN, scheme="pairwise", smallest_sum=None, rounds=2)
        run(rounds, rule=MEMORY, schedule=None)
    with pytest.raises(RefusedError, match="every hospital in every sum"):
        run(dataclasses.replace(QUIET, unit=Unit.HOSPITAL), rule=Scaffold())
    with pytest.raises(InvalidInputError, match="one step over all patients"):
        run(dataclasses.replace(QUIET, unit=Unit.HOSPITAL), rule=FedAvg())


def test_the_stale_are_dropped_as_pure_noise_that_nobody_can_tell() -> None:
    found = run(PLAN, rule=Buffered(oldest=0))
    stale = [a for o in SCHEDULE.openings for a in o.arrivals if a.staleness > 0]
    assert stale
    dropped = [found.sent[a.hospital][a.base_version] for a in stale]
    assert np.std(dropped) == pytest.approx(PLAN.share_std, rel=0.5)
    sizes = {len(m.payload) for m in found.transcript.select(kind="update")}
    assert len(sizes) == 1


def test_memory_in_synchronous_rounds_is_one_rule_with_memory_at_own_pace() -> None:
    rounds = dataclasses.replace(QUIET, smallest_sum=None, rounds=4)
    held = run(rounds, rule=MEMORY, schedule=None).models
    plain = run(rounds, rule=FedSGD(), schedule=None).models
    np.testing.assert_allclose(held, plain, atol=1e-9)  # nobody is late: what is held is the sum


def test_memory_opens_to_the_same_integers_whichever_scheme_seals() -> None:
    plain = run(PLAN, rule=MEMORY)
    sealed = run(dataclasses.replace(PLAN, scheme="shares"), rule=MEMORY)
    assert np.array_equal(sealed.opened, plain.opened)


def test_with_memories_the_ledgers_hold_the_cost_of_all_openings_for_the_worst_colluder() -> None:
    events = memory_events(dataclasses.replace(PLAN, rule=MEMORY), SCHEDULE)
    naive = round_event(PLAN, "a")
    ledgers = run(PLAN, rule=MEMORY).ledgers
    relation = NeighboringRelation.ADD_OR_REMOVE_ONE
    for name in NAMES:
        releases = [e for e in ledgers[name].entries() if e.kind == "release"]
        assert {str(e.content["event"]["type"]) for e in releases} == {"LinearOpeningsDpEvent"}
        count = SCHEDULE.uploads[name]
        worst = max(
            leverage(SCHEDULE, colluders=(other,))[name] for other in NAMES if other != name
        )
        event = events[name]
        assert isinstance(event, LinearOpeningsDpEvent)
        assert event.leverage * count == pytest.approx(worst, rel=1e-6)
        cost = epsilon(SelfComposedDpEvent(event, count), delta=1e-5, relation=relation).upper
        once = epsilon(SelfComposedDpEvent(naive, count), delta=1e-5, relation=relation).upper
        assert once < cost < 1.8 * once


def test_a_patient_moves_what_the_memory_holds_by_one_radius_at_any_time() -> None:
    """Grey box: the openings up to any time add up to the last upload of each hospital."""
    still = dataclasses.replace(PLAN, learning_rate=1e-12)
    more = PATIENTS["a"]
    fewer = {**PATIENTS, "a": more.take(np.arange(len(more) - 1))}
    one = run(still, rule=MEMORY).opened
    two = run(still, fewer, rule=MEMORY).opened
    moved = np.linalg.norm(np.cumsum(one - two, axis=0), axis=1)
    assert (moved <= PLAN.radius).all() and moved.max() > 0


def test_with_memories_a_lost_upload_is_refused_not_forgotten() -> None:
    paces = {name: dataclasses.replace(pace, dropout=0.3) for name, pace in PACES.items()}
    lossy = simulate(paces, TRIGGER, horizon=15.0, seed=0, waits=True)
    assert lossy.lost
    with pytest.raises(InvalidInputError, match="sent again, the same bytes"):
        run(PLAN, rule=MEMORY, schedule=lossy)


def test_every_party_recomputes_the_model_and_a_sum_too_small_for_the_noise_is_refused() -> None:
    found = run(PLAN, rule=MEMORY)
    mine = Trajectory(Agreement.of(dataclasses.replace(PLAN, rule=MEMORY), SCHEDULE))
    for opened in found.opened:
        mine.step(opened)
    assert np.array_equal(mine.params, found.models[-1])
    with pytest.raises(InvalidInputError, match="smallest_sum"):
        run(dataclasses.replace(PLAN, smallest_sum=None))
