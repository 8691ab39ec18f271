"""Which command makes a record again, and how long it took."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from experiments.run.record import Record, config_hash
from experiments.run.text import nearest
from experiments.studies.catalogue import FRONTIER, STUDIES
from experiments.studies.frontier.grid import GROUPS, chosen_grid, full_grid, group, quick_grid
from experiments.studies.frontier.risks import frontier_point

__all__ = ["command_of", "orphans", "reproduce"]

_GROUPS = {
    "small": "frontier, about 8 a hospital",
    "full": "frontier, all patients",
    "small-logistic": "frontier, about 8 a hospital, logistic",
    "regime": "another regime",
    "fedavg": "FedAvg",
    "framingham": "Framingham",
    "network": "simulated networks",
    "adversary": "the key holder",
    "ablation": "ablations",
    "effort": "how hard TabLeak searches",
    "memory": "hospitals at their own pace, attacked",
    "buffer": "hospitals in a sum",
}


def command_of(record: Record) -> str:
    """Return the command that makes this very record, perhaps among others of its grid."""
    if not FRONTIER.made(record):
        return next(study.command for study in STUDIES if study.made(record))
    point = frontier_point(record)
    seed = point.seeds[0]
    tail = f" --seed {seed}" if seed else ""
    if record.name in _names(quick_grid(seed)):
        return f"inpatient frontier --quick{tail}"
    if point.design.federated:
        strength = math.inf if point.epsilon is None else point.epsilon
        chosen = chosen_grid((point.design,), (strength,), point.regime, point.model, seed)
        if record.name in _names(chosen):
            return (
                f"inpatient frontier --designs {point.design} --epsilons {strength:g} "
                f"--regime {point.regime} --model {point.model}{tail}"
            )
    if record.name in _published(seed):
        return f"inpatient frontier --cells {record.name}{tail}"
    return f"inpatient frontier{tail}"


@cache
def _published(seed: int) -> frozenset[str]:
    return frozenset(_names(full_grid(seed)))


def orphans(records: Sequence[Record]) -> list[Record]:
    """Return the frontier's records that no grid of their seed makes any more: superseded ones."""
    frontier = [r for r in records if FRONTIER.made(r)]
    seeds = {frontier_point(r).seeds[0] for r in frontier}
    made = {n for seed in seeds for n in (*_published(seed), *_names(quick_grid(seed)))}
    return [r for r in frontier if r.name not in made]


def reproduce(records: Sequence[Record], timings: Path) -> list[dict[str, str]]:
    """One row a group of records: what it is, its command, how many records, CPU minutes.

    Args:
      records: All committed records.
      timings: The sidecar that sweeps write; where it has no entry, no minutes are stated.
    """
    seconds = _seconds(timings)
    ours = [r for r in records if FRONTIER.made(r)]
    rows, remaining = [], {r.name: r for r in ours}
    quick = _taken(remaining, _names(quick_grid()))
    rows.append(_row("the demo's points", "inpatient frontier --quick --out paper", quick, seconds))
    for name in GROUPS:
        group_records = _taken(remaining, _names(group(name)))
        rows.append(
            _row(
                _GROUPS.get(name, name),
                f"inpatient frontier --groups {name} --out paper",
                group_records,
                seconds,
            )
        )
    for study in STUDIES:
        if study is not FRONTIER:
            made = [r for r in records if study.made(r)]
            rows.append(_row(study.what, f"{study.command} --out paper", made, seconds))
    return [row for row in rows if row["records"] != "0"]


def _row(
    what: str, command: str, records: Sequence[Record], seconds: Mapping[str, float]
) -> dict[str, str]:
    timed = [seconds[r.name] for r in records if r.name in seconds]
    minutes = nearest(sum(timed) / 60, 1) if timed and len(timed) == len(records) else "—"
    return {"what": what, "command": command, "records": str(len(records)), "minutes": minutes}


def _taken(remaining: dict[str, Record], names: Iterable[str]) -> list[Record]:
    return [remaining.pop(name) for name in sorted(names) if name in remaining]


def _names(points: Iterable[Any]) -> set[str]:
    return {config_hash(point.config) for point in points}


def _seconds(timings: Path) -> dict[str, float]:
    if not timings.exists():
        return {}
    return {
        n: float(t["cpu_seconds"])
        for n, t in json.loads(timings.read_text(encoding="utf-8")).items()
    }
