"""Awkward data sets with a neighbour, and who is sampled: where mistakes show.

Lengths are chosen around the claimed sensitivity, where clipping begins, and far from it; shapes so
that one patient is alone, outweighs the others, opposes them, or is what a median hangs on; sizes
from one patient to a crowd.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from dp_accounting import NeighboringRelation as Relation
from numpy.typing import NDArray

from privacy.testing.recording import Sampler

__all__ = ["PATTERNS", "Pair", "Pattern", "ordinary", "pairs", "samplers"]

Rows = NDArray[np.float64]
Pattern = Callable[[int, int, int], NDArray[np.bool_]]
_LENGTHS = (1e-3, 1.0, 1e3, 1e8, 1e12)
_RANDOM = 24  # pairs of random sizes, lengths and directions
_CROWDS = (33, 100, 128, 257)
_QUANTILES = ((5, 1), (9, 6), (21, 18), (41, 38), (201, 198))  # 25, 75, 90, 95, 99 %
_BEYOND = (np.nan, np.inf, -np.inf, 1e300)


@dataclass(frozen=True)
class Pair:
    """A data set, its neighbour, and the patient that makes the difference.

    Attributes:
      rows: float64 ``[patients, dim]``.
      other: The neighbour: a row less, or another row in its place.
      place: Which row.
      ordinary: Whether all numbers are finite and below 1e15: then nothing may be refused.
    """

    rows: Rows
    other: Rows
    place: int
    ordinary: bool = True


def ordinary(patients: int, dim: int) -> Rows:
    """Return rows as they might be: normal, all different."""
    return np.random.default_rng([1, patients, dim]).normal(size=(patients, dim))


def pairs(
    patients: int, dim: int, relation: Relation, *, unit: float, crowd: int, non_finite: bool
) -> Iterator[Pair]:
    """Yield data sets and neighbours.

    Args:
      patients: Rows of most of them.
      dim: Columns.
      relation: How neighbours differ. Under ``REPLACE_SPECIAL`` the absent are a row of zeros.
      unit: The claimed sensitivity; lengths are also chosen around it.
      crowd: Rows of the largest.
      non_finite: Whether rows with NaN, infinity and 1e300 are among them.
    """
    rng = np.random.default_rng(2)

    def pair(rows: Rows, place: int, turn: int = 0, *, plain: bool = True) -> Pair:
        return Pair(rows, _neighbour(rows, place, relation, turn), place, plain)

    for turn, length in enumerate((*_LENGTHS, unit / 2, unit, 1.5 * unit)):
        for shape, (rows, place) in enumerate(_shapes(patients, dim, length, rng)):
            yield pair(rows, place, turn + shape)
    for turn in range(_RANDOM):
        n = 1 + turn % (2 * patients)
        lengths = unit * 10 ** rng.uniform(-2, 2, (n, 1))
        yield pair(_directions(n, dim, rng) * lengths, int(rng.integers(n)), turn)
    for turn, n in enumerate(sorted({n for n in (*_CROWDS, crowd) if 0 < n <= crowd})):
        for shape, rows in enumerate(_crowded(n, dim, rng)):
            yield pair(rows * unit, n // 2, turn + shape)
    for n, short in _QUANTILES:
        yield pair(_few_long(n, short, dim) * unit, n - 1)
    if non_finite:
        for turn, value in enumerate(_BEYOND):
            for n in (1, patients):
                rows = ordinary(n, dim)
                rows[n // 2, turn % dim] = value
                yield pair(rows, n // 2, turn, plain=False)
                rows = ordinary(n, dim)
                rows[0] = value
                yield pair(rows, 0, 2, plain=False)


def _shapes(
    n: int, dim: int, length: float, rng: np.random.Generator
) -> Iterator[tuple[Rows, int]]:
    axis = np.eye(1, dim)[0]
    aligned = np.tile(axis * length, (n, 1))
    yield aligned, 0
    opposed = aligned.copy()
    opposed[-1] *= -1
    yield opposed, n - 1
    outweighed = aligned / (2 * n)  # all the others together are half as long as this one
    outweighed[n // 2] = -axis * length
    yield outweighed, n // 2
    yield outweighed.sum(axis=1, keepdims=True) * np.ones(dim), n // 2  # in every coordinate
    alone = np.zeros((n, dim))
    alone[0] = axis * length
    yield alone, 0
    yield _directions(n, dim, rng) * length, n - 1
    yield np.resize(np.eye(dim), (n, dim)) * length, 0  # at right angles
    # Half are short: the median, as any quantile, hangs on one patient.
    halves = aligned.copy()
    halves[: (n - 1) // 2] /= 100
    yield halves, n - 1
    yield halves, 0
    yield halves * rng.permuted(np.resize([1.0, -1.0], n))[:, None], n - 1
    graded = aligned * np.arange(1, n + 1)[:, None] / n
    yield graded, n - 1


def _crowded(n: int, dim: int, rng: np.random.Generator) -> Iterator[Rows]:
    aligned = np.zeros((n, dim))
    aligned[:, 0] = 2
    yield aligned
    yield _directions(n, dim, rng)
    outweighed = aligned / n
    outweighed[n // 2, 0] = -3
    yield outweighed


def _few_long(n: int, short: int, dim: int) -> Rows:
    """If the last patient goes, a quantile falls from a long row to a short one."""
    rows = np.zeros((n, dim))
    rows[:, 0] = 1.0
    rows[:short] /= 100
    return rows


def _directions(n: int, dim: int, rng: np.random.Generator) -> Rows:
    rows = rng.normal(size=(n, dim))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def _neighbour(rows: Rows, place: int, relation: Relation, turn: int) -> Rows:
    if relation is Relation.ADD_OR_REMOVE_ONE:
        return np.delete(rows, place, axis=0)
    other = rows.copy()
    finite = np.nan_to_num(rows[place], posinf=1.0, neginf=-1.0)
    opposite = [-finite, 0 * finite, 3 * np.roll(finite, 1)]
    other[place] = 0.0 if relation is Relation.REPLACE_SPECIAL else opposite[turn % 3]
    return other


def _everybody(draw: int, size: int, place: int) -> NDArray[np.bool_]:
    del draw, place
    return np.ones(size, dtype=np.bool_)


def _nobody(draw: int, size: int, place: int) -> NDArray[np.bool_]:
    del draw, place
    return np.zeros(size, dtype=np.bool_)


def _one(draw: int, size: int, place: int) -> NDArray[np.bool_]:
    del draw
    return np.asarray(np.arange(size) == place)


def _others(draw: int, size: int, place: int) -> NDArray[np.bool_]:
    del draw
    return np.asarray(np.arange(size) != place)


def _halves(parity: int) -> Pattern:
    def sample(draw: int, size: int, place: int) -> NDArray[np.bool_]:
        taken = np.random.default_rng([3, parity, draw, size]).random(size) < 0.5
        taken[place : place + 1] = (draw + parity) % 2 == 0  # in one round and not in the next
        return np.asarray(taken)

    return sample


PATTERNS: tuple[Pattern, ...] = (_everybody, _halves(0), _halves(1), _nobody, _one, _others)


def samplers(pattern: Pattern, pair: Pair) -> tuple[Sampler, Sampler]:
    """Return who is sampled of the rows, and of the neighbour: the same, but for the patient."""
    gone = len(pair.rows) - len(pair.other)

    def of_rows(draw: int, size: int) -> NDArray[np.bool_]:
        return pattern(draw, size, pair.place)

    def of_other(draw: int, size: int) -> NDArray[np.bool_]:
        whole = pattern(draw, size + gone, pair.place)
        return np.delete(whole, pair.place) if gone else whole

    return of_rows, of_other
