"""How many uploads a budget allows: the limit that throttles a hospital at its own pace."""

from dp_accounting import DpEvent, NeighboringRelation, SelfComposedDpEvent

from privacy.accounting import epsilon

__all__ = ["allowed_uploads"]


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
