"""Tiny checks whose error names the argument, the value and the rule.

Each takes its argument as one keyword, so that the name in the message is the caller's:

>>> positive(clip_norm=0.0)
Traceback (most recent call last):
    ...
privacy.errors.InvalidInputError: Expected clip_norm=0.0 > 0 and finite.
"""

import math
from collections.abc import Callable
from enum import Enum
from numbers import Real
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from privacy.errors import InvalidInputError

__all__ = [
    "at_least",
    "finite_array",
    "fraction",
    "half_open",
    "member",
    "natural",
    "non_negative",
    "positive",
    "unit_open",
]

_Kind = TypeVar("_Kind", bound=Enum)
_LARGEST_COUNT = 2**53  # beyond it a count is no longer exact in JSON or in a float


def positive(*, hint: str = "", **named: float) -> float:
    """Return the value if it is finite and above zero."""
    return _check(named, lambda v: math.isfinite(v) and v > 0, "> 0 and finite", hint)


def non_negative(*, hint: str = "", **named: float) -> float:
    """Return the value if it is finite and at least zero."""
    return _check(named, lambda v: math.isfinite(v) and v >= 0, ">= 0 and finite", hint)


def fraction(*, hint: str = "", **named: float) -> float:
    """Return the value if it lies in [0, 1]."""
    return _check(named, lambda v: 0 <= v <= 1, "in [0, 1]", hint)


def unit_open(*, hint: str = "", **named: float) -> float:
    """Return the value if it lies in (0, 1)."""
    return _check(named, lambda v: 0 < v < 1, "in (0, 1)", hint)


def half_open(*, hint: str = "", **named: float) -> float:
    """Return the value if it lies in [0, 1)."""
    return _check(named, lambda v: 0 <= v < 1, "in [0, 1)", hint)


def at_least(least: float, *, hint: str = "", **named: float) -> float:
    """Return the value if it is finite and at least ``least``."""
    return _check(named, lambda v: math.isfinite(v) and v >= least, f">= {least} and finite", hint)


def natural(*, least: int = 0, hint: str = "", **named: int) -> int:
    """Return the count if it is a whole number from ``least`` to 2^53."""
    ((name, value),) = named.items()
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or not least <= value <= _LARGEST_COUNT:
        _fail(name, value, f"a whole number from {least} to 2^53", hint)
    return int(value)


def member(kind: type[_Kind], *, hint: str = "", **named: _Kind) -> _Kind:
    """Return the value if it is a member of the enumeration itself, not a name or a number."""
    ((name, value),) = named.items()
    if not isinstance(value, kind):
        names = ", ".join(f"{kind.__name__}.{one.name}" for one in kind)
        _fail(name, repr(value), f"to be one of {names}", hint)
    return value


def finite_array(*, hint: str = "", **named: NDArray[Any]) -> NDArray[Any]:
    """Return the array if it holds no NaN and no infinity."""
    ((name, value),) = named.items()
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        _fail(name, f"a {type(value).__name__}", "to be an array of real numbers", hint)
    bad = ~np.isfinite(value)
    if bad.any():
        where = [tuple(int(i) for i in place) for place in np.argwhere(bad)[:3]]
        _fail(name, f"array with {int(bad.sum())} NaN or inf (first at {where})", "finite", hint)
    return value


def _check(named: dict[str, float], holds: Callable[[float], bool], rule: str, hint: str) -> float:
    ((name, value),) = named.items()
    try:
        # Texts, arrays and whole numbers beyond all floats fail here, and by the same words.
        right = isinstance(value, Real) and not isinstance(value, bool) and holds(float(value))
    except OverflowError:
        right = False
    if not right:
        _fail(name, value, rule, hint)
    return value


def _fail(name: str, value: object, rule: str, hint: str) -> NoReturn:
    raise InvalidInputError(f"Expected {name}={value} {rule}." + (f" {hint}" if hint else ""))
