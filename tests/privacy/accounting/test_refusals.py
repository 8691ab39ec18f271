"""What has no sound bound, or no meaning, is refused by name."""

import math

import dp_accounting as dp
import pytest
from dp_accounting import NeighboringRelation as Relation

from privacy.accounting import delta, epsilon
from privacy.accounting.events import ShuffledBatchesDpEvent
from privacy.errors import InvalidInputError

ADD, REPLACE, SPECIAL = (
    Relation.ADD_OR_REMOVE_ONE,
    Relation.REPLACE_ONE,
    Relation.REPLACE_SPECIAL,
)


def sampled(noise_multiplier: float, prob: float, n: int) -> dp.DpEvent:
    return dp.SelfComposedDpEvent(
        dp.PoissonSampledDpEvent(prob, dp.GaussianDpEvent(noise_multiplier)), n
    )


@pytest.mark.parametrize(
    ("event", "relation", "message"),
    [
        (dp.dp_event.RandomizedResponseDpEvent(0.5, 2), ADD, "event is randomised response"),
        (
            dp.ComposedDpEvent(
                [dp.SampledWithoutReplacementDpEvent(9, 3, dp.GaussianDpEvent(1.0))]
            ),
            ADD,
            r"event\.events\[0\] draws samples of a fixed size",
        ),
        (ShuffledBatchesDpEvent(4, dp.GaussianDpEvent(1.0)), ADD, "event shuffles"),
        (dp.TruncatedSubsampledGaussianDpEvent(9, 0.1, 3, 1.0), REPLACE, "event truncates"),
        (dp.PoissonSampledDpEvent(0.5, sampled(1.0, 0.5, 2)), REPLACE, "event samples a SelfComp"),
        (
            dp.PoissonSampledDpEvent(0.5, dp.dp_event.RandomizedResponseDpEvent(0.5, 2)),
            SPECIAL,
            "event samples randomised response",
        ),
        (
            dp.ComposedDpEvent([dp.SelfComposedDpEvent(sampled(1.0, 0.5, 2**40), 2**30)]),
            ADD,
            r"event\.events\[0\]\.count=1073741824 times the 1099511627776 releases inside",
        ),
        (dp.ComposedDpEvent([dp.GaussianDpEvent(-1.0)]), ADD, r"events\[0\]\.noise_multiplier=-1"),
    ],
)
def test_what_has_no_sound_bound_is_refused_by_name(
    event: dp.DpEvent, relation: Relation, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        epsilon(event, delta=1e-5, relation=relation)
    with pytest.raises(InvalidInputError, match=message):
        delta(event, epsilon=1.0, relation=relation)


def test_bad_parameters_are_refused() -> None:
    event = dp.GaussianDpEvent(1.0)
    for bad in (0.0, 1.0, -0.1, math.nan):
        with pytest.raises(InvalidInputError, match="delta="):
            epsilon(event, delta=bad, relation=ADD)
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(InvalidInputError, match="epsilon="):
            delta(event, epsilon=bad, relation=ADD)
