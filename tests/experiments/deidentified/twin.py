"""Datafly once more, from its description: what anjana is compared with, and its stand-in."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any


def answered(jobs: Sequence[Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
    return [[_alone(job, k) for k in job["ks"]] for job in jobs]


def _alone(job: Mapping[str, Any], k: int) -> dict[str, Any]:
    names = list(job["columns"])
    levels, left = dict.fromkeys(names, 0), list(names)
    while True:
        columns = [[job["hierarchies"][n][levels[n]][v] for v in job["columns"][n]] for n in names]
        rows = list(zip(*columns, strict=True))
        sizes = Counter(rows)
        kept = [i for i, row in enumerate(rows) if sizes[row] >= k]
        if kept and 100 * (len(rows) - len(kept)) / len(rows) <= job["limit"]:
            return {"rows": kept, "levels": levels}
        if not left:
            return {"rows": [], "levels": levels}
        most = max(left, key=lambda n: len(set(columns[names.index(n)])))
        if levels[most] + 1 < len(job["hierarchies"][most]):
            levels[most] += 1
        else:
            left.remove(most)
