"""The simulation of events: by hand, for ever the same, and never stalled by one hospital."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation.timing import Arrival, Pace, Schedule, Trigger, planned_rates, simulate
from aggregation.timing.schedule import ScheduledOpening
from privacy.errors import InvalidInputError, RefusedError

FOUR = {
    name: Pace(duration=d)
    for name, d in (("cleveland", 1.0), ("hungary", 1.5), ("switzerland", 6.0), ("va", 4.0))
}


def exact(duration: float, upload: float = 0.0) -> Pace:
    return Pace(duration=duration, variation=0.0, upload=upload)


def every(schedule: Schedule) -> list[Arrival]:
    opened = [a for opening in schedule.openings for a in opening.arrivals]
    return [*opened, *schedule.left, *schedule.lost]


def test_a_schedule_by_hand() -> None:
    # fast seals at 2, 4, 6, ... and slow at 5, 10; each upload takes no time; two arrivals open.
    made = simulate({"fast": exact(2.0), "slow": exact(5.0)}, Trigger(2, 1), horizon=9.0, seed=0)
    found = [
        (o.time, [(a.hospital, a.base_version, a.staleness) for a in o.arrivals])
        for o in made.openings
    ]
    assert found == [
        (4.0, [("fast", 0, 0), ("fast", 0, 0)]),
        (6.0, [("slow", 0, 1), ("fast", 1, 0)]),
    ]
    assert [(a.hospital, a.arrived) for a in made.left] == [("fast", 8.0)]
    assert made.uploads == {"fast": 4, "slow": 1}
    assert made.staleness("fast") == (0, 0, 0, 0) and made.staleness("slow") == (1,)
    assert made.stale("slow", 0) == 1 and made.stale("fast", 1) == 0
    assert made.staleness("nobody") == ()
    with pytest.raises(RefusedError, match="no upload of 'slow' on the model of version 1"):
        made.stale("slow", 1)


def test_an_upload_in_the_place_of_a_lost_one_has_its_own_staleness() -> None:
    lost = Arrival("a", 0, 0, 0, 0.0, 1.0, math.inf)
    again = Arrival("a", 1, 0, 2, 1.0, 5.0, 6.0)
    made = Schedule((ScheduledOpening(0, 6.0, (again,), "count"),), (), (lost,))
    assert made.stale("a", 0) == 2 and made.staleness("a") == (0, 2)


def test_staleness_is_that_of_sealing_not_of_arrival() -> None:
    # slow seals at 1 (version 0) and is on the wire until 4; fast has opened versions meanwhile.
    made = simulate(
        {"fast": exact(1.5), "slow": exact(1.0, upload=3.0)}, Trigger(1, 1), horizon=4.2, seed=0
    )
    slow = next(a for a in every(made) if a.hospital == "slow")
    assert (slow.sealed, slow.arrived, slow.base_version, slow.sealed_version) == (1.0, 4.0, 0, 0)
    assert [o.version for o in made.openings if o.arrivals[0] == slow] == [2]


def test_synchronous_rounds_take_as_long_as_the_slowest() -> None:
    made = simulate(
        {"a": exact(1.0), "b": exact(3.0)}, Trigger.synchronous(2), horizon=10.0, seed=0, waits=True
    )
    assert [o.time for o in made.openings] == [3.0, 6.0, 9.0]
    assert all(a.staleness == 0 for a in every(made))
    assert all(len({a.hospital for a in o.arrivals}) == 2 for o in made.openings)


@settings(max_examples=30)
@given(
    seed=st.integers(0, 1_000),
    count=st.integers(1, 6),
    distinct=st.integers(1, 4),
    dropout=st.floats(0, 0.5),
    waits=st.booleans(),
)
def test_arrivals_enter_one_opening_at_most_and_never_come_from_the_future(
    seed: int, count: int, distinct: int, dropout: float, waits: bool
) -> None:
    paces = {n: Pace(p.duration, dropout=dropout, up=10.0, down=2.0) for n, p in FOUR.items()}
    trigger = Trigger(max(count, distinct), distinct, timeout=5.0)
    made = simulate(paces, trigger, horizon=60.0, seed=seed, waits=waits)
    keys = [(a.hospital, a.number) for a in every(made)]
    assert len(keys) == len(set(keys))
    for number, opening in enumerate(made.openings):
        assert opening.version == number
        assert len({a.hospital for a in opening.arrivals}) >= distinct
        for a in opening.arrivals:
            assert 0 <= a.base_version <= a.sealed_version <= opening.version
            assert a.started < a.sealed <= a.arrived <= opening.time
        if waits:
            assert len({a.hospital for a in opening.arrivals}) == len(opening.arrivals)
    assert made == simulate(paces, trigger, horizon=60.0, seed=seed, waits=waits)


@settings(max_examples=20)
@given(order=st.permutations(sorted(FOUR)), seed=st.integers(0, 100))
def test_the_order_in_which_hospitals_are_named_changes_nothing(
    order: list[str], seed: int
) -> None:
    trigger = Trigger(4, 2)
    renamed = simulate({n: FOUR[n] for n in order}, trigger, horizon=40.0, seed=seed)
    assert renamed == simulate(FOUR, trigger, horizon=40.0, seed=seed)


def test_a_limit_holds_and_spreads_the_uploads_over_the_horizon() -> None:
    limits = dict.fromkeys(FOUR, 10)
    made = simulate(FOUR, Trigger(4, 2), horizon=100.0, seed=0, limits=limits)
    assert max(made.uploads.values()) <= 10
    fast = sorted(a.sealed for a in every(made) if a.hospital == "cleveland")
    assert len(fast) == 10
    assert np.diff(fast).min() > 5  # not all ten at once
    free = simulate(FOUR, Trigger(4, 2), horizon=100.0, seed=0)
    assert free.uploads["cleveland"] > 80  # what it would have spent


def test_a_hospital_that_never_answers_stalls_a_synchronous_round_but_no_time_out() -> None:
    paces = {**FOUR, "silent": Pace(dropout=1.0)}
    stalled = simulate(paces, Trigger.synchronous(5), horizon=100.0, seed=0, waits=True)
    assert stalled.openings == ()
    assert stalled.uploads["silent"] > 1  # lost uploads are paid for, too
    going = simulate(paces, Trigger(5, 3, timeout=8.0), horizon=100.0, seed=0, waits=True)
    assert len(going.openings) > 5
    assert {o.reason for o in going.openings} == {"time-out"}


def test_a_hospital_that_always_answers_opens_nothing_alone() -> None:
    paces = {"always": exact(0.01), "slow": exact(5.0)}
    made = simulate(paces, Trigger(4, 2), horizon=11.0, seed=0)
    assert [o.time for o in made.openings] == [5.0, 10.0]


def test_an_overdue_buffer_opens_as_soon_as_enough_hospitals_are_in_it() -> None:
    # fast arrives at 1, the alarm rings at 3, slow comes at 5 and makes the second hospital.
    made = simulate(
        {"fast": exact(1.0), "slow": exact(5.0)},
        Trigger(99, 2, timeout=2.0),
        horizon=5.5,
        seed=0,
    )
    assert [(o.time, o.reason) for o in made.openings] == [(5.0, "time-out")]


def test_a_hospital_that_is_away_sends_less() -> None:
    there = simulate({"a": Pace()}, Trigger(1, 1), horizon=400.0, seed=0)
    half = simulate({"a": Pace(up=5.0, down=5.0)}, Trigger(1, 1), horizon=400.0, seed=0)
    assert half.uploads["a"] == pytest.approx(there.uploads["a"] / 2, rel=0.2)


def test_observed_arrivals_follow_the_planned_rates() -> None:
    paces = {**FOUR, "lossy": Pace(duration=1.0, dropout=0.5)}
    made = simulate(paces, Trigger(5, 2), horizon=3_000.0, seed=3)
    arrived = [a.hospital for o in made.openings for a in o.arrivals]
    for name, rate in planned_rates(paces).items():
        assert arrived.count(name) / len(arrived) == pytest.approx(rate, rel=0.06)


def test_the_rates_of_a_pilot_foretell_those_of_a_run() -> None:
    pilot, run = (
        simulate(FOUR, Trigger(2, 2), horizon=2_000.0, seed=seed, waits=True) for seed in (1, 2)
    )
    assert sum(pilot.rates.values()) == pytest.approx(1.0)
    for name, rate in pilot.rates.items():
        assert run.rates[name] == pytest.approx(rate, rel=0.05)


def test_impossible_simulations_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="1 hospitals can never make up the 2"):
        simulate({"a": Pace()}, Trigger(2, 2), horizon=1.0, seed=0)
    with pytest.raises(InvalidInputError, match=r"horizon=0\.0"):
        simulate({"a": Pace()}, Trigger(1, 1), horizon=0.0, seed=0)
    with pytest.raises(InvalidInputError, match="limit=0"):
        simulate({"a": Pace()}, Trigger(1, 1), horizon=1.0, seed=0, limits={"a": 0})
