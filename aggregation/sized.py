"""How a plan's sums are sealed: the scheme, sized from public quantities alone."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from aggregation.plan import Plan
from aggregation.sealing import Parameters, Scheme, largest_sum, make_scheme, wrap_probability
from aggregation.timing import Rounds, Timing
from privacy.unit import Unit

__all__ = ["SealingSizes", "sealing_for", "sizes_of", "wrap_probability_of"]

_WRAP_PROBABILITY = 1e-6  # of a run
_PLAIN_BOUND = 2**61 - 1  # what is not clipped has no bound; the widest modulus is taken


@dataclass(frozen=True)
class SealingSizes:
    """What a plan's sums ask of their sealing; it follows from public quantities.

    Attributes:
      dim: Coordinates of a sealed vector.
      contributors: Most uploads in a sum.
      bound: Largest absolute coordinate of an opened sum.
      options: Of the scheme: which hospitals hold, how many of them open.
    """

    dim: int
    contributors: int
    bound: int
    options: Mapping[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """All of it, as ``make_scheme`` takes it."""
        sizes = {"dim": self.dim, "contributors": self.contributors, "bound": self.bound}
        return {**sizes, **self.options}


def sealing_for(plan: Plan, timing: Timing | None = None, *, detects: bool = False) -> Scheme:
    """Make the plan's sealing scheme, sized as ``sizes_of`` says, with its arguments."""
    return make_scheme(plan.scheme, **sizes_of(plan, timing, detects=detects).settings)


def sizes_of(plan: Plan, timing: Timing | None = None, *, detects: bool = False) -> SealingSizes:
    """Return what a plan's sums ask of their sealing.

    Args:
      plan: What is sealed, and how.
      timing: What is opened together; None: all hospitals, every round.
      detects: Whether so many hold each piece that a lie of the colluders among them is seen.
    """
    timing = timing or Rounds(plan.hospitals, plan.rounds)
    rounds, contributors = max(1, timing.sums), _contributors(timing)
    if plan.clip_norm is None:
        bound = _PLAIN_BOUND
    else:
        parts = _parts(plan, contributors)
        chance = _WRAP_PROBABILITY / len(parts)
        bound = max(
            largest_sum(rounds=rounds, wrap_probability=chance, **asdict(part)) for part in parts
        )
    options: dict[str, Any] = {}
    if plan.scheme in ("shares", "threshold"):
        options = _quorum(plan.hospitals, plan.colluders, detects=detects)
    if plan.scheme == "threshold":
        options["openings"] = rounds
    return SealingSizes(plan.dim, contributors, bound, options)


def wrap_probability_of(plan: Plan, parameters: Parameters, timing: Timing | None = None) -> float:
    """Upper bound on the chance that any opened sum of a plan wraps under sealing parameters."""
    if plan.clip_norm is None:
        return 0.0
    timing = timing or Rounds(plan.hospitals, plan.rounds)
    return sum(
        wrap_probability(parameters, rounds=max(1, timing.sums), **asdict(part))
        for part in _parts(plan, _contributors(timing))
    )


def _contributors(timing: Timing) -> int:
    """Most uploads in a sum."""
    if timing.synchronous:
        return len(timing.arrivals(0))
    return max((len(timing.arrivals(v)) for v in range(timing.sums)), default=1)


def _quorum(hospitals: tuple[str, ...], colluders: int, *, detects: bool) -> dict[str, Any]:
    """Hospitals as holders: as few as let one be lost, and none trusts anybody but most of them."""
    holders = hospitals[: 3 * colluders + 1 if detects else colluders + 3]
    threshold = (len(holders) + colluders) // 2 + 1
    return {"holders": holders, "threshold": threshold, "corrupt": colluders}


@dataclass(frozen=True)
class _Part:
    """What bounds some coordinates of an opened sum (``largest_sum``)."""

    radius: int
    units: tuple[int, ...]
    noise_variance: float
    dim: int


def _parts(plan: Plan, contributors: int) -> list[_Part]:
    """The update and each scalar; units are bounded rows: patients at every local step, or one.

    What memory sends is the difference of two updates, each with its share of noise.
    """
    whole, updates = plan.unit == Unit.HOSPITAL, 2 if plan.used_rule.contract.memory else 1
    ones = (1,) * len(plan.hospitals)
    units = ones if whole else tuple(n * plan.local_steps for n in plan.declared_sizes)
    variance = contributors * plan.share_std**2 * plan.local_noises
    if plan.correlated is not None:
        # Beside it each round's rounding: half a step, passed on by what is less than 1 a round.
        std = plan.share_std * math.sqrt(plan.correlated.growth(plan.rounds)) + plan.rounds
        variance = contributors * std**2
    update = _Part(plan.radius, units * updates, variance * updates, plan.update_dim)
    once = ones if whole else plan.declared_sizes
    return [update] + [
        _Part(s.radius, once, contributors * s.share_std(plan.shares_of(s)) ** 2, plan.slots_of(s))
        for s in plan.scalars
    ]
