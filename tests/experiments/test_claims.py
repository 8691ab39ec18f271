"""Claims: every rule can say yes, no and maybe; every number is its record's."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from experiments.run.record import Record
from experiments.run.study import GridPoint
from experiments.studies import claims
from experiments.studies.claim_words import Text
from experiments.studies.claims import CLAIMS, Claim, markdown

PAPER = Path(__file__).parents[2] / "paper"
PUBLISHED = json.loads((PAPER / "numbers.json").read_text(encoding="utf-8"))
BY_KEY = {claim.key: claim for claim in CLAIMS}


def interval(value: float, half: float = 0.005) -> dict[str, float]:
    return {"value": value, "lower": value - half, "upper": value + half}


def record(metrics: Mapping[str, Any], **config: Any) -> Record:
    return Record(config, metrics, {})


def uploads(lost: int) -> Record:
    return record({"unaccounted_bytes": lost})


def attacked(
    risk: float, bound: float | None = None, exact: float = 0.0, eps: float = 1.0
) -> Record:
    metrics = {"risk": {**interval(risk), "exact": exact}, "bound": bound, "prior_success": 0.1}
    return record(metrics, epsilon=eps)


def gain(value: float, **sites: float) -> Record:
    return record(
        {"gain": interval(value), "gain_sites": {n: interval(v) for n, v in sites.items()}}
    )


def ratios(*values: float) -> list[Record]:
    found = [
        {"patients": 25 * 2**k, **interval(v, 0.1), "at_least": False} for k, v in enumerate(values)
    ]
    real = {"a": {"ratio_joined": found}}
    return [record({"ratio_joined": found}, hospitals=40), record({"hospitals": real})]


def checks(*verdicts: str) -> list[Record]:
    return [record({"acceptance": [{"verdict": v} for v in verdicts]})]


def paced(rule: str, *times: float | None) -> list[Record]:
    """One record a seed."""
    metrics = {"epsilons": None, "final_gap": 0.0, "final_auc": 0.8, "pooled_auc": 0.8}
    return [
        record(
            {**metrics, "reached": None if time is None else {"time": time, "bytes": 1}},
            rule=rule, cohort="heart", seed=seed,
        )
        for seed, time in enumerate(times)
    ]  # fmt: skip


def bytes_over(ratio: float) -> Record:
    return record({"bytes_over_table": {"a": ratio, "b": ratio}, "bytes": {"a": 10, "b": 10}})


def labels(*drops: float) -> list[Record]:
    clean = [record({"auc_within": 0.85}) for _ in drops]
    return clean + [record({"auc_within": 0.85 - d}, harm="25 % wrong at one") for d in drops]


CASES: dict[str, dict[str, list[Record]]] = {
    "raw bytes": {
        "holds": [uploads(0), attacked(0.1)],
        "holds only if": [uploads(0), attacked(0.9, exact=0.8)],
        "does not hold": [uploads(7), attacked(0.1)],
    },
    "infeasible": {
        "holds": [attacked(0.1, bound=0.2)],
        "holds only if": [attacked(0.1, bound=0.2), attacked(0.6, bound=0.9, eps=10.0)],
        "does not hold": [attacked(0.1), attacked(0.6, eps=10.0)],
    },
    "no impact": {
        "holds": [gain(-0.002), gain(-0.01)],
        "holds only if": [gain(-0.01), gain(-0.01)],
        "does not hold": [gain(-0.2), gain(-0.01)],
    },
    "threefold": {
        "holds": ratios(4.0, 5.0),
        "holds only if": ratios(4.0, 2.0),
        "does not hold": ratios(1.0, 2.0),
    },
    "AUC up": {
        "holds": [gain(0.03, a=0.03), gain(0.02, a=0.02)],
        "holds only if": [gain(0.03, a=-0.03), gain(-0.02, a=0.02)],
        "does not hold": [gain(-0.03, a=-0.03), gain(-0.03, a=-0.03)],
    },
    "acceptable": {
        "holds": checks("pass", "pass"),
        "holds only if": checks("pass", "too few"),
        "does not hold": checks("pass", "fail"),
    },
    "no waiting": {
        "holds": [*paced("synchronous", 60.0, 80.0), *paced("sealed memory", 50.0, 70.0)],
        "holds only if": [
            *paced("synchronous", 60.0, 80.0),
            *paced("memory", 50.0, 40.0),
            *paced("sealed memory", None, 50.0),
        ],
        "does not hold": [*paced("synchronous", 60.0, 80.0), *paced("fedbuff", None, None)],
    },
    "overhead": {
        "holds": [bytes_over(3.0)],
        "holds only if": [bytes_over(3.0), bytes_over(0.3)],
        "does not hold": [bytes_over(0.3)],
    },
    "poor labels": {
        "holds": labels(0.05, 0.051),
        "holds only if": labels(0.0, 0.03),
        "does not hold": labels(0.001, 0.0011),
    },
}


@pytest.mark.parametrize("key", list(BY_KEY))
@pytest.mark.parametrize("verdict", ["holds", "holds only if", "does not hold"])
def test_every_rule_can_say_yes_no_and_maybe(key: str, verdict: str) -> None:
    found = BY_KEY[key].rule(CASES[key][verdict])
    assert found.verdict == verdict, found
    assert_told(found.condition, verdict)
    if found.lower is not None and found.upper is not None:
        assert found.lower <= found.value <= found.upper


def assert_told(told: Text, verdict: str) -> None:
    """Whole sentences; a condition is named as one; Chinese has nothing left in English."""
    only = verdict == "holds only if"
    assert told.en.startswith("It holds only if ") == only, told.en
    assert told.zh.startswith("仅当") == only and ("才成立" in told.zh) == only, told.zh
    assert told.en.endswith(".") and told.zh.endswith("。")
    assert told.en[0].isupper()
    assert_chinese(told.zh)


def assert_chinese(text: str) -> None:
    known = r"AUC|ε|FedBuff|Mbit/s|NAMED"
    named = text.replace("的医院：a", "的医院：NAMED").replace("医院：a；", "医院：NAMED；")
    assert not re.search(r"[A-Za-z]{2,}", re.sub(known, "", named)), text
    assert not re.search(r"[,;:()!?]", text), text
    assert not re.search(r"-\d", text), text  # a minus is a minus


@pytest.mark.parametrize("key", list(BY_KEY))
def test_the_published_claims_are_told_in_both_languages(key: str) -> None:
    (row,) = [r for r in PUBLISHED["claims"] if r["claim"] == key]
    assert row["sentence"] == vars(BY_KEY[key].sentence)
    only = row["verdict"] == "holds only if"
    assert row["effect"]["en"].startswith("It holds only if ") == only
    assert row["effect"]["zh"].startswith("仅当") == only
    assert_chinese(row["effect"]["zh"])
    assert_chinese(row["sentence"]["zh"])
    found = [re.findall(r"[−\d.]*\d", row["effect"][language]) for language in ("en", "zh")]
    assert sorted(found[0]) == sorted(found[1])


def test_every_claim_names_points_of_its_own_and_is_judged_by_their_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for claim in CLAIMS:
        points = claim.points(0)
        assert points and all(isinstance(p, GridPoint) for p in points)
        names = [Record(p.config, {}, {}).name for p in points]
        assert len(set(names)) == len(names)
        assert names != [Record(p.config, {}, {}).name for p in claim.points(1)]
    small = BY_KEY["poor labels"]
    judged = labels(0.05, 0.051, 0.052)
    monkeypatch.setattr(claims, "CLAIMS", (Claim("x", Text("y", "z"), small.points, small.rule),))
    names = [Record(p.config, {}, {}).name for p in small.points(0)]
    (found,) = claims.evaluate(dict(zip(names, judged, strict=True)))
    assert found.records == tuple(names)
    assert found.value == pytest.approx(0.051)
    table = markdown([found])
    assert "**holds**" in table and "0.051" in table
