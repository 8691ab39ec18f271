import json
import math

import dp_accounting as dp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.accounting.events import (
    DiscreteGaussianDpEvent,
    DistributedDiscreteGaussianDpEvent,
    LinearOpeningsDpEvent,
    RandomAllocationDpEvent,
    SeenAllocationDpEvent,
    ShuffledBatchesDpEvent,
    SkellamDpEvent,
    check,
    from_json,
    to_json,
)
from privacy.errors import InvalidInputError

noise = st.floats(1e-3, 1e6)
prob = st.floats(0, 1)
count = st.integers(1, 2**53)
leaves = st.one_of(
    st.just(dp.NoOpDpEvent()),
    st.just(dp.NonPrivateDpEvent()),
    st.builds(dp.GaussianDpEvent, noise),
    st.builds(dp.LaplaceDpEvent, noise),
    st.builds(dp.dp_event.DiscreteLaplaceDpEvent, noise, count),
    st.builds(dp.dp_event.RandomizedResponseDpEvent, prob, count),
    st.builds(dp.TruncatedSubsampledGaussianDpEvent, count, prob, count, noise),
    st.builds(DiscreteGaussianDpEvent, noise, count),
    st.builds(DistributedDiscreteGaussianDpEvent, noise, count, count, count),
    st.builds(SkellamDpEvent, noise, count, count),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(dp.PoissonSampledDpEvent, prob, inner),
        st.builds(lambda e: dp.SampledWithoutReplacementDpEvent(9, 3, e), inner),
        st.builds(dp.SelfComposedDpEvent, inner, st.integers(0, 2**53)),
        st.builds(dp.ComposedDpEvent, st.lists(inner, max_size=4)),
        st.builds(ShuffledBatchesDpEvent, count, inner),
        st.builds(RandomAllocationDpEvent, st.integers(1, 2**30), inner),
        st.builds(SeenAllocationDpEvent, st.integers(1, 2**30), inner),
    ),
    max_leaves=8,
)


@given(trees)
def test_json_round_trip(event: dp.DpEvent) -> None:
    text = json.dumps(to_json(event), allow_nan=False)
    assert from_json(json.loads(text)) == event


def test_the_written_form_never_changes() -> None:
    """Ledgers of years ago must stay readable: these lines are never edited."""
    event = dp.ComposedDpEvent(
        [
            dp.PoissonSampledDpEvent(
                0.5, DistributedDiscreteGaussianDpEvent(3.0, 1000, dim=19, contributors=3)
            ),
            ShuffledBatchesDpEvent(4, dp.SelfComposedDpEvent(SkellamDpEvent(2.0, 10, 5), 2)),
        ]
    )
    assert to_json(event) == {
        "type": "ComposedDpEvent",
        "events": [
            {
                "type": "PoissonSampledDpEvent",
                "sampling_probability": 0.5,
                "event": {
                    "type": "DistributedDiscreteGaussianDpEvent",
                    "noise_multiplier": 3.0,
                    "radius": 1000,
                    "dim": 19,
                    "contributors": 3,
                },
            },
            {
                "type": "ShuffledBatchesDpEvent",
                "batches": 4,
                "event": {
                    "type": "SelfComposedDpEvent",
                    "event": {
                        "type": "SkellamDpEvent",
                        "noise_multiplier": 2.0,
                        "radius": 10,
                        "dim": 5,
                    },
                    "count": 2,
                },
            },
        ],
    }


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (dp.GaussianDpEvent(0.0), r"event\.noise_multiplier=0\.0 between"),
        (dp.GaussianDpEvent(math.nan), r"event\.noise_multiplier=nan"),
        (dp.GaussianDpEvent(math.inf), r"event\.noise_multiplier=inf"),
        (DiscreteGaussianDpEvent(1.0, 2**53 + 1), r"event\.radius=9007199254740993 a whole"),
        (dp.PoissonSampledDpEvent(1.5, dp.GaussianDpEvent(1.0)), r"sampling_probability=1\.5 in"),
        (
            dp.ComposedDpEvent(
                [
                    dp.GaussianDpEvent(1.0),
                    dp.SelfComposedDpEvent(
                        dp.PoissonSampledDpEvent(0.1, dp.GaussianDpEvent(-1)), 3
                    ),
                ]
            ),
            r"event\.events\[1\]\.event\.event\.noise_multiplier=-1 between",
        ),
        (
            dp.SelfComposedDpEvent(dp.UnsupportedDpEvent(), 2),
            r"event\.event is a UnsupportedDpEvent",
        ),
        (dp.SelfComposedDpEvent(dp.GaussianDpEvent(1.0), 2**54), r"event\.count="),
        (dp.SampledWithoutReplacementDpEvent(3, 4, dp.NoOpDpEvent()), r"sample_size=4 <= "),
    ],
)
def test_a_bad_event_is_named_by_path_value_and_rule(event: dp.DpEvent, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        check(event)
    with pytest.raises(InvalidInputError, match=message):
        to_json(event)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"type": "Gaussian"},
        {"type": "GaussianDpEvent"},
        {"type": "GaussianDpEvent", "noise_multiplier": 1.0, "sigma": 1.0},
        {"type": "GaussianDpEvent", "noise_multiplier": "1"},
        {"type": "GaussianDpEvent", "noise_multiplier": True},
        {"type": "ComposedDpEvent", "events": {"type": "NoOpDpEvent"}},
        {"type": "SelfComposedDpEvent", "count": 2, "event": None},
    ],
)
def test_bad_json_is_refused(content: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        from_json(content)


def nested(levels: int) -> dp.DpEvent:
    event: dp.DpEvent = dp.GaussianDpEvent(1.0)
    for _ in range(levels):
        event = dp.SelfComposedDpEvent(event, 1)
    return event


def test_a_hundred_events_inside_each_other_are_read_and_no_more() -> None:
    """Every reader of a tree descends by recursion."""
    content = to_json(nested(100))
    assert from_json(content) == nested(100)
    for too_deep in (nested(101), nested(500)):
        with pytest.raises(InvalidInputError, match="at most 100 events inside each other"):
            check(too_deep)
    deeper = {"type": "SelfComposedDpEvent", "count": 1, "event": content}
    with pytest.raises(InvalidInputError, match="at most 100 events inside each other"):
        from_json(deeper)


@pytest.mark.parametrize(
    "event",
    [
        dp.dp_event.DiscreteLaplaceDpEvent(1.0, 0),
        dp.dp_event.RandomizedResponseDpEvent(0.5, 0),
        dp.SampledWithoutReplacementDpEvent(0, 0, dp.NoOpDpEvent()),
        dp.TruncatedSubsampledGaussianDpEvent(0, 0.1, 1, 1.0),
        dp.TruncatedSubsampledGaussianDpEvent(1, 0.1, 0, 1.0),
        DiscreteGaussianDpEvent(1.0, 0),
        DistributedDiscreteGaussianDpEvent(1.0, 0, 1, 1),
        DistributedDiscreteGaussianDpEvent(1.0, 1, 0, 1),
        DistributedDiscreteGaussianDpEvent(1.0, 1, 1, 0),
        SkellamDpEvent(1.0, 0, 1),
        SkellamDpEvent(1.0, 1, 0),
        ShuffledBatchesDpEvent(0, dp.NoOpDpEvent()),
        LinearOpeningsDpEvent(1.0, 0, 1, 0.5, 1, 2, 1.0, 1.0),
        LinearOpeningsDpEvent(1.0, 1, 0, 0.5, 1, 2, 1.0, 1.0),
        LinearOpeningsDpEvent(1.0, 1, 1, 0.5, 0, 2, 1.0, 1.0),
        LinearOpeningsDpEvent(1.0, 1, 1, 0.5, 1, 0, 1.0, 1.0),
        LinearOpeningsDpEvent(1.0, 1, 1, 0.5, 1, 2, 1.0, 0.99),
    ],
)
def test_a_count_that_must_be_one_is_not_none(event: dp.DpEvent) -> None:
    with pytest.raises(InvalidInputError, match=r"from 1 to 2\^53|at least 1 and finite"):
        check(event)
