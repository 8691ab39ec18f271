"""Epsilons as a reader meets them: rounded against us, never towards a better claim.

>>> up(0.99812), up(12.3456), down(0.99819)
('0.9982', '12.35', '0.9981')
"""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

__all__ = ["down", "up"]

_DIGITS = 4


def up(value: float) -> str:
    """Four significant digits, rounded up."""
    return _rounded(value, ROUND_CEILING)


def down(value: float) -> str:
    """Four significant digits, rounded down."""
    return _rounded(value, ROUND_FLOOR)


def _rounded(value: float, how: str) -> str:
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    exact = Context(prec=_DIGITS, rounding=how).create_decimal(Decimal(repr(value)))
    return f"{exact:f}".rstrip("0").rstrip(".") if "." in f"{exact:f}" else f"{exact:f}"
