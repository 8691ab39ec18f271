r"""Composing profiles on a grid of privacy losses, certified on both sides.

Each profile is gridded from above, or from below (``grids``). One kind of release is composed with
itself by dp-accounting; different ones are composed together by ``convolution``; dp-accounting's
distribution answers for epsilon and delta. An upper bound stays one under composition because
dominating pairs compose (Zhu, Dong and Wang 2022, Theorem 10), a lower bound because
post-processing does.

Floating point: a transform of probabilities is wrong by a unit or two in its last digit, and n
releases multiply that: against the same transforms in extended precision at most 1.9e-16 a release
was found. ``_FLOAT`` a release is added to delta above and taken off below, so that bounds stay
true down to a delta of about 1e-12 (below it they only grow wide).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from dp_accounting.pld import common, pld_pmf
from numpy.typing import NDArray

from privacy.accounting import cost, grids
from privacy.accounting._search import bisect_up
from privacy.accounting.convolution import Weighted, convolution
from privacy.accounting.cost import Budget, TooDearError
from privacy.accounting.profiles import Attained, Profile, kind, stacked

__all__ = [
    "Composition",
    "Part",
    "Parts",
    "affordable_spread",
    "compose",
    "compose_below",
    "compose_rounds",
    "gridded_delta",
    "spread",
]

Part = tuple[Profile, int]  # a profile, and how many such releases
Parts = tuple[Part, ...]
Sides = tuple[list[Weighted], list[Weighted]]  # when a patient is removed, and when one is added
Stack = tuple[Profile, NDArray[np.int64], tuple[float, float]]

Gridding = Callable[[Parts, float, float, Budget], Sides]

_FLOAT = 5e-16
_ALL = 1 - 2.0**-53  # below 1, so that its rest has a logarithm
_READING = 300.0  # the price of a point when epsilons and deltas are read off
_ROWS = 128  # profiles gridded together


@dataclass(frozen=True)
class Composition:
    """Composed privacy losses on a grid: for a removed patient and for an added one.

    Attributes:
      remove: dp-accounting's distribution of the loss when a patient is removed.
      add: The same when one is added; the same object where both are alike.
      step: The grid's step h.
      count: Number of releases n.
      cut: Mass that lies outside of the grid, all releases together.
    """

    remove: pld_pmf.PLDPmf
    add: pld_pmf.PLDPmf
    step: float
    count: int
    cut: float

    @property
    def size(self) -> int:
        """Points of the grid."""
        return max(int(self.remove.size), int(self.add.size))

    @property
    def floating(self) -> float:
        """What floating point may have changed in a delta."""
        return _FLOAT * (self.count + 50)

    def upper_epsilon(self, delta: float) -> float:
        """Return an epsilon that is enough for ``delta``, where this was composed from above."""
        least = delta - self.floating
        if least <= 0:
            return math.inf
        return max(_epsilon(side, least) for side in self._sides)

    def lower_epsilon(self, delta: float) -> float:
        """Return an epsilon that no correct answer is below, where composed from below."""
        most = delta + self._lost
        found = max(_epsilon(side, min(most, 1.0)) for side in self._sides)
        return found if math.isfinite(found) else 0.0

    def upper_delta(self, epsilon: float) -> float:
        """Return a delta that is enough for ``epsilon`` (of any sign), where from above."""
        return min(1.0, max(gridded_delta(side, epsilon) for side in self._sides) + self.floating)

    def lower_delta(self, epsilon: float) -> float:
        """Return a delta that no correct answer is below, where composed from below."""
        found = max(gridded_delta(side, epsilon) for side in self._sides)
        return max(0.0, found - self._lost)

    @property
    def _lost(self) -> float:
        # The mass outside wraps around into the grid, and is also counted as an infinite loss.
        return 2 * self.cut + self.floating

    @property
    def _sides(self) -> tuple[pld_pmf.PLDPmf, ...]:
        return (self.remove,) if self.remove is self.add else (self.remove, self.add)


def compose(
    parts: Parts, *, step: float, delta: float, budget: Budget | None = None
) -> Composition | None:
    """Compose dominating profiles, from above.

    Args:
      parts: Profiles with their counts; at least one.
      step: Privacy losses are kept in multiples of it.
      delta: The delta of interest: the ends of the grid are cut where they hold less than a ten
        thousandth of it.
      budget: What the work is paid from; a full one where none is given.

    Returns:
      The composition, or None where it would take more than 2 GB, or more work than the budget.
    """
    return _composed(_from_above, parts, step, delta, budget or Budget())


def compose_below(
    parts: Parts, *, step: float, delta: float, budget: Budget | None = None
) -> Composition | None:
    """Compose attained profiles, from below; arguments and result as ``compose``."""
    return _composed(_from_below, parts, step, delta, budget or Budget())


def compose_rounds(
    parts: Parts,
    rounds: Sequence[int],
    *,
    step: float,
    delta: float,
    below: bool = False,
    budget: Budget | None = None,
) -> Iterator[Composition] | None:
    """Compose ``parts`` so many times, for each of ``rounds``: from one transform.

    From below only a removed patient is looked at: one direction is enough for a lower bound.
    """
    count, cut, most = sum(n for _, n in parts), delta * 1e-4, max(rounds)
    budget = budget or Budget()
    try:
        sides = (_from_below if below else _from_above)(
            parts, step, cut / (2 * count * most), budget
        )
        used = sides[:1] if below or sides[0] is sides[1] else sides
        made = [convolution(side, cut=cut, budget=budget, most=most) for side in used]
        for one in made:
            budget.spend(len(rounds) * (cost.transform(one.size) + _READING * one.size))
    except TooDearError:
        return None

    def each() -> Iterator[Composition]:
        for n in rounds:
            found = [
                _distribution(one.rounds(n), step, n * _log_finite(side), cut)
                for one, side in zip(made, used, strict=True)
            ]
            yield Composition(found[0], found[-1], step, n * count, cut)

    return each()


def affordable_spread(parts: Parts, budget: Budget) -> float | None:
    """Return ``spread``, paid for; None where the budget does not allow it."""
    try:
        budget.spend(cost.preparation(parts))
        typical = spread(parts)
    except TooDearError:
        return None
    return typical if 0 < typical < math.inf else None


def spread(parts: Parts) -> float:
    """Return about the standard deviation of one release's loss, the root mean square of all."""
    count = sum(n for _, n in parts)
    total = 0.0
    for profile, counts, high in _stacks(parts, 1e-9 / count):
        total += float(counts @ grids.typical_square(profile, high[0]))
    return math.sqrt(total / count)


def gridded_delta(side: pld_pmf.PLDPmf, epsilon: float) -> float:
    """Return the delta of a gridded pair in one direction, for any real epsilon."""
    return max(0.0, float(side.get_delta_for_epsilon(epsilon)))


@lru_cache(maxsize=4)
def _stacks(parts: Parts, cut: float) -> tuple[Stack, ...]:
    """Return profiles of one kind together, with their counts and the ends of their losses.

    Profiles whose losses reach about as far are put together, so that no grid is far too long.
    """
    found: list[Stack] = []
    kinds: dict[object, list[Part]] = {}
    for profile, n in parts:
        kinds.setdefault(kind(profile), []).append((profile, n))
    for members in kinds.values():
        profiles = [profile for profile, _ in members]
        counts = np.array([n for _, n in members], dtype=np.int64)
        remove, add = grids.loss_ends(stacked(profiles), cut)
        order = np.argsort(remove, kind="stable")
        for at in range(0, len(order), _ROWS):
            rows = order[at : at + _ROWS]
            ends = float(remove[rows].max()), float(add[rows].max())
            found.append((stacked([profiles[i] for i in rows]), counts[rows], ends))
    return tuple(found)


def _composed(
    gridded: Gridding, parts: Parts, step: float, delta: float, budget: Budget
) -> Composition | None:
    count, cut = sum(n for _, n in parts), delta * 1e-4
    try:
        sides = gridded(parts, step, cut / (2 * count), budget)
        remove = _together(sides[0], step, cut, budget)
        add = remove if sides[0] is sides[1] else _together(sides[1], step, cut, budget)
    except TooDearError:
        return None
    return Composition(remove, add, step, count, cut)


def _places(
    parts: Parts, step: float, cut: float, budget: Budget, *, wider: float, directions: int
) -> list[grids.Places]:
    """Return where each stack is gridded, after paying for it."""
    budget.spend(cost.preparation(parts))
    found, store = [], 0
    for profile, counts, high in _stacks(parts, cut):
        reach = (high[0] + high[1]) / step
        if not reach <= (cost.LARGEST_GRID if _growth(parts) else cost.LARGEST_STACK):
            raise TooDearError
        at = grids.places(-high[1] - wider, high[0] + wider, step=step, growth=_growth(parts))
        store += len(at) * len(counts)
        if len(at) * len(counts) > cost.LARGEST_STACK:
            raise TooDearError
        budget.spend(cost.gridding(profile, len(counts), len(at), directions))
        found.append(at)
    cost.check_store(store)
    return found


def _from_above(parts: Parts, step: float, cut: float, budget: Budget) -> Sides:
    removes: list[Weighted] = []
    adds: list[Weighted] = []
    alike = True
    places = _places(parts, step, cut, budget, wider=0.0, directions=2)
    for (profile, counts, _), at in zip(_stacks(parts, cut), places, strict=True):
        removes.append((grids.above(profile, 0, at, step=step), counts))
        both = profile.deltas(np.ones(1))
        if both[0] is both[1]:
            adds.append(removes[-1])
        else:
            alike = False
            adds.append((grids.above(profile, 1, -at[::-1], step=step), counts))
    return (removes, removes) if alike else (removes, adds)


def _from_below(parts: Parts, step: float, cut: float, budget: Budget) -> Sides:
    removes: list[Weighted] = []
    adds: list[Weighted] = []
    places = _places(parts, step, cut, budget, wider=step, directions=4)
    for (profile, counts, _), at in zip(_stacks(parts, cut), places, strict=True):
        if not isinstance(profile, Attained):
            raise TypeError(f"{profile} is not attained: nothing is known from below.")
        merged = grids.below(profile, at, step=step)
        removes.append((merged[0], counts))
        adds.append((merged[1], counts))
    return removes, adds


def _growth(parts: Parts) -> float:
    """Return how a grid may thin out at its ends: not at all where the library takes it over."""
    return 0.0 if len(parts) == 1 else 1 / 64


def _together(pieces: list[Weighted], step: float, cut: float, budget: Budget) -> pld_pmf.PLDPmf:
    """Compose rows on one grid; where there is only one, the library does."""
    grid, counts = pieces[0]
    if len(pieces) == 1 and len(counts) == 1:
        n = int(counts[0])
        single = pld_pmf.DensePLDPmf(
            step,
            int(grid.places[0]),
            grid.masses[0],
            min(float(grid.infinite[0]), _ALL),
            pessimistic_estimate=True,
        )
        if n == 1:
            return single
        budget.spend(40 * 100.0 * single.size)
        low, high = common.compute_self_convolve_bounds(grid.masses[0], n, cut)
        size = max(high - low + 1, single.size)
        if size > cost.LARGEST_GRID:
            raise TooDearError
        budget.spend(4 * cost.transform(size) + _READING * size)
        return single.self_compose(n, cut)
    found = convolution(pieces, cut=cut, budget=budget)
    budget.spend(cost.transform(found.size) + _READING * found.size)
    return _distribution(found.rounds(1), step, _log_finite(pieces), cut)


def _distribution(
    made: tuple[int, NDArray[np.float64]], step: float, log_finite: float, cut: float
) -> pld_pmf.PLDPmf:
    infinite = cut - math.expm1(log_finite)
    return pld_pmf.DensePLDPmf(step, made[0], made[1], infinite, pessimistic_estimate=True)


def _log_finite(pieces: list[Weighted]) -> float:
    """Return the logarithm of the chance that no loss is infinite."""
    return sum(float(n @ np.log1p(-np.minimum(g.infinite, _ALL))) for g, n in pieces)


def _epsilon(side: pld_pmf.PLDPmf, delta: float) -> float:
    """Return the epsilon >= 0 of a gridded pair for ``delta``."""
    with np.errstate(over="ignore", divide="ignore"):
        found = float(side.get_epsilon_for_delta(delta))
    if found < 600 or gridded_delta(side, 1e9) > delta:
        return found
    # dp-accounting's search divides by e^-loss, which vanishes here; its delta does not.
    high = 1200.0
    while gridded_delta(side, high) > delta:
        high *= 2
    return bisect_up(lambda e: gridded_delta(side, e) <= delta, 0.0, high)
