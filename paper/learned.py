"""Rows of the paper's tables that come from experiments other than the frontier.

Each function takes all records and returns rows of text; where an experiment has no record, none.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from experiments.run.record import Record, config_hash
from experiments.run.text import interval, mean, nearest, up, with_half_width
from experiments.run.typed import read, read_all
from experiments.studies.article_sentences import SENTENCES
from experiments.studies.asynchrony_study import read_asynchrony, repeated
from experiments.studies.claim_words import Text
from experiments.studies.correction_study import SEALED, read_correction
from experiments.studies.equivalent import Equivalent, EquivalentMetrics
from experiments.studies.judged_claims import CLAIMS, ClaimFinding, Subject, evaluate
from experiments.studies.poor_labels import read_labels
from experiments.studies.ruling import Ruling
from experiments.studies.scaling import read_scaling

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
    "sentences",
]


@dataclass(frozen=True)
class ReplicatedNumber:
    """What a record of a replication names; the last three of audits alone."""

    what: str
    part: str
    bound: str = ""
    canaries: int = 0
    epsilon: float = 0.0


@dataclass(frozen=True)
class Replication:
    """A published number beside ours, with ours' interval, and why they differ."""

    published: str
    ours: float
    lower: float
    upper: float
    why: str
    expected: float = 0.0


def scaling(records: Sequence[Record]) -> list[dict[str, str]]:
    """What sealing gains, one row a number of hospitals, arrangement and epsilon."""
    results = read_scaling(_of(records, "scaling"))
    results.sort(key=lambda r: (r.point.arrangement, f"{r.point.epsilon:g}", r.point.hospitals))
    return [
        {
            "hospitals": f"{r.point.hospitals:,}".replace(",", " "),
            "arrangement": r.point.arrangement,
            "epsilon": f"{r.point.epsilon:g}",
            "replicates": str(r.point.replicates),
            "none": nearest(r.metrics.auc_none.value),
            "local": nearest(r.metrics.auc_local.value),
            "sealed": nearest(r.metrics.auc_sealed.value),
            "gain": nearest(r.metrics.gain.value),
            "gain_interval": interval(r.metrics.gain),
        }
        for r in results
    ]


def correction(records: Sequence[Record]) -> list[dict[str, str]]:
    """One row a cohort and rule."""
    rows = []
    for result in read_correction(_of(records, "correction")):
        plain, local = result.metrics.as_trained, result.metrics.local_intercept
        rows.append(
            {
                "cohort": result.point.cohort,
                "rule": result.point.rule,
                "auc": nearest(plain.auc_within.value),
                "auc_interval": interval(plain.auc_within),
                "brier": with_half_width(plain.brier, plain.brier_half_width),
                "brier_local": with_half_width(local.brier, local.brier_half_width),
                "ece": " / ".join(nearest(e, 2) for e in plain.worst_ece),
                "ece_local": " / ".join(nearest(e, 2) for e in local.worst_ece),
            }
        )
    return _unique(rows, "cohort", "rule")


def asynchrony(records: Sequence[Record]) -> list[dict[str, str]]:
    """One row a cohort and rule over its seeds: when the gap is reached, the bytes, where it ends.

    Where some seeds never reach the gap, the time is how many do.
    """
    results = read_asynchrony(_of(records, "asynchrony"))
    newest = max((r.point.code_version for r in results), default=0)
    rows = [
        {
            "cohort": one.cohort,
            "rule": one.rule,
            "seeds": str(one.seeds),
            "time": one.time,
            "kilobytes": one.kilobytes or "—",
            "gap": mean(one.gaps, 4, most=math.inf),
            "auc": mean(one.aucs),
            "pooled": nearest(one.pooled),
            "epsilon": up(max(one.epsilons), 2) if one.epsilons else "none",
        }
        for one in repeated([r for r in results if r.point.code_version == newest])
    ]
    return _unique(rows, "cohort", "rule")


def acceptance(records: Sequence[Record]) -> list[dict[str, str]]:
    """The sealed model against the stated thresholds: checks passed, open and failed."""
    rows = []
    for result in read_correction(_of(records, "correction")):
        if result.point.rule != SEALED:
            continue
        checks = result.metrics.acceptance
        judged = [c for c in checks if c.verdict != "too few"]
        counted: dict[str, int] = {}
        for check in (c for c in judged if c.verdict == "fail"):
            counted[check.rule] = counted.get(check.rule, 0) + 1
        undecided = sum(c.verdict == "open" for c in judged)
        rows.append(
            {
                "cohort": result.point.cohort,
                "passed": str(len(judged) - undecided - sum(counted.values())),
                "open": str(undecided),
                "judged": str(len(judged)),
                "left_out": str(len(checks) - len(judged)),
                "failed": ", ".join(f"{rule} ({n})" for rule, n in counted.items()) or "none",
            }
        )
    return _unique(rows, "cohort")


def poor_labels(records: Sequence[Record]) -> list[dict[str, str]]:
    """Within-site AUC by harm and defence: mean and interval over the newest code's seeds."""
    results = read_labels(_of(records, "poor labels"))
    newest = max((r.point.code_version for r in results), default=0)
    by_place: dict[tuple[str, str], list[float]] = {}
    for r in results:
        if r.point.code_version == newest:
            by_place.setdefault((r.point.harm, r.point.defence), []).append(r.metrics.auc_within)
    return [
        {"harm": harm, "defence": defence, "auc": mean(aucs)}
        for (harm, defence), aucs in sorted(by_place.items())
    ]


def replications(records: Sequence[Record]) -> list[dict[str, str]]:
    """Published numbers beside ours; audits have a table of their own."""
    rows = [
        {
            "what": r.point.what,
            "published": r.metrics.published,
            "ours": nearest(r.metrics.ours),
            "interval": interval(r.metrics),
            "why": r.metrics.why,
        }
        for r in read_all(_of(records, "replicate"), ReplicatedNumber, Replication)
        if r.point.part != "audit"
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
    for r in read_all(_of(records, "replicate"), ReplicatedNumber, Replication):
        if r.point.part == "audit":
            rows.setdefault((r.point.bound, r.point.canaries), {})[r.point.epsilon] = {
                "published": nearest(r.metrics.expected, 2),
                "ours": f"{nearest(r.metrics.ours, 2)} ({interval(r.metrics, 2)})",
            }
    return [
        {
            "bound": bound,
            "canaries": f"{canaries:,}",
            "epsilons": [f"{epsilon:g}" for epsilon in sorted(cells)],
            "cells": [cells[epsilon] for epsilon in sorted(cells)],
        }
        for (bound, canaries), cells in sorted(rows.items())
    ]


def claims(records: Sequence[Record]) -> list[dict[str, Any]]:
    """One row a claim of the article whose records are all there, in the article's order."""
    by_name = {r.name: r for r in records}
    rows = []
    for claim in CLAIMS:
        if any(config_hash(point.config) not in by_name for point in claim.points(Subject())):
            continue
        (finding,) = evaluate(by_name, only=(claim.key,))
        rows.append(_judged(claim.key, claim.sentence, finding))
    return rows


def sentences(records: Sequence[Record]) -> list[dict[str, Any]]:
    """The same of sentences that other studies' records answer."""
    ruled = [(one, one.rule(records)) for one in SENTENCES]
    return [_judged(one.key, one.sentence, ruling) for one, ruling in ruled if ruling is not None]


def _judged(key: str, sentence: Text, finding: ClaimFinding | Ruling) -> dict[str, Any]:
    value, ends = _short(finding.value), (_short(finding.lower), _short(finding.upper))
    random = finding.lower is not None
    english = value + (f" ({' to '.join(ends)})" if random else "")
    chinese = value + (f"（{' 至 '.join(ends)}）" if random else "")
    return {
        "claim": key,
        "sentence": asdict(sentence),
        "verdict": finding.verdict,
        "effect": {
            "en": f"{finding.condition.en} Measured: {finding.effect.en}: {english}.",
            "zh": f"{finding.condition.zh}实测：{finding.effect.zh}：{chinese}。",
        },
    }


def equivalents(records: Sequence[Record]) -> list[dict[str, str]]:
    """How many times its own data joining is worth to a hospital, one row a hospital's size."""
    simulated = [r for r in _of(records, "data equivalent") if "ratio_joined" in r.metrics]
    rows = []
    for m in (read(r, Equivalent, EquivalentMetrics).metrics for r in simulated[-1:]):
        for joined, sealed in zip(m.ratio_joined, m.ratio_sealed, strict=True):
            rows.append(
                {
                    "patients": str(joined.patients),
                    "joined": f"{nearest(joined.value, 1)} ({interval(joined, 1)})",
                    "sealed": f"{nearest(sealed.value, 1)} ({interval(sealed, 1)})",
                }
            )
    return rows


def _short(value: float | None) -> str:
    """Three digits that tell."""
    return "—" if value is None else f"{value:.3g}".replace("-", "−")


def _of(records: Sequence[Record], experiment: str) -> list[Record]:
    its_records = [r for r in records if r.config["experiment"] == experiment]
    return sorted(its_records, key=lambda r: (r.config.get("code_version", 0), r.name))


def _unique(rows: Sequence[dict[str, str]], *keys: str) -> list[dict[str, str]]:
    """The last row of each key, in the keys' order; numbers within them count as numbers."""
    last_rows = {tuple(row[k] for k in keys): row for row in rows}
    padded = {key: [re.sub(r"\d+", lambda n: n[0].zfill(6), k) for k in key] for key in last_rows}
    return [last_rows[key] for key in sorted(last_rows, key=padded.__getitem__)]
