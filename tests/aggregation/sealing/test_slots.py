"""Groups of slots: each bounded, noised and accounted for on its own, opened by one sum."""

import math
from typing import Any

import numpy as np
import pytest
from dp_accounting import NonPrivateDpEvent
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aggregation.rules import QFFL, Call, FedNova, Opened
from aggregation.sealing import make_scheme
from aggregation.sealing.slots import SlotGroup
from privacy.accounting.events import DiscreteGaussianDpEvent, DistributedDiscreteGaussianDpEvent
from privacy.errors import InvalidInputError
from privacy.mechanisms import Seeded
from tests.aggregation.sealing.parties import Parties


def group(**changes: Any) -> SlotGroup:
    fields = {"name": "g", "dim": 2, "clip_norm": 1.0, "radius": 64, "noise_multiplier": 0.0}
    return SlotGroup(**{**fields, **changes})


@settings(max_examples=40)
@given(
    dim=st.integers(1, 4),
    units=st.integers(1, 6),
    radius=st.sampled_from([1, 7, 1024]),
    clip_norm=st.sampled_from([0.25, 1.0, 30.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_one_unit_moves_its_group_by_at_most_the_radius(
    dim: int, units: int, radius: int, clip_norm: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(0, 2 * clip_norm, (units, dim))
    bare = group(dim=dim, radius=radius, clip_norm=clip_norm)
    whole = bare.integers(rows, honest=1, source=Seeded(0))
    fewer = bare.integers(rows[1:], honest=1, source=Seeded(0))
    assert int(((whole - fewer) ** 2).sum()) <= radius**2


def test_a_long_row_is_cut_and_a_short_one_is_only_rounded() -> None:
    bare = group(dim=1, clip_norm=4.0, radius=400)
    total = bare.integers(np.array([[1.0], [-2.0], [9.0]]), honest=1, source=Seeded(0))
    assert bare.values(total).tolist() == [1.0 - 2.0 + 4.0]


def test_the_noise_of_a_share_is_as_stated_and_each_group_draws_its_own() -> None:
    noisy = group(dim=20_000, radius=100, noise_multiplier=2.0)
    assert noisy.share_std(4) == 100.0
    assert noisy.share_std(1) == 200.0
    source = Seeded(5)
    empty = np.zeros((0, 20_000))
    first, second = (noisy.integers(empty, honest=4, source=source) for _ in range(2))
    for drawn in (first, second):
        assert drawn.std() == pytest.approx(100.0, rel=4 / math.sqrt(2 * 20_000))
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / math.sqrt(20_000)


def test_the_event_is_what_the_honest_shares_make_of_it() -> None:
    noisy = group(radius=100, noise_multiplier=2.0)
    assert noisy.event(3) == DistributedDiscreteGaussianDpEvent(
        noise_multiplier=2.0, radius=100, dim=2, contributors=3
    )
    assert noisy.event(1) == DiscreteGaussianDpEvent(2.0, 100)
    assert isinstance(group().event(3), NonPrivateDpEvent)


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="Expected 2 values a unit for 'g', got 1"):
        group().integers(np.zeros((3, 1)), honest=1, source=Seeded(0))
    with pytest.raises(InvalidInputError, match="a name"):
        group(name="")


def test_fednova_and_qffl_step_by_scalars_in_slots_of_their_own() -> None:
    # The rules' last coordinate is a sum that nobody may see hospital by hospital; its own group
    # costs nothing of the displacement's clip norm.
    start = np.array([0.5, -0.2, 0.1])
    moved = group(name="moved", dim=3, clip_norm=4.0, radius=2**30)
    scalar = group(name="scalar", dim=1, clip_norm=64.0, radius=2**30)
    scheme = make_scheme("shares", dim=4, contributors=4, bound=2**34)
    parties = Parties(scheme)

    def summed(emissions: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        sealed = []
        for hospital, emission in zip(parties.names, emissions, strict=True):
            parts = [
                moved.integers(emission[None, :-1], honest=1, source=Seeded(0)),
                scalar.integers(emission[None, -1:], honest=1, source=Seeded(0)),
            ]
            sealed.append(parties.contribute(hospital, np.concatenate(parts)))
        opened = parties.opener().open(parties.total(sealed), sealed)
        return np.concatenate([moved.values(opened[:-1]), scalar.values(opened[-1:])])

    for rule in (FedNova(dict.fromkeys(parties.names, 0.25)), QFFL(q=1.0)):
        emissions = []
        for steps, (name, loss) in enumerate(
            zip(parties.names, (0.2, 0.9, 0.4, 0.7), strict=True), start=1
        ):
            call = Call(name, start, 0, 0, steps, 0.1, lambda w: w - 1.0, lambda _, loss=loss: loss)  # type: ignore[misc]
            emissions.append(rule.weight((), name, 0) * rule.local((), call)[0])
        after = [
            rule.advance((), start, Opened(total, -total, rate=0.1, steps=1, arrivals=()))[0]
            for total in (np.sum(emissions, axis=0), summed(emissions))
        ]
        assert after[1] == pytest.approx(after[0], abs=1e-6)
        assert np.abs(after[0] - start).max() > 0.01
