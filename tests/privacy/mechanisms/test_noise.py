"""Distributions are tested with controls: the right parameter must pass, its neighbours must fail.

The tests of ``OperatingSystem`` draw anew every time; each takes its level from the run's budget of
false alarms, and what is wrong must fail at that very level.
"""

import math
from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from privacy.errors import InvalidInputError
from privacy.mechanisms import NoiseSource, OperatingSystem, Seeded
from privacy.mechanisms.noise import _poisson_log_mass, _skellam, _transformed
from privacy.testing.plugin import FalseAlarms
from tests.privacy.mechanisms.laws import discrete_gaussian_masses, p_value

SOURCES = pytest.mark.parametrize("source", [OperatingSystem(), Seeded(5)], ids=["os", "seeded"])


@SOURCES
@pytest.mark.parametrize("std", [0.5, 1.0, 2.5, 7.3])
def test_discrete_gaussian_has_its_masses_and_no_others(
    source: NoiseSource, std: float, false_alarms: FalseAlarms
) -> None:
    level = false_alarms.share()
    draws = source.discrete_gaussian(std, 20_000)
    assert draws.dtype == np.int64
    reach = math.ceil(12 * std)
    assert p_value(draws, *discrete_gaussian_masses(std, reach)) > level
    for wrong in (std * 2 / 3, std * 3 / 2):
        assert p_value(draws, *discrete_gaussian_masses(wrong, reach)) < level


@SOURCES
@pytest.mark.parametrize("std", [2.0**11, 1e4, 1e7])  # by inversion up to 2^11
def test_wide_discrete_gaussian_follows_the_normal_law(
    source: NoiseSource, std: float, false_alarms: FalseAlarms
) -> None:
    level = false_alarms.share()
    draws = source.discrete_gaussian(std, 20_000)
    assert stats.kstest(draws / std, "norm").pvalue > level
    for wrong in (0.8, 1.2):
        assert stats.kstest(draws / std * wrong, "norm").pvalue < level
    assert len(np.unique(draws % 7)) == 7  # every residue: no coarse grid


@SOURCES
def test_gaussian_follows_the_normal_law(source: NoiseSource, false_alarms: FalseAlarms) -> None:
    level = false_alarms.share()
    draws = source.gaussian(2.5, 10_000)
    assert stats.kstest(draws / 2.5, "norm").pvalue > level
    for wrong in (0.8, 1.2):
        assert stats.kstest(draws / 2.5 * wrong, "norm").pvalue < level
    assert draws.dtype == np.float64


@SOURCES
@pytest.mark.parametrize("variance", [0.5, 6.0, 30.0, 400.0])
def test_skellam_has_its_masses_and_no_others(
    source: NoiseSource, variance: float, false_alarms: FalseAlarms
) -> None:
    level = false_alarms.share()
    draws = source.skellam(variance, 50_000)
    x = np.arange(-300, 301)

    def masses(v: float) -> NDArray[np.float64]:
        return np.asarray(stats.skellam.pmf(x, v / 2, v / 2), dtype=np.float64)

    assert p_value(draws, x, masses(variance)) > level
    for wrong in (variance * 0.8, variance * 1.25):
        assert p_value(draws, x, masses(wrong)) < level


@SOURCES
def test_wide_skellam_follows_the_normal_law(
    source: NoiseSource, false_alarms: FalseAlarms
) -> None:
    level = false_alarms.share()
    draws = source.skellam(1e14, 20_000)
    assert stats.kstest(draws / 1e7, "norm").pvalue > level
    assert stats.kstest(draws / 1e7 * 1.2, "norm").pvalue < level


@SOURCES
def test_poisson_sampling_is_independent_with_its_probability(
    source: NoiseSource, false_alarms: FalseAlarms
) -> None:
    n = 200_000
    for prob in (0.03, 0.5, 1 / 3):
        level = false_alarms.share()
        taken = source.poisson_sample(prob, n)
        assert taken.dtype == np.bool_
        assert stats.binomtest(int(taken.sum()), n, prob).pvalue > level
        assert stats.binomtest(int(taken.sum()), n, prob * 1.2).pvalue < level
        pairs = int((taken[1:] & taken[:-1]).sum())
        deviation = abs(pairs - n * prob**2) / math.sqrt(3 * n * prob**2)
        assert deviation < stats.norm.isf(false_alarms.share() / 2)
    assert source.poisson_sample(1.0, 1000).all()
    assert not source.poisson_sample(0.0, 1000).any()
    assert not source.poisson_sample(1e-30, 1000).any()


@pytest.mark.parametrize("prob", [0.3, 2.0**-70, 1 - 2.0**-53])
def test_a_sample_takes_exactly_the_words_below_its_probability(
    prob: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """128 bits a patient: the first word decides, and where it is equal the second one."""
    high, low = divmod(int(Fraction(prob) * 2**128), 2**64)
    words = [(high, max(low - 1, 0)), (high, low), (high, 2**64 - 1), (max(high - 1, 0), 2**64 - 1)]
    drawn = np.array(words, dtype=np.uint64).tobytes()
    monkeypatch.setattr("privacy.mechanisms.noise.os.urandom", lambda size: drawn[:size])
    taken = OperatingSystem().poisson_sample(prob, len(words))
    assert taken.tolist() == [
        first * 2**64 + second < high * 2**64 + low for first, second in words
    ]
    assert taken.any() or prob == 2.0**-70


def test_nobody_is_sampled_with_probability_0_and_everybody_with_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("privacy.mechanisms.noise.os.urandom", lambda size: b"\0" * size)
    seeded = Seeded(1)
    monkeypatch.setattr(seeded, "_rng", Lowest())
    for source in (OperatingSystem(), seeded):
        assert not source.poisson_sample(0.0, 5).any()
        assert source.poisson_sample(1.0, 5).all()


class Lowest:
    """A generator whose every uniform number is the lowest."""

    def random(self, size: int) -> NDArray[np.float64]:
        return np.zeros(size)


@pytest.mark.parametrize(("variance", "inverted"), [(0.1, True), (19.9, True), (20.1, False)])
def test_small_poisson_means_are_inverted_and_only_large_ones_rejected(
    variance: float, inverted: bool
) -> None:
    """Transformed rejection is right from a mean of 10 up; inversion takes one uniform a draw."""
    asked: list[int] = []

    def uniforms(size: int) -> NDArray[np.float64]:
        asked.append(size)
        return np.random.default_rng(size).random(size)

    assert len(_skellam(uniforms, variance, 50)) == 50
    assert (asked == [50, 50]) == inverted


MEANS = [*np.arange(10, 40, 0.5), *np.geomspace(40, 1e14, 60)]


def test_no_chance_of_a_poisson_proposal_passes_one() -> None:
    """Where it did, that proposal would be sent too rarely, whatever is drawn for it."""
    u = np.linspace(-0.5, 0.5, 200_001)[:-1]
    highest = [float(_transformed(u, mean)[1].max()) for mean in MEANS]
    assert max(highest) <= -0.003
    assert min(highest) > -0.03  # and proposals aren't thrown away


@pytest.mark.parametrize("mean", [10.0, 14.875, 60.0])
def test_poisson_proposals_and_their_chances_make_the_poisson_law(mean: float) -> None:
    """Summed over a fine grid of uniforms, without a draw."""
    k, log_ratio = _transformed((np.arange(2_000_000) + 0.5) / 2_000_000 - 0.5, mean)
    cells = np.where(np.isfinite(log_ratio) & (k < 1000), k, 1000).astype(int)
    masses = np.bincount(cells, weights=np.exp(np.minimum(log_ratio, 0.0)), minlength=1001)[:1000]
    truth = stats.poisson.pmf(np.arange(1000), mean)
    assert np.abs(masses / masses.sum() - truth).sum() < 1e-5


@pytest.mark.parametrize("mean", [0.5, 9.9, 31.0, 333.3, 1e7])
def test_masses_of_poisson_variables_keep_their_digits(mean: float) -> None:
    k = np.unique(np.rint(np.concatenate([np.arange(70), mean * np.linspace(0.5, 2, 40)])))
    for at, found in zip(k.tolist(), _poisson_log_mass(k, mean), strict=True):
        with mp.workdps(40):
            exact = mp.mpf(mean)
            truth = at * mp.log(exact) - exact - mp.loggamma(at + 1)
        assert found == pytest.approx(float(truth), rel=2e-15, abs=2e-13 * (1 + abs(at - mean)))


def test_a_seed_repeats_and_the_operating_system_does_not() -> None:
    def draw(source: NoiseSource) -> list[list[float]]:
        return [
            source.discrete_gaussian(1e6, 20).tolist(),
            source.gaussian(1.0, 20).tolist(),
            source.skellam(1e12, 20).tolist(),
            source.poisson_sample(0.5, 200).tolist(),
        ]

    assert draw(Seeded(5)) == draw(Seeded(5))
    assert draw(Seeded([5, 1])) == draw(Seeded([5, 1]))
    different: list[NoiseSource] = [
        Seeded(5),
        Seeded(6),
        Seeded([5, 1]),
        OperatingSystem(),
        OperatingSystem(),
    ]
    streams = [draw(source) for source in different]
    for kind in range(4):
        assert len({str(stream[kind]) for stream in streams}) == len(different)


def test_only_the_operating_system_protects() -> None:
    assert OperatingSystem().protects
    assert not Seeded(1).protects


@SOURCES
def test_bad_parameters_are_refused(source: NoiseSource) -> None:
    for std in (0.0, -1.0, math.nan, math.inf, 2.0**51):
        with pytest.raises(InvalidInputError, match="std="):
            source.discrete_gaussian(std, 3)
        with pytest.raises(InvalidInputError, match="std="):
            source.gaussian(std, 3)
    for variance in (0.0, -1.0, math.nan, math.inf, 2.0**101):
        with pytest.raises(InvalidInputError, match=r"variance=|std="):
            source.skellam(variance, 3)
    for prob in (-0.1, 1.1, math.nan):
        with pytest.raises(InvalidInputError, match="prob="):
            source.poisson_sample(prob, 3)
    with pytest.raises(InvalidInputError, match="size=-1"):
        source.discrete_gaussian(1.0, -1)
    assert len(source.discrete_gaussian(1.0, 0)) == 0
    with pytest.raises(InvalidInputError, match="seed="):
        Seeded(-1)
