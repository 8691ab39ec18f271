r"""Composing profiles on a grid of privacy losses, certified on both sides.

Each profile is gridded from above, or from below (``grids``), and all are composed by their
transforms (``convolution``), tilted to where they are asked (``tilt``); ``losses`` reads epsilon
and delta. An upper bound stays one under composition because dominating pairs compose (Zhu, Dong
and Wang 2022, Theorem 10), a lower bound because post-processing does. What numbers change is
allowed for at every step, and scales with delta: bounds are as narrow at 1e-30 as at 1e-5.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from privacy.accounting import cost, grids
from privacy.accounting.convolution import Weighted, convolution, log_moment
from privacy.accounting.cost import TooDearError, WorkBudget
from privacy.accounting.lattice import aligned
from privacy.accounting.losses import Losses
from privacy.accounting.profiles import Attained, FiniteOutcomes, Profile, Sampled, kind, stacked
from privacy.accounting.tilt import Aim, MomentTable, at_delta, renyi_bound

__all__ = [
    "MANY",
    "Composition",
    "Part",
    "Parts",
    "affordable_spread",
    "compose",
    "compose_below",
    "compose_rounds",
    "grid_cut",
    "moment_table",
    "spread",
    "upper_deltas",
]

Part = tuple[Profile, int]  # a profile, and how many such releases
Parts = tuple[Part, ...]
Sides = tuple[list[Weighted], ...]  # when a patient is removed, and when one is added
Stack = tuple[Profile, NDArray[np.int64], tuple[float, float]]

Gridding = Callable[[Parts, float, float, WorkBudget], Sides]

MANY = 32  # different releases: a grid's points are dear beyond
_DENSE = 2**16  # points of a grid that is not thinned out
_RAREST = 1e-290  # the smallest delta that losses end at
_GUESSES = 12
_ALIKE = 7.0
_HALVINGS = 40
# The largest tilt times step. From below a tilt falls so fast from a largest loss of some mass that
# numbers hide all that lies a step lower; from above steeper is sharper, up to a loss's own digits.
_STEEPEST_ABOVE, _STEEPEST_BELOW = 1e4, 10.0
_LESS = 1e-9  # of what a bound on delta allows to be cut off
_READING = 300.0  # the price of a point when epsilons and deltas are read off
_ROWS = 128  # profiles gridded together


@dataclass(frozen=True)
class Composition:
    """Composed privacy losses on a grid, each under one tilt or several: all are sound.

    Attributes:
      remove: The loss when a patient is removed, under each tilt.
      add: The same when one is added; empty where that is never worse.
      step: The grid's step h.
    """

    remove: tuple[Losses, ...]
    add: tuple[Losses, ...]
    step: float

    @property
    def size(self) -> int:
        """Points of the grid."""
        return max(one.size for one in (*self.remove, *self.add))

    @property
    def nbytes(self) -> int:
        """Bytes that it holds once it was read."""
        return sum(one.nbytes for one in (*self.remove, *self.add))

    def upper_epsilon(self, delta: float) -> float:
        """Return an epsilon that is enough for ``delta``, where this was composed from above."""
        return max(min(one.upper_epsilon(delta) for one in side) for side in self._sides)

    def lower_epsilon(self, delta: float) -> float:
        """Return an epsilon that no correct answer is below, where composed from below."""
        return max(one.lower_epsilon(delta) for side in self._sides for one in side)

    def upper_delta(self, epsilon: float) -> float:
        """Return a delta that is enough for ``epsilon`` (of any sign), where from above."""
        at = np.array([epsilon])
        return max(float(upper_deltas(side, at)[0]) for side in self._sides)

    def lower_delta(self, epsilon: float) -> float:
        """Return a delta that no correct answer is below, where composed from below."""
        at = np.array([epsilon])
        return max(float(one.lower_deltas(at)[0]) for side in self._sides for one in side)

    def allowed(self, epsilon: float) -> float:
        """Return the part of ``upper_delta`` that is cut off, or allowed for rounding."""
        return max(min(one.allowed(epsilon) for one in side) for side in self._sides)

    @property
    def _sides(self) -> tuple[tuple[Losses, ...], ...]:
        return (self.remove, self.add) if self.add else (self.remove,)


def upper_deltas(side: tuple[Losses, ...], epsilons: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a delta that is enough for each epsilon, of any sign: the least of all tilts."""
    return np.asarray(np.min([one.upper_deltas(epsilons) for one in side], axis=0))


def compose(
    parts: Parts, *aims: Aim, step: float, budget: WorkBudget | None = None
) -> Composition | None:
    """Compose dominating profiles, from above.

    Args:
      parts: Profiles with their counts; at least one.
      aims: What will be asked, at least one: sound everywhere, the composition is sharp there.
      step: Privacy losses are kept in multiples of it, or of a little less (``lattice``).
      budget: What the work is paid from; a full one where none is given.

    Returns:
      The composition, or None where it would take more than 2 GB, or more work than the budget.
    """
    return _composed(_from_above, parts, aims, step, budget or WorkBudget())


def compose_below(
    parts: Parts, *aims: Aim, step: float, budget: WorkBudget | None = None
) -> Composition | None:
    """Compose attained profiles, from below; arguments and result as ``compose``.

    Where all are sampled, or alike in both directions, only a removed patient is looked at: one
    direction is enough for a lower bound, and that one is the worse as far as is known.
    """
    return _composed(_from_below, parts, aims, step, budget or WorkBudget())


def compose_rounds(
    parts: Parts,
    rounds: Sequence[int],
    *,
    step: float,
    delta: float,
    below: bool = False,
    budget: WorkBudget | None = None,
) -> Iterator[Composition] | None:
    """Compose ``parts`` so many times, for each of the rising ``rounds``.

    Rounds that are at most doubled share a tilt, and so a transform.
    """
    aim, budget, step = at_delta(delta), budget or WorkBudget(), aligned(parts, step, below=below)
    groups: list[list[int]] = []
    for n in rounds:
        if groups and n <= 2 * groups[-1][0]:
            groups[-1].append(n)
        else:
            groups.append([n])
    try:
        cut = grid_cut(parts, aim) / max(rounds)
        sides = _used((_from_below if below else _from_above)(parts, step, cut, budget))
        made = []
        for group in groups:
            tilts = moment_table(parts, cut).tilts(aim, group[len(group) // 2])
            every = [
                convolution(side, step=step, tilt=tilt, budget=budget, most=group[-1])
                for side, tilt in zip(sides, tilts, strict=False)
            ]
            for one in every:
                budget.spend(len(group) * (cost.transform(one.size) + _READING * one.size))
            made.append(every)
    except TooDearError:
        return None
    return (
        _composition([[one.rounds(n)] for one in every], step)
        for group, every in zip(groups, made, strict=True)
        for n in group
    )


def affordable_spread(parts: Parts, budget: WorkBudget, aim: Aim | None = None) -> float | None:
    r"""Return what a step is a share of, paid for; None where the budget does not allow it.

    That is the ``spread``, or more where a composition from above is aimed: its grid adds at most
    about :math:`n h^2 / 6` to the variance, which adds :math:`(1 + \theta)/2` of that to epsilon,
    and :math:`\theta(1 + \theta)/2` to the logarithm of a delta or a success. Where most losses
    are near 0 and what counts are the few large ones, that allows of far longer steps.
    """
    try:
        budget.spend(cost.preparation(parts))
        typical = spread(parts)
        if aim is not None:
            typical = max(typical, _harmless(parts, aim))
    except TooDearError:
        return None
    return typical if 0 < typical < math.inf else None


def _harmless(parts: Parts, aim: Aim) -> float:
    """Return the spread of a release whose variance changes the answer in proportion."""
    moments, times = moment_table(parts, grid_cut(parts, aim)), sum(n for _, n in parts)
    tilt, reached = moments.tilts(aim)[0], moments.reached(aim)
    rare = math.log(aim.value) if aim.of == "delta" else reached
    if rare > -2:
        return 0.0  # not far out
    answer = max(reached, 0.0) if aim.of == "delta" else 1 / tilt
    return math.sqrt(answer / (times * (1 + tilt)))


def spread(parts: Parts) -> float:
    """Return about the standard deviation of one release's loss, the root mean square of all."""
    count = sum(n for _, n in parts)
    total = 0.0
    for profile, counts, high in _stacks(parts, 1e-9 / count):
        total += float(counts @ grids.typical_square(profile, high[0]))
    return math.sqrt(total / count)


@lru_cache(maxsize=64)
def moment_table(parts: Parts, cut: float) -> MomentTable:
    """Return about the moments of all losses together, where each loss ends at a delta ``cut``."""
    return MomentTable.of(_stacks(parts, cut))


def grid_cut(parts: Parts, aim: Aim) -> float:
    """Return the delta at which each loss ends: all together hold no more than 1e-4 of the aim's.

    An epsilon's delta is not known but for a bound, of what is cut off and of what is not: it is
    least where both are alike, and the losses end where they hold less, by what it may be too much.
    """
    count = sum(n for _, n in parts)
    if aim.of != "epsilon" or aim.near is not None:
        return max((aim.near or aim.value) * 0.5e-4 / count, _RAREST)

    def excess(log_cut: float) -> float:
        """How much more is left (in the logarithm) than is cut off: it falls with the cut."""
        return moment_table(parts, math.exp(log_cut)).reached(aim) - log_cut - math.log(count)

    low, high = math.log(_RAREST), math.log(0.1 / count)
    middle = high
    for _ in range(_GUESSES):
        surplus = excess(middle)
        if abs(surplus) < _ALIKE:
            break
        low, high = (middle, high) if surplus > 0 else (low, middle)
        # Where few losses are large what is left hardly depends on the cut: one step is enough.
        middle = middle + surplus if low < middle + surplus < high else (low + high) / 2
    return max(math.exp(middle) * _LESS, _RAREST)


@lru_cache(maxsize=8)
def _stacks(parts: Parts, cut: float) -> tuple[Stack, ...]:
    """Return profiles of one kind together, with their counts and the ends of their losses.

    Profiles whose losses reach about as far are put together, so that no grid is far too long.
    """
    stacks: list[Stack] = []
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
            stacks.append((stacked([profiles[i] for i in rows]), counts[rows], ends))
    return tuple(stacks)


def _composed(
    gridded: Gridding, parts: Parts, aims: Sequence[Aim], step: float, budget: WorkBudget
) -> Composition | None:
    step = aligned(parts, step, below=gridded is _from_below)
    steepest = _STEEPEST_BELOW if gridded is _from_below else _STEEPEST_ABOVE
    try:
        cut = min(grid_cut(parts, aim) for aim in aims)
        sides = _used(gridded(parts, step, cut, budget))
        tilts = [
            tuple(min(tilt, steepest / step) for tilt in moment_table(parts, cut).tilts(aim))
            for aim in aims
        ]
        made = [
            [
                convolution(side, step=step, tilt=_checked(side, aim, step, both[i]), budget=budget)
                for aim, both in zip(aims, tilts, strict=True)
            ]
            for i, side in enumerate(sides)
        ]
        for one in (one for side in made for one in side):
            budget.spend(cost.transform(one.size) + _READING * one.size)
    except TooDearError:
        return None
    return _composition([[one.rounds(1) for one in side] for side in made], step)


def _checked(side: list[Weighted], aim: Aim, step: float, tilt: float) -> float:
    """Return the tilt, or less: a coarse grid reaches further than what it stands for."""

    def bound(tilt: float) -> float:
        moment = np.array([log_moment(side, step=step, tilt=tilt)])
        return float(renyi_bound(aim, np.array([tilt]), moment)[0])

    best = bound(tilt)
    for _ in range(_HALVINGS):
        half = bound(tilt / 2)
        if not half < best:
            break
        best, tilt = half, tilt / 2
    return tilt


def _composition(sides: list[list[Losses]], step: float) -> Composition:
    return Composition(tuple(sides[0]), tuple(sides[1]) if len(sides) > 1 else (), step)


def _used(sides: Sides) -> Sides:
    return sides[:1] if len(sides) == 2 and sides[0] is sides[1] else sides


def _places(
    parts: Parts, step: float, cut: float, budget: WorkBudget, *, wider: float, directions: int
) -> list[grids.Places]:
    """Return where each stack is gridded, after paying for it."""
    budget.spend(cost.preparation(parts))
    places, store = [], 0
    for profile, counts, high in _stacks(parts, cut):
        reach = (high[0] + high[1]) / step
        if not reach <= cost.LARGEST_GRID:
            raise TooDearError
        growth = _growth(len(parts), reach)
        at = grids.places(-high[1] - wider, high[0] + wider, step=step, growth=growth)
        store += len(at) * len(counts)
        if len(at) * len(counts) > cost.LARGEST_STACK:
            raise TooDearError
        budget.spend(cost.gridding(profile, len(counts), len(at), directions))
        places.append(at)
    cost.check_store(store)
    return places


def _from_above(parts: Parts, step: float, cut: float, budget: WorkBudget) -> Sides:
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


def _from_below(parts: Parts, step: float, cut: float, budget: WorkBudget) -> Sides:
    removes: list[Weighted] = []
    adds: list[Weighted] = []
    alike = all(_removing_leads(profile) for profile, _ in parts)
    directions = 3 if alike else 6
    places = _places(parts, step, cut, budget, wider=step, directions=directions)
    for (profile, counts, _), at in zip(_stacks(parts, cut), places, strict=True):
        if not isinstance(profile, Attained):
            raise TypeError(f"{profile} is not attained: nothing is known from below.")
        removes.append((grids.below(profile, 0, at, step=step), counts))
        if not alike:
            adds.append((grids.below(profile, 1, -at[::-1], step=step), counts))
    return (removes,) if alike else (removes, adds)


def _removing_leads(profile: Profile) -> bool:
    """Whether no other direction is worse, as far as is known, for any epsilon of at least 0."""
    return not isinstance(
        profile.inner if isinstance(profile, Sampled) else profile, FiniteOutcomes
    )


def _growth(releases: int, points: float) -> float:
    """Return how a grid of so many points thins out at its ends: not where they are cheap."""
    if releases == 1:
        return 1 / 2048 if points > _DENSE else 0.0
    return 1 / 1024 if releases <= MANY else 1 / 64
