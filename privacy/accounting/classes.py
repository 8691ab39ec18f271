"""Making many slightly different releases few: rounded up for an upper bound, down for a lower.

A schedule of ten thousand different rates and noises would need ten thousand distributions.
Sampling more often, or a larger shift, is never better for the patient, so rounding both up gives
an upper bound and rounding both down a lower one. Schedules of at most 64 different releases are
left as they are; the interval of others is as wide as their classes are coarse.
"""

import math
from typing import Literal

from privacy.accounting.composition import Part
from privacy.accounting.profiles import Gaussian, Laplace, Profile, Sampled

__all__ = ["in_classes"]

_MOST = 64


def in_classes(parts: tuple[Part, ...], side: Literal["above", "below"]) -> tuple[Part, ...]:
    """Return at most 64 kinds of release (more only of kinds that have no order)."""
    ratio = 1.01
    while len(parts) > _MOST and ratio < 4:
        counts: dict[Profile, int] = {}
        for profile, n in parts:
            rounded = _rounded(profile, ratio, side)
            counts[rounded] = counts.get(rounded, 0) + n
        if len(counts) <= _MOST:
            return tuple(counts.items())
        ratio = ratio**1.6
    return parts


def _rounded(profile: Profile, ratio: float, side: Literal["above", "below"]) -> Profile:
    def to(value: float) -> float:
        place = math.log(value) / math.log(ratio)
        # A hair further, so that floating point can't round to the wrong side.
        whole = math.ceil(place + 1e-6) if side == "above" else math.floor(place - 1e-6)
        return ratio**whole

    match profile:
        case Sampled(prob, Gaussian(mu)):
            return Sampled(min(1.0, to(prob)), Gaussian(to(mu)))
        case Laplace(shift):
            return Laplace(to(shift))
        case _:
            return profile
