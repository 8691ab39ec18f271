"""A right source passes at the level that is asked for; each way of being wrong is seen."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from privacy.errors import InvalidInputError
from privacy.mechanisms import NoiseSource, OperatingSystem, Seeded
from privacy.testing import check_source
from privacy.testing.noise_sources import _two_sided
from privacy.testing.plugin import FalseAlarms


def test_the_operating_system_passes(false_alarms: FalseAlarms) -> None:
    assert check_source(OperatingSystem(), draws=2_000, false_alarms=false_alarms.share()) == []


def test_right_sources_are_flagged_no_more_often_than_said() -> None:
    """Seeds are fixed, so this passes each time; the bound is what chance allows at one in 1e6."""
    runs, level = 60, 0.25
    flagged = sum(
        bool(check_source(Seeded([9, k]), draws=1_000, false_alarms=level)) for k in range(runs)
    )
    assert flagged <= stats.binom.isf(1e-6, runs, level)
    assert flagged > 0  # the level is used, not thrown away


def test_both_tails_of_the_variance_count() -> None:
    for tail in (0.005, 0.995):
        assert _two_sided(float(stats.chi2.ppf(tail, 100)), 100) == pytest.approx(0.01)


def wrong(kind: str, change: Callable[..., Any]) -> NoiseSource:
    """A seeded source with one kind of draw changed."""
    source = Seeded(3)
    right = getattr(source, kind)
    setattr(source, kind, lambda scale, size: change(right, scale, size))
    return source


def fresh(drawn: NDArray[Any]) -> np.random.Generator:
    """A stream for each call: else all calls would have the same signs, and be seen by that."""
    return np.random.default_rng(np.abs(drawn[:64]).astype(np.float64).view(np.uint64))


def following(right: Any, scale: float, size: int) -> NDArray[Any]:
    """The right law, but each draw has the sign of the one before more often than not."""
    drawn = right(scale, size)
    stays = fresh(drawn).random(size) < 0.55
    sign = np.cumprod(np.where(stays, 1, -1))
    return np.asarray(np.abs(drawn) * sign, dtype=drawn.dtype)


def signs_in_pairs(right: Any, scale: float, size: int) -> NDArray[Any]:
    """The right law and as many of either sign, but each second draw has the sign of the first."""
    drawn = right(scale, size)
    sign = np.repeat(fresh(drawn).permuted(np.resize([1, -1], size // 2 + 1)), 2)
    return np.asarray(np.abs(drawn) * sign[:size], dtype=drawn.dtype)


def repeated(right: Any, scale: float, size: int) -> NDArray[Any]:
    """Every call begins the same stream again."""
    return np.asarray(getattr(Seeded(4), right.__name__)(scale, size))


def paired(right: Any, scale: float, size: int) -> NDArray[Any]:
    """Each patient is taken or left with the next one."""
    return np.repeat(right(scale, size // 2), 2)


SYMMETRIC = ("gaussian", "discrete_gaussian", "skellam")
CASES: list[tuple[str, str, Callable[..., Any]]] = [
    *[(kind, "too small", lambda r, s, n: r(s * 0.93, n)) for kind in SYMMETRIC[:2]],
    *[(kind, "too large", lambda r, s, n: r(s * 1.07, n)) for kind in SYMMETRIC[:2]],
    ("skellam", "too small", lambda r, s, n: r(s * 0.93**2, n)),
    ("skellam", "too large", lambda r, s, n: r(s * 1.07**2, n)),
    *[(kind, "repeated", repeated) for kind in SYMMETRIC],
    *[(kind, "follow", following) for kind in SYMMETRIC],
    *[(kind, "signs in pairs", signs_in_pairs) for kind in SYMMETRIC],
    *[(kind, "shifted", lambda r, s, n: r(s, n) + 1) for kind in SYMMETRIC],
    *[(kind, "even only", lambda r, s, n: r(s / 2, n) * 2) for kind in SYMMETRIC[1:2]],
    ("skellam", "even only", lambda r, s, n: r(s / 4, n) * 2),
    ("gaussian", "32 bits", lambda r, s, n: r(s, n).astype(np.float32).astype(np.float64)),
    ("gaussian", "uniform", lambda r, s, n: (np.arange(n) / n - 0.5) * s * 12**0.5),
    ("gaussian", "one NaN", lambda r, s, n: np.where(np.arange(n) == 7, np.nan, r(s, n))),
    ("gaussian", "NaN", lambda r, s, n: r(s, n) * np.nan),
    ("poisson_sample", "too few", lambda r, p, n: r(p * 0.93, n)),
    ("poisson_sample", "too many", lambda r, p, n: r(min(1.0, p * 1.07), n)),
    ("poisson_sample", "pairs", paired),
    ("poisson_sample", "repeated", repeated),
    ("poisson_sample", "fixed size", lambda r, p, n: np.arange(n) % round(1 / p) == 0),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "how", "change"), CASES, ids=lambda v: v if isinstance(v, str) else ""
)
def test_each_wrong_source_is_seen_and_named(
    kind: str, how: str, change: Callable[..., Any]
) -> None:
    del how
    found = check_source(wrong(kind, change))
    assert [f.check for f in found] == [kind]


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="draws=999"):
        check_source(Seeded(1), draws=999)
    for level in (0.0, 1.0):
        with pytest.raises(InvalidInputError, match="false_alarms="):
            check_source(Seeded(1), false_alarms=level)
