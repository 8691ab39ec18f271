"""Certified epsilons beside those of Opacus PRV, prv-accountant and dp-accounting, in one run.

Each contender answers for sampled Gaussians composed with themselves, at equal width: 1 % of
epsilon + 1e-3. prv-accountant proves both ends and stands beside our interval; Opacus and
dp-accounting tell an upper end, and stand beside our upper end alone (dp-accounting at the longest
of its steps whose upper end is near enough; its own lower ends stay further off at any step that
takes a second). Ours alone also answer for a schedule of different releases and for a budget curve.

No answer comes from a cache: every repeat asks for a slightly different delta. Contenders take
turns, and seconds are the median of the repeats. ``accuracy`` is how far the upper end lies above
the highest lower end that anybody proved, as a fraction of it.
"""

import resource
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import version
from time import perf_counter
from typing import Any

import numpy as np
from dp_accounting import (
    ComposedDpEvent,
    DpEvent,
    GaussianDpEvent,
    NeighboringRelation,
    PoissonSampledDpEvent,
    SelfComposedDpEvent,
)
from dp_accounting.pld import PLDAccountant

from privacy._validate import natural
from privacy.accounting import epsilon
from privacy.accounting.budget import budget_curve
from privacy.accounting.intervals import upper_epsilon
from privacy.errors import InvalidInputError

__all__ = ["CELLS", "AccountingBenchmark", "AccountingRow", "measure"]

CELLS = ((1.0, 0.01), (0.6, 0.01), (4.0, 0.001), (1.0, 0.1))  # noise multiplier, sampling prob
_DELTA = 1e-5
_ADD = NeighboringRelation.ADD_OR_REMOVE_ONE
_OURS, _UPPER = "inpatient 1 %", "inpatient, upper end"
_PEERS = ("dp-accounting", "opacus", "prv-accountant")
Ends = tuple[float, float]


@dataclass(frozen=True)
class AccountingRow:
    """One contender in one cell.

    Attributes:
      name: The contender.
      size: Releases composed.
      noise_multiplier: Of each; None for a schedule.
      sampling_prob: Of each; None for a schedule.
      seconds: Median of the repeats.
      lower: What is proved from below (0 where nothing is).
      upper: The answer.
      accuracy: See the module.
      ratio_to: What ``ratio`` is to; None where there is nothing beside it.
      ratio: Of seconds; below 1 is faster.
      bytes: Always None: nothing is sent.
    """

    name: str
    size: int
    noise_multiplier: float | None
    sampling_prob: float | None
    seconds: float
    lower: float
    upper: float
    accuracy: float
    ratio_to: str | None
    ratio: float | None
    bytes: None = None


@dataclass(frozen=True)
class AccountingBenchmark:
    """All rows, the versions of the peers, and the largest memory of the process."""

    rows: tuple[AccountingRow, ...]
    versions: dict[str, str]
    peak_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return the rows as plain JSON."""
        return asdict(self)


def measure(
    *, rounds: int, different: int, repeats: int, progress: Callable[[str], None] = print
) -> AccountingBenchmark:
    """Measure every contender in every cell.

    Args:
      rounds: Releases of a cell.
      different: Releases of the schedule, and rounds of the budget curve.
      repeats: Timings of which the median is taken.
      progress: Told what is measured.

    Raises:
      InvalidInputError: prv-accountant is not installed, or a count is below 1.
    """
    natural(rounds=rounds, least=1)
    natural(different=different, least=1)
    natural(repeats=repeats, least=1)
    try:
        import_module("prv_accountant")
    except ImportError as error:
        raise InvalidInputError(
            "prv-accountant is not installed: `make setup` does, with the test extra."
        ) from error
    rows: list[AccountingRow] = []
    for noise_multiplier, prob in CELLS:
        progress(f"sigma {noise_multiplier:g}, q {prob:g}")
        rows += _cell(noise_multiplier, prob, rounds, repeats)
    progress(f"{different} different releases")
    rows.append(_schedule(different, repeats))
    progress(f"a budget curve of {different} rounds")
    rows.append(_curve(different, repeats))
    versions = {name: version(name) for name in _PEERS}
    return AccountingBenchmark(
        tuple(rows), versions, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )


def _cell(noise_multiplier: float, prob: float, rounds: int, repeats: int) -> list[AccountingRow]:
    one = PoissonSampledDpEvent(prob, GaussianDpEvent(noise_multiplier))
    event = SelfComposedDpEvent(one, rounds)
    fine = epsilon(event, delta=_DELTA, relation=_ADD, width=1e-3)
    width = 0.01 * fine.upper + 1e-3
    step = _longest_step(event, fine.upper + width)
    accountants: dict[str, tuple[str, Callable[[float], Ends]]] = {
        "inpatient 10 %": (_OURS, lambda delta: _ours(event, delta, 0.1)),
        _OURS: (_OURS, lambda delta: _ours(event, delta, 0.01)),
        "prv-accountant": (_OURS, lambda delta: _prv(one, rounds, delta, width / 2)),
        _UPPER: (_UPPER, lambda delta: (0.0, upper_epsilon(event, delta=delta, relation=_ADD))),
        "Opacus PRV": (_UPPER, lambda delta: _opacus(one, rounds, delta, width)),
        "dp-accounting PLD": (_UPPER, lambda delta: _library(event, delta, step)),
    }
    timings = _in_turn([ask for _, ask in accountants.values()], repeats)
    seconds = {name: median for name, (median, _) in zip(accountants, timings, strict=True)}
    proved = max(lower for _, (lower, _) in timings)
    return [
        AccountingRow(
            name,
            rounds,
            noise_multiplier,
            prob,
            seconds[name],
            lower,
            upper,
            upper / proved - 1,
            beside,
            seconds[name] / seconds[beside],
        )
        for (name, (beside, _)), (_, (lower, upper)) in zip(
            accountants.items(), timings, strict=True
        )
    ]


def _longest_step(event: DpEvent, most: float) -> float:
    """Return the longest of dp-accounting's steps, each half of the last, that is near enough."""
    step = 0.08
    while _library(event, _DELTA, step)[1] > most:
        step /= 2
    return step


def _in_turn(accountants: list[Callable[[float], Ends]], repeats: int) -> list[tuple[float, Ends]]:
    """Ask each once to warm up, then all of them so many times, one after the other."""
    seconds = np.zeros((repeats + 1, len(accountants)))
    ends = [(0.0, 0.0)] * len(accountants)
    for turn in range(repeats + 1):
        for i, ask in enumerate(accountants):
            delta = _DELTA * (1 + 1e-9 * (turn * len(accountants) + i))  # no two share what is kept
            start = perf_counter()
            ends[i] = ask(delta)
            seconds[turn, i] = perf_counter() - start
    medians = np.median(seconds[1:], axis=0)
    return [(float(median), interval) for median, interval in zip(medians, ends, strict=True)]


def _schedule(different: int, repeats: int) -> AccountingRow:
    rng = np.random.default_rng(0)
    pairs = zip(rng.uniform(0.005, 0.05, different), rng.uniform(0.8, 3.0, different), strict=True)
    event = ComposedDpEvent(
        [PoissonSampledDpEvent(float(q), GaussianDpEvent(float(z))) for q, z in pairs]
    )
    ((seconds, (lower, upper)),) = _in_turn([lambda delta: _ours(event, delta, 0.01)], repeats)
    name = "inpatient 1 %, all different"
    return AccountingRow(
        name, different, None, None, seconds, lower, upper, upper / lower - 1, None, None
    )


def _curve(rounds: int, repeats: int) -> AccountingRow:
    event = PoissonSampledDpEvent(0.01, GaussianDpEvent(1.0))

    def ask(delta: float) -> Ends:
        low, high = budget_curve(event, rounds=rounds, delta=delta, relation=_ADD)
        return float(low[-1]), float(high[-1])

    ((seconds, (lower, upper)),) = _in_turn([ask], repeats)
    name = "inpatient, budget curve"
    return AccountingRow(
        name, rounds, 1.0, 0.01, seconds, lower, upper, upper / lower - 1, None, None
    )


def _ours(event: DpEvent, delta: float, width: float) -> Ends:
    interval = epsilon(event, delta=delta, relation=_ADD, width=width)
    return interval.lower, interval.upper


def _library(event: DpEvent, delta: float, step: float) -> Ends:
    accountant = PLDAccountant(_ADD, value_discretization_interval=step)
    accountant.compose(event)
    return 0.0, float(accountant.get_epsilon(delta))


def _opacus(one: PoissonSampledDpEvent, rounds: int, delta: float, error: float) -> Ends:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from opacus.accountants import PRVAccountant

        accountant = PRVAccountant()
        accountant.history = [(one.event.noise_multiplier, one.sampling_probability, rounds)]
        return 0.0, float(accountant.get_epsilon(delta=delta, eps_error=error))


def _prv(one: PoissonSampledDpEvent, rounds: int, delta: float, error: float) -> Ends:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from prv_accountant import PoissonSubsampledGaussianMechanism, PRVAccountant

        accountant = PRVAccountant(
            prvs=PoissonSubsampledGaussianMechanism(
                noise_multiplier=one.event.noise_multiplier,
                sampling_probability=one.sampling_probability,
            ),
            max_self_compositions=rounds,
            eps_error=error,
            delta_error=delta / 1000,  # Opacus takes the same
        )
        lower, _, upper = accountant.compute_epsilon(delta, [rounds])
    return float(lower), float(upper)
