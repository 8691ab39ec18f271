"""Which command makes a record again, and how long it took."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from experiments.run.record import Record
from experiments.run.text import nearest
from experiments.studies.catalogue import FRONTIER, STUDIES
from experiments.studies.frontier.grid import GROUPS, chosen_grid, full_grid, group, quick_grid
from experiments.studies.frontier.risks import frontier_point
from paper.standing import key_of, keys_of

__all__ = ["command_of", "orphans", "reproduce"]

_GROUPS = {
    "small": "frontier, about 8 a hospital",
    "full": "frontier, all patients",
    "model": "another model",
    "regime": "another regime",
    "fedavg": "FedAvg",
    "framingham": "Framingham",
    "network": "simulated networks",
    "adversary": "the key holder",
    "ablation": "ablations",
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
    if key_of(record.config) in keys_of(quick_grid(seed)):
        return f"inpatient frontier --quick{tail}"
    if point.design.federated:
        strength = math.inf if point.epsilon is None else point.epsilon
        chosen = chosen_grid((point.design,), (strength,), point.regime, point.model, seed)
        if key_of(record.config) in keys_of(chosen):
            return (
                f"inpatient frontier --designs {point.design} --epsilons {strength:g} "
                f"--regime {point.regime} --model {point.model}{tail}"
            )
    if (cell := _published(seed).get(key_of(record.config))) is not None:
        return f"inpatient frontier --cells {cell}{tail}"
    return f"inpatient frontier{tail}"


@cache
def _published(seed: int) -> Mapping[str, str]:
    return keys_of(full_grid(seed))


def orphans(records: Sequence[Record]) -> list[Record]:
    """Return the frontier's records that no grid of their seed makes any more: superseded ones.

    Those of earlier code are none while the grid has their points.
    """
    frontier = [r for r in records if FRONTIER.made(r)]
    seeds = {frontier_point(r).seeds[0] for r in frontier}
    made = {k for seed in seeds for k in (*_published(seed), *keys_of(quick_grid(seed)))}
    return [r for r in frontier if key_of(r.config) not in made]


def reproduce(records: Sequence[Record], timings: Path) -> list[dict[str, str]]:
    """One row a group of records: what it is, its command, how many records, CPU minutes.

    Args:
      records: All committed records.
      timings: The sidecar that sweeps write; where it has no entry, no minutes are stated.
    """
    seconds = _seconds(timings)
    ours = [r for r in records if FRONTIER.made(r)]
    rows, left = [], {r.name: r for r in ours}
    quick = _taken(left, quick_grid())
    rows.append(_row("the demo's points", "inpatient frontier --quick --out paper", quick, seconds))
    for name in GROUPS:
        found = _taken(left, group(name))
        rows.append(
            _row(
                _GROUPS.get(name, name),
                f"inpatient frontier --groups {name} --out paper",
                found,
                seconds,
            )
        )
    commits = ", ".join(sorted({r.stamp["commit"][:8] for r in left.values()}))
    what, command = "points of earlier code", f"inpatient frontier --quick (at {commits})"
    rows.append(_row(what, command, [*left.values()], seconds))
    for study in STUDIES:
        if study is not FRONTIER:
            made = [r for r in records if study.made(r)]
            rows.append(_row(study.what, f"{study.command} --out paper", made, seconds))
    return [row for row in rows if row["records"] != "0"]


def _row(
    what: str, command: str, records: Sequence[Record], seconds: Mapping[str, float]
) -> dict[str, str]:
    known = [seconds[r.name] for r in records if r.name in seconds]
    minutes = nearest(sum(known) / 60, 1) if known and len(known) == len(records) else "—"
    return {"what": what, "command": command, "records": str(len(records)), "minutes": minutes}


def _taken(left: dict[str, Record], points: Iterable[Any]) -> list[Record]:
    keys = keys_of(points)
    return [left.pop(name) for name in sorted(left) if key_of(left[name].config) in keys]


def _seconds(timings: Path) -> dict[str, float]:
    if not timings.exists():
        return {}
    return {
        n: float(t["cpu_seconds"])
        for n, t in json.loads(timings.read_text(encoding="utf-8")).items()
    }
