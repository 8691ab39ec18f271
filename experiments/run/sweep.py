"""Sweeps: every point that has no record yet, on all cores, on a Ray cluster, or in shards.

A point is cut into units (the folds of its seeds, say) that are measured apart and in any order; a
record is written when the last of its units is in. Nothing that names or fills a record depends on
who measured it or when: any number of workers, of shards, and both backends give the same bytes.

A unit that fails does not end the sweep, nor does one whose worker the system kills: it is told in
``OUT/failures/<record's name>.json``, the other points go on, and the next run tries the point
again. An interrupted sweep keeps every record that was written.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from experiments.plugins import PLUGINS
from experiments.run.record import (
    Record,
    config_hash,
    read_records,
    stamp,
    writable_folder,
    write_json,
)
from experiments.run.study import GridPoint
from experiments.run.workers import BACKENDS, UnitCall, UnitOutcome
from privacy.errors import IncompleteSweepError, InvalidInputError

__all__ = ["Shard", "sweep"]


@dataclass(frozen=True)
class Shard:
    """One of several sweeps that share a folder and divide its points.

    Attributes:
      number: Which, from 1 on.
      count: How many there are.
    """

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read ``2/3``; nothing is the only shard.

        Raises:
          InvalidInputError: It has another form, or there is no such shard.
        """
        if not text:
            return cls()
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise InvalidInputError(
                f"Expected --shard {text!r} as k/n with k from 1 to n: 2/3 is the second of three."
            )
        return cls(int(match[1]), int(match[2]))

    @property
    def timings(self) -> str:
        """The name of its sidecar: two shards never write one file."""
        return "timings.json" if self.count == 1 else f"timings-{self.number}-of-{self.count}.json"


_WHOLE = Shard()


def sweep(
    out: Path,
    points: Sequence[GridPoint],
    *,
    jobs: int = -1,
    backend: str = "joblib",
    shard: Shard = _WHOLE,
    data_dir: Path | None = None,
    console: Console | None = None,
) -> list[Record]:
    """Compute the points that have no record in ``out`` yet; return all records, in order.

    Guarantees (each is a test in ``tests/experiments/test_sweep.py``):
      - the same points give the same files in ``out/records``, byte for byte, on any number of
        workers, in any number of shards and on either backend;
      - what has a record is not computed again;
      - a failing point, or one whose worker is killed, leaves a file in ``out/failures``, loses no
        other point, and is tried again by the next run, whose success removes the file.

    Durations go to ``out/timings.json`` (CPU seconds by record), beside the records.

    Args:
      out: Gets ``records/``, ``timings.json`` and, where needed, ``failures/``.
      points: What to compute.
      jobs: Worker processes; -1 takes every core, 1 this process. A Ray cluster takes as many as it
        has.
      backend: ``joblib`` (this machine) or ``ray`` (the cluster that ``RAY_ADDRESS`` names, else a
        local one; needs the extra ``cluster``).
      shard: Which part of the points is this sweep's; the others' records are returned where they
        are there already.
      data_dir: Handed to each point.
      console: Shows the progress.

    Raises:
      IncompleteSweepError: Points failed; all others have their records.
      InvalidInputError: An unknown backend, no worker, or Ray is not installed.
    """
    if jobs == 0 or jobs < -1:
        raise InvalidInputError(f"Expected jobs={jobs} >= 1, or -1 for every core.")
    if backend not in BACKENDS:
        raise InvalidInputError(
            f"Unknown backend {backend!r}; choose one of {', '.join(BACKENDS)}."
        )
    console = console or Console()
    folder = writable_folder(out / "records")
    done = {record.name: record for record in read_records(folder)}
    names = [config_hash(_named(point)) for point in points]
    distinct = list(dict.fromkeys(names))
    assigned = set(distinct[shard.number - 1 :: shard.count])
    missing = [names.index(name) for name in distinct if name in assigned and name not in done]
    there = sum(name in done for name in distinct)
    if there:
        console.print(f"{there} of {len(distinct)} points are there already.")
    stamped, failed = stamp(), list[str]()
    timings = _timings(out / shard.timings)
    for place, parts in _by_point(points, missing, jobs, backend, data_dir, console):
        point, name = points[place], names[place]
        failure = next((one for one in parts if one.error is not None), None)
        if failure is not None:
            failed.append(f"{point.label}: {failure.error}")
            _tell(out, name, point, failure, stamped)
            continue
        record = Record(_named(point), point.summarise([one.part for one in parts]), stamped)
        record.write(folder)
        done[name] = record
        (out / "failures" / f"{name}.json").unlink(missing_ok=True)
        timings[name] = {
            "label": point.label,
            "cpu_seconds": round(sum(one.seconds for one in parts), 2),
        }
        write_json(out / shard.timings, timings)
    if failed:
        raise IncompleteSweepError(
            f"{len(failed)} of {len(distinct)} points failed ({failed[0]}); the others have their "
            f"records. {out / 'failures'} tells what happened; the same command tries them again."
        )
    if shard.count > 1:
        done |= {record.name: record for record in read_records(folder)}  # the others went on too
    return [done[name] for name in names if name in done]


def _named(point: GridPoint) -> Mapping[str, Any]:
    """What names a point's record: its config, and the plugins that were run before it."""
    return {**point.config, "plugins": sorted(PLUGINS)} if PLUGINS else point.config


def _timings(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # a sidecar: what it lost costs no number
    return content if isinstance(content, dict) else {}


def _tell(
    out: Path, name: str, point: GridPoint, failure: UnitOutcome, stamped: Mapping[str, Any]
) -> None:
    write_json(
        writable_folder(out / "failures") / f"{name}.json",
        {
            "config": dict(_named(point)),
            "label": point.label,
            "error": failure.error,
            "trace": failure.trace,
            "stamp": dict(stamped),
        },
    )


def _by_point(
    points: Sequence[GridPoint],
    places: Sequence[int],
    jobs: int,
    backend: str,
    data_dir: Path | None,
    console: Console,
) -> Iterator[tuple[int, list[UnitOutcome]]]:
    """Yield each point when the last of its units is in, its units in order."""
    waiting: dict[int, list[UnitOutcome]] = {k: [] for k in places}
    plugins = tuple(PLUGINS.values())
    calls = [
        UnitCall(place, points[place], unit, data_dir, plugins)
        for place in places
        for unit in range(len(points[place].units))
    ]
    if not calls:
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("units", total=len(calls))
        for one in BACKENDS[backend](calls, jobs):
            waiting[one.place].append(one)
            progress.update(task, advance=1, description=points[one.place].label)
            if len(waiting[one.place]) == len(points[one.place].units):
                yield one.place, sorted(waiting.pop(one.place), key=lambda part: part.unit)
