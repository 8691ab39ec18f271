"""Every number of the paper and the README, as text, made from records and from nothing else."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.demo import EPSILON
from experiments.frontier import quick_grid
from experiments.paper.text import epsilon, interval, nearest, power_of_ten, signed, up
from experiments.paper.theory import theory
from experiments.paper.words import DESIGNS, REGIMES
from experiments.record import Record, read_records
from privacy.errors import InvalidInputError

__all__ = ["numbers", "published", "rows"]

NAMED = {
    "bare": ("small", "none", None),
    "clipped": ("small", "local", None),
    "article": ("small", "article", EPSILON),
    "sealed": ("small", "sealed", EPSILON),
    "local": ("small", "local", EPSILON),
    "full_bare": ("full", "none", None),
    "full_sealed": ("full", "sealed", EPSILON),
    "full_local": ("full", "local", EPSILON),
    "full_article": ("full", "article", EPSILON),
}
"""The points that prose speaks of: regime, design, epsilon."""


def published(paper: Path) -> list[Record]:
    """Return the demo's points, in the grid's order, from the committed records.

    Raises:
      InvalidInputError: A point of the grid has no record.
    """
    found = {record.name: record for record in read_records(paper / "records")}
    names = [Record(point.config, {}, {}).name for point in quick_grid()]
    missing = [p.label for p, name in zip(quick_grid(), names, strict=True) if name not in found]
    if missing:
        raise InvalidInputError(
            f"{paper / 'records'} lacks the records of {', '.join(missing)}. Make them with "
            f"`inpatient frontier --quick --out {paper}`."
        )
    return [found[name] for name in names]


def numbers(records: Sequence[Record]) -> dict[str, Any]:
    """Every number of the paper as text, rounded once (``text``).

    Args:
      records: The demo's points (``published``).
    """
    by_key = {(r.config["regime"], r.config["design"], r.config["epsilon"]): r for r in records}
    first = by_key[NAMED["full_bare"]]
    return {
        "frontier": {
            "rows": rows(records),
            "named": {name: _row(by_key[key]) for name, key in NAMED.items()},
        },
        "claims": [],
        "reproduce": [],
        "theory": theory(records),
        "cost_full": _difference(by_key, "full_bare", "full_sealed"),
        "cost_small": _difference(by_key, "bare", "sealed"),
        "gain_full": "+" + _difference(by_key, "full_sealed", "full_local"),
        "gain_small": "+" + _difference(by_key, "sealed", "local"),
        "delta": power_of_ten(first.config["delta"]),
        "lineup": str(first.config["lineup"]),
        "guess": nearest(1 / first.config["lineup"], 2),
        "commit": first.stamp["commit"][:12],
        "switzerland_negatives": str(first.metrics["auc_sites"]["switzerland"]["negatives"]),
        "brier": nearest(first.metrics["brier"]),
        "brier_local": nearest(first.metrics["brier_local_intercept"]),
    }


def rows(records: Sequence[Record]) -> list[dict[str, str]]:
    """One row a point of the frontier, in the records' order."""
    return [_row(record) for record in records]


def _difference(by_key: Mapping[Any, Record], better: str, worse: str) -> str:
    first, second = (by_key[NAMED[name]].metrics["auc_within"]["value"] for name in (better, worse))
    return signed(first - second).removeprefix("+")


def _row(record: Record) -> dict[str, str]:
    config, m = record.config, record.metrics
    risk, spent = m["risk"], m["epsilon"]
    return {
        "record": record.name,
        "regime": config["regime"],
        "regime_label": f"{REGIMES['en'][config['regime']]}, {config['model']}",
        "model": config["model"],
        "design": config["design"],
        "design_label": DESIGNS["en"][config["design"]],
        "epsilon": epsilon(config["epsilon"]),
        "certified": "none" if spent is None else up(spent["upper"]),
        "auc": nearest(m["auc_within"]["value"]),
        "auc_interval": interval(m["auc_within"]),
        "risk": nearest(risk["value"], 2),
        "risk_interval": interval(risk, 2),
        "targets": str(risk["targets"]),
        "exact": nearest(risk["exact"], 2),
        "bound": "none" if m["bound"] is None else up(m["bound"]),
        "kilobytes": nearest(m["upload_bytes"] / 1e3, 1),
    }
