"""Certified epsilons beside those of Opacus PRV and prv-accountant: how wide, how fast, in one run.

Each contender answers for sampled Gaussians composed with themselves; ours alone also for a
schedule of different ones and for a budget curve. No answer comes from a cache: every repeat asks
for a slightly different delta. ``accuracy`` is how far the upper end lies above the highest lower
end that anybody proved, as a fraction of it. Ratios are of seconds, to ours at 1 %.
"""

import resource
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
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

from experiments.benchmarks.peers import least_time
from privacy._validate import natural
from privacy.accounting import epsilon
from privacy.accounting.budget import budget_curve
from privacy.errors import InvalidInputError

__all__ = ["CELLS", "Benchmark", "Row", "measure"]

CELLS = ((1.0, 0.01), (0.6, 0.01), (4.0, 0.001), (1.0, 0.1))  # noise multiplier, sampling prob
_DELTA = 1e-5
_ADD = NeighboringRelation.ADD_OR_REMOVE_ONE
_OURS = "inpatient 1 %"
Ends = tuple[float, float]


@dataclass(frozen=True)
class Row:
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
class Benchmark:
    """All rows, and the largest memory of the process."""

    rows: tuple[Row, ...]
    peak_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return the rows as plain JSON."""
        return {"rows": [asdict(row) for row in self.rows], "peak_bytes": self.peak_bytes}


def measure(
    *, rounds: int, different: int, repeats: int, progress: Callable[[str], None] = print
) -> Benchmark:
    """Measure every contender in every cell, one after the other.

    Args:
      rounds: Releases of a cell.
      different: Releases of the schedule, and rounds of the budget curve.
      repeats: Timings of which the least is taken.
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
    rows: list[Row] = []
    for noise_multiplier, prob in CELLS:
        progress(f"sigma {noise_multiplier:g}, q {prob:g}")
        rows += _cell(noise_multiplier, prob, rounds, repeats)
    progress(f"{different} different releases")
    rows.append(_schedule(different, repeats))
    progress(f"a budget curve of {different} rounds")
    rows.append(_curve(different, repeats))
    return Benchmark(tuple(rows), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def _cell(noise_multiplier: float, prob: float, rounds: int, repeats: int) -> list[Row]:
    one = PoissonSampledDpEvent(prob, GaussianDpEvent(noise_multiplier))
    event = SelfComposedDpEvent(one, rounds)
    asked: dict[str, Callable[[float], Ends]] = {
        "inpatient 10 %": lambda delta: _ours(event, delta, 0.1),
        _OURS: lambda delta: _ours(event, delta, 0.01),
        "Opacus PRV": lambda delta: _opacus(noise_multiplier, prob, rounds, delta),
        "prv-accountant": lambda delta: _prv(noise_multiplier, prob, rounds, delta),
    }
    found = {name: _timed(ask, repeats) for name, ask in asked.items()}
    proved = max(lower for _, (lower, _) in found.values())
    base = found[_OURS][0]
    return [
        Row(
            name,
            rounds,
            noise_multiplier,
            prob,
            seconds,
            lower,
            upper,
            upper / proved - 1,
            _OURS,
            seconds / base,
        )
        for name, (seconds, (lower, upper)) in found.items()
    ]


def _schedule(different: int, repeats: int) -> Row:
    rng = np.random.default_rng(0)
    pairs = zip(rng.uniform(0.005, 0.05, different), rng.uniform(0.8, 3.0, different), strict=True)
    event = ComposedDpEvent(
        [PoissonSampledDpEvent(float(q), GaussianDpEvent(float(z))) for q, z in pairs]
    )
    seconds, (lower, upper) = _timed(lambda delta: _ours(event, delta, 0.01), repeats)
    name = "inpatient 1 %, all different"
    return Row(name, different, None, None, seconds, lower, upper, upper / lower - 1, None, None)


def _curve(rounds: int, repeats: int) -> Row:
    event = PoissonSampledDpEvent(0.01, GaussianDpEvent(1.0))

    def ask(delta: float) -> Ends:
        low, high = budget_curve(event, rounds=rounds, delta=delta, relation=_ADD)
        return float(low[-1]), float(high[-1])

    seconds, (lower, upper) = _timed(ask, repeats)
    name = "inpatient, budget curve"
    return Row(name, rounds, 1.0, 0.01, seconds, lower, upper, upper / lower - 1, None, None)


def _timed(ask: Callable[[float], Ends], repeats: int) -> tuple[float, Ends]:
    deltas = iter(_DELTA * (1 + 1e-9 * k) for k in range(repeats + 1))
    seconds, ends = least_time(lambda: ask(next(deltas)), repeats=repeats)
    return seconds, ends


def _ours(event: DpEvent, delta: float, width: float) -> Ends:
    found = epsilon(event, delta=delta, relation=_ADD, width=width)
    return found.lower, found.upper


def _opacus(noise_multiplier: float, prob: float, rounds: int, delta: float) -> Ends:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from opacus.accountants import PRVAccountant

        accountant = PRVAccountant()
        accountant.history = [(noise_multiplier, prob, rounds)]
        return 0.0, float(accountant.get_epsilon(delta=delta))


def _prv(noise_multiplier: float, prob: float, rounds: int, delta: float) -> Ends:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from prv_accountant import PoissonSubsampledGaussianMechanism, PRVAccountant

        accountant = PRVAccountant(
            prvs=PoissonSubsampledGaussianMechanism(
                noise_multiplier=noise_multiplier, sampling_probability=prob
            ),
            max_self_compositions=rounds,
            eps_error=0.01,  # Opacus takes the same
            delta_error=delta / 1000,
        )
        lower, _, upper = accountant.compute_epsilon(delta, [rounds])
    return float(lower), float(upper)
