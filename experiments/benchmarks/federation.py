"""A round of tens of thousands of hospitals: seconds, memory, and where the time goes.

The job: hospitals of median 200 patients (lognormal sizes), 18 features, logistic regression, all
patients in each round, clipping, exact integers, discrete noise of the operating system, the plan's
epsilon checked before a patient is read. Patients are made block by block, and their making is part
of the time. Sums are those that every sealing scheme opens to; sealing is timed by ``sealing``.
"""

import math
import resource
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import numpy as np
from dp_accounting import DpEvent, NeighboringRelation, SelfComposedDpEvent
from jaxtyping import Float, Int
from numpy.typing import NDArray

from aggregation.models import Model
from aggregation.plan import Plan
from aggregation.vectorised import Fleet
from privacy._validate import natural
from privacy.accounting.events import DistributedDiscreteGaussianDpEvent
from privacy.calibration import noise_multiplier
from privacy.mechanisms import OperatingSystem

__all__ = ["Benchmark", "Row", "measure"]

FEATURES = 18
_BLOCK = 64  # hospitals made and computed at once
_MEDIAN, _SPREAD = 200, 0.25  # of the lognormal numbers of patients
_RADIUS = 512
_DELTA = 1e-5
_EPSILON = 1.0


@dataclass(frozen=True)
class Row:
    """One contender.

    Attributes:
      name: ``inpatient``.
      size: Hospitals.
      seconds: Median of the rounds.
      bytes: Of all updates of a round before sealing.
      accuracy: Of the last model on the last block's patients, fraction right.
      ratio_to: What the ratio is to; None without peers.
      ratio: Of seconds.
    """

    name: str
    size: int
    seconds: float
    bytes: int
    accuracy: float
    ratio_to: str | None = None
    ratio: float | None = None


@dataclass(frozen=True)
class Benchmark:
    """What was measured.

    Attributes:
      rows: One a contender.
      phases: Seconds of all threads of a round, by what was done.
      patients: That took part in a round.
      epsilon: Of the whole run, certified upper end.
      peak_bytes: Largest resident memory of the process.
    """

    rows: tuple[Row, ...]
    phases: dict[str, float]
    patients: int
    epsilon: float
    peak_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Block:
    """Neighbouring hospitals."""

    features: Float[np.ndarray, "patients features"]
    outcomes: Int[np.ndarray, "patients"]
    offsets: Int[np.ndarray, "ends"]


def measure(
    hospitals: int,
    *,
    rounds: int = 1,
    threads: int = 2,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Benchmark:
    """Run some rounds and return what they took.

    Args:
      hospitals: At least 2.
      rounds: Timed one by one.
      threads: Blocks that are computed at the same time.
      seed: Of the simulated patients; the noise is the operating system's.
      progress: Told what is being done.
    """
    natural(hospitals=hospitals, least=2)
    natural(rounds=rounds, least=1)
    sizes = _sizes(hospitals, seed)
    plan = _plan(sizes, rounds)
    fleet = Fleet(plan, lambda: _blocks(sizes, seed), target_epsilon=_EPSILON, threads=threads)
    OperatingSystem().discrete_gaussian(1.0, 1)  # loads OpenDP, once a process
    params, seconds, patients = plan.first_model(), [], 0
    for round_ in range(rounds):
        progress(f"round {round_ + 1} of {rounds}, {hospitals:,} hospitals")
        start = perf_counter()
        params, patients = fleet.advance(params)
        seconds.append(perf_counter() - start)
    test = next(_blocks(_sizes(_BLOCK, seed + 1), seed + 1))
    right = (plan.model.scores(params, test.features) > 0) == (test.outcomes == 1)
    row = Row(
        "inpatient",
        hospitals,
        float(np.median(seconds)),
        8 * plan.model.dim * hospitals,
        float(right.mean()),
    )
    phases = {name: spent / rounds for name, spent in asdict(fleet.phases).items()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Benchmark((row,), phases, patients, fleet.spent, peak)


def _sizes(hospitals: int, seed: int) -> NDArray[np.int64]:
    drawn = np.random.default_rng([seed, 0]).lognormal(math.log(_MEDIAN), _SPREAD, hospitals)
    return np.maximum(1, np.rint(drawn)).astype(np.int64)


def _blocks(sizes: NDArray[np.int64], seed: int) -> Iterator[_Block]:
    """Make patients whose outcome follows the first features; the same each round."""
    weights = np.linspace(1.0, 0.0, FEATURES)
    for first in range(0, len(sizes), _BLOCK):
        offsets = np.concatenate([[0], np.cumsum(sizes[first : first + _BLOCK])])
        rng = np.random.default_rng([seed, 1, first])
        features = rng.standard_normal((int(offsets[-1]), FEATURES))
        chance = 0.5 * (1 + np.tanh(0.5 * (features @ weights)))
        yield _Block(features, (rng.random(len(chance)) < chance).astype(np.int64), offsets)


def _plan(sizes: NDArray[np.int64], rounds: int) -> Plan:
    model = Model("logistic", FEATURES)
    honest = len(sizes) - 1

    def event_at(multiplier: float) -> DpEvent:
        return SelfComposedDpEvent(
            DistributedDiscreteGaussianDpEvent(
                noise_multiplier=multiplier, radius=_RADIUS, dim=model.dim, contributors=honest
            ),
            rounds,
        )

    return Plan(
        run="bench",
        model=model,
        hospitals=tuple(f"h{k:05d}" for k in range(len(sizes))),
        declared_sizes=tuple(int(n) for n in sizes),
        rounds=rounds,
        learning_rate=2.0,
        noise="shared",
        scheme="plain",
        clip_norm=1.0,
        radius=_RADIUS,
        noise_multiplier=noise_multiplier(
            event_at,
            target_epsilon=_EPSILON,
            delta=_DELTA,
            relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
        ),
        delta=_DELTA,
        colluders=1,
    )
