"""Many different gridded releases composed at once: the product of their transforms.

dp-accounting composes a release with itself; ten thousand different ones it would convolve one by
one. Here each row's transform is multiplied into one product, of which soon only the low
frequencies are left: no transform of masses that sum to at most 1 exceeds 1, so a frequency at
which the product has vanished stays vanished and needs no more work.

The window of the result is Chernoff's: all but ``cut`` of the mass lies in it; what lies outside
wraps around into it.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft

from privacy.accounting.grids import Grid

__all__ = ["Weighted", "convolve"]

Weighted = tuple[Grid, NDArray[np.int64]]  # rows, and how many releases each of them stands for
_VANISHED = 1e-30
_ORDERS = 24


def convolve(
    pieces: Sequence[Weighted], *, cut: float, largest: int
) -> tuple[int, NDArray[np.float64]] | None:
    """Return the first loss (in steps) and the masses of the sum of all losses.

    Args:
      pieces: Rows of masses on one grid, each with its count.
      cut: Mass that may lie outside of the window, and then lies anywhere in it.
      largest: Most points of the result.

    Returns:
      None where the result would be larger.
    """
    first = sum(grid.first * int(counts.sum()) for grid, counts in pieces)
    low, high = _window(pieces, cut)
    widest = max(grid.masses.shape[1] for grid, _ in pieces)
    if high - low + 1 > largest:
        return None
    size = next_fast_len(max(high - low + 1, widest, 2), real=True)
    alive = np.arange(size // 2 + 1)
    product = np.ones(len(alive), dtype=np.complex128)
    waves: NDArray[np.complex128] | None = None
    for grid, counts in reversed(pieces):
        masses = grid.masses
        if waves is None:
            rows = rfft(masses, size, axis=1)[:, alive]
        else:
            few = waves[: masses.shape[1]]
            rows = masses @ few.real + 1j * (masses @ few.imag)
        if (counts > 1).any():
            rows = rows ** counts[:, None]
        product *= rows.prod(axis=0)
        kept = np.abs(product) > _VANISHED
        if 2 * kept.sum() < len(alive):
            alive, product = alive[kept], product[kept]
            if 64 * len(alive) < size:
                waves = np.exp(np.outer(np.arange(widest), alive) * (-2j * math.pi / size))
    spectrum = np.zeros(size // 2 + 1, dtype=np.complex128)
    spectrum[alive] = product
    masses = np.roll(irfft(spectrum, size), -low)[: high - low + 1]
    return first + low, masses


def _window(pieces: Sequence[Weighted], cut: float) -> tuple[int, int]:
    """Return the ends (in steps above all first losses) that hold all but ``cut`` of the mass."""
    longest = sum((grid.masses.shape[1] - 1) * int(counts.sum()) for grid, counts in pieces)
    widest = max(grid.masses.shape[1] for grid, _ in pieces)
    ends = []
    for sign in (1.0, -1.0):
        orders = sign * np.geomspace(1e-5, 40.0, _ORDERS) / widest
        logs = np.zeros(_ORDERS)
        for grid, counts in pieces:
            # The mean of logarithms is at most the logarithm of the mean.
            mean = counts @ grid.masses / counts.sum()
            moments = mean @ np.exp(np.outer(np.arange(len(mean)), orders))
            logs += counts.sum() * np.log(np.maximum(moments, 1e-300))
        ends.append((logs + math.log(2 / cut)) / orders)
    high = min(longest, math.ceil(ends[0].min()))
    return max(0, math.floor(ends[1].max())), high
