"""Inversion is exact: its enclosures, its decisions, its law, and OpenDP's law beside it.

The other road is mpmath at 400 bits, which sums the masses one by one.
"""

import os

import mpmath as mp
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from privacy.mechanisms import OperatingSystem
from privacy.mechanisms.inversion import discrete_gaussian_by_inversion, enclosures
from privacy.mechanisms.noise import _opendp_gaussian
from privacy.testing.plugin import FalseAlarms
from tests.privacy.mechanisms.laws import discrete_gaussian_masses, p_value

PRECISION = mp.workprec(400)


@PRECISION
def cumulative(std: float, count: int) -> list[mp.mpf]:
    """P(|X| <= m) for m below ``count``."""
    reach = count + int(60 * std) + 3
    masses = [mp.exp(-(mp.mpf(k) ** 2) / (2 * mp.mpf(std) ** 2)) for k in range(reach)]
    masses = [masses[0], *(2 * mass for mass in masses[1:])]
    total, sums = mp.fsum(masses), [masses[0]]
    for mass in masses[1:count]:
        sums.append(sums[-1] + mass)
    return [value / total for value in sums]


@PRECISION
def enclosed(std: float, truth: list[mp.mpf], bits: int) -> bool:
    pairs = zip(*enclosures(std, bits), truth, strict=False)
    return all(low <= value * 2**bits <= high for low, high, value in pairs)


@pytest.mark.parametrize("bits", [1, 63, 127])
@pytest.mark.parametrize("std", [5e-324, 0.05, 1 / 3, 1.0, 10.5, 47.1])
def test_enclosures_hold_the_exact_probabilities(std: float, bits: int) -> None:
    lower, upper = enclosures(std, bits)
    truth = cumulative(std, len(lower))
    assert enclosed(std, truth, bits)  # at 127: no rounding to decimal's default digits
    assert max(high - low for low, high in zip(lower, upper, strict=True)) <= 2
    assert lower == sorted(lower) and upper == sorted(upper)
    with PRECISION:
        assert (1 - truth[-1]) * 2**bits < 2**-7


def test_enclosures_of_another_parameter_do_not_hold() -> None:
    truth = cumulative(10.5, len(enclosures(10.5, 63)[0]))
    for wrong in (10.5 * 2 / 3, 10.5 * 3 / 2, float(np.nextafter(10.5, 11))):
        assert not enclosed(wrong, truth, 63)


@pytest.mark.parametrize("bits", [1, 9])
def test_each_draw_is_the_number_of_probabilities_below_its_uniform(bits: int) -> None:
    std, more = 3.7, 0x9E3779B97F4A7C15
    asked = 0

    def fresh() -> int:
        nonlocal asked
        asked += 1
        return more

    prefixes = np.arange(2**bits, dtype=np.uint64)
    words = prefixes << np.uint64(64 - bits) | np.uint64(1)
    draws = discrete_gaussian_by_inversion(std, words, fresh, bits=bits)
    truth = cumulative(std, 60)
    with PRECISION:
        for prefix, draw in zip(prefixes.tolist(), draws.tolist(), strict=True):
            uniform = mp.mpf(prefix * 2**64 + more) / 2 ** (bits + 64)
            assert -draw == sum(value <= uniform for value in truth)
    assert 0 < asked <= min(2**bits, 60)  # a cell with a boundary in it, and no other
    even = discrete_gaussian_by_inversion(std, words ^ np.uint64(1), fresh, bits=bits)
    assert (even == -draws).all()


def os_word() -> int:
    return int.from_bytes(os.urandom(8), "little")


def os_words(count: int) -> NDArray[np.uint64]:
    return np.frombuffer(os.urandom(8 * count), dtype=np.uint64)


@pytest.mark.parametrize(("bits", "count"), [(2, 800), (6, 4_000), (63, 200_000)])
def test_the_law_is_the_same_however_many_bits_are_looked_at_first(
    bits: int, count: int, false_alarms: FalseAlarms
) -> None:
    level = false_alarms.share()
    draws = discrete_gaussian_by_inversion(4.2, os_words(count), os_word, bits=bits)
    assert draws.dtype == np.int64
    assert p_value(draws, *discrete_gaussian_masses(4.2, 60)) > level
    for wrong in (4.2 * 2 / 3, 4.2 * 3 / 2):
        assert p_value(draws, *discrete_gaussian_masses(wrong, 60)) < level


def test_the_law_is_opendp_s(false_alarms: FalseAlarms) -> None:
    level = false_alarms.share()
    count = 20_000

    def same(ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> float:
        cells = np.arange(-9, 11)
        table = [np.histogram(np.clip(x, -9, 9), cells)[0] for x in (ours, theirs)]
        return float(stats.chi2_contingency(np.array(table)).pvalue)

    def opendp(std: float) -> NDArray[np.int64]:
        return np.array(_opendp_gaussian("i64", std)([0] * count))

    ours = OperatingSystem().discrete_gaussian(4.2, count)
    assert same(ours, opendp(4.2)) > level
    for wrong in (4.2 * 2 / 3, 4.2 * 3 / 2):
        assert same(ours, opendp(wrong)) < level


def test_a_draw_depends_on_its_own_word() -> None:
    words = os_words(500)
    order = np.random.default_rng(0).permutation(500)
    draws = discrete_gaussian_by_inversion(10.5, words, os_word)
    assert (discrete_gaussian_by_inversion(10.5, words[order], os_word) == draws[order]).all()
