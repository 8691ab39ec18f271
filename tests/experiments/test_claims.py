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
from experiments.studies.asynchronous import ArrivalRule, AsynchronousRun
from experiments.studies.claim_words import Text
from experiments.studies.claims import CLAIMS, ArticleClaim, Subject, markdown
from experiments.studies.correction import CorrectionPoint
from experiments.studies.design import Design, Regime
from experiments.studies.equivalent import Equivalent
from experiments.studies.equivalent_heart import OwnPatients
from experiments.studies.frontier.point import FrontierPoint
from experiments.studies.gains import Gain
from experiments.studies.lineups import AttackSuite
from experiments.studies.poor_labels import Defence, Harm, LabelPoint
from experiments.studies.uploads import Uploads
from tests.experiments.made_up import frontier_metrics, interval

PAPER = Path(__file__).parents[2] / "paper"
PUBLISHED = json.loads((PAPER / "numbers.json").read_text(encoding="utf-8"))
BY_KEY = {claim.key: claim for claim in CLAIMS}


def record(point: Any, metrics: Mapping[str, Any]) -> Record:
    return Record(point.config, metrics, {})


def uploads(lost: int = 0, ratio: float = 1.0) -> Record:
    sent = {"a": 10, "b": 10}
    over = dict.fromkeys(sent, ratio)
    return record(Uploads(), {"unaccounted_bytes": lost, "bytes": sent, "bytes_over_table": over})


def attacked(
    risk: float, bound: float | None = None, exact: float = 0.0, eps: float = 1.0
) -> Record:
    point = FrontierPoint(Design.ARTICLE, eps, Regime.SMALL, "mlp", AttackSuite(()))
    worst = {**interval(risk, 0.005), "exact": exact}
    return record(point, frontier_metrics(risk=worst, bound=bound))


def gain(value: float, **sites: float) -> Record:
    by_site = {n: interval(v, 0.005) for n, v in sites.items()}
    point = Gain((Design.SEALED, 1.0), (Design.NONE, None))
    return record(point, {"gain": interval(value, 0.005), "gain_sites": by_site})


def ratios(*values: float) -> list[Record]:
    found = [
        {"patients": 25 * 2**k, **interval(v, 0.1), "at_least": False} for k, v in enumerate(values)
    ]
    return [
        record(Equivalent(), {"ratio_joined": found, "ratio_sealed": found}),
        record(OwnPatients(), {"hospitals": {"a": {"ratio_joined": found}}}),
    ]


def checks(*verdicts: str) -> list[Record]:
    given = [
        {**dict.fromkeys(("rule", "where", "bound"), "x"), "value": 0.0, "verdict": v}
        for v in verdicts
    ]
    kind = {"auc_within": interval(0.8), "brier": 0.1, "brier_half_width": 0.01, "groups": {}}
    metrics = {"as_trained": kind, "local_intercept": kind, "clinical": {}, "fairness": {}}
    return [record(CorrectionPoint("heart", "sealed"), {**metrics, "acceptance": given})]


def paced(rule: str, *times: float | None) -> list[Record]:
    """One record a seed."""
    curves: dict[str, list[float]] = {name: [] for name in ("time", "gap", "auc", "bytes")}
    ends = {"epsilons": None, "final_gap": 0.0, "final_auc": 0.8, "pooled_auc": 0.8}
    return [
        record(
            AsynchronousRun("heart", ArrivalRule(rule), seed=seed),
            {**curves, **ends, "reached": None if time is None else {"time": time, "bytes": 1}},
        )
        for seed, time in enumerate(times)
    ]


def labels(*drops: float) -> list[Record]:
    def measured(harm: Harm, seed: int, drop: float) -> Record:
        point = LabelPoint(harm, Defence.NORM_BOUND, seed)
        return record(point, {"auc_within": 0.85 - drop, "left_out": {}})

    clean = [measured(Harm.NONE, seed, 0.0) for seed in range(len(drops))]
    return clean + [measured(Harm.WRONG, seed, drop) for seed, drop in enumerate(drops)]


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
        "holds": [uploads(ratio=3.0)],
        "holds only if": [uploads(ratio=3.0), uploads(ratio=0.3)],
        "does not hold": [uploads(ratio=0.3)],
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
        points = claim.points(Subject())
        assert points and all(isinstance(p, GridPoint) for p in points)
        names = [Record(p.config, {}, {}).name for p in points]
        assert len(set(names)) == len(names)
        assert names != [Record(p.config, {}, {}).name for p in claim.points(Subject(1))]
    small = BY_KEY["poor labels"]
    judged = labels(0.05, 0.051, 0.052)
    monkeypatch.setattr(
        claims, "CLAIMS", (ArticleClaim("x", Text("y", "z"), small.points, small.rule),)
    )
    names = [Record(p.config, {}, {}).name for p in small.points(Subject())]
    (found,) = claims.evaluate(dict(zip(names, judged, strict=True)))
    assert found.records == tuple(names)
    assert found.value == pytest.approx(0.051)
    table = markdown([found])
    assert "**holds**" in table and "0.051" in table
