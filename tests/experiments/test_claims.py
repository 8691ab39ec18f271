"""Claims: every rule can say yes, no and maybe; every number is its record's."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from experiments.run.record import Record
from experiments.run.study import GridPoint
from experiments.studies import judged_claims
from experiments.studies.asynchronous import ArrivalRule, AsynchronousRun
from experiments.studies.claim_rules import SPEED
from experiments.studies.claim_words import Text
from experiments.studies.conclusion import Conclusion
from experiments.studies.correction_study import CorrectionPoint
from experiments.studies.design import Design, Regime
from experiments.studies.equivalent import Equivalent
from experiments.studies.equivalent_heart import OwnPatients
from experiments.studies.frontier.point import FrontierPoint
from experiments.studies.gains import Gain
from experiments.studies.judged_claims import CLAIMS, ArticleClaim, Subject, markdown
from experiments.studies.lineups import AttackSuite
from experiments.studies.poor_labels import SEEDS, Defence, Harm, LabelPoint
from experiments.studies.readings import readings
from experiments.studies.uploads import Uploads
from tests.experiments.made_up import frontier_metrics, interval

PAPER = Path(__file__).parents[2] / "paper"
PUBLISHED = json.loads((PAPER / "numbers.json").read_text(encoding="utf-8"))
BY_KEY = {claim.key: claim for claim in CLAIMS}


def record(point: Any, metrics: Mapping[str, Any]) -> Record:
    return Record(point.config, metrics, {})


def uploads(lost: int = 0, seconds: float = 1.0, ratio: float = 1.0) -> Record:
    sent = dict.fromkeys("ab", round(seconds * SPEED / 2))
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


def read_as(*gains: float) -> list[Record]:
    """The article's noise in three readings, and sealed sums."""
    risk = {**interval(0.2, 0.005), "attack": "informed"}
    rows = [
        record(p, {"gain": interval(g, 0.005), "risk": risk, "bound": p.bound})
        for p, g in zip(readings(), gains, strict=True)
    ]
    return [*rows, gain(-0.01)]


def ratios(*values: float) -> list[Record]:
    found = [
        {"patients": 25 * 2**k, **interval(v, 0.1), "at_least": False} for k, v in enumerate(values)
    ]
    return [
        record(Equivalent(), {"ratio_joined": found, "ratio_sealed": found}),
        record(OwnPatients(), {"hospitals": {"a": {"ratio_joined": found}}}),
    ]


def checks(*verdicts: str, other: str = "pass", rule: str = "article") -> list[Record]:
    """A rule's checks; those of pooled training and of sealed sums are ``other``."""
    rest = [_checked(name, other) for name in ("pooled", "sealed")]
    return [*rest, _checked(rule, *verdicts)]


def _checked(rule: str, *verdicts: str) -> Record:
    given = [
        {**dict.fromkeys(("rule", "where", "bound"), "x"), "value": 0.0, "verdict": v}
        for v in verdicts
    ]
    kind = {"auc_within": interval(0.8), "brier": 0.1, "brier_half_width": 0.01, "groups": {}}
    metrics = {"as_trained": kind, "local_intercept": kind, "clinical": {}, "fairness": {}}
    return record(CorrectionPoint("heart", rule), {**metrics, "acceptance": given})


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


def labels(**drops: tuple[float, ...]) -> list[Record]:
    """A record a seed of each harm, by its name in ``Harm``."""

    def measured(harm: Harm, seed: int, drop: float) -> Record:
        point = LabelPoint(harm, Defence.NORM_BOUND, seed)
        return record(point, {"auc_within": 0.85 - drop, "left_out": {}})

    return [
        measured(Harm[name], seed, drop)
        for name, own in {"NONE": (0.0, 0.0), **drops}.items()
        for seed, drop in enumerate(own)
    ]


def wide(value: float, *, half: float = 0.05, **sites: float) -> Record:
    by_site = {n: interval(v, 0.005) for n, v in sites.items()}
    point = Gain((Design.SEALED, 1.0), (Design.NONE, None))
    return record(point, {"gain": interval(value, half), "gain_sites": by_site})


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
        "holds": read_as(-0.002, -0.001, 0.0),
        "holds only if": read_as(-0.2, -0.02, -0.001),
        "undecided": read_as(-0.2, -0.02, -0.01),
        "does not hold": read_as(-0.2, -0.02, -0.03),
    },
    "threefold": {
        "holds": ratios(4.0, 5.0),
        "holds only if": ratios(4.0, 2.0),
        "does not hold": ratios(1.0, 2.0),
        "undecided": ratios(3.05, 2.95),
    },
    "AUC up": {
        "holds": [gain(0.03, a=0.03), gain(0.02, a=0.02)],
        "holds only if": [gain(0.03, a=0.03), gain(-0.02, a=-0.02)],
        "does not hold": [gain(-0.03, a=-0.03), gain(-0.03, a=-0.03)],
        "undecided": [wide(0.03, a=0.03), gain(-0.02, a=-0.02)],
    },
    "acceptable": {
        "holds": checks("pass", "pass", other="fail"),
        "does not hold": checks("pass", "fail"),
        "undecided": checks("pass", "too few"),
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
        "holds": [uploads(seconds=61.0)],
        "holds only if": [uploads(seconds=61.0), uploads(seconds=59.0)],
        "does not hold": [uploads(seconds=59.0)],
    },
    "poor labels": {
        "holds": labels(WRONG=(0.05, 0.051), REVERSED=(0.2, 0.21)),
        "holds only if": labels(WRONG=(0.001, 0.0011), REVERSED=(0.2, 0.21)),
        "does not hold": labels(WRONG=(0.001, 0.0011), UNITS=(0.0, 0.001)),
        "undecided": labels(WRONG=(0.0, 0.03), MISSING=(0.001, 0.0011)),
    },
}


@pytest.mark.parametrize(
    ("key", "verdict"), [(key, verdict) for key, cases in CASES.items() for verdict in cases]
)
def test_every_rule_can_say_yes_no_and_maybe(key: str, verdict: str) -> None:
    found = BY_KEY[key].rule(CASES[key][verdict])
    assert found.verdict is Conclusion(verdict), found
    assert_told(found.condition, verdict)
    if found.lower is not None and found.upper is not None:
        assert found.lower <= found.value <= found.upper


def test_every_claim_has_cases_and_says_more_than_one_thing() -> None:
    assert set(CASES) == set(BY_KEY)
    assert all({"holds", "does not hold"} < set(cases) for cases in CASES.values())


def test_noise_and_chance_are_told_apart_from_correction() -> None:
    """Sealed sums that fail, or pooled training that does, don't move the verdict on a rule."""
    for other in ("pass", "fail", "open"):
        assert BY_KEY["acceptable"].rule(checks("pass", other=other)).verdict == "holds"
    several = [*checks("fail", "pass"), *checks("open", "pass", rule="fedprox")[2:]]
    found = BY_KEY["acceptable"].rule(several)
    assert (
        found.verdict == "undecided"
        and "Without noise 1 of 2 rules fail no check" in found.condition.en
    )
    assert found.value == 0.5


def test_every_level_of_poor_labels_is_named_with_its_loss() -> None:
    found = BY_KEY["poor labels"].rule(CASES["poor labels"]["holds only if"])
    assert "all reversed at one" in found.condition.en.split(";")[0]
    assert "a quarter wrong at one 0.001" in found.condition.en
    assert found.value == pytest.approx(0.205)


def assert_told(told: Text, verdict: str) -> None:
    """Whole sentences; a condition is named as one; Chinese has nothing left in English."""
    only = verdict == "holds only if"
    assert told.en.startswith("It holds only if ") == only, told.en
    assert told.zh.startswith("仅当") == only and ("才成立" in told.zh) == only, told.zh
    assert told.en.endswith(".") and told.zh.endswith("。")
    assert told.en[0].isupper()
    assert_chinese(told.zh)


def assert_chinese(text: str) -> None:
    known = r"AUC|ε|FedBuff|Mbit/s|NAMED|Fed[A-Z][A-Za-z]*|SCAFFOLD|FFL"
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
    drops = {harm.name: tuple(0.05 + 0.001 * s for s in range(SEEDS)) for harm in Harm}
    judged = labels(**{**drops, "NONE": (0.0,) * SEEDS})
    monkeypatch.setattr(
        judged_claims, "CLAIMS", (ArticleClaim("x", Text("y", "z"), small.points, small.rule),)
    )
    names = [Record(p.config, {}, {}).name for p in small.points(Subject())]
    (found,) = judged_claims.evaluate(dict(zip(names, judged, strict=True)))
    assert found.records == tuple(names)
    assert found.value == pytest.approx(0.052)
    table = markdown([found])
    assert "**holds**" in table and "0.052" in table
