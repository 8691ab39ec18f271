r"""Loops over patients' rows, compiled: each row is read, bounded and written by itself.

Nothing here could let one patient's row depend on another's: no loop carries anything from one row
to the next (``means``: from one patient's rows to another's), and every sum adds in one order that
the row's length alone decides. That order is two lanes, eight numbers at a time from the back, as
NumPy's ``einsum`` adds on x86-64; written out, it is the same at every batch size and in every
NumPy. (Bits were compared on x86-64 alone.)

The loops let go of the interpreter's lock, so that threads run side by side. What ``numba``
compiles it keeps beside the source or in the user's cache; where it can keep nothing, the first
call of each process takes a second longer. ``clipping`` checks what comes in and what goes out.
"""

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

import numpy as np
from jaxtyping import Float, Int
from numba import njit

__all__ = ["bounded_rows", "clipped_rows", "means", "norms", "squares"]

_TINY, _HUGE = 1e-280, 1e280  # between them, squares neither vanish nor overflow

_F = TypeVar("_F", bound=Callable[..., Any])


def _compiled(function: _F) -> _F:
    plain = inspect.unwrap(function)  # a checker of types may have wrapped it
    # No fast maths: IEEE arithmetic in the order that is written.
    compiled = partial(njit, nogil=True, error_model="numpy")
    try:
        return cast(_F, compiled(cache=True)(plain))
    except RuntimeError:  # no folder to keep machine code in
        return cast(_F, compiled()(plain))


@_compiled
def _sum_of_squares(rows: Float[np.ndarray, "patients dim"], i: int) -> float:
    dim = rows.shape[1]
    even = odd = 0.0
    for k in range(dim // 8):
        j = 8 * k
        even += rows[i, j + 6] * rows[i, j + 6]
        odd += rows[i, j + 7] * rows[i, j + 7]
        even += rows[i, j + 4] * rows[i, j + 4]
        odd += rows[i, j + 5] * rows[i, j + 5]
        even += rows[i, j + 2] * rows[i, j + 2]
        odd += rows[i, j + 3] * rows[i, j + 3]
        even += rows[i, j] * rows[i, j]
        odd += rows[i, j + 1] * rows[i, j + 1]
    for j in range(dim // 8 * 8, dim - 1, 2):
        even += rows[i, j] * rows[i, j]
        odd += rows[i, j + 1] * rows[i, j + 1]
    if dim % 2:
        even += rows[i, dim - 1] * rows[i, dim - 1]
    return even + odd


@_compiled
def _largest(rows: Float[np.ndarray, "patients dim"], i: int) -> float:
    largest = 0.0
    for j in range(rows.shape[1]):
        size = abs(rows[i, j])
        largest = size if size > largest else largest
    return largest


@_compiled
def _extreme_norm(rows: Float[np.ndarray, "patients dim"], i: int) -> float:
    largest = _largest(rows, i)
    if largest == 0.0:
        return 0.0
    square = 0.0
    for j in range(rows.shape[1]):
        share = rows[i, j] / largest
        square += share * share
    return largest * math.sqrt(square)


@_compiled
def norms(rows: Float[np.ndarray, "patients dim"]) -> Float[np.ndarray, "patients"]:
    """L2 norms of finite rows; huge and tiny ones by way of their largest entry."""
    result = np.empty(rows.shape[0])
    for i in range(rows.shape[0]):
        square = _sum_of_squares(rows, i)
        result[i] = math.sqrt(square) if _TINY < square < _HUGE else _extreme_norm(rows, i)
    return result


@_compiled
def means(
    rows: Float[np.ndarray, "records dim"], owners: Int[np.ndarray, "records"], count: int
) -> Float[np.ndarray, "patients dim"]:
    """Mean of each owner's rows, added in their order; of one row alone, that row.

    Each row is divided before it is added: the mean of huge rows does not overflow.
    """
    result = np.zeros((count, rows.shape[1]))
    shares = np.zeros(count)
    for i in range(rows.shape[0]):
        shares[owners[i]] += 1.0
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            result[owners[i], j] += rows[i, j] / shares[owners[i]]
    return result


@_compiled
def clipped_rows(
    rows: Float[np.ndarray, "patients dim"], clip_norm: float
) -> Float[np.ndarray, "patients dim"]:
    """Finite rows, the longer ones scaled to ``clip_norm``, the others as they are.

    Two divisions by modest numbers: a huge row's norm may overflow, its shape does not.
    """
    result, before = np.empty_like(rows), norms(rows)
    for i in range(rows.shape[0]):
        if before[i] > clip_norm:
            largest = _largest(rows, i)
            for j in range(rows.shape[1]):
                result[i, j] = rows[i, j] / largest
            norm = math.sqrt(_sum_of_squares(result, i))
            for j in range(rows.shape[1]):
                result[i, j] = result[i, j] / norm * clip_norm
        else:
            for j in range(rows.shape[1]):
                result[i, j] = rows[i, j]
    return result


@_compiled
def bounded_rows(
    rows: Float[np.ndarray, "patients dim"], scale: float, radius: int
) -> Int[np.ndarray, "patients dim"]:
    """Rows of norm at most ``radius / scale`` as integer rows of norm at most ``radius``.

    Each is rounded to the nearest; one that became too long takes back a step where rounding gained
    most, then where it gained next to most, until it is short enough: one or two nearly always.
    """
    dim = rows.shape[1]
    result = np.empty(rows.shape, np.int64)
    gained = np.empty(dim)
    for i in range(rows.shape[0]):
        excess = -radius * radius
        for j in range(dim):
            gained[j] = rows[i, j] * scale
            result[i, j] = np.rint(gained[j])
            excess += result[i, j] * result[i, j]
        if excess <= 0:
            continue
        for j in range(dim):
            gained[j] = abs(result[i, j]) - abs(gained[j])
        for _ in range(dim):
            most = 0
            for j in range(1, dim):
                if gained[j] > gained[most]:
                    most = j
            old = result[i, most]
            result[i, most] = old - np.sign(old)
            gained[most] = -np.inf  # taken
            excess -= 2 * abs(old) - 1  # a^2 - (a - 1)^2
            if excess <= 0:
                break
    return result


@_compiled
def squares(rows: Int[np.ndarray, "patients dim"], radius: int) -> Int[np.ndarray, "patients"]:
    """Sums of squares, of entries beyond ``radius`` as if they passed it by one: no overflow."""
    result = np.zeros(rows.shape[0], np.int64)
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            size = min(max(rows[i, j], -radius - 1), radius + 1)
            result[i] += size * size
    return result
