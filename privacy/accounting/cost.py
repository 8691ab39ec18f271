"""What composing takes, counted before it is done: a limit that no machine's pace moves.

Operations are priced in nanoseconds, as measured on a slow machine under load, and paid for from a
``WorkBudget`` of 20 s before they are done; grids that would not fit into 2 GB are refused
likewise. So the same releases take the same road, and get the same bits, on every machine.
"""

import math
from dataclasses import dataclass

from privacy.accounting import profiles
from privacy.accounting.concentrated import Concentrated, MomentBound
from privacy.accounting.profiles import Profile

__all__ = [
    "LARGEST_GRID",
    "LARGEST_STACK",
    "TooDearError",
    "WorkBudget",
    "evaluation",
    "gridding",
    "preparation",
    "transform",
]

LARGEST_GRID = 2**24  # points of a composed distribution: about a gigabyte while it is made
LARGEST_STACK = 2**22  # points of profiles gridded together: some 400 megabytes meanwhile
_LARGEST_STORE = 2**26  # points of all profiles, in one direction: half a gigabyte
_SECONDS = 20.0
_NESTED = 1e9  # a sampled composition's own grid
_PART = 5e4  # reading and sorting one release
_CURVE = 1e8  # of a profile from Renyi divergences
_ALLOCATED = 5e7  # adding two sums of ratios
_STACK = 2e6  # calls for one stack, however small


class TooDearError(Exception):
    """A composition would take more memory or work than allowed."""


@dataclass
class WorkBudget:
    """Work that may still be done, in nanoseconds of a slow machine."""

    left: float = _SECONDS * 1e9

    def spend(self, nanoseconds: float) -> None:
        """Pay for work that is about to be done.

        Raises:
          TooDearError: It is more than what is left; nothing is spent then.
        """
        if not nanoseconds <= self.left:
            raise TooDearError
        self.left -= nanoseconds


def evaluation(profile: Profile) -> float:
    """Return the price of one delta of one profile."""
    match profile:
        case profiles.FiniteOutcomes(masses):
            return 60.0 + 8.0 * len(masses)
        case profiles.GaussianMixtureProfile(parts):
            return 1e3 * len(parts)
        case profiles.Sampled(_, inner):
            return 100.0 + evaluation(inner)
        case profiles.SampledReplace(_, inner, removed):
            return 100.0 + evaluation(inner) + (evaluation(removed) if removed else 0.0)
        case profiles.MixtureProfile(parts):
            return sum(2 * evaluation(part) for _, part in parts)
        case _:
            return 150.0


def preparation(parts: tuple[tuple[Profile, int], ...]) -> float:
    """Return the price of finding where each profile's losses end, and how large they are."""
    return sum(_PART + 500 * evaluation(p) + _once(p) for p, _ in parts) + _STACK


def gridding(profile: Profile, rows: int, points: int, directions: int) -> float:
    """Return the price of putting ``rows`` profiles of one kind on a grid."""
    return _STACK + rows * points * directions * (150.0 + evaluation(profile))


def transform(points: int) -> float:
    """Return the price of a transform of so many points, there or back."""
    return 4.0 * points * math.log2(points + 2)


def check_store(points: int) -> None:
    """Refuse grids of all profiles together that would not fit into memory.

    Raises:
      TooDearError: They would not.
    """
    if points > _LARGEST_STORE:
        raise TooDearError


def _once(profile: Profile) -> float:
    """Return the price of what a profile computes once."""
    inner = [getattr(profile, name, None) for name in ("inner", "removed")]
    if inner[0] is not None:
        sums = 2 * math.log2(getattr(profile, "steps", 1))
        return _ALLOCATED * sums + sum(_once(one) for one in inner if one is not None)
    nested = getattr(profile, "parts", None)
    if isinstance(profile, profiles.SkellamOutcomes | profiles.DiscreteGaussianOutcomes):
        return _STACK + 4e3 * math.sqrt(profile.variance)
    if isinstance(profile, Concentrated | MomentBound):
        return _CURVE
    listed = profiles.MixtureProfile | profiles.GaussianMixtureProfile
    if isinstance(profile, listed) or nested is None:
        return 0.0
    return _NESTED + preparation(nested)
