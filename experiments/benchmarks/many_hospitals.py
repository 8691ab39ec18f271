"""A round of tens of thousands of hospitals: seconds, memory, and where the time goes.

The job (``federation_job``) with clipping, exact integers, discrete noise of the operating system,
the plan's epsilon checked before a patient is read. Patients are made block by block, and their
making is part of the time. Sums are those that every sealing scheme opens to; sealing is timed by
``sealing``. Peers simulate fewer hospitals, since a round of all would take them too long; we are
timed at that number too, in the same run, and ratios are between equals. There, they and we have
the patients in memory before the clock starts: making them is no simulator's work.
"""

import resource
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from dp_accounting import DpEvent, NeighboringRelation, SelfComposedDpEvent
from numpy.typing import NDArray

from aggregation.engines.fleet import Fleet
from aggregation.models import Logistic
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from experiments.benchmarks.federation_job import BLOCK, FEATURES, Job, blocks, sizes
from experiments.benchmarks.simulators import PFL_PYTHON, Peer, find_peers
from privacy._validate import natural
from privacy.accounting.events import DistributedDiscreteGaussianDpEvent
from privacy.calibration import noise_multiplier
from privacy.errors import RefusedError
from privacy.mechanisms import OperatingSystem

__all__ = ["FederationBenchmark", "FederationRow", "measure"]

_PEER_ROUNDS = 3  # the median of so many
_RADIUS = 512
_DELTA = 1e-5
_EPSILON = 1.0


@dataclass(frozen=True)
class FederationRow:
    """One contender.

    Attributes:
      name: ``inpatient``, ``flower``, ``pfl``, or a variant of it.
      size: Hospitals.
      seconds: Median of the rounds.
      bytes: Of all updates of a round before sealing.
      accuracy: Of the last model on other patients, fraction right; None: not asked of a peer.
      ratio_to: What the ratio is to; None without peers.
      ratio: Of seconds, at the same number of hospitals in the same run.
    """

    name: str
    size: int
    seconds: float
    bytes: int
    accuracy: float | None
    ratio_to: str | None = None
    ratio: float | None = None


@dataclass(frozen=True)
class FederationBenchmark:
    """What was measured.

    Attributes:
      rows: One a contender.
      phases: Seconds of all threads of a round, by what was done.
      patients: That took part in a round.
      epsilon: Of the whole run, certified upper end.
      peak_bytes: Largest resident memory of the process.
    """

    rows: tuple[FederationRow, ...]
    phases: dict[str, float]
    patients: int
    epsilon: float
    peak_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return asdict(self)


def measure(
    hospitals: int,
    *,
    rounds: int = 1,
    threads: int = 2,
    seed: int = 0,
    peer_hospitals: int = 0,
    pfl_python: Path = PFL_PYTHON,
    progress: Callable[[str], None] = lambda _: None,
) -> FederationBenchmark:
    """Run some rounds and return what they took, beside the peers on the same job.

    Args:
      hospitals: At least 2.
      rounds: Timed one by one.
      threads: Blocks that are computed at the same time.
      seed: Of the simulated patients; the noise is the operating system's.
      peer_hospitals: How many the peers simulate, and we beside them; 0: no peers.
      pfl_python: The interpreter of pfl's environment.
      progress: Told what is being done.

    Raises:
      InvalidInputError: A number is too small, or a peer is absent.
      RefusedError: The seeded sum of a peer with our arithmetic is not ours: it did another job.
    """
    natural(hospitals=hospitals, least=2)
    natural(rounds=rounds, least=1)
    natural(peer_hospitals=peer_hospitals)
    peers = find_peers(pfl_python) if peer_hospitals else {}
    ours, fleet, patients = _ours(hospitals, rounds, threads, seed, progress)
    rows = [ours]
    if peers:
        natural(peer_hospitals=peer_hospitals, least=2)
        small, beside, _ = _ours(peer_hospitals, _PEER_ROUNDS, threads, seed, progress, hold=True)
        rows.append(small)
        rows += _beside(peers, beside.plan, small, seed, progress)
    phases = {name: spent / rounds for name, spent in asdict(fleet.phases).items()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return FederationBenchmark(tuple(rows), phases, patients, fleet.spent, peak)


def _ours(
    hospitals: int,
    rounds: int,
    threads: int,
    seed: int,
    progress: Callable[[str], None],
    *,
    hold: bool = False,
) -> tuple[FederationRow, Fleet, int]:
    numbers = sizes(hospitals, seed)
    plan = _plan(numbers, rounds)
    held = list(blocks(numbers, seed)) if hold else None
    fleet = Fleet(
        plan,
        lambda: blocks(numbers, seed) if held is None else held,
        target_epsilon=_EPSILON,
        threads=threads,
    )
    OperatingSystem().discrete_gaussian(plan.share_std, 1)  # makes its table, once a process
    params, seconds, patients = plan.first_model(), [], 0
    for round_ in range(rounds):
        progress(f"round {round_ + 1} of {rounds}, {hospitals:,} hospitals")
        start = perf_counter()
        params, patients = fleet.advance(params)
        seconds.append(perf_counter() - start)
    test = next(blocks(sizes(BLOCK, seed + 1), seed + 1))
    right = (plan.model.scores(params, test.features) > 0) == (test.outcomes == 1)
    row = FederationRow(
        "inpatient",
        hospitals,
        float(np.median(seconds)),
        8 * plan.model.dim * hospitals,
        float(right.mean()),
    )
    return row, fleet, patients


def _beside(
    peers: Mapping[str, Peer],
    plan: Plan,
    ours: FederationRow,
    seed: int,
    progress: Callable[[str], None],
) -> Iterator[FederationRow]:
    """Time each peer on our job; where it has our arithmetic, its seeded sum has to be ours."""
    job = Job(ours.size, seed, 1.0, _RADIUS, plan.share_std, _PEER_ROUNDS)
    numbers = sizes(ours.size, seed)
    fleet = Fleet.simulated(plan, lambda: blocks(numbers, seed), seed=seed)
    expected = sum(u.sum(axis=0) for u in fleet.updates(np.zeros(plan.model.dim)))
    for name, peer in peers.items():
        progress(f"{name}, {ours.size:,} hospitals")
        seconds, total = peer(job)
        if total is not None and not np.array_equal(total, expected):
            raise RefusedError(
                f"{name}'s seeded sum is not ours, so it did not do the same job: "
                f"{total[:3]}... against {np.asarray(expected)[:3]}... Its versions may differ "
                "from the lock; make its environment anew."
            )
        yield FederationRow(
            name, ours.size, seconds, ours.bytes, None, "inpatient", seconds / ours.seconds
        )


def _plan(numbers: NDArray[np.int64], rounds: int) -> Plan:
    model = Logistic(FEATURES)
    honest = len(numbers) - 1

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
        hospitals=tuple(f"h{k:05d}" for k in range(len(numbers))),
        declared_sizes=tuple(int(n) for n in numbers),
        rounds=rounds,
        learning_rate=2.0,
        noise=NoiseKind.SHARED,
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
