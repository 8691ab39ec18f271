"""Every number of the paper and the READMEs, as text, made from records and from nothing else."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.demo import EPSILON
from experiments.run.record import Record, read_records
from experiments.run.text import interval, nearest, power_of_ten, signed, tiny
from experiments.studies.design import DELTA
from experiments.studies.frontier.risks import (
    ADVERSARIES,
    FrontierResult,
    read_frontier,
    risk_of,
    told,
)
from experiments.studies.judged_claims import CLAIMS
from experiments.studies.people import LINEUP
from paper import authors_told, correlated_told, learned, sealing_told, speed
from paper.best_told import best_of, clipping_of
from paper.effort_told import effort_rows
from paper.few_told import few_rows, once
from paper.inferred_told import inferred_rows, sureness_rows
from paper.joining_told import joining
from paper.points import CORE, Points, change, core, row
from paper.reproduction import reproduce
from paper.spread_told import spread_rows
from paper.tables_told import tables_of
from paper.theory import theory
from privacy.errors import InvalidInputError

__all__ = ["NAMED", "numbers", "published"]

_FULL, _SMALL = CORE

NAMED = {
    "bare": (*_SMALL, "none", None),
    "clipped": (*_SMALL, "local", None),
    "summed": (*_SMALL, "sealed", None),
    "article": (*_SMALL, "article", EPSILON),
    "sealed": (*_SMALL, "sealed", EPSILON),
    "local": (*_SMALL, "local", EPSILON),
    "full_bare": (*_FULL, "none", None),
    "full_sealed": (*_FULL, "sealed", EPSILON),
    "full_local": (*_FULL, "local", EPSILON),
    "full_article": (*_FULL, "article", EPSILON),
}
"""The points that prose speaks of: regime, model, design, epsilon. Each must have a record."""

_OPTIONAL = {
    "alone": (*_SMALL, "local only", None),
    "pooled": (*_SMALL, "pooled", None),
    "full_summed": (*_FULL, "sealed", None),
    "full_alone": (*_FULL, "local only", None),
    "full_pooled": (*_FULL, "pooled", None),
    "other_bare": ("small", "logistic", "none", None),
    "other_sealed": ("small", "logistic", "sealed", EPSILON),
}


def published(paper: Path) -> list[Record]:
    """Return all committed records.

    Raises:
      InvalidInputError: A point that the paper's prose speaks of has no record.
    """
    folder = paper / "records"
    folders = [folder, *sorted(child for child in folder.iterdir() if child.is_dir())]
    records = [record for records_folder in folders for record in read_records(records_folder)]
    points = Points(records)
    missing = [name for name, key in NAMED.items() if points.find(*key) is None]
    if missing:
        raise InvalidInputError(
            f"{paper / 'records'} lacks the records of {', '.join(missing)}. Make them with "
            f"`inpatient frontier --quick --out {paper}`."
        )
    return records


def numbers(records: Sequence[Record], timings: Path) -> dict[str, Any]:
    """Every number of the paper as text, rounded once (``text``).

    Args:
      records: All committed records (``published``).
      timings: The sweeps' sidecar, for minutes; it need not exist.
    """
    points = Points(records)
    named = {name: _must(points, name) for name in NAMED}
    named |= {n: r for n, key in _OPTIONAL.items() if (r := points.find(*key)) is not None}
    first = named["full_bare"]
    frontier = [points.records[r.name] for r in points.results]
    others = [r for r in records if r.config["experiment"] != "frontier"]
    joined = [r for r in records if r.config["experiment"].startswith("joining")]
    sites = first.metrics.auc_sites or {}
    return {
        "frontier": {
            "rows": [row(r) for r in core(points)],
            "all": str(len(points.results)),
            "named": {name: row(r) for name, r in named.items()},
            "varied": _varied(points, records),
        },
        "at_risk": _at_risk(named["bare"]),
        "scaling": learned.scaling(records),
        "correction": learned.correction(records),
        "acceptance": learned.acceptance(records),
        "sealing": sealing_told.rows(sealing_told.committed(timings.parent)),
        "speed": {} if (fast := speed.committed(timings.parent)) is None else fast.words(),
        "correlated": correlated_told.rows(correlated_told.committed(timings.parent)),
        "spread": spread_rows(records, points),
        "best": best_of(points),
        "clipping": clipping_of(points),
        "effort": effort_rows(points),
        "authors": authors_told.authors_rows(authors_told.committed(timings.parent, "tableak")),
        "architectures": authors_told.architecture_rows(
            authors_told.committed(timings.parent, "tabular_gia")
        ),
        "inferred": inferred_rows(records),
        "sureness": sureness_rows(records),
        "few": (few := few_rows(joined)),
        "once": once(few),
        "poor_labels": learned.poor_labels(records),
        "replications": learned.replications(records),
        "audits": learned.audits(records),
        "asynchrony": learned.asynchrony(records),
        "equivalents": learned.equivalents(records),
        "claims": learned.claims(records),
        "sentences": learned.sentences(records),
        "deidentified": tables_of(records),
        "joining": joining(joined),
        "claims_asked": str(len(CLAIMS)),
        "theory": theory([r for r in points.results if r.point.cohort == "heart"]),
        "reproduce": reproduce([*frontier, *others], timings),
        "cost_full": _difference(named, "full_bare", "full_sealed"),
        "cost_small": _difference(named, "bare", "sealed"),
        "gain_full": _difference(named, "full_sealed", "full_local", sign=True),
        "gain_small": _difference(named, "sealed", "local", sign=True),
        "delta": power_of_ten(DELTA),
        "lineup": str(LINEUP),
        "guess": nearest(1 / LINEUP, 2),
        "validations": str(len(named["sealed"].point.seeds)),
        "commits": ", ".join(sorted({r.stamp["commit"][:8] for r in [*frontier, *others]})),
        "wrap": tiny(max(r.metrics.wrap_probability for r in points.results)),
        "switzerland_negatives": str(sites["switzerland"].negatives),
        "brier": nearest(first.metrics.brier),
        "brier_local": nearest(first.metrics.brier_local_intercept),
    }


def _must(points: Points, name: str) -> FrontierResult:
    result = points.find(*NAMED[name])
    if result is None:
        raise InvalidInputError(f"There is no record of the point {name}: {NAMED[name]}.")
    return result


def _difference(
    named: dict[str, FrontierResult], better: str, worse: str, *, sign: bool = False
) -> str:
    first, second = (named[name].metrics.auc_within.value for name in (better, worse))
    return (signed if sign else nearest)(first - second)


_COLUMNS = (
    ("none", None),
    ("article", EPSILON),
    ("local", EPSILON),
    ("sealed", None),
    ("sealed", EPSILON),
    ("local only", None),
)
"""Design and epsilon of the columns of the table of what is varied."""


def _varied(points: Points, records: Sequence[Record]) -> list[dict[str, Any]]:
    """One row a factor that differs from the core: AUC over risks, of ``_COLUMNS``."""
    others = [*points.panel("small", "logistic"), *points.panel("full", "mlp")]
    factors = [r for r in points.varied() if r.point.ablation is None]
    asynchronous = read_frontier([r for r in records if r.config["experiment"] == "own pace"])
    arrivals = [r for r in asynchronous if r.point.ablation is None]
    rows: dict[tuple[str, str], dict[tuple[str, float | None], FrontierResult]] = {}
    for result in [*others, *factors, *arrivals]:
        place = result.point.design, result.point.epsilon
        rows.setdefault(change(result), {})[place] = result
    return [
        {
            "what": what,
            "value": value,
            "cells": [_cell(cells[c]) if c in cells else None for c in _COLUMNS],
        }
        for (what, value), cells in sorted(rows.items())
    ]


def _cell(result: FrontierResult) -> dict[str, str]:
    """AUC and each adversary's risk with their intervals, short."""
    auc = result.metrics.auc_within
    cell = {"auc": f"{nearest(auc.value)} ({interval(auc)})"}
    for adversary in ADVERSARIES:
        value, between = told(result, adversary)
        cell[adversary] = f"{value} ({between})" if between else value
    return {name: text.replace(" to ", "–") for name, text in cell.items()}


def _at_risk(bare: FrontierResult) -> list[dict[str, str]]:
    """Targets with a trait against those without, under a curious server's best attack.

    The informed adversary names all of them, so it tells nobody apart.
    """
    risk = risk_of(bare, "curious")
    attack = "" if risk is None else risk.attack
    rows = []
    for trait, attacks in bare.metrics.risks_by_trait.items():
        halves = attacks.get(attack, {})
        if {"with", "without"} <= halves.keys():
            rows.append(
                {
                    "trait": trait,
                    **{
                        half.replace("without", "lacks").replace("with", "has"): (
                            f"{nearest(r.value, 2)} ({interval(r, 2)})"
                        )
                        for half, r in halves.items()
                    },
                }
            )
    return rows
