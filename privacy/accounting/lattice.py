"""Grids on which the losses of a release lie: a step that divides them.

Where a few losses hold all of a release's mass, or its largest one some of it, a loss between two
points of a grid is moved by a part of the step, and n of them by n parts: an error of first order,
where that of a smooth law is of second. On a grid that holds these losses nothing is moved.
"""

import math

from privacy.accounting.profiles import (
    DiscreteLaplaceProfile,
    FiniteOutcomes,
    LaplaceProfile,
    Profile,
)

__all__ = ["aligned"]

_HAIR = 2.0**-51  # more than rounding changes a multiple of the step by
_ALIKE = 1e-12  # relative: losses that are one but for rounding


def aligned(parts: tuple[tuple[Profile, int], ...], step: float, *, below: bool) -> float:
    """Return ``step``, or a little less: a whole part of the losses that weigh most.

    Args:
      parts: Profiles with their counts.
      step: Of the grid; losses shorter than that are not looked at.
      below: Whether the grid's losses are to lie a hair below those of the release, or else above.
    """
    spans = [(n * one, one) for one, n in ((_span(profile), n) for profile, n in parts)]
    _, longest = max(spans, default=(0.0, 0.0))
    if not longest > step:
        return step
    return longest / math.ceil(longest / step) * (1 - _HAIR if below else 1 + _HAIR)


def _span(profile: Profile) -> float:
    """Return a loss of which all others, or the two at the ends, are multiples; 0 for none."""
    match profile:
        case LaplaceProfile(shift):
            return float(shift)
        case DiscreteLaplaceProfile(parameter):
            return float(parameter)
        case FiniteOutcomes(masses):
            losses = [abs(math.log(p / q)) for p, q in masses if p > 0 and q > 0]
            largest = max(losses, default=0.0)
            near = (min(loss, largest - loss) <= _ALIKE * largest for loss in losses)
            return largest if all(near) else 0.0
        case _:
            return 0.0
