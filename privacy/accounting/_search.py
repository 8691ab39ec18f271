"""Bisection whose answer errs on a chosen side."""

from collections.abc import Callable

__all__ = ["bisect_up"]


def bisect_up(
    holds: Callable[[float], bool], low: float, high: float, *, tolerance: float = 1e-13
) -> float:
    """Return the smallest argument for which ``holds``, from above: the result itself holds.

    ``holds`` must be false below some point of [low, high] and true above it; it is taken to be
    true at ``high``. The result is within ``tolerance`` of its own size, or next to ``low``.
    """
    for _ in range(200):
        middle = (low + high) / 2
        if not low < middle < high or high - low <= tolerance * abs(high):
            break
        if holds(middle):
            high = middle
        else:
            low = middle
    return high
