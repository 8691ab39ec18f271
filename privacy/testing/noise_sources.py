"""Whether a noise source draws what it says: the half that ``check_mechanism`` takes for granted.

Every test here is exact (binomial counts, Kolmogorov and Smirnov's law, chi-squared for normal
squares), and each takes an equal part of one level: a source whose laws are right is flagged with
at most the chance that is asked for, whatever it draws. With the defaults, noise that is 7 % too
small or too large, samples that are 7 % off, 32-bit floats, draws that repeat and draws that follow
each other are seen; a smaller bias, or one in tails rarer than one in a thousand, is not.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from privacy._validate import natural, unit_open
from privacy.mechanisms.noise import NoiseSource
from privacy.testing.mechanism import BrokenPromise

__all__ = ["check_source"]

_STD, _WHOLE_STD, _VARIANCE = 2.5, 3.7, 13.7
_PROBS = (0.05, 0.5)
_CELLS = (0.5, 1.0, 2.0, 3.0)  # where laws are compared, in standard deviations


def check_source(
    source: NoiseSource, *, draws: int = 20_000, false_alarms: float = 1e-6
) -> list[BrokenPromise]:
    """Return the laws that a source does not follow, one finding a kind of draw at most.

    Args:
      source: Asked for ``draws`` numbers of each kind, twice.
      draws: At least 1,000.
      false_alarms: The chance that a source whose laws are right is flagged.

    Raises:
      InvalidInputError: ``draws`` is below 1,000, or ``false_alarms`` not in (0, 1).
    """
    natural(draws=draws, least=1_000)
    unit_open(false_alarms=false_alarms)
    tests = list(_tests(source, draws))
    findings: dict[str, BrokenPromise] = {}
    for kind, seen, p_value in tests:
        if not p_value > false_alarms / len(tests):  # NaN is no pass
            findings.setdefault(kind, BrokenPromise(kind, f"{seen} (p = {p_value:.2g})."))
    return list(findings.values())


_Tests = Iterator[tuple[str, str, float]]


def _tests(source: NoiseSource, draws: int) -> _Tests:
    kind = "gaussian"
    first, second = (source.gaussian(_STD, draws) for _ in range(2))
    yield kind, "not of the normal law", float(stats.kstest(first / _STD, "norm").pvalue)
    square = float((first / _STD) @ (first / _STD))
    yield kind, f"variance {square / draws:.3f} times as large", _two_sided(square, draws)
    narrow = (first == first.astype(np.float32)).mean()
    yield kind, f"{narrow:.0%} of the draws are 32-bit floats", float(narrow < 0.01)
    yield from _independent(kind, first, second)

    kind = "discrete_gaussian"
    x = np.arange(-60, 61)
    masses = np.exp(-((x / _WHOLE_STD) ** 2) / 2)
    first, second = (source.discrete_gaussian(_WHOLE_STD, draws) for _ in range(2))
    yield from _masses(kind, first, x, masses / masses.sum(), _WHOLE_STD)
    yield from _independent(kind, first, second)

    kind = "skellam"
    first, second = (source.skellam(_VARIANCE, draws) for _ in range(2))
    skellam = stats.skellam.pmf(x, _VARIANCE / 2, _VARIANCE / 2)
    yield from _masses(kind, first, x, skellam, _VARIANCE**0.5)
    yield from _independent(kind, first, second)

    kind = "poisson_sample"
    for prob in _PROBS:
        taken, again = (source.poisson_sample(prob, 2 * draws) for _ in range(2))
        yield kind, f"{taken.mean():.4f} taken, not {prob}", _binomial(taken, prob)
        pairs = taken[::2] & taken[1::2]
        yield kind, f"{pairs.mean():.4f} neighbours taken, not {prob**2}", _binomial(pairs, prob**2)
        both = taken & again
        yield kind, f"{both.mean():.4f} taken twice, not {prob**2}", _binomial(both, prob**2)


def _masses(
    kind: str,
    drawn: NDArray[np.int64],
    x: NDArray[np.int64],
    masses: NDArray[np.float64],
    std: float,
) -> _Tests:
    for cell in _CELLS:
        inside = masses[np.abs(x) <= cell * std].sum()
        within = np.abs(drawn) <= cell * std
        seen = f"{within.mean():.4f} within {cell:g} standard deviations, not {inside:.4f}"
        yield kind, seen, _binomial(within, float(min(inside, 1.0)))
    even = masses[x % 2 == 0].sum()
    yield kind, f"{(drawn % 2 == 0).mean():.4f} even", _binomial(drawn % 2 == 0, float(even))


def _independent(kind: str, first: NDArray[np.number], second: NDArray[np.number]) -> _Tests:
    """Signs of symmetric draws are fair coins, and so are products of two of them."""
    for drawn in (first, second):
        sign = np.sign(drawn[drawn != 0])
        yield kind, f"{(sign > 0).mean():.4f} positive", _binomial(sign > 0, 0.5)
        same = sign[1:] == sign[:-1]
        yield kind, f"{same.mean():.4f} follow one of their own sign", _binomial(same, 0.5)
    other = first * second != 0
    same = np.sign(first[other]) == np.sign(second[other])
    yield kind, f"{same.mean():.4f} have the sign of the draws before", _binomial(same, 0.5)


def _binomial(hits: NDArray[np.bool_], prob: float) -> float:
    return float(stats.binomtest(int(hits.sum()), len(hits), prob).pvalue)


def _two_sided(square: float, draws: int) -> float:
    below = float(stats.chi2.cdf(square, draws))
    return 2 * min(below, float(stats.chi2.sf(square, draws)))
