"""Fractions, deltas and the mu of a guarantee, as a reader meets them: bounds are rounded up.

>>> percent(0.15541), percent_up(0.15541), power(1e-5)
('15.5 %', '15.6 %', '1e-5')
"""

import math

__all__ = ["gaussian_mu", "percent", "percent_up", "power"]


def percent(value: float) -> str:
    """A fraction as a percentage with one decimal."""
    return f"{100 * value:.1f} %"


def percent_up(value: float) -> str:
    """A fraction as a percentage with one decimal, rounded up."""
    return f"{math.ceil(1000 * value * (1 - 1e-12)) / 10:.1f} %"


def power(value: float) -> str:
    """A small number such as a delta: ``1e-5``."""
    if value in (0, 1):
        return f"{value:.0f}"
    mantissa, exponent = f"{value:.2e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(exponent)}"


def gaussian_mu(epsilon: float, delta: float) -> float:
    """The mu of the Gaussian mechanism that has exactly this (epsilon, delta).

    Dong, Roth, Su (2022), Gaussian Differential Privacy, Corollary 2.13; solved by bisection.
    """

    def gap(mu: float) -> float:
        tail = math.erfc((epsilon / mu - mu / 2) / math.sqrt(2)) / 2
        far = _scaled_tail(epsilon / mu + mu / 2) * math.exp(
            epsilon - (epsilon / mu + mu / 2) ** 2 / 2
        )
        return tail - far - delta

    low, high = 1e-9, 1.0
    while gap(high) < 0:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if gap(middle) < 0 else (low, middle)
    return high


def _scaled_tail(x: float) -> float:
    """exp(x^2 / 2) P[N(0, 1) > x], for x > 0, without underflow."""
    if x < 20:
        return math.erfc(x / math.sqrt(2)) / 2 * math.exp(x * x / 2)
    return (1 - 1 / x**2 + 3 / x**4) / (x * math.sqrt(2 * math.pi))
