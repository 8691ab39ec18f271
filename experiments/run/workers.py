"""Who measures the units of a sweep: processes of this machine, or a Ray cluster.

Whatever becomes of a unit comes back as data. A worker that the system kills (out of memory, say)
costs no other unit: those that were measured beside it are tried again, each in a process of its
own, and what is killed there too has failed.
"""

import os
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.plugins import Plugin, load_again
from experiments.run.study import GridPoint
from privacy.errors import InvalidInputError

__all__ = ["BACKENDS", "UnitCall", "UnitOutcome"]

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_KILLED = (
    "KilledWorker: the system killed the process that measured it, twice. Memory is the usual "
    "reason: ask for fewer --jobs."
)


@dataclass(frozen=True)
class UnitCall:
    """One unit to measure.

    Attributes:
      place: Of its point in the sweep.
      point: The point.
      unit: The unit's place among the point's.
      data_dir: Handed to the point.
      plugins: What the sweep began with; a worker runs them first.
    """

    place: int
    point: GridPoint
    unit: int
    data_dir: Path | None
    plugins: tuple[Plugin, ...] = ()


@dataclass(frozen=True)
class UnitOutcome:
    """One unit's outcome.

    Attributes:
      place: Of its point in the sweep.
      unit: The unit's place among the point's.
      part: What the point measured; None where it failed.
      seconds: Of the processor.
      error: Why it failed, in a line; None where it did not.
      trace: Where it failed.
    """

    place: int
    unit: int
    part: Any = None
    seconds: float = 0.0
    error: str | None = None
    trace: str = ""


Backend = Callable[[Sequence[UnitCall], int], Iterator[UnitOutcome]]


def _measured(call: UnitCall) -> UnitOutcome:
    """Measure one unit; any failure comes back as data."""
    import torch

    torch.set_num_threads(1)  # one worker a core: more threads only fight
    start = time.process_time()
    try:
        load_again(call.plugins)
        part = call.point.measure(call.point.units[call.unit], call.data_dir)
    except Exception as error:  # noqa: BLE001 - told in failures/ and in the sweep's own error
        reason = f"{type(error).__name__}: {error}"
        return UnitOutcome(call.place, call.unit, error=reason, trace=traceback.format_exc())
    return UnitOutcome(call.place, call.unit, part, time.process_time() - start)


def _on_this_machine(calls: Sequence[UnitCall], jobs: int) -> Iterator[UnitOutcome]:
    """Measure in this process (one job) or in ``jobs`` others, a unit a process at a time."""
    jobs = min(jobs if jobs > 0 else _cores(), len(calls))
    if jobs == 1:
        yield from map(_measured, calls)
        return
    waiting = deque(calls)
    while waiting:
        suspects: list[UnitCall] = []
        yield from _until_killed(waiting, suspects, jobs)
        for call in suspects:
            alone: list[UnitCall] = []
            yield from _until_killed(deque([call]), alone, 1)
            if alone:
                yield UnitOutcome(call.place, call.unit, error=_KILLED)


def _until_killed(
    waiting: deque[UnitCall], suspects: list[UnitCall], jobs: int
) -> Iterator[UnitOutcome]:
    """Measure what waits until nothing does, or a process is killed: then what ran is suspect."""
    from joblib.externals.loky import ProcessPoolExecutor

    executor = ProcessPoolExecutor(jobs, env=_ONE_THREAD)
    running: dict[Future[UnitOutcome], UnitCall] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                future = executor.submit(_measured, waiting[0])
                running[future] = waiting.popleft()
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                call = running.pop(future)
                try:
                    yield future.result()
                except BrokenProcessPool:
                    suspects.append(call)
            if suspects:  # the pool is gone: whatever else it ran will never come
                suspects.extend(running.values())
                return
    except BrokenProcessPool:  # an idle process was killed: nothing was lost but the pool
        suspects.extend(running.values())
    finally:
        executor.shutdown(kill_workers=True)


def _cores() -> int:
    from joblib import cpu_count

    return int(cpu_count())


def _on_ray(calls: Sequence[UnitCall], jobs: int) -> Iterator[UnitOutcome]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no network but the cluster's own
    try:
        import ray
    except ImportError as error:
        raise InvalidInputError(
            "The backend 'ray' needs Ray, which is not installed: pip install 'inpatient[cluster]'."
        ) from error
    address = os.environ.get("RAY_ADDRESS")
    local: dict[str, Any] = {} if address or jobs == -1 else {"num_cpus": min(jobs, len(calls))}
    ray.init(address=address, include_dashboard=False, log_to_driver=False, **local)
    try:
        remote = ray.remote(max_retries=1)(_measured)
        pending = {remote.remote(call): call for call in calls}
        while pending:
            ready, _ = ray.wait(list(pending))
            for reference in ready:
                call = pending.pop(reference)
                try:
                    yield ray.get(reference)
                except ray.exceptions.RayError:  # no failure of the unit: those are data
                    yield UnitOutcome(call.place, call.unit, error=_KILLED)
    finally:
        ray.shutdown()


BACKENDS: Mapping[str, Backend] = {"joblib": _on_this_machine, "ray": _on_ray}
"""By the name that ``--backend`` gives them."""
