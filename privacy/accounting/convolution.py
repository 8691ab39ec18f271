"""Gridded releases composed by their transforms: many different ones, or the same ones many times.

dp-accounting composes one release with itself, once; ten thousand different ones it would convolve
one by one, and each count of rounds anew. Here each row's transform is multiplied into one product,
of which soon only the low frequencies are left: no transform of masses that sum to at most 1
exceeds 1, so a frequency at which the product has vanished stays vanished and needs no more work.
The product's powers are further rounds.

A result's window is Chernoff's: all but ``cut`` of the mass lies in it; what lies outside wraps
around into it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft

from privacy.accounting.cost import LARGEST_GRID, LARGEST_STACK, Budget, TooDearError, transform
from privacy.accounting.grids import Grid

__all__ = ["Convolution", "Weighted", "convolution"]

Weighted = tuple[Grid, NDArray[np.int64]]  # rows, and how many releases each of them stands for
_VANISHED = 1e-30
_ORDERS = 24
_POWER = 100.0  # the price of one complex power


@dataclass(frozen=True)
class Convolution:
    """The transform of one round, whose powers are rounds.

    Attributes:
      first: The round's lowest loss, in steps.
      longest: Its highest loss above the lowest.
      size: Points of the transform.
      spectrum: The transform, its first ``size // 2 + 1`` frequencies.
      orders: Orders of the round's moments.
      logs: Logarithms of the round's moments, or more.
      cut: Mass that may lie outside of a window.
    """

    first: int
    longest: int
    size: int
    spectrum: NDArray[np.complex128]
    orders: NDArray[np.float64]
    logs: NDArray[np.float64]
    cut: float

    def rounds(self, n: int) -> tuple[int, NDArray[np.float64]]:
        """Return the lowest loss (in steps) after ``n`` rounds, and the masses from there."""
        low, high = _window(self.orders, n * self.logs, n * self.longest, self.cut)
        masses = np.roll(irfft(self.spectrum**n, self.size), -low)[: high - low + 1]
        return n * self.first + low, masses


def convolution(
    pieces: Sequence[Weighted], *, cut: float, budget: Budget, most: int = 1
) -> Convolution:
    """Transform one round of releases, on a circle that holds up to ``most`` rounds.

    Args:
      pieces: Rows of masses on one grid, each with its count in a round.
      cut: Mass that may lie outside of a window, and then lies anywhere in it.
      budget: What the work is paid from.
      most: Rounds that will be asked for.

    Raises:
      TooDearError: The transform would be too large, or its work more than the budget.
    """
    longest = sum(grid.length * int(counts.sum()) for grid, counts in pieces)
    widest = max(grid.length for grid, _ in pieces) + 1
    orders = np.geomspace(1e-5, 40.0, _ORDERS) / widest
    orders = np.concatenate([orders, -orders])
    budget.spend(sum(g.masses.size + 60.0 * _ORDERS * g.masses.shape[1] for g, _ in pieces))
    logs = _log_moments(pieces, orders)
    low, high = _window(orders, most * logs, most * longest, cut)
    size = next_fast_len(max(high - low + 1, widest, 2), real=True)
    if size > LARGEST_GRID:
        raise TooDearError
    return Convolution(
        first=sum(int(grid.places[0]) * int(counts.sum()) for grid, counts in pieces),
        longest=longest,
        size=size,
        spectrum=_product(pieces, size, widest, budget),
        orders=orders,
        logs=logs,
        cut=cut,
    )


def _product(
    pieces: Sequence[Weighted], size: int, widest: int, budget: Budget
) -> NDArray[np.complex128]:
    alive = np.arange(size // 2 + 1)
    product = np.ones(len(alive), dtype=np.complex128)
    waves: NDArray[np.complex128] | None = None
    for grid, counts in reversed(pieces):
        columns = grid.places - grid.places[0]
        # As many rows at a time as fit into memory.
        many = max(1, LARGEST_STACK // (size if waves is None else len(alive)))
        each = transform(size) / 2 if waves is None else 2.0 * len(columns) * len(alive)
        budget.spend(len(counts) * (each + _POWER * len(alive)))
        few = None if waves is None else waves[columns]
        for at in range(0, len(counts), many):
            masses, n = grid.masses[at : at + many], counts[at : at + many]
            if few is None:
                dense = np.zeros((len(n), grid.length + 1))
                dense[:, columns] = masses
                rows = rfft(dense, size, axis=1)[:, alive]
            else:
                rows = masses @ few.real + 1j * (masses @ few.imag)
            if (n > 1).any():
                rows = rows ** n[:, None]
            product *= rows.prod(axis=0)
        kept = np.abs(product) > _VANISHED
        if 2 * kept.sum() < len(alive):
            alive, product = alive[kept], product[kept]
            if 64 * len(alive) < size and widest * len(alive) <= LARGEST_STACK:
                waves = np.exp(np.outer(np.arange(widest), alive) * (-2j * math.pi / size))
    spectrum = np.zeros(size // 2 + 1, dtype=np.complex128)
    spectrum[alive] = product
    return spectrum


def _log_moments(pieces: Sequence[Weighted], orders: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log E exp(order x loss above the lowest), or more, of all releases together."""
    logs = np.zeros(len(orders))
    for grid, counts in pieces:
        # The mean of logarithms is at most the logarithm of the mean.
        mean = counts @ grid.masses / counts.sum()
        moments = mean @ np.exp(np.outer(grid.places - grid.places[0], orders))
        logs += counts.sum() * np.log(np.maximum(moments, 1e-300))
    return logs


def _window(
    orders: NDArray[np.float64], logs: NDArray[np.float64], longest: int, cut: float
) -> tuple[int, int]:
    """Return the ends (in steps above the lowest loss) that hold all but ``cut`` of the mass."""
    ends = (logs + math.log(2 / cut)) / orders
    high = min(longest, math.ceil(ends[orders > 0].min()))
    return max(0, math.floor(ends[orders < 0].max())), high
