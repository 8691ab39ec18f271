r"""The discrete Gaussian by inversion: exact, and about ten million draws a second.

Let :math:`C(m) = P(|X| \le m)` and let :math:`U` be uniform on [0, 1). Then
:math:`\#\{m : C(m) \le U\}` has exactly the law of :math:`|X|`, and a fair bit gives the sign. Of
:math:`U` only the first 63 bits are drawn, and of every :math:`C(m)` two integers are known that
enclose :math:`2^{63} C(m)`, worked out in whole numbers with every rounding outwards. They decide
all draws but those whose cell of width :math:`2^{-63}` holds some :math:`C(m)`. Such a draw takes
64 more bits of the same :math:`U`, and tighter enclosures, until it is decided. So no draw is ever
rounded: the law is the discrete Gaussian's, with its infinite tails, and no distance from it has to
be accounted for.

The idea of drawing the bits of a uniform only as far as a comparison needs them is Knuth and Yao's
(1976); for normal laws see Karney 2016, "Sampling exactly from the normal distribution".
"""

from bisect import bisect_right
from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from functools import lru_cache

import numpy as np
from jaxtyping import Int, UInt64
from numpy.typing import NDArray

__all__ = ["WIDEST", "discrete_gaussian_by_inversion", "enclosures"]

WIDEST = 2.0**11  # the table has ten entries a unit of std: 20,000, made in a tenth of a second
_BITS = 63  # of the uniform; the word's last bit is the sign
_GUARD = 96  # bits of the fixed point beyond: what 20,000 roundings spoil stays far below one unit


def discrete_gaussian_by_inversion(
    std: float,
    words: UInt64[np.ndarray, "size"],
    fresh: Callable[[], int],
    *,
    bits: int = _BITS,
) -> Int[np.ndarray, "size"]:
    """Turn uniform words into draws with mass proportional to exp(-x^2 / (2 std^2)).

    Guarantees (each is a test in ``tests/privacy/mechanisms/test_inversion.py``):
      - if the words and ``fresh`` are uniform and independent, the draws have exactly the law of
        the discrete Gaussian whose parameter is the float ``std`` taken as a rational number;
      - a draw is a function of its word alone, unless the word does not decide it.

    Args:
      std: Above 0 and at most ``WIDEST``, in integer steps.
      words: 64 uniform bits a draw.
      fresh: Gives 64 more uniform bits.
      bits: Of a word that are looked at before ``fresh`` is asked, from 1 to 63.
    """
    lower, upper = _table(std, bits)
    uniforms = words >> np.uint64(64 - bits)
    magnitudes = np.searchsorted(upper, uniforms, side="right")
    # Beyond the table's end the uniform passes its last bounds: not decided.
    decided = lower[np.minimum(magnitudes, len(lower) - 1)] > uniforms
    for i in np.flatnonzero(~decided):
        magnitudes[i] = _decide(std, int(uniforms[i]), bits, fresh)
    return np.where(words & np.uint64(1), -magnitudes, magnitudes).astype(np.int64, copy=False)


def enclosures(std: float, bits: int) -> tuple[list[int], list[int]]:
    r"""Return whole numbers ``lower[m] <= 2^bits C(m) <= upper[m]`` for m = 0, 1, ...

    They end where the rest of the mass is below :math:`2^{-bits - 8}`. With
    :math:`\rho_k = e^{-k^2 / (2 \sigma^2)}` and :math:`q = \rho_1`, they use
    :math:`\rho_{k+1} = \rho_k g_k`, :math:`g_{k+1} = g_k q^2`, :math:`g_0 = q`, and for the rest
    :math:`\sum_{j > k} \rho_j \le \rho_{k+1} / (1 - g_{k+1})`, as the ratios :math:`g` fall. All in
    fixed point, once rounded down and once up.
    """
    point = bits + _GUARD
    one = 1 << point
    q_low, q_high = _exp_enclosure(std, point)
    square_low, square_high = _down(q_low, q_low, point), _up(q_high, q_high, point)
    g_low, g_high = q_low, q_high  # g_k
    rho_low, rho_high = q_low, q_high  # rho_{k + 1}
    mass_low, mass_high = [one], [one]  # P(|X| <= k) times the normaliser
    while True:
        g_low, g_high = _down(g_low, square_low, point), _up(g_high, square_high, point)
        rest = -(-(rho_high << point) // (one - g_high)) if g_high < one else one
        if rest < 1 << (point - bits - 10):
            break
        mass_low.append(mass_low[-1] + 2 * rho_low)
        mass_high.append(mass_high[-1] + 2 * rho_high)
        rho_low, rho_high = _down(rho_low, g_low, point), _up(rho_high, g_high, point)
    norm_low, norm_high = mass_low[-1], mass_high[-1] + 2 * rest
    lower = [(mass << bits) // norm_high for mass in mass_low]
    upper = [-(-(mass << bits) // norm_low) for mass in mass_high]
    return lower, upper


@lru_cache(maxsize=32)
def _table(std: float, bits: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    lower, upper = (np.array(bounds, dtype=np.uint64) for bounds in enclosures(std, bits))
    lower.flags.writeable = upper.flags.writeable = False
    return lower, upper


def _decide(std: float, uniform: int, bits: int, fresh: Callable[[], int]) -> int:
    """Lengthen a uniform until the enclosures decide it; each 64 bits fail once in 2^55."""
    while True:
        uniform, bits = uniform << 64 | fresh(), bits + 64
        lower, upper = enclosures(std, bits)
        magnitude = bisect_right(upper, uniform)
        if magnitude < len(lower) and lower[magnitude] > uniform:
            return magnitude


def _exp_enclosure(std: float, point: int) -> tuple[int, int]:
    """Enclose 2^point exp(-1 / (2 std^2)); ``Decimal.exp`` is correctly rounded, by contract."""
    digits = point // 3 + 20  # more than point * log10(2): a few units in their last place are free
    down = Context(prec=digits, rounding=ROUND_FLOOR)
    up = Context(prec=digits, rounding=ROUND_CEILING)
    exact = Decimal(std)
    square_low, square_high = (c.multiply(2, c.multiply(exact, exact)) for c in (down, up))
    # copy_negate: a bare minus would round to the thread's own context.
    low = down.next_minus(down.exp(up.divide(1, square_low).copy_negate()))
    high = up.next_plus(up.exp(down.divide(1, square_high).copy_negate()))
    scale = 2**point
    return max(0, int(down.multiply(low, scale))), int(up.multiply(high, scale)) + 1


def _down(a: int, b: int, point: int) -> int:
    return a * b >> point


def _up(a: int, b: int, point: int) -> int:
    return -(-a * b >> point)
