"""Which record stands for a point: its own, or one of earlier code until it is computed anew."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.run.record import Record, config_hash

__all__ = ["key_of", "keys_of", "standing"]

_VERSIONS = ("code_version", "descent_version", "attacks")


def key_of(config: Mapping[str, Any]) -> str:
    """Return what a record measures, whichever version of the code and the attacks did it."""
    kept = {name: value for name, value in config.items() if name not in _VERSIONS}
    if str(kept.get("cohort", "")).startswith("network") and "seeds" in kept:
        kept["seeds"] = list(kept["seeds"])[:1]  # of simulated networks there were fewer
    return config_hash(kept)


def keys_of(points: Iterable[Any]) -> dict[str, str]:
    """Return the names of points' records, by key."""
    return {key_of(point.config): config_hash(point.config) for point in points}


def standing(records: Sequence[Record], points: Iterable[Any]) -> dict[str, Record]:
    """Return the record that stands for each point, by the name that the point's own would have.

    Points without any are left out.
    """
    own = {r.name: r for r in records}
    earlier = {key_of(r.config): r for r in sorted(records, key=_version)}
    found = {}
    for key, name in keys_of(points).items():
        record = own.get(name, earlier.get(key))
        if record is not None:
            found[name] = record
    return found


def _version(record: Record) -> int:
    return int(record.config.get("code_version", 0))
