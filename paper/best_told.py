"""The best of what was tried of each design, and what clipping costs apart from noise.

A design was trained in several ways (few or all patients in a round, two models). Here stands, at
each epsilon, the one with the greatest AUC, and those that another does not beat in both AUC and
risk. They were chosen on the patients whose AUC it is: optimistic, by little where ways differ by
much.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.evaluation import Estimate
from experiments.run.text import epsilon, interval, nearest, signed, up
from experiments.studies.design import Design
from experiments.studies.frontier.grid import EPSILONS
from experiments.studies.frontier.point import FrontierPoint
from experiments.studies.frontier.risks import NOT_TRIED, FrontierResult, risk_of, told
from experiments.studies.lineups import INFORMED
from experiments.studies.words import BRACKETS, COMMA, DESIGNS, MODELS, NOTHING_YET, REGIMES
from paper.markdown import table
from paper.points import Points

__all__ = ["best_block", "best_of", "clipping_block", "clipping_of"]

_WAYS = (("full", "logistic"), ("full", "mlp"), ("small", "logistic"), ("small", "mlp"))
_DESIGNS = (Design.NONE, Design.ARTICLE, Design.LOCAL, Design.SEALED)
_HEADINGS = {
    "en": (
        ("design", "ε", "of ways tried", "best", "AUC", "risk: curious server",
         "risk: who knows all others", "bound", "not beaten in both"),
        ("hospitals", "trained on", "runs", "clipping costs", "noise at ε = 1 costs beside"),
    ),
    "zh": (
        ("方案", "ε", "所试做法", "最佳", "AUC", "风险：好奇的服务器",
         "风险：知道其余所有患者的人", "上界", "两方面未被同时超过的"),
        ("医院", "训练", "次数", "裁剪的代价", "ε = 1 的噪声另加的代价"),
    ),
}  # fmt: skip
_COHORTS = {
    "en": {"heart": "heart, 4", "network-4": "simulated, 4", "network-40": "simulated, 40"},
    "zh": {"heart": "心脏病，4 家", "network-4": "模拟，4 家", "network-40": "模拟，40 家"},
}


def best_of(points: Points) -> list[dict[str, Any]]:
    """One row a design and epsilon, as text; ``others``: ways that nothing beats in both."""
    rows = []
    for design in _DESIGNS:
        for strength in reversed(EPSILONS):
            ways = [points.find(*way, design, strength) for way in _WAYS]
            tried = sorted((w for w in ways if w is not None), key=_auc, reverse=True)
            if not tried:
                continue
            first = tried[0]
            bound = first.metrics.bound
            rows.append(
                {
                    "design": design.value,
                    "epsilon": epsilon(strength),
                    "tried": str(len(tried)),
                    **_way(first),
                    "auc": _shown(first.metrics.auc_within),
                    "curious": _risk(first, "curious"),
                    "informed": _risk(first, INFORMED),
                    "bound": "" if bound is None else up(bound),
                    "others": [
                        {
                            **_way(one),
                            "auc": nearest(_auc(one)),
                            "informed": told(one, INFORMED)[0],
                        }
                        for one in tried[1:]
                        if not any(_beats(other, one) for other in tried)
                    ],
                }
            )
    return rows


def clipping_of(points: Points) -> list[dict[str, str]]:
    """What clipping costs, and what noise costs beside it: differences run by run.

    The same patients and splits stand on both sides of a run; the interval is Student's over runs,
    and of one run nothing is told.
    """
    cells = {
        (r.point.cohort, r.point.regime, r.point.model, r.point.design, r.point.epsilon): r
        for r in [*(r for way in _WAYS for r in points.panel(*way)), *_networks(points)]
        if len(r.metrics.auc_runs) > 1 and isinstance(r.point, FrontierPoint)
    }
    rows = []
    for cohort, regime, model in dict.fromkeys(key[:3] for key in cells):
        bare, clipped, noised = (
            cells.get((cohort, regime, model, *cell))
            for cell in ((Design.NONE, None), (Design.SEALED, None), (Design.SEALED, 1.0))
        )
        if bare is not None and clipped is not None and noised is not None:
            rows.append(
                {
                    "cohort": cohort,
                    "regime": regime,
                    "model": model,
                    "clip_norm": _clip_norm(clipped),
                    "runs": str(len(bare.metrics.auc_runs)),
                    "clipping": _signed(_less(bare, clipped)),
                    "noise": _signed(_less(clipped, noised)),
                }
            )
    return rows


def best_block(rows: Sequence[Mapping[str, Any]], language: str) -> str:
    """The first as a table."""
    if not rows:
        return NOTHING_YET[language]
    comma, (opening, closing) = COMMA[language], BRACKETS[language]
    none = {"en": "none", "zh": "无"}[language]
    untried = {"en": NOT_TRIED, "zh": "未试"}[language]
    body = [
        (
            DESIGNS[language][row["design"]],
            row["epsilon"],
            row["tried"],
            _named(row, language),
            *(row[c].replace(NOT_TRIED, untried) for c in ("auc", "curious", "informed")),
            row["bound"] or none,
            {"en": "; ", "zh": "；"}[language].join(
                f"{_named(one, language)}{opening}{one['auc']}{comma}"
                f"{one['informed'].replace(NOT_TRIED, untried)}{closing}"
                for one in row["others"]
            )
            or "—",
        )
        for row in rows
    ]
    return table(_HEADINGS[language][0], body)


def clipping_block(rows: Sequence[Mapping[str, str]], language: str) -> str:
    """The second as a table."""
    if not rows:
        return NOTHING_YET[language]
    norm = {"en": "clip norm", "zh": "裁剪范数"}[language]
    body = [
        (
            _COHORTS[language][row["cohort"]],
            COMMA[language].join((_named(row, language), f"{norm} {row['clip_norm']}")),
            row["runs"],
            row["clipping"],
            row["noise"],
        )
        for row in rows
    ]
    return table(_HEADINGS[language][1], body)


def _networks(points: Points) -> list[FrontierResult]:
    return [
        r
        for r in points.varied()
        if r.point.cohort.startswith("network")
        and (r.point.ablation, r.point.sees, r.point.local_steps) == (None, None, 1)
    ]


def _auc(result: FrontierResult) -> float:
    return result.metrics.auc_within.value


def _beats(one: FrontierResult, other: FrontierResult) -> bool:
    """Whether it is as good in AUC and in the informed adversary's risk, and better in one."""
    risks = [risk_of(r, INFORMED) for r in (one, other)]
    if None in risks:
        return False
    here, there = ((_auc(r), -(risk.value if risk else 1.0)) for r, risk in
                   zip((one, other), risks, strict=True))  # fmt: skip
    return here != there and all(a >= b for a, b in zip(here, there, strict=True))


def _less(more: FrontierResult, less: FrontierResult) -> Estimate:
    gaps = zip(more.metrics.auc_runs, less.metrics.auc_runs, strict=True)
    return Estimate.over_runs([a - b for a, b in gaps])


def _clip_norm(result: FrontierResult) -> str:
    point = result.point
    return f"{point.training.clip_norm:g}" if isinstance(point, FrontierPoint) else ""


def _way(result: FrontierResult) -> dict[str, str]:
    return {"regime": result.point.regime.value, "model": result.point.model}


def _named(row: Mapping[str, str], language: str) -> str:
    return f"{REGIMES[language][row['regime']]}{COMMA[language]}{MODELS[language][row['model']]}"


def _shown(one: Estimate) -> str:
    return f"{nearest(one.value)} ({interval(one).replace(' to ', '–')})"


def _risk(result: FrontierResult, adversary: str) -> str:
    value, between = told(result, adversary)
    return f"{value} ({between.replace(' to ', '–')})" if between else value


def _signed(one: Estimate) -> str:
    return f"{signed(one.value)} ({signed(one.lower)} to {signed(one.upper)})"
