r"""What an upload at one's own pace costs, and how many of them a budget allows.

The weight a is rounded down to :math:`D_a / D` with a whole :math:`D_a`: a patient then moves the
upload by at most :math:`D_a` integer steps, exactly, and the event says so. With weights that undo
the pace, the fast hospitals, who upload more often, pay less each time.
"""

import math

from dp_accounting import DpEvent, NeighboringRelation, NonPrivateDpEvent, SelfComposedDpEvent

from aggregation.arrival.trigger import Trigger
from aggregation.plan import Plan
from privacy.accounting import epsilon
from privacy.accounting.events import DistributedDiscreteGaussianDpEvent

__all__ = ["allowed_uploads", "upload_event", "whole_weight"]


def whole_weight(plan: Plan, weight: float) -> int:
    """Return the weight in whole integer steps of ``plan.radius``, rounded down, at least 1."""
    return max(1, math.floor(weight * plan.radius))


def upload_event(plan: Plan, trigger: Trigger, *, weight: float = 1.0) -> DpEvent:
    """Return the DP event of one upload with a weight, judged by the smallest sum ever opened."""
    if plan.noise == "none" or plan.noise_multiplier == 0:
        return NonPrivateDpEvent()
    radius = whole_weight(plan, weight)
    return DistributedDiscreteGaussianDpEvent(
        noise_multiplier=plan.noise_multiplier * plan.radius / radius,
        radius=radius,
        dim=plan.model.dim,
        contributors=trigger.distinct - plan.colluders,
    )


def allowed_uploads(
    event: DpEvent, *, target_epsilon: float, delta: float, most: int = 100_000
) -> int:
    """Return how many uploads of one event a budget allows: the limit that throttles a hospital.

    Args:
      event: Of one upload.
      target_epsilon: The budget, held against the certified upper end.
      delta: The delta that it goes with.
      most: Where to stop looking.
    """

    def fits(count: int) -> bool:
        composed = SelfComposedDpEvent(event, count)
        relation = NeighboringRelation.ADD_OR_REMOVE_ONE
        return epsilon(composed, delta=delta, relation=relation).upper <= target_epsilon

    if not fits(1):
        return 0
    low, high = 1, 2
    while high < most and fits(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
