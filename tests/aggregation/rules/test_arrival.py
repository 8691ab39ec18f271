"""Rules along a schedule: by hand, invariant where they must be, and where they converge."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aggregation.engines.clear import follow
from aggregation.rules import Buffered, Call, FedAsync, Memory, Rule, corrected, fedbuff
from aggregation.timing import (
    Arrival,
    Pace,
    Schedule,
    ScheduledOpening,
    Trigger,
    planned_rates,
    simulate,
)
from experiments.cohorts import load
from privacy.errors import InvalidInputError, RefusedError

Vector = NDArray[np.float64]


def arrival(hospital: str, number: int, base: int, sealed: int) -> Arrival:
    return Arrival(hospital, number, base, sealed, 0.0, 1.0, 1.0)


# a sends at every opening, b at the first and the third, then computed at version 0.
BY_HAND = Schedule(
    (
        ScheduledOpening(0, 1.0, (arrival("a", 0, 0, 0), arrival("b", 0, 0, 0)), "count"),
        ScheduledOpening(1, 2.0, (arrival("a", 1, 1, 1),), "time-out"),
        ScheduledOpening(2, 3.0, (arrival("a", 2, 2, 2), arrival("b", 1, 0, 2)), "count"),
    ),
    (),
    (),
)


def towards(call: Call) -> Vector:
    """Half of the way to the hospital's own optimum: 4 for a, -2 for b."""
    return np.asarray(((4.0 if call.hospital == "a" else -2.0) - call.params) / 2)


def still(call: Call) -> Vector:
    return np.zeros(1)


def trace(rule: Rule, schedule: Schedule = BY_HAND) -> list[float]:
    made = follow(rule, schedule, np.zeros(1), update=towards)
    return [float(w[0]) for w in made.models[1:]]


def test_fedbuff_by_hand() -> None:
    # D: a 2, b -1: w = 1/2.  a 7/4: w = 9/4.  a 7/8 and b -1 discounted by sqrt 3 (staleness 2).
    last = 9 / 4 + (7 / 8 - 1 / math.sqrt(3)) / 2
    assert trace(fedbuff()) == pytest.approx([0.5, 2.25, last])


def test_fedbuff_that_drops_the_stale_by_hand() -> None:
    # The stale one is sent with weight 0, as pure noise: nobody sees that it was dropped.
    assert trace(fedbuff(oldest=1)) == pytest.approx([0.5, 2.25, 2.25 + 7 / 16])


def test_corrected_by_hand() -> None:
    # p = 1/2 each, f = 3/4 and 1/4: ratios 2/3 and 2, so weights 1/3 and 1, scale 2.
    rule = corrected({"a": 0.5, "b": 0.5}, {"a": 0.75, "b": 0.25}, rate=0.5)
    assert rule.shares == pytest.approx({"a": 1 / 3, "b": 1.0})
    assert rule.scale == 2.0
    # w1 = 1/2 * 2 / 2 * (2/3 - 1) = -1/6;  w2 = w1 + 1/3 * 25/12;  w3 = w2 + (D_a/3 - 1) / 2
    w1 = -1 / 6
    w2 = w1 + 25 / 36
    w3 = w2 + ((4 - w2) / 6 - 1) / 2
    assert trace(rule) == pytest.approx([w1, w2, w3])


def test_fedasync_by_hand() -> None:
    alone = Schedule(
        tuple(
            ScheduledOpening(k, float(k), (a,), "count")
            for k, a in enumerate(
                (arrival("a", 0, 0, 0), arrival("b", 0, 0, 1), arrival("a", 1, 1, 2))
            )
        ),
        (),
        (),
    )
    # w1 = .5 * 2 = 1; w2 = 1 + .5/sqrt2 (-1 - 1); w3: a's own model at version 1 is 1 + 3/2
    half = 0.5 / math.sqrt(2)
    w2 = 1 - 2 * half
    expected = [1.0, w2, w2 + half * (2.5 - w2)]
    assert trace(FedAsync(mixing=0.5), alone) == pytest.approx(expected)
    with pytest.raises(InvalidInputError, match="one by one, got 2"):
        trace(FedAsync())


def test_memory_by_hand() -> None:
    # H = (2 - 1)/2 = 1/2, w = 1/2;  a's D = 7/4: H = (7/4 - 1)/2 = 3/8, w = 7/8;
    # a's D = 25/16, b's again -1: H = (25/16 - 1)/2 = 9/32, w = 37/32.
    rule = Memory(1.0, {"a": 0.5, "b": 0.5})
    assert trace(rule) == pytest.approx([1 / 2, 7 / 8, 37 / 32])


def test_ca2fl_by_hand() -> None:
    # w1 = (2 - 1)/2 = 1/2, mean h = 1/2;  a's D = 7/4, change -1/4: w2 = 1/2 + 1/2 - 1/4 = 3/4,
    # mean h = 3/8;  a's D = 13/8, change -1/8, b's 0: w3 = 3/4 + 3/8 - 1/16 = 17/16.
    assert trace(Memory(1.0, None, 2)) == pytest.approx([1 / 2, 3 / 4, 17 / 16])


def test_weights_come_before_the_noise_and_never_scale_it() -> None:
    rule = corrected({"a": 0.5, "b": 0.5}, {"a": 0.75, "b": 0.25}, rate=0.5)
    quiet = follow(rule, BY_HAND, np.zeros(1), update=still)
    assert not quiet.models.any()
    noisy = follow(rule, BY_HAND, np.zeros(1), update=still, noise=lambda _: np.ones(1))
    steps = np.diff(noisy.models[:, 0])  # rate x scale x the mean of the shares, each of them whole
    np.testing.assert_allclose(steps, [1.0, 1.0, 1.0])


def test_a_weight_above_one_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"weight 4\.0 of 'a' in \[0, 1\]"):
        Buffered(shares={"a": 4.0})
    with pytest.raises(InvalidInputError, match=r"planned_rate=0\.0"):
        corrected({"a": 1.0}, {"a": 0.0})


def test_an_update_from_the_future_or_twice_is_refused() -> None:
    first = BY_HAND.openings[0]
    future = dataclasses.replace(first, arrivals=(arrival("a", 0, 1, 1),))
    with pytest.raises(RefusedError, match="version 1, sealed at 1; the newest is 0"):
        trace(fedbuff(), Schedule((future,), (), ()))
    with pytest.raises(RefusedError, match="Upload 0 of 'a' comes twice"):
        trace(fedbuff(), Schedule((first, dataclasses.replace(first, version=1)), (), ()))


@settings(max_examples=20)
@given(seed=st.integers(0, 1_000), which=st.sampled_from(["fedbuff", "corrected", "memory"]))
def test_the_order_of_arrival_within_a_buffer_does_not_matter(seed: int, which: str) -> None:
    paces = {"a": Pace(1.0), "b": Pace(2.0), "c": Pace(3.0)}
    shares = {"a": 0.2, "b": 0.3, "c": 0.5}

    def rule() -> Rule:
        if which == "memory":
            return Memory(0.5, shares)
        return fedbuff() if which == "fedbuff" else corrected(shares, planned_rates(paces))

    made = simulate(paces, Trigger(3, 2), horizon=20.0, seed=seed)
    rng = np.random.default_rng(seed)
    # One hospital's uploads stay in their order: each is the difference to the one before.
    shuffled = Schedule(
        tuple(
            dataclasses.replace(
                o,
                arrivals=tuple(
                    sorted(
                        [o.arrivals[i] for i in rng.permutation(len(o.arrivals))],
                        key=lambda a: a.number,
                    )
                ),
            )
            for o in made.openings
        ),
        (),
        (),
    )

    def towards_own(call: Call) -> Vector:
        return np.asarray(({"a": 1.0, "b": -1.0, "c": 3.0}[call.hospital] - call.params) / 2)

    one, two = (
        follow(rule(), each, np.zeros(1), update=towards_own).models for each in (made, shuffled)
    )
    np.testing.assert_allclose(one, two, atol=1e-12)


class FourHospitals:
    """Logistic regression on the real table; times 1, 1.5, 6 and 4, three local steps of 1/2."""

    def __init__(self) -> None:
        cohort = load("heart")
        self.rows = {n: np.c_[p.features, np.ones(len(p))] for n, p in cohort.hospitals.items()}
        self.outcomes = {n: p.outcomes for n, p in cohort.hospitals.items()}
        self.shares = {n: len(p) / 920 for n, p in cohort.hospitals.items()}
        durations = (1.0, 1.5, 6.0, 4.0)
        self.paces = {n: Pace(d) for n, d in zip(self.rows, durations, strict=True)}
        self.best = self._optimum()

    def slope(self, name: str, w: Vector) -> Vector:
        x = self.rows[name]
        return np.asarray(x.T @ (1 / (1 + np.exp(-x @ w)) - self.outcomes[name]) / len(x) + w / 920)

    def loss(self, w: Vector) -> float:
        losses = [
            self.shares[n] * float(np.mean(np.logaddexp(0, x @ w) - self.outcomes[n] * (x @ w)))
            for n, x in self.rows.items()
        ]
        return sum(losses) + float(w @ w) / 1_840

    def update(self, call: Call) -> Vector:
        here = call.params
        for _ in range(3):
            here = here - 0.5 * self.slope(call.hospital, here)
        return np.asarray(here - call.params)

    def _optimum(self) -> float:
        w = np.zeros(19)
        for _ in range(30):
            curvature = np.eye(19) / 920
            for name, x in self.rows.items():
                risks = 1 / (1 + np.exp(-x @ w))
                part = x.T @ (x * (risks * (1 - risks))[:, None]) / len(x)
                curvature += self.shares[name] * part
            slope = sum(self.shares[n] * self.slope(n, w) for n in self.rows)
            w = w - np.linalg.solve(curvature, np.asarray(slope))
        return self.loss(w)

    def reach(self, schedule: Schedule, rule: Rule) -> tuple[float, float]:
        """Time from which the loss stays within .005 of the optimum, and the last gap."""
        models = follow(rule, schedule, np.zeros(19), update=self.update).models
        gaps = np.array([self.loss(w) - self.best for w in models])
        outside = np.flatnonzero(gaps > 0.005)[-1]
        late = float(np.median(gaps[-20:]))
        times = [o.time for o in schedule.openings]
        return (times[outside] if outside < len(times) else math.inf), late


@pytest.fixture(scope="module")
def four() -> FourHospitals:
    return FourHospitals()


def test_the_corrected_rule_and_memory_are_fast_and_right_and_fedbuff_ends_elsewhere(
    four: FourHospitals,
) -> None:
    together = simulate(four.paces, Trigger.synchronous(4), horizon=400.0, seed=1, waits=True)
    apart = simulate(four.paces, Trigger(4, 2), horizon=400.0, seed=1)
    alone = simulate(four.paces, Trigger(1, 1), horizon=400.0, seed=1)
    rates = planned_rates(four.paces)
    synchronous, _ = four.reach(together, Memory(1.0, four.shares))
    for rule in (corrected(four.shares, rates), Memory(1.0, four.shares)):
        when, gap = four.reach(apart, rule)
        assert when <= 0.6 * synchronous
        assert gap < 0.002
    elsewhere: list[tuple[Schedule, Rule]] = [
        (apart, fedbuff()),
        (apart, fedbuff(oldest=2)),
        (alone, FedAsync()),
    ]
    for schedule, other in elsewhere:
        when, gap = four.reach(schedule, other)
        assert math.isinf(when)
        assert gap > 0.005
