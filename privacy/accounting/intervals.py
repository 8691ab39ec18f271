r"""Epsilon and delta of an event, as intervals with the method that gave them.

Which road is taken:
  - one Gaussian, whatever the number of releases, or one release of any kind: closed form;
  - otherwise privacy loss distributions on a grid (``grids``, ``composition``), refined until the
    interval is as narrow as asked, or a finer grid would pass 2 GB or 20 s (predicted, ``cost``);
  - a Renyi bound as well (``renyi``) where that happens, where delta is tiny, and of Skellam noise
    and discrete noise too narrow for ``discrete``, of which nothing else is known from above;
  - the concentrated-DP bound as well, which ignores sampling: the smallest upper end counts;
  - of a delta that is left wide, the sum of all total variations: of few rare releases it is near.
A central limit (GDP-CLT) is never used: it lies below certified lower bounds.
"""

import math
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version

from dp_accounting import NeighboringRelation as Relation
from dp_accounting import dp_event as dp

from privacy._validate import non_negative, positive, unit_open
from privacy.accounting.composition import Composition
from privacy.accounting.discrete import zcdp_delta, zcdp_epsilon
from privacy.accounting.lowered import Lowered
from privacy.accounting.lowering import lower
from privacy.accounting.renyi import renyi_delta, renyi_epsilon
from privacy.accounting.roads import (
    Gap,
    Grids,
    exact_delta,
    exact_epsilon,
    grids,
    quick_grid,
)
from privacy.accounting.tilt import at_delta

__all__ = ["Interval", "delta", "epsilon", "upper_epsilon"]

_ACCOUNTANT = "4"  # of this package: raised when a change moves a bound
_FAR = 1e4  # an epsilon that a single release seldom passes
_NEAR = 0.9  # a lower end this near shows that no other road is much shorter
_DIGIT = 1e-15  # what a difference of probabilities may lack
_FLOAT = 1e-9  # relative: more than floating point changes in a closed form


@dataclass(frozen=True)
class Interval:
    """A quantity between two proven ends.

    Attributes:
      lower: No correct answer lies below.
      estimate: The best single number; nothing is promised of it but to lie between the ends.
      upper: Certified: what a guarantee may be built on.
      method: The road that gave the upper end.
      why: Why this road, and what the lower end leaves out if anything.
      versions: Of the packages that computed it.
    """

    lower: float
    estimate: float
    upper: float
    method: str
    why: str
    versions: dict[str, str] = field(compare=False)


def epsilon(
    event: dp.DpEvent, *, delta: float, relation: Relation, width: float = 0.01
) -> Interval:
    """Return the interval of the smallest epsilon >= 0 for ``delta``.

    Guarantees (each is a test in ``tests/privacy/accounting/test_intervals.py``):
      - lower <= estimate <= upper, and lower <= truth <= upper;
      - a closed form's interval is 1e-8 wide, a composition's at most ``width`` of the upper end
        + 1e-3 where a grid is affordable, for continuous or wide noise (32 steps and more) and
        delta from 1e-30 up; not for sampled Laplace noise under ``REPLACE_ONE`` (2.1 times at
        most), nor where batches are truncated (``lowering``), nor for samples rarer than 1e-4 at a
        delta below 1e-16, where floating point hides the loss (at 1.1e-5 and 9e-22: from .0113 to
        .154);
      - the same arguments give the same bits.

    Args:
      event: What happened.
      delta: In (0, 1).
      relation: dp-accounting's relation between neighbouring data sets.
      width: How wide the interval may be, as a fraction of epsilon.

    Raises:
      InvalidInputError: The event can't be accounted for, or a parameter is out of range.
    """
    unit_open(delta=delta)
    positive(width=width)
    above, below = lower(event, relation, "above"), lower(event, relation, "below")
    if above.unbounded:
        made = _epsilon_grids(Lowered(), below, delta, width)
        low = _lower_epsilon(below, _raised(below, delta), made.lower)
        low = math.inf if below.unbounded else low
        return _interval(low, math.inf, *_UNBOUNDED, below)
    made = _epsilon_grids(above, below, delta, width)
    low = _lower_epsilon(below, _raised(below, delta), made.lower)
    bounds = [(_upper_epsilon(above, delta, made.upper), *_told(above, made))]
    bounds.append((_concentrated_epsilon(above, delta, made), *_concentrated(above, made)))
    reduced = delta * math.exp(-above.slack)
    if _renyi_may_win(above, made) or low < _NEAR * bounds[0][0]:
        by_renyi = renyi_epsilon(above.parts, reduced) if reduced > 0 else math.inf
        bounds.append((by_renyi + 2 * above.slack, *_RENYI))
    upper, method, why = min(bounds, key=lambda bound: bound[0])
    return _interval(low, upper, method, why, below)


def delta(
    event: dp.DpEvent, *, epsilon: float, relation: Relation, width: float = 0.01
) -> Interval:
    """Return the interval of the smallest delta for ``epsilon``.

    Guarantees (each is a test in ``tests/privacy/accounting/test_intervals.py``):
      - 0 <= lower <= estimate <= upper <= 1, and lower <= truth <= upper;
      - the same arguments give the same bits.

    It is as narrow as ``width`` asks where ``epsilon`` would be, but for samples rarer than 1e-4:
    there floating point may change some per cent of a delta below 1e-16 (1 to 40 per cent in four
    of 60 cases between 1e-5 and 1e-4), and for rarer samples all of it: the lower end is then 0.

    Args:
      event: What happened.
      epsilon: At least 0.
      relation: dp-accounting's relation between neighbouring data sets.
      width: How wide the interval may be, as a fraction of delta.

    Raises:
      InvalidInputError: The event can't be accounted for, or a parameter is out of range.
    """
    non_negative(epsilon=epsilon)
    positive(width=width)
    above, below = lower(event, relation, "above"), lower(event, relation, "below")
    if above.unbounded:
        made = _delta_grids(Lowered(), below, epsilon, width)
        low = 1.0 if below.unbounded else _lower_delta(below, epsilon, made.lower)
        return _interval(low, 1.0, *_UNBOUNDED, below)
    made = _delta_grids(above, below, epsilon, width)
    bounds = [(_upper_delta(above, epsilon, made.upper), *_told(above, made))]
    concentrated = zcdp_delta(rho=above.rho, xi=above.xi, epsilon=epsilon)
    bounds.append((concentrated, *_concentrated(above, made)))
    low = _lower_delta(below, epsilon, made.lower)
    if _renyi_may_win(above, made) or low < _NEAR * bounds[0][0]:
        lowered = epsilon - 2 * above.slack
        by_renyi = renyi_delta(above.parts, lowered) if lowered >= 0 else 1.0
        bounds.append((min(1.0, by_renyi * math.exp(above.slack)), *_RENYI))
        bounds.append((_apart(above), *_VARIATION))
    upper, method, why = min(bounds, key=lambda bound: bound[0])
    return _interval(low, upper, method, why, below)


def upper_epsilon(event: dp.DpEvent, *, delta: float, relation: Relation) -> float:
    """Return the certified upper end alone, faster than ``epsilon`` and up to .2 % above it."""
    unit_open(delta=delta)
    above = lower(event, relation, "above")
    if above.unbounded:
        return math.inf
    grid = _quick(above, delta) if above.count > 1 else None
    made = Grids(grid, short=above.count > 1 and grid is None)
    upper = min(_concentrated_epsilon(above, delta, made), _upper_epsilon(above, delta, grid))
    reduced = delta * math.exp(-above.slack)
    exact = above.parts == lower(event, relation, "below").parts
    if reduced > 0 and (not exact or _renyi_may_win(above, made)):
        upper = min(upper, renyi_epsilon(above.parts, reduced) + 2 * above.slack)
    return upper


def _quick(above: Lowered, delta: float) -> Composition | None:
    reduced = delta * math.exp(-above.slack)
    return quick_grid(above.parts, at_delta(reduced)) if reduced > 0 else None


def _renyi_may_win(above: Lowered, made: Grids) -> bool:
    """Whether a Renyi bound could be below that of the grid."""
    return above.by_moments or (above.count > 1 and made.short)


_LIMITS = "would take more than 2 GB or 20 s (predicted from sizes, not timed)"
_UNBOUNDED = "closed form", "A release is not private at all, or nothing bounds it."
_VARIATION = (
    "total variation",
    "All that is released is this near to what is released without the patient, at any epsilon.",
)
_RENYI = (
    "Renyi DP",
    f"A finer grid of losses {_LIMITS}, or more is known of the noise's divergences than of it.",
)


def _concentrated(above: Lowered, made: Grids) -> tuple[str, str]:
    if made.short and not above.by_moments:
        why = f"A grid of privacy losses {_LIMITS}; of what is left this is the tightest."
    else:
        why = "The noise is Skellam, or so narrow that this is the tightest certified bound."
    return "concentrated DP", why


def _told(above: Lowered, made: Grids) -> tuple[str, str]:
    if above.mu is not None:
        return "closed form", "Nothing is sampled and all noise is Gaussian: together one Gaussian."
    if above.count == 1:
        return "closed form", "A single release, inverted directly."
    why = "Sampling or mixed noise, composed with certified ends."
    if made.short:
        why += f" A finer grid {_LIMITS}."
    return "privacy loss distribution", why


def _concentrated_epsilon(above: Lowered, target: float, made: Grids) -> float:
    """Return the concentrated-DP bound, where it could be the smaller one."""
    if above.slack == 0 and not above.by_moments and not made.short:
        return math.inf
    return zcdp_epsilon(rho=above.rho, xi=above.xi, delta=target)


def _raised(below: Lowered, target: float) -> float:
    return min(1.0, target * math.exp(below.slack) + below.lost)


def _epsilon_grids(above: Lowered, below: Lowered, target: float, width: float) -> Grids:
    reduced = target * math.exp(-above.slack)
    gap = Gap("epsilon", reduced, _raised(below, target), width, 5e-4)
    return _grids(above, below, gap)


def _delta_grids(above: Lowered, below: Lowered, at: float, width: float) -> Grids:
    gap = Gap("delta", at - 2 * above.slack, at + 2 * below.slack, width, 1e-300)
    return _grids(above, below, gap)


def _grids(above: Lowered, below: Lowered, gap: Gap) -> Grids:
    if above.count <= 1 and below.count <= 1:
        lost = above.count == 1 and exact_delta(above.parts[0][0], _FAR) >= 1
        return Grids(short=lost)
    # Where nothing dominates, what is attained is composed from above too: to measure the grid.
    return grids(above.parts or below.parts, below.parts, gap)


def _upper_epsilon(above: Lowered, target: float, grid: Composition | None) -> float:
    # delta(e) <= e^slack delta'(e - 2 slack): see ``discrete``.
    reduced = target * math.exp(-above.slack)
    if reduced <= 0:
        return math.inf
    if not above.parts:
        return 0.0
    if above.concentrated is not None and above.count == 1:
        return math.inf  # its curve comes from the concentrated-DP bound, which is asked besides
    if above.count == 1:
        bound = exact_epsilon(above.parts[0][0], reduced * (1 - _FLOAT)) * (1 + _FLOAT)
    else:
        bound = grid.upper_epsilon(reduced) if grid is not None else math.inf
    return bound + 2 * above.slack if bound > 0 else 0.0


def _lower_epsilon(below: Lowered, raised: float, grid: Composition | None) -> float:
    if not below.parts or below.unbounded or raised >= 1:
        return 0.0
    if below.count == 1:
        bound = exact_epsilon(below.parts[0][0], raised * (1 + _FLOAT), "below") * (1 - _FLOAT)
    else:
        bound = grid.lower_epsilon(raised) if grid is not None else 0.0
    return max(0.0, bound - 2 * below.slack)


def _upper_delta(above: Lowered, at: float, grid: Composition | None) -> float:
    if not above.parts:
        return 0.0
    lowered = at - 2 * above.slack
    if above.count == 1:
        bound = exact_delta(above.parts[0][0], lowered) * (1 + _FLOAT)
    else:
        bound = grid.upper_delta(lowered) if grid is not None else 1.0
    return min(1.0, bound * math.exp(above.slack))


def _apart(above: Lowered) -> float:
    """Return a delta for every epsilon: each release's own at 0, added up, also if adaptive."""
    each = math.fsum(n * (exact_delta(profile, 0.0) + _DIGIT) for profile, n in above.parts)
    # What slack adds: delta'(-2 slack) is at most delta'(0) + 1 - e^(-2 slack).
    variation = each * (1 + _FLOAT) - math.expm1(-2 * above.slack)
    return min(1.0, variation * math.exp(above.slack))


def _lower_delta(below: Lowered, at: float, grid: Composition | None) -> float:
    if not below.parts or below.unbounded:
        return 0.0
    raised = at + 2 * below.slack
    if below.count == 1:
        bound = exact_delta(below.parts[0][0], raised, "below") * (1 - _FLOAT)
    else:
        bound = grid.lower_delta(raised) if grid is not None else 0.0
    return max(0.0, (bound - below.lost) * math.exp(-below.slack))


def _interval(low: float, upper: float, method: str, why: str, below: Lowered) -> Interval:
    low = min(low, upper)
    if below.unknown:
        why += f" From below nothing is known of {below.unknown}: the lower end leaves it out."
    # A grid adds about h^2/6 to a variance from above and takes h^2/12 off from below.
    narrow = low > 0.9 * upper and math.isfinite(upper)
    estimate = low + (upper - low) / 3 if narrow else upper
    return Interval(low, min(max(estimate, low), upper), upper, method, why, dict(_versions()))


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    libraries = ("dp-accounting", "numpy", "scipy")
    return (("accountant", _ACCOUNTANT), *((name, version(name)) for name in libraries))
