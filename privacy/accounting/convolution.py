r"""Gridded releases composed by their transforms: many different ones, or the same ones many times.

Each row's masses are tilted (``tilt``), its transform is multiplied into one product, of which soon
only the low frequencies are left: no transform of masses that sum to at most 1 exceeds 1, so a
frequency at which the product has vanished stays vanished and needs no more work. The product's
powers are further rounds.

A result's window is Chernoff's: all but ``_OUTSIDE`` of the tilted mass lies in it; what lies
outside wraps around into it.

**What floating point changes.** Write u for the unit roundoff and N for the transform's size. A
value of a transform is a sum of masses, each multiplied by at most :math:`\log_2 N` rounded factors
and added as often: it is wrong by at most :math:`\eta = 8u(\log_2 N + 2)` times their sum, which is
1. (Radix 2 to 11: five roundings a bit at most, Higham 2002, Section 24.1, for each output rather
than their norm; a plain sum of m products has m u more.) So with :math:`a_i = |\hat Q_i| + \eta`
at a frequency, the product over n_i releases each is wrong by at most

.. math:: E = \eta \prod_i a_i^{n_i} \Bigl(1 + \sum_i \frac{n_i}{a_i}\Bigr) \times 2,

the 1 for the transform back, the 2 for the power and the products, whose own roundings are fewer
than :math:`\eta` has. Back again each mass is wrong by at most the mean of E over the frequencies.
That mean is computed, and is the ``error`` of ``losses.Losses``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft

from privacy.accounting.cost import LARGEST_GRID, LARGEST_STACK, TooDearError, WorkBudget, transform
from privacy.accounting.grids import Grid
from privacy.accounting.losses import Losses

__all__ = ["Convolution", "Weighted", "convolution", "log_moment"]

Floats = NDArray[np.float64]
Weighted = tuple[Grid, NDArray[np.int64]]  # rows, and how many releases each of them stands for

_UNIT = 2.0**-53
_VANISHED = 1e-40
_OUTSIDE = 1e-11  # of the tilted mass
_ORDERS = 24
_POWER = 100.0  # the price of one complex power
_PROFILE = 1e-12  # relative error of one release's delta: its formula's, and the grid's
_NOTHING = 1e-300  # what a delta may be that is 0 as a float
_PLACE = 1e-11  # relative error of the loss that it belongs to
_ALL = 1 - 2.0**-53  # below 1, so that its rest has a logarithm


@dataclass(frozen=True)
class Convolution:
    """The transform of one round, whose powers are rounds.

    Attributes:
      first: The round's lowest loss, in steps.
      step: The grid's step.
      longest: Its highest loss above the lowest, in steps.
      size: Points of the transform.
      alive: The frequencies of the first ``size // 2 + 1`` that have not vanished.
      product: The transform at these.
      bound: At these, what the transform is at most (the product of the module's a).
      shares: At these, the sum of n / a.
      orders: Orders of the round's tilted moments.
      logs: Logarithms of the round's tilted moments, or more.
      tilt: theta.
      log_scale: Logarithm of the round's moment at theta.
      log_finite: Logarithm of the chance that no loss of a round is infinite.
      shift: What is to be added to a round's loss, in units of loss.
      count: Releases of a round.
      error: eta, the largest of all rows.
    """

    first: int
    step: float
    longest: int
    size: int
    alive: NDArray[np.int64]
    product: NDArray[np.complex128]
    bound: Floats
    shares: Floats
    orders: Floats
    logs: Floats
    tilt: float
    log_scale: float
    log_finite: float
    shift: float
    count: int
    error: float

    def rounds(self, n: int) -> Losses:
        """Return the loss after ``n`` rounds."""
        low, high = _window(self.orders, n * self.logs, n * self.longest)
        spectrum = np.zeros(self.size // 2 + 1, dtype=np.complex128)
        grown = self.bound**n
        some = grown > _VANISHED
        product = self.product[some] if n == 1 else _power(self.product[some], n)
        spectrum[self.alive[some]] = product
        # Each frequency but the first stands for two; the vanished ones are wrong by what they had.
        wrong = 4 * self.error * float(grown[some] @ (1 + n * self.shares[some]))
        wrong += self.size * n * self.count * _VANISHED
        masses = np.roll(irfft(spectrum, self.size), -low)[: high - low + 1]
        first = n * self.first + low
        scale = n * self.log_scale
        farthest = max(abs(first), abs(first + len(masses))) * self.step
        rounded = _PLACE * self.tilt * farthest + 4 * _UNIT * (abs(scale) + 700)
        rounded += n * self.count * (_PROFILE + 4 * _UNIT * 700)
        rounded += 4 * _UNIT * n * self.longest * self.step * self.tilt
        return Losses(
            first=first,
            step=self.step,
            shift=n * self.shift,
            masses=np.maximum(masses, 0.0),
            tilt=self.tilt,
            log_scale=scale,
            infinite=-math.expm1(n * self.log_finite) * (1 + _PROFILE) + n * self.count * _NOTHING,
            outside=_OUTSIDE,
            error=wrong / self.size,
            rounding=rounded,
        )


def convolution(
    pieces: Sequence[Weighted], *, step: float, tilt: float, budget: WorkBudget, most: int = 1
) -> Convolution:
    """Transform one round of releases, on a circle that holds up to ``most`` rounds.

    Args:
      pieces: Rows of masses on one grid, each with its count in a round.
      step: The grid's step.
      tilt: theta, at least 0.
      budget: What the work is paid from.
      most: Rounds that will be asked for.

    Raises:
      TooDearError: The transform would be too large, or its work more than the budget.
    """
    budget.spend(sum(g.masses.size * 80.0 + 60.0 * _ORDERS * g.masses.shape[1] for g, _ in pieces))
    tilted, log_scale = [], 0.0
    for grid, counts in pieces:
        masses, logs = _tilted(grid, tilt * step)
        tilted.append((Grid(grid.places, masses, grid.infinite, grid.shift), counts))
        log_scale += float(counts @ logs)
    longest = sum(grid.length * int(counts.sum()) for grid, counts in pieces)
    widest = max(grid.length for grid, _ in pieces) + 1
    orders = np.geomspace(1e-5, 40.0, _ORDERS) / widest
    orders = np.concatenate([orders, -orders])
    logs = _log_moments(tilted, orders)
    low, high = _window(orders, most * logs, most * longest)
    size = next_fast_len(max(high - low + 1, widest, 2), real=True)
    if size > LARGEST_GRID:
        raise TooDearError
    alive, product, bound, shares, error = _product(tilted, size, widest, budget)
    return Convolution(
        first=sum(int(grid.places[0]) * int(counts.sum()) for grid, counts in pieces),
        step=step,
        longest=longest,
        size=size,
        alive=alive,
        product=product,
        bound=bound,
        shares=shares,
        orders=orders,
        logs=logs,
        tilt=tilt,
        log_scale=log_scale,
        log_finite=_log_finite(pieces),
        shift=sum(float(counts @ grid.shift) for grid, counts in pieces),
        count=sum(int(counts.sum()) for _, counts in pieces),
        error=error,
    )


def log_moment(pieces: Sequence[Weighted], *, step: float, tilt: float) -> float:
    """Return the logarithm of the moment of a round's losses at ``tilt``."""
    return sum(float(counts @ _tilted(grid, tilt * step)[1]) for grid, counts in pieces)


def _error(size: int) -> float:
    """Return eta of the module docstring."""
    return 8 * _UNIT * (math.log2(size) + 2)


def _tilted(grid: Grid, rate: float) -> tuple[Floats, Floats]:
    """Return each row's tilted masses, and the logarithm of what they summed to."""
    with np.errstate(divide="ignore"):
        exponents = np.log(grid.masses) + rate * grid.places
    highest = exponents.max(axis=1, keepdims=True)
    if not np.isfinite(highest).all():
        raise TooDearError  # all of its losses are infinite
    masses = np.exp(exponents - highest)
    sums = masses.sum(axis=1, keepdims=True)
    return masses / sums, (highest + np.log(sums))[:, 0]


def _product(
    pieces: Sequence[Weighted], size: int, widest: int, budget: WorkBudget
) -> tuple[NDArray[np.int64], NDArray[np.complex128], Floats, Floats, float]:
    alive = np.arange(size // 2 + 1)
    product = np.ones(len(alive), dtype=np.complex128)
    bound, shares = np.ones(len(alive)), np.zeros(len(alive))
    waves: NDArray[np.complex128] | None = None
    error = _error(size)
    for remaining, (grid, counts) in reversed(list(enumerate(pieces))):
        columns = grid.places - grid.places[0]
        # As many rows at a time as fit into memory.
        many = max(1, LARGEST_STACK // (size if waves is None else len(alive)))
        each = transform(size) / 2 if waves is None else 2.0 * len(columns) * len(alive)
        budget.spend(len(counts) * (each + _POWER * len(alive)))
        few = None if waves is None else waves[columns]
        wrong = _error(size) + (0.0 if waves is None else _UNIT * len(columns))
        error = max(error, wrong)
        for at in range(0, len(counts), many):
            masses, n = grid.masses[at : at + many], counts[at : at + many, None]
            if few is None:
                dense = np.zeros((len(n), grid.length + 1))
                dense[:, columns] = masses
                rows = rfft(dense, size, axis=1)[:, alive]
            else:
                rows = masses @ few.real + 1j * (masses @ few.imag)
            sizes = np.abs(rows) + wrong
            shares += (n / sizes).sum(axis=0)
            if (n > 1).any():
                sizes = sizes**n
                kept = (sizes > _VANISHED).any(axis=0)
                rows[:, kept] = _power(rows[:, kept], n)
                rows[:, ~kept] = 0.0
            bound *= sizes.prod(axis=0)
            product *= rows.prod(axis=0)
        kept = bound > _VANISHED
        if 2 * kept.sum() < len(alive):
            alive, product, bound, shares = alive[kept], product[kept], bound[kept], shares[kept]
            if remaining and 64 * len(alive) < size and widest * len(alive) <= LARGEST_STACK:
                waves = np.exp(np.outer(np.arange(widest), alive) % size * (-2j * math.pi / size))
    return alive, product, bound, shares, error


def _power(values: NDArray[np.complex128], n: int | NDArray[np.int64]) -> NDArray[np.complex128]:
    """Return whole powers, by size and angle: of these each rounds once, times n at most."""
    sizes, angles = np.abs(values) ** n, np.angle(values) * n
    return np.asarray(sizes * (np.cos(angles) + 1j * np.sin(angles)))


def _log_finite(pieces: Sequence[Weighted]) -> float:
    """Return the logarithm of the chance that no loss is infinite."""
    return sum(float(n @ np.log1p(-np.minimum(g.infinite, _ALL))) for g, n in pieces)


def _log_moments(pieces: Sequence[Weighted], orders: Floats) -> Floats:
    """Return log E exp(order x loss above the lowest), or more, of all releases together."""
    logs = np.zeros(len(orders))
    for grid, counts in pieces:
        # The mean of logarithms is at most the logarithm of the mean.
        mean = counts @ grid.masses / counts.sum()
        moments = mean @ np.exp(np.outer(grid.places - grid.places[0], orders))
        logs += counts.sum() * np.log(np.maximum(moments, 1e-300))
    return logs


def _window(orders: Floats, logs: Floats, longest: int) -> tuple[int, int]:
    """Return the ends (in steps above the lowest loss) that hold all but ``_OUTSIDE``."""
    ends = (logs + math.log(2 / _OUTSIDE)) / orders
    high = min(longest, math.ceil(ends[orders > 0].min()))
    return max(0, math.floor(ends[orders < 0].max())), high
