"""Rows of the paper's tables that come from experiments other than the frontier.

Each function takes all records and returns rows of text; where an experiment has no record, none.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np

from experiments.run.record import Record, config_hash
from experiments.run.text import interval, mean, nearest, up, with_half_width
from experiments.studies.asynchrony import outcomes
from experiments.studies.claims import CLAIMS, evaluate
from experiments.studies.correction import worst_ece

__all__ = [
    "acceptance",
    "asynchrony",
    "audits",
    "claims",
    "correction",
    "equivalents",
    "poor_labels",
    "replications",
    "scaling",
]


def scaling(records: Sequence[Record]) -> list[dict[str, str]]:
    """What sealing gains, one row a number of hospitals, arrangement and epsilon."""
    rows = []
    for record in _of(records, "scaling"):
        config, m = record.config, record.metrics
        rows.append(
            {
                "hospitals": f"{config['hospitals']:,}".replace(",", " "),
                "arrangement": config["arrangement"],
                "epsilon": f"{config['epsilon']:g}",
                "replicates": str(config["replicates"]),
                "none": nearest(m["auc_none"]["value"]),
                "local": nearest(m["auc_local"]["value"]),
                "sealed": nearest(m["auc_sealed"]["value"]),
                "gain": nearest(m["gain"]["value"]),
                "gain_interval": interval(m["gain"]),
                "order": config["hospitals"],
            }
        )
    rows.sort(key=lambda r: (r["arrangement"], r["epsilon"], r["order"]))
    return [{k: v for k, v in r.items() if k != "order"} for r in rows]


def correction(records: Sequence[Record]) -> list[dict[str, str]]:
    """One row a cohort and rule."""
    rows = []
    for record in _of(records, "correction"):
        plain, local = record.metrics["as_trained"], record.metrics["local_intercept"]
        rows.append(
            {
                "cohort": record.config["cohort"],
                "rule": record.config["rule"],
                "auc": nearest(plain["auc_within"]["value"]),
                "auc_interval": interval(plain["auc_within"]),
                "brier": with_half_width(plain["brier"], plain["brier_half_width"]),
                "brier_local": with_half_width(local["brier"], local["brier_half_width"]),
                "ece": " / ".join(nearest(e, 2) for e in worst_ece(plain)),
                "ece_local": " / ".join(nearest(e, 2) for e in worst_ece(local)),
            }
        )
    return _unique(rows, "cohort", "rule")


def asynchrony(records: Sequence[Record]) -> list[dict[str, str]]:
    """One row a cohort and rule over its seeds: when the gap is reached, the bytes, where it ends.

    Where some seeds never reach the gap, the time is how many do.
    """
    ours = _of(records, "asynchrony")
    newest = max((r.config["code_version"] for r in ours), default=0)
    rows = [
        {
            "cohort": found.cohort,
            "rule": found.rule,
            "seeds": str(found.seeds),
            "time": found.time,
            "kilobytes": found.kilobytes or "—",
            "gap": mean(found.gaps, 4, most=math.inf),
            "auc": mean(found.aucs),
            "pooled": nearest(float(np.mean(found.pooled))),
            "epsilon": up(max(found.epsilons), 2) if found.epsilons else "none",
        }
        for found in outcomes([r for r in ours if r.config["code_version"] == newest])
    ]
    return _unique(rows, "cohort", "rule")


def acceptance(records: Sequence[Record]) -> list[dict[str, str]]:
    """The sealed model against the stated thresholds: checks passed, and which were not."""
    rows = []
    for record in _of(records, "correction"):
        checks = record.metrics.get("acceptance")
        if checks is None:
            continue
        judged = [c for c in checks if c["verdict"] != "too few"]
        failed = [c for c in judged if c["verdict"] != "pass"]
        counted: dict[str, int] = {}
        for check in failed:
            counted[check["rule"]] = counted.get(check["rule"], 0) + 1
        rows.append(
            {
                "cohort": record.config["cohort"],
                "passed": str(len(judged) - len(failed)),
                "judged": str(len(judged)),
                "left_out": str(len(checks) - len(judged)),
                "failed": ", ".join(f"{rule} ({n})" for rule, n in counted.items()) or "none",
            }
        )
    return _unique(rows, "cohort")


def poor_labels(records: Sequence[Record]) -> list[dict[str, str]]:
    """Within-site AUC by harm and defence: mean and interval over the newest code's seeds."""
    ours = _of(records, "poor labels")
    newest = max((r.config["code_version"] for r in ours), default=0)
    found: dict[tuple[str, str], list[float]] = {}
    for r in ours:
        if r.config["code_version"] == newest:
            key = (r.config["harm"], r.config["defence"])
            found.setdefault(key, []).append(r.metrics["auc_within"])
    return [
        {"harm": harm, "defence": defence, "auc": mean(aucs)}
        for (harm, defence), aucs in sorted(found.items())
    ]


def replications(records: Sequence[Record]) -> list[dict[str, str]]:
    """Published numbers beside ours; audits have a table of their own."""
    rows = [
        {
            "what": r.config["what"],
            "published": r.metrics["published"],
            "ours": nearest(float(r.metrics["ours"])),
            "interval": interval(r.metrics),
            "why": r.metrics["why"],
        }
        for r in _of(records, "replicate")
        if r.config["part"] != "audit"
    ]
    rows = _unique(rows, "what")
    repeated = [one["why"] == before["why"] for before, one in pairwise(rows)]
    return [
        {**one, "why": "as above"} if same else one
        for one, same in zip(rows, [False, *repeated], strict=True)
    ]


def audits(records: Sequence[Record]) -> list[dict[str, Any]]:
    """One row a bound and number of canaries: published and our median at each epsilon."""
    rows: dict[tuple[str, int], dict[float, dict[str, str]]] = {}
    for r in _of(records, "replicate"):
        if r.config["part"] == "audit":
            place = r.config["bound"], r.config["canaries"]
            rows.setdefault(place, {})[r.config["epsilon"]] = {
                "published": nearest(r.metrics["expected"], 2),
                "ours": f"{nearest(r.metrics['ours'], 2)} ({interval(r.metrics, 2)})",
            }
    return [
        {
            "bound": bound,
            "canaries": f"{canaries:,}",
            "epsilons": [f"{epsilon:g}" for epsilon in sorted(found)],
            "cells": [found[epsilon] for epsilon in sorted(found)],
        }
        for (bound, canaries), found in sorted(rows.items())
    ]


def claims(records: Sequence[Record]) -> list[dict[str, Any]]:
    """One row a claim of the article whose records are all there, in the article's order."""
    by_name = {r.name: r for r in records}
    rows = []
    for claim in CLAIMS:
        if any(config_hash(point.config) not in by_name for point in claim.points(0)):
            continue
        (found,) = evaluate(by_name, only=(claim.key,))
        value, ends = _short(found.value), (_short(found.lower), _short(found.upper))
        known = found.lower is not None
        english = value + (f" ({' to '.join(ends)})" if known else "")
        chinese = value + (f"（{' 至 '.join(ends)}）" if known else "")
        rows.append(
            {
                "claim": claim.key,
                "sentence": asdict(found.sentence),
                "verdict": found.verdict,
                "effect": {
                    "en": f"{found.condition.en} Measured: {found.effect.en}: {english}.",
                    "zh": f"{found.condition.zh}实测：{found.effect.zh}：{chinese}。",
                },
            }
        )
    return rows


def equivalents(records: Sequence[Record]) -> list[dict[str, str]]:
    """How many times its own data joining is worth to a hospital, one row a hospital's size."""
    rows = []
    simulated = [r for r in _of(records, "data equivalent") if "ratio_joined" in r.metrics]
    for record in simulated[-1:]:
        sealed = {r["patients"]: r for r in record.metrics["ratio_sealed"]}
        for found in record.metrics["ratio_joined"]:
            other = sealed[found["patients"]]
            rows.append(
                {
                    "patients": str(found["patients"]),
                    "joined": f"{nearest(found['value'], 1)} ({interval(found, 1)})",
                    "sealed": f"{nearest(other['value'], 1)} ({interval(other, 1)})",
                }
            )
    return rows


def _short(value: float | None) -> str:
    """Three digits that tell."""
    return "—" if value is None else f"{value:.3g}".replace("-", "−")


def _of(records: Sequence[Record], experiment: str) -> list[Record]:
    found = [r for r in records if r.config["experiment"] == experiment]
    return sorted(found, key=lambda r: (r.config.get("code_version", 0), r.name))


def _unique(rows: Sequence[dict[str, str]], *keys: str) -> list[dict[str, str]]:
    """The last row of each key, in the keys' order; numbers within them count as numbers."""
    found = {tuple(row[k] for k in keys): row for row in rows}
    padded = {key: [re.sub(r"\d+", lambda n: n[0].zfill(6), k) for k in key] for key in found}
    return [found[key] for key in sorted(found, key=padded.__getitem__)]
