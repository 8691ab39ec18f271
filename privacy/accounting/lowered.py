r"""What an event tree is turned into: profiles that bound it, and how such values are put together.

All Gaussians that are not sampled become one, compositions become counts. What only concentrated
DP can bound is kept beside it: each release is also :math:`(\rho, \xi)`-zCDP,
:math:`D_\alpha \le \rho\alpha + \xi`, which ignores sampling.
"""

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from privacy.accounting import profiles
from privacy.accounting.composition import Parts
from privacy.accounting.concentrated import Concentrated, MomentBound, together
from privacy.accounting.nested import Composed

__all__ = ["Lowered", "Side", "merge", "one", "repeat", "sampled"]

Side = Literal["above", "below"]
_WIDEST = 8.0  # mu of a Gaussian on a grid
_MOST_PIECES = 2**40  # of a Gaussian wider than any grid


@dataclass(frozen=True)
class Lowered:
    """An event tree as profiles.

    Unsampled Gaussians have no place among ``others``: whatever their order and their nesting, all
    that counts of them is the one Gaussian that they are together. So a tree and its flattening are
    one value, up to rounding.

    Attributes:
      gaussian_mu: Root of the sum of the squared mu of all unsampled Gaussians.
      concentrated: All unsampled releases that only concentrated DP bounds, together.
      others: All other profiles and how many such releases, each profile once.
      slack: kappa: logarithm of the factor by which real probabilities may differ.
      rho: Concentrated DP of the whole, sampling ignored (with ``xi``); infinite where none holds.
      xi: See ``rho``.
      unbounded: Whether a release is not private at all, or has no bound here.
      lost: What a delta from below must give up for the numbers behind the profiles.
      unknown: A release that nothing is known of from below, by its path; empty if none.
    """

    gaussian_mu: float = 0.0
    concentrated: Concentrated | None = None
    others: Parts = ()
    slack: float = 0.0
    rho: float = 0.0
    xi: float = 0.0
    unbounded: bool = False
    lost: float = 0.0
    unknown: str = ""

    @property
    def mu(self) -> float | None:
        """The mu of the whole where it is one Gaussian (or nothing), else None."""
        return None if self._beside else self.gaussian_mu

    @property
    def parts(self) -> Parts:
        """All profiles and their counts, as they are composed.

        Beside others a wide Gaussian goes on a grid: as several narrow ones, whose losses are
        floats.
        """
        if self.gaussian_mu == 0:
            return self._beside
        if not self._beside:
            return ((profiles.GaussianProfile(self.gaussian_mu), 1),)
        squares = self.gaussian_mu**2
        several = min(max(1, math.ceil(squares / _WIDEST**2)), _MOST_PIECES)
        return ((profiles.GaussianProfile(math.sqrt(squares / several)), several), *self._beside)

    @property
    def count(self) -> int:
        """Number of releases that are composed."""
        return sum(n for _, n in self.parts)

    @property
    def by_moments(self) -> bool:
        """Whether of some release only Renyi divergences are known, sampled or not."""
        return any(_by_moments(profile) for profile, _ in self._beside)

    @property
    def _beside(self) -> Parts:
        """All that is no unsampled Gaussian."""
        return self.others if self.concentrated is None else ((self.concentrated, 1), *self.others)


def _by_moments(profile: profiles.Profile) -> bool:
    match profile:
        case Concentrated() | MomentBound():
            return True
        case profiles.Sampled(_, inner) | profiles.SampledReplace(_, inner):
            return _by_moments(inner)
        case Composed(parts):
            return any(_by_moments(inner) for inner, _ in parts)
        case _:
            return False


def one(profile: profiles.Profile, *, rho: float, slack: float = 0.0) -> Lowered:
    """Return a single release; ``rho`` and ``slack`` are its own."""
    if isinstance(profile, profiles.GaussianProfile):
        return Lowered(gaussian_mu=float(profile.mu), rho=rho, slack=slack)
    if isinstance(profile, Concentrated):
        return Lowered(concentrated=profile, rho=profile.rho, xi=profile.xi)
    return Lowered(others=((profile, 1),), rho=rho, slack=slack)


def sampled(inner: Lowered, profile: profiles.Profile) -> Lowered:
    """Return ``inner`` as one release of a sampled profile; rho and xi ignore the sampling."""
    return Lowered(
        others=((profile, 1),), slack=inner.slack, rho=inner.rho, xi=inner.xi, lost=inner.lost
    )


def repeat(inner: Lowered, times: int) -> Lowered:
    """Return the same releases, so many times."""
    if times == 0:
        return Lowered()
    return dataclasses.replace(
        inner,
        gaussian_mu=inner.gaussian_mu * math.sqrt(times),
        concentrated=None if inner.concentrated is None else inner.concentrated.times(times),
        others=tuple((profile, n * times) for profile, n in inner.others),
        slack=inner.slack * times,
        rho=inner.rho * times,
        xi=inner.xi * times,
        lost=inner.lost * times,
    )


def merge(releases: Iterable[Lowered]) -> Lowered:
    """Return several releases together."""
    every = tuple(releases)
    counts: dict[profiles.Profile, int] = {}
    for profile, n in (part for one in every for part in one.others):
        counts[profile] = counts.get(profile, 0) + n
    return Lowered(
        gaussian_mu=math.sqrt(math.fsum(one.gaussian_mu**2 for one in every)),
        concentrated=together([one.concentrated for one in every if one.concentrated]),
        others=tuple(counts.items()),
        slack=math.fsum(one.slack for one in every),
        rho=math.fsum(one.rho for one in every),
        xi=math.fsum(one.xi for one in every),
        unbounded=any(one.unbounded for one in every),
        lost=math.fsum(one.lost for one in every),
        unknown=next((one.unknown for one in every if one.unknown), ""),
    )
