"""Numbers as print shows them: rounded once, here.

What is guaranteed rounds up (epsilon, bounds, slack); all else to nearest.
"""

import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from attacks.scoring.rates import student_half_width

__all__ = [
    "epsilon",
    "interval",
    "mean",
    "nearest",
    "power_of_ten",
    "signed",
    "tiny",
    "up",
    "with_half_width",
]

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def up(value: float, digits: int = 3) -> str:
    """Round up: a guarantee never looks better than it is."""
    text = f"{value:.{digits}f}"
    return text if float(text) >= value - 1e-12 else f"{float(text) + 10**-digits:.{digits}f}"


def nearest(value: float, digits: int = 3) -> str:
    """Round to nearest; a zero has no sign."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def signed(value: float, digits: int = 3) -> str:
    """Round to nearest, with a sign; the minus is a minus."""
    return f"{value:+.{digits}f}".replace("-", "−")


@runtime_checkable
class Between(Protocol):
    """What has two ends."""

    @property
    def lower(self) -> float:
        """The lower end."""
        ...

    @property
    def upper(self) -> float:
        """The upper end."""
        ...


def interval(ends: Between, digits: int = 3) -> str:
    """Return "0.792 to 0.856"."""
    return f"{nearest(ends.lower, digits)} to {nearest(ends.upper, digits)}"


def with_half_width(
    value: float, half: float, digits: int = 3, *, least: float = 0.0, most: float = 1.0
) -> str:
    """Return "0.118 (0.108 to 0.128)"; no interval leaves what the quantity can be.

    Args:
      value: The estimate.
      half: Half of the interval's width, before it is cut at both ends.
      digits: After the point.
      least: The smallest value that there can be.
      most: The largest; ``inf`` for times, bytes and losses.
    """
    lower, upper = max(least, value - half), min(most, value + half)
    return f"{nearest(value, digits)} ({nearest(lower, digits)} to {nearest(upper, digits)})"


def mean(values: Sequence[float], digits: int = 3, *, most: float = 1.0) -> str:
    """The mean over repetitions, with Student's 95 % interval within [0, most] if several."""
    average = float(np.mean(values))
    if len(values) < 2:
        return nearest(average, digits)
    return with_half_width(average, student_half_width(np.array(values)), digits, most=most)


def epsilon(value: float | None) -> str:
    """Return "1", or the sign of infinity for no noise."""
    return "∞" if value is None else f"{value:g}"


def power_of_ten(value: float) -> str:
    """Spell 1e-5 as it is set in print."""
    return "10" + str(round(math.log10(value))).translate(_SUPERSCRIPT)


def tiny(value: float) -> str:
    """The power of ten that is not passed: "10⁻⁸" for 3e-9."""
    return "0" if value == 0 else "10" + str(math.ceil(math.log10(value))).translate(_SUPERSCRIPT)
