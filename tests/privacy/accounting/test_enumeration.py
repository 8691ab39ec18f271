"""Small discrete mechanisms, outcome by outcome in 40 digits: certified ends enclose their cost.

A pair is listed as the masses with the patient and without. Outcomes that neither side gives 1e-45
are left out; those of equal loss are one. Nothing here is shared with the accountant.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import mpmath as mp
import pytest
from dp_accounting import NeighboringRelation as Relation
from dp_accounting import dp_event as dp
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.accounting import delta, epsilon
from privacy.accounting.events import (
    DiscreteGaussianDpEvent,
    DistributedDiscreteGaussianDpEvent,
    SkellamDpEvent,
)

ADD, REPLACE, SPECIAL = (
    Relation.ADD_OR_REMOVE_ONE,
    Relation.REPLACE_ONE,
    Relation.REPLACE_SPECIAL,
)
DIGITS = 40
LEAST = mp.mpf(10) ** -45
LEFT_OUT = mp.mpf(10) ** -40  # more than all that is left out
MOST = 40_000  # outcomes of a composition, before equal ones are merged

Masses = list[tuple[mp.mpf, mp.mpf]]
Law = Callable[[int], mp.mpf]


@dataclass(frozen=True)
class Case:
    """An event and the masses of its outcomes: for a patient who moves the sum, and from where."""

    event: dp.DpEvent
    pair: Callable[[Relation], Masses]


def listed(law: Law, low: int, high: int) -> Masses:
    """A symmetric variable around ``high`` with the patient, around ``low`` without."""
    half = [law(0)]
    while half[-1] > LEAST:
        half.append(law(len(half)))
    reach, total = len(half) - 1, 2 * mp.fsum(half) - half[0]
    half += [mp.mpf(0)] * abs(high - low)
    outcomes = range(min(low, high) - reach, max(low, high) + reach + 1)
    return [(half[abs(x - high)] / total, half[abs(x - low)] / total) for x in outcomes]


def integers(event: dp.DpEvent, radius: int, law: Law) -> Case:
    """Noise added to a whole number; replacing moves it from one radius to the other."""
    return Case(event, lambda relation: listed(law, -radius if relation is REPLACE else 0, radius))


def gaussian(std: float) -> Law:
    return lambda x: mp.exp(-(mp.mpf(x) ** 2) / (2 * mp.mpf(std) ** 2))


def shares(std: float, contributors: int) -> Law:
    """A sum of discrete Gaussian shares, by convolution."""

    @cache
    def total() -> dict[int, mp.mpf]:
        one = {x: gaussian(std)(x) for x in range(-int(15 * std) - 4, int(15 * std) + 5)}
        found = {0: mp.mpf(1)}
        for _ in range(contributors):
            summed: dict[int, mp.mpf] = {}
            for (x, a), (y, b) in itertools.product(found.items(), one.items()):
                summed[x + y] = summed.get(x + y, mp.mpf(0)) + a * b
            found = summed
        return found

    return lambda x: total().get(x, mp.mpf(0))


def skellam(std: float) -> Law:
    return cache(lambda x: mp.besseli(x, mp.mpf(std) ** 2) * mp.exp(-(mp.mpf(std) ** 2)))


def response(prob: float, buckets: int) -> Case:
    def pair(relation: Relation) -> Masses:
        p = mp.mpf(prob)
        own, other = 1 - p * (buckets - 1) / buckets, p / buckets
        if relation is SPECIAL:  # without the patient every answer is as likely
            return [(own, mp.mpf(1) / buckets)] + [(other, mp.mpf(1) / buckets)] * (buckets - 1)
        return [(own, other), (other, own)] + [(other, other)] * (buckets - 2)

    return Case(dp.RandomizedResponseDpEvent(prob, buckets), pair)


def laplace(parameter: float, shift: int) -> Case:
    def law(x: int) -> mp.mpf:
        return mp.exp(-mp.mpf(parameter) * x)

    return integers(dp.DiscreteLaplaceDpEvent(parameter, shift), shift, law)


@cache
def noisy_sums() -> list[Case]:
    """Noise of every kind, so narrow and so wide that each road is taken."""
    found = [laplace(a, d) for a, d in ((2.0, 1), (1.5, 2), (3.0, 3))]
    for std, radius in ((0.5, 1), (1.0, 1), (1.0, 2), (2.5, 1), (2.5, 3)):
        event = DiscreteGaussianDpEvent(std / radius, radius)
        found.append(integers(event, radius, gaussian(std)))
    for std, radius in ((0.8, 1), (2.0, 2)):
        found.append(integers(SkellamDpEvent(std / radius, radius, 1), radius, skellam(std)))
    for std, contributors in ((0.7, 2), (1.6, 2), (0.9, 3)):
        noise = std * math.sqrt(contributors)
        share = DistributedDiscreteGaussianDpEvent(noise, 1, 1, contributors)
        found.append(integers(share, 1, shares(std, contributors)))
    return found


def merged(masses: Masses) -> Masses:
    """Outcomes of one loss are one outcome; what neither side gives a mass is none."""
    by_loss: dict[str, tuple[mp.mpf, mp.mpf]] = {}
    for p, q in masses:
        if max(p, q) > LEAST:
            loss = "inf" if q == 0 else mp.nstr(p / q, 30)
            before = by_loss.get(loss, (mp.mpf(0), mp.mpf(0)))
            by_loss[loss] = before[0] + p, before[1] + q
    return list(by_loss.values())


def composed(pairs: list[Masses]) -> Masses:
    """As many of them as can be listed, one after another."""
    total: Masses = [(mp.mpf(1), mp.mpf(1))]
    for pair in pairs:
        total = merged([(a * p, b * q) for (a, b), (p, q) in itertools.product(total, pair)])
    return total


def true_delta(masses: Masses, at: float) -> mp.mpf:
    grown = mp.exp(mp.mpf(at))
    remove = mp.fsum(p - grown * q for p, q in masses if p > grown * q)
    add = mp.fsum(q - grown * p for p, q in masses if q > grown * p)
    return max(remove, add)


def enclosed(event: dp.DpEvent, masses: Masses, relation: Relation, *, attained: bool) -> None:
    """Deltas and epsilons enclose the listed pair; ``attained``: no pair is known to be worse."""
    for at in (0.0, 0.1, 0.7, 2.0, 6.0, 15.0):
        found, truth = delta(event, epsilon=at, relation=relation), true_delta(masses, at)
        assert truth <= found.upper + LEFT_OUT
        assert not attained or found.lower <= truth + LEFT_OUT
    for target in (0.1, 1e-3, 1e-5, 1e-9, 1e-15, 1e-30):
        interval = epsilon(event, delta=target, relation=relation)
        assert true_delta(masses, interval.upper) <= target * (1 + 1e-9) + LEFT_OUT
        if attained and interval.lower > 0:
            below = interval.lower * (1 - 1e-12)
            assert true_delta(masses, below) >= target * (1 - 1e-9) - LEFT_OUT


SUMS = st.integers(0, len(noisy_sums()) - 1)
RATES = st.sampled_from([0.02, 0.3, 0.8])


def affordable(cases: list[Masses]) -> Iterator[Masses]:
    """At least one, and then as long as their outcomes can be listed."""
    size = 1
    for masses in cases:
        size *= len(masses)
        if size > MOST:
            return
        yield masses


@settings(max_examples=20)
@given(st.lists(SUMS, min_size=1, max_size=3), st.sampled_from([ADD, REPLACE, SPECIAL]))
def test_compositions_of_integer_noise_are_enclosed(chosen: list[int], relation: Relation) -> None:
    with mp.workdps(DIGITS):
        cases = [noisy_sums()[i] for i in chosen]
        pairs = list(affordable([merged(case.pair(relation)) for case in cases]))
        event = dp.ComposedDpEvent([case.event for case in cases[: len(pairs)]])
        enclosed(event, composed(pairs), relation, attained=True)


@settings(max_examples=20)
@given(st.lists(st.tuples(SUMS, RATES), min_size=1, max_size=3), st.sampled_from([ADD, SPECIAL]))
def test_compositions_of_sampled_integer_noise_are_enclosed(
    chosen: list[tuple[int, float]], relation: Relation
) -> None:
    with mp.workdps(DIGITS):
        events, pairs = [], []
        for i, prob in chosen:
            case, rate = noisy_sums()[i], mp.mpf(prob)
            events.append(dp.PoissonSampledDpEvent(prob, case.event))
            plain = case.pair(relation)
            pairs.append(merged([((1 - rate) * q + rate * p, q) for p, q in plain]))
        pairs = list(affordable(pairs))
        event = dp.ComposedDpEvent(events[: len(pairs)])
        enclosed(event, composed(pairs), relation, attained=True)


@settings(max_examples=10)
@given(st.lists(st.tuples(SUMS, RATES), min_size=1, max_size=2))
def test_a_patient_replaced_by_its_opposite_in_a_sample_costs_no_more_than_certified(
    chosen: list[tuple[int, float]],
) -> None:
    with mp.workdps(DIGITS):
        events, pairs = [], []
        for i, prob in chosen:
            case, rate = noisy_sums()[i], mp.mpf(prob)
            events.append(dp.PoissonSampledDpEvent(prob, case.event))
            ends = case.pair(REPLACE)
            base = shifted_to_the_middle(case)
            pairs.append(
                merged(
                    [
                        ((1 - rate) * m + rate * p, (1 - rate) * m + rate * q)
                        for (p, q), m in zip(ends, base, strict=True)
                    ]
                )
            )
        pairs = list(affordable(pairs))
        event = dp.ComposedDpEvent(events[: len(pairs)])
        enclosed(event, composed(pairs), REPLACE, attained=False)


def shifted_to_the_middle(case: Case) -> list[mp.mpf]:
    """The masses without the patient, at the outcomes of the replaced pair."""
    alone = [q for _, q in case.pair(ADD)]  # from -reach to radius + reach
    ends = case.pair(REPLACE)  # from -radius - reach to radius + reach
    return [mp.mpf(0)] * (len(ends) - len(alone)) + alone


@settings(max_examples=20)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.05, 0.5, 0.9]), st.integers(2, 4)), min_size=1, max_size=3
    ),
    st.integers(1, 2),
    st.sampled_from([REPLACE, SPECIAL]),
)
def test_compositions_of_randomised_response_are_enclosed(
    kinds: list[tuple[float, int]], times: int, relation: Relation
) -> None:
    with mp.workdps(DIGITS):
        cases = [response(prob, buckets) for prob, buckets in kinds]
        event = dp.SelfComposedDpEvent(dp.ComposedDpEvent([c.event for c in cases]), times)
        masses = composed([case.pair(relation) for case in cases] * times)
        enclosed(event, masses, relation, attained=True)


@pytest.mark.parametrize("case", noisy_sums(), ids=lambda case: str(case.event)[:60])
def test_the_listed_masses_are_probabilities(case: Case) -> None:
    with mp.workdps(DIGITS):
        for relation in (ADD, REPLACE):
            for side in zip(*case.pair(relation), strict=True):
                assert abs(mp.fsum(side) - 1) < LEFT_OUT
        middle = shifted_to_the_middle(case)
        assert abs(mp.fsum(middle) - 1) < LEFT_OUT
