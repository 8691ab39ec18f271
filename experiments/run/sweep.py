"""Sweeps: every point that has no record yet, on all cores or on a Ray cluster.

A point is cut into units (the folds of its seeds, say) that are measured apart and in any order; a
record is written when the last of its units is in. Nothing that names or fills a record depends on
who measured it or when: any number of workers and both backends give the same bytes.

A unit that fails does not end the sweep: it is told in ``OUT/failures/<record's name>.json``, the
other points go on, and the next run tries the point again. An interrupted sweep keeps every record
that was written.
"""

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from experiments.run.record import (
    Record,
    config_hash,
    read_records,
    stamp,
    writable_folder,
    write_json,
)
from privacy.errors import IncompleteSweepError, InvalidInputError

__all__ = ["Point", "sweep"]


@runtime_checkable
class Point(Protocol):
    """What a sweep asks of a point; frozen and picklable."""

    @property
    def config(self) -> Mapping[str, Any]:
        """What names the record: plain JSON, no clock."""
        ...

    @property
    def label(self) -> str:
        """A short name for progress and errors."""
        ...

    @property
    def units(self) -> Sequence[Any]:
        """What is measured apart; not empty."""
        ...

    def measure(self, unit: Any, data_dir: Path | None) -> Any:
        """Measure one unit, in a worker of one thread."""
        ...

    def summarise(self, parts: list[Any]) -> dict[str, Any]:
        """Turn all units, in the order of ``units``, into the record's metrics."""
        ...


P = TypeVar("P", bound=Point)


@dataclass(frozen=True)
class _Done:
    """One unit's outcome; ``error`` and ``trace`` where it failed."""

    point: int
    unit: int
    part: Any = None
    seconds: float = 0.0
    error: str | None = None
    trace: str = ""


def sweep(
    out: Path,
    points: Sequence[P],
    *,
    jobs: int = -1,
    backend: str = "joblib",
    data_dir: Path | None = None,
    console: Console | None = None,
) -> list[Record]:
    """Compute the points that have no record in ``out`` yet; return all records, in order.

    Guarantees (each is a test in ``tests/experiments/test_sweep.py``):
      - the same points give the same files in ``out/records``, byte for byte, on any number of
        workers and on either backend;
      - what has a record is not computed again;
      - a failing point leaves a file in ``out/failures``, loses no other point, and is tried again
        by the next run, whose success removes the file.

    Durations go to ``out/timings.json`` (CPU seconds by record), beside the records.

    Args:
      out: Gets ``records/``, ``timings.json`` and, where needed, ``failures/``.
      points: What to compute.
      jobs: Worker processes; -1 takes every core. A Ray cluster takes as many as it has.
      backend: ``joblib`` (this machine) or ``ray`` (the cluster that ``RAY_ADDRESS`` names, else a
        local one; needs the extra ``cluster``).
      data_dir: Handed to each point.
      console: Shows the progress.

    Raises:
      IncompleteSweepError: Points failed; all others have their records.
      InvalidInputError: An unknown backend, no worker, or Ray is not installed.
    """
    if jobs == 0 or jobs < -1:
        raise InvalidInputError(f"Expected jobs={jobs} >= 1, or -1 for every core.")
    console = console or Console()
    folder = writable_folder(out / "records")
    done = {record.name: record for record in read_records(folder)}
    names = [config_hash(point.config) for point in points]
    missing = [k for k, name in enumerate(names) if name not in done and name not in names[:k]]
    if len(missing) < len(points):
        console.print(f"{len(points) - len(missing)} of {len(points)} points are there already.")
    stamped, failed = stamp(), list[str]()
    timings = _timings(out)
    for k, finished in _by_point(points, missing, jobs, backend, data_dir, console):
        point, name = points[k], names[k]
        failure = next((one for one in finished if one.error is not None), None)
        if failure is not None:
            failed.append(f"{point.label}: {failure.error}")
            _tell(out, name, point, failure, stamped)
            continue
        record = Record(point.config, point.summarise([one.part for one in finished]), stamped)
        record.write(folder)
        done[name] = record
        (out / "failures" / f"{name}.json").unlink(missing_ok=True)
        timings[name] = {
            "label": point.label,
            "cpu_seconds": round(sum(one.seconds for one in finished), 2),
        }
        write_json(out / "timings.json", timings)
    if failed:
        raise IncompleteSweepError(
            f"{len(failed)} of {len(points)} points failed ({failed[0]}); the others have their "
            f"records. {out / 'failures'} tells what happened; the same command tries them again."
        )
    return [done[name] for name in names]


def _timings(out: Path) -> dict[str, Any]:
    import json

    try:
        found = json.loads((out / "timings.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # a sidecar: what it lost costs no number
    return found if isinstance(found, dict) else {}


def _tell(out: Path, name: str, point: Point, failure: _Done, stamped: Mapping[str, Any]) -> None:
    write_json(
        writable_folder(out / "failures") / f"{name}.json",
        {
            "config": dict(point.config),
            "label": point.label,
            "error": failure.error,
            "trace": failure.trace,
            "stamp": dict(stamped),
        },
    )


def _by_point(
    points: Sequence[P],
    chosen: Sequence[int],
    jobs: int,
    backend: str,
    data_dir: Path | None,
    console: Console,
) -> Iterator[tuple[int, list[_Done]]]:
    """Yield each point when the last of its units is in, its units in order."""
    waiting: dict[int, list[_Done]] = {k: [] for k in chosen}
    calls = [(points[k], k, u, data_dir) for k in chosen for u in range(len(points[k].units))]
    results = _BACKENDS.get(backend)
    if results is None:
        raise InvalidInputError(
            f"Unknown backend {backend!r}; choose one of {', '.join(_BACKENDS)}."
        )
    if not calls:
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("units", total=len(calls))
        for one in results(calls, min(jobs, len(calls))):  # no more workers than units
            waiting[one.point].append(one)
            progress.update(task, advance=1, description=points[one.point].label)
            if len(waiting[one.point]) == len(points[one.point].units):
                yield one.point, sorted(waiting.pop(one.point), key=lambda d: d.unit)


Call = tuple[Point, int, int, Path | None]


def _measure(call: Call) -> _Done:
    """Measure one unit in a worker; any failure comes back as data."""
    import torch

    point, k, u, data_dir = call
    torch.set_num_threads(1)  # one worker a core: more threads only fight
    start = time.process_time()
    try:
        part = point.measure(point.units[u], data_dir)
    except Exception as error:  # noqa: BLE001 - told in failures/ and in the sweep's own error
        return _Done(k, u, error=f"{type(error).__name__}: {error}", trace=traceback.format_exc())
    return _Done(k, u, part, time.process_time() - start)


def _on_this_machine(calls: Sequence[Call], jobs: int) -> Iterator[_Done]:
    from joblib import Parallel, delayed

    run = Parallel(jobs, return_as="generator_unordered")
    yield from run(delayed(_measure)(call) for call in calls)


def _on_ray(calls: Sequence[Call], jobs: int) -> Iterator[_Done]:
    import os

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no network but the cluster's own
    try:
        import ray
    except ImportError as error:
        raise InvalidInputError(
            "The backend 'ray' needs Ray, which is not installed: pip install 'inpatient[cluster]'."
        ) from error
    address = os.environ.get("RAY_ADDRESS")
    local: dict[str, Any] = {} if address or jobs == -1 else {"num_cpus": jobs}
    ray.init(address=address, include_dashboard=False, log_to_driver=False, **local)
    try:
        remote = ray.remote(_measure)
        pending = [remote.remote(call) for call in calls]
        while pending:
            ready, pending = ray.wait(pending)
            yield from ray.get(ready)
    finally:
        ray.shutdown()


_BACKENDS: Mapping[str, Callable[[Sequence[Call], int], Iterator[_Done]]] = {
    "joblib": _on_this_machine,
    "ray": _on_ray,
}
