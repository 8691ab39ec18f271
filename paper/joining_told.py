"""Words and the first page's figure of the study of joining, from its records alone."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.evaluation import Estimate
from experiments.run.record import Record
from experiments.run.text import nearest, up
from experiments.studies.conclusion import Conclusion
from experiments.studies.frontier.risks import NOT_TRIED, FrontierMetrics
from experiments.studies.joining.arm_point import End, JoiningArm
from experiments.studies.joining.shown import by_cohort
from experiments.studies.joining.sums import (
    THRESHOLDS,
    HospitalSums,
    benefit_at,
    difference,
    mean_of,
)
from experiments.studies.joining.verdicts import (
    ArmAt,
    ByArm,
    cohort_records,
    judged,
    size_classes,
)
from experiments.studies.lineups import INFORMED, LIKELIHOOD
from experiments.studies.words import VERDICTS

__all__ = ["HALVES", "draw_board", "joining", "of_hundred"]

HALVES = {"ist-even": "confirmed", "ist-odd": "explored"}
"""The halves of IST, and what they are called in ``numbers.json``."""
_NAMED = {
    "Q1 joining pays": "pays",
    "Q2 no class is worse off": "unharmed",
    "Q4 sealed at epsilon 1 costs at most 0.01": "cost",
    "Q4 article at epsilon 1 costs at most 0.01": "article",
    "Q5 better than the score": "score",
    "Q6 from how many hospitals on": "many",
}
"""Questions that prose speaks of."""
_OWN = (JoiningArm.OWN, None)
_PRIMARY = (JoiningArm.SEALED, 1.0)


def joining(records: Sequence[Record]) -> dict[str, Any]:
    """By cohort: arms, gain by size class, by number of hospitals, verdicts; empty without records.

    Of a cohort that has the primary comparison alone: gain, and gain by size class.

    Args:
      records: Of this study, of all cohorts.
    """
    cohorts: dict[str, Any] = {}
    for cohort, its_records in by_cohort(records).items():
        sorted_ = cohort_records(its_records)
        if {_OWN, _PRIMARY} <= {*sorted_.whole}:
            verdicts = [
                {
                    "question": one.question,
                    "verdict": one.verdict.value,
                    "difference": "" if one.effect is None else _signed(one.effect),
                    "note": one.note,
                }
                for one in judged(its_records)
                if one.verdict is not Conclusion.NOT_TRIED
            ]
            cohorts[HALVES.get(cohort, cohort)] = {
                "arms": _arms(sorted_.whole),
                "classes": _by_class(sorted_.whole),
                "growing": [
                    {"hospitals": str(count), "gain": _signed(_gain(some))}
                    for count, some in sorted(sorted_.growing.items())
                    if {_OWN, _PRIMARY} <= {*some}
                ],
                "unseen": _unseen(sorted_.unseen),
                "verdicts": verdicts,
                "named": {
                    _NAMED[one["question"]]: {**one, "zh": VERDICTS["zh"][one["verdict"]]}
                    for one in verdicts
                    if one["question"] in _NAMED
                },
                "gain": _signed(_gain(sorted_.whole)),
                "again": _signed(_gain(sorted_.again))
                if {_OWN, _PRIMARY} <= {*sorted_.again}
                else "",
                "risks": _measured(sorted_.risks, sorted_.whole) if sorted_.risks else [],
                "at_risk": {
                    arm.value: row
                    for (arm, epsilon), metrics in sorted_.risks.items()
                    if (arm, epsilon) in [at for _, at, _ in _BOARD]
                    for row in _measured({(arm, epsilon): metrics}, {})
                },
                "scored": str(int(size_classes(_sums(sorted_.whole, _OWN, End.FIT))["all"].sum())),
            }
        elif {_OWN, _PRIMARY} <= {*sorted_.again}:
            cohorts[cohort] = {
                "classes": _by_class(sorted_.again),
                "gain": _signed(_gain(sorted_.again)),
            }
    return cohorts


def _sums(some: ByArm, arm: tuple[JoiningArm, float | None], end: End) -> HospitalSums:
    return some[arm].ends[end]


def _gain(some: ByArm, end: End = End.FIT) -> Estimate:
    own_sums = _sums(some, _OWN, End.FIT)
    return difference(_sums(some, _PRIMARY, end), own_sums, size_classes(own_sums)["all"])


def _arms(whole: ByArm) -> list[dict[str, str]]:
    """One row an arm: AUC, gain, Brier score and slope, with the bare model and after the fit."""
    own_sums = _sums(whole, _OWN, End.FIT)
    everybody = size_classes(own_sums)["all"]
    rows = []
    for (arm, epsilon), metrics in sorted(whole.items(), key=_place):
        for end in (End.BARE, End.FIT):
            if end not in metrics.ends:
                continue
            sums, calibration = metrics.ends[end], metrics.calibration.get(end)
            brier = mean_of(sums, everybody, figure="brier")
            rows.append(
                {
                    "arm": _ARMS[arm],
                    "epsilon": "" if epsilon is None else f"{epsilon:g}",
                    "end": "local fit" if end is End.FIT and arm.shared else "",
                    "auc": _told(mean_of(sums, everybody)),
                    "each": _told(mean_of(sums, everybody, each=True)),
                    "gain": ""
                    if arm is JoiningArm.OWN
                    else _signed(difference(sums, own_sums, everybody)),
                    "brier": "" if arm is JoiningArm.SCORE else _told(brier),
                    "slope": "" if calibration is None else _told(calibration.slope, 2),
                    "benefit": ""
                    if arm is JoiningArm.SCORE
                    else _told(mean_of(sums, everybody, figure=benefit_at(THRESHOLDS[2]))),
                }
            )
    return rows


_ARMS = {
    JoiningArm.OWN: "own model",
    JoiningArm.SCORE: "score, no training",
    JoiningArm.SEALED: "joined, sealed",
    JoiningArm.NONE: "joined, no protection",
    JoiningArm.LOCAL: "joined, full noise at each",
    JoiningArm.ARTICLE: "joined, the article's noise",
    JoiningArm.POOLED: "pooled, no protection",
}


def _place(item: tuple[ArmAt, object]) -> tuple[int, float]:
    (arm, epsilon), _ = item
    return list(_ARMS).index(arm), epsilon or 0.0


def _by_class(whole: ByArm) -> list[dict[str, str]]:
    own_sums = _sums(whole, _OWN, End.FIT)
    rows = []
    for name, among in size_classes(own_sums).items():
        if not among.any():
            continue
        cells = {
            label: _signed(difference(_sums(whole, arm, end), own_sums, among))
            for label, arm, end in (
                ("none", (JoiningArm.NONE, None), End.FIT),
                ("bare", _PRIMARY, End.BARE),
                ("fit", _PRIMARY, End.FIT),
                ("local", (JoiningArm.LOCAL, 1.0), End.FIT),
                ("article", (JoiningArm.ARTICLE, 1.0), End.FIT),
                ("score", (JoiningArm.SCORE, None), End.BARE),
            )
            if arm in whole and end in whole[arm].ends
        }
        rows.append({"class": name, "hospitals": str(int(among.sum())), **cells})
    return rows


def _measured(risks: Mapping[ArmAt, FrontierMetrics], whole: ByArm) -> list[dict[str, str]]:
    """How often a line-up's patient is named, by adversary, beside what is proven.

    A federation that was trained and not attacked stands there too: nobody tried.
    """
    untried: dict[ArmAt, dict[str, str]] = {
        (arm, epsilon): {
            "arm": _ARMS[arm],
            "epsilon": "" if epsilon is None else f"{epsilon:g}",
            "curious": NOT_TRIED,
            "informed": NOT_TRIED,
            "bound": "—",
            "strata": "",
        }
        for arm, epsilon in whole
        if arm.shared and arm is not JoiningArm.POOLED and (arm, epsilon) not in risks
    }
    tried: dict[ArmAt, dict[str, str]] = {
        (arm, epsilon): {
            "arm": _ARMS[arm],
            "epsilon": "" if epsilon is None else f"{epsilon:g}",
            "curious": _risk(metrics, LIKELIHOOD),
            "informed": _risk(metrics, INFORMED),
            "bound": "none" if metrics.bound is None else up(metrics.bound),
            "strata": str(len(metrics.not_measurable)),
        }
        for (arm, epsilon), metrics in risks.items()
    }
    return [row for _, row in sorted((tried | untried).items(), key=_place)]


def _risk(metrics: FrontierMetrics, attack: str) -> str:
    risk = metrics.risks.get(attack)
    return NOT_TRIED if risk is None else _told(risk, 2)


def _unseen(some: ByArm) -> list[dict[str, str]]:
    score = some.get((JoiningArm.SCORE, None))
    return [
        {
            "arm": _ARMS[arm],
            "epsilon": "" if epsilon is None else f"{epsilon:g}",
            "auc": _told(mean_of(sums, size_classes(sums)["all"])),
            "over_score": ""
            if score is None or arm is JoiningArm.SCORE
            else _signed(difference(sums, score.ends[End.BARE], size_classes(sums)["all"])),
        }
        for (arm, epsilon), metrics in sorted(some.items(), key=_place)
        for sums in (metrics.ends[End.BARE],)
    ]


def _told(one: Estimate, digits: int = 3) -> str:
    ends = (nearest(v, digits) for v in (one.lower, one.upper))
    return f"{nearest(one.value, digits)} ({' to '.join(ends)})"


def _signed(one: Estimate) -> str:
    value, low, high = (f"{v:+.3f}".replace("-", "−") for v in (one.value, one.lower, one.upper))
    return f"{value} ({low} to {high})"


def draw_board(records: Sequence[Record]) -> Figure | None:
    """The first page's picture: what joining gains by size of hospital, and what it risks.

    Both of the confirmation half of IST; without the records of either there is none.
    """
    joining_records = [r for r in records if r.config["experiment"].startswith("joining")]
    sorted_ = cohort_records(by_cohort(joining_records).get("ist-even", []))
    whole = sorted_.whole
    if not {_OWN, _PRIMARY} <= {*whole} or not {at for _, at, _ in _BOARD} <= {*sorted_.risks}:
        return None
    figure = Figure(figsize=(10.0, 4.2), layout="constrained")
    gains, named = figure.subplots(1, 2, width_ratios=(1.2, 1))
    _gains(gains, whole)
    _risks(named, sorted_.risks)
    for axes in (gains, named):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _gains(axes: Axes, whole: ByArm) -> None:
    own_sums = _sums(whole, _OWN, End.FIT)
    classes = {name: among for name, among in size_classes(own_sums).items() if among.any()}
    lines = {
        "joined: sealed sums, ε = 1, then a fit of its own": (
            _PRIMARY,
            End.FIT,
            "#0072B2",
            "o",
        ),
        "joined: the article's noise": ((JoiningArm.ARTICLE, 1.0), End.BARE, "#D55E00", "s"),
    }
    for k, (label, (arm, end, color, marker)) in enumerate(lines.items()):
        gains = [difference(_sums(whole, arm, end), own_sums, among) for among in classes.values()]
        values = np.array([one.value for one in gains])
        spread = [values - [f.lower for f in gains], [f.upper for f in gains] - values]
        places = np.arange(len(classes)) + 0.14 * (2 * k - 1)
        axes.errorbar(places, values, yerr=spread, fmt=marker, color=color, label=label, capsize=2)
    axes.axhline(0, color="black", linewidth=0.8)
    names = [f"{name}\n{int(among.sum())}" for name, among in classes.items()]
    axes.set_xticks(range(len(classes)), names)
    axes.set(
        xlabel="patients of a hospital, below it hospitals (stroke, confirmation half)",
        ylabel="AUC less that of the hospital's own model",
    )
    axes.set_title("What a hospital gains", loc="left")
    axes.legend(frameon=False, fontsize=8, loc="upper right")


_BOARD: tuple[tuple[str, ArmAt, str], ...] = (
    ("no protection", (JoiningArm.NONE, None), "#555555"),
    ("the article's noise", (JoiningArm.ARTICLE, 1.0), "#D55E00"),
    ("sealed sums, ε = 1", _PRIMARY, "#0072B2"),
)


def of_hundred(bound: float) -> int:
    """Return a bound in patients of a hundred, rounded up: it is no bound below itself."""
    return math.ceil(100 * bound)


def _risks(axes: Axes, risks: Mapping[ArmAt, FrontierMetrics]) -> None:
    for place, (_, at, color) in enumerate(reversed(_BOARD)):
        risk, bound = risks[at].risks[INFORMED], risks[at].bound
        ends = [[100 * (risk.value - risk.lower)], [100 * (risk.upper - risk.value)]]
        axes.barh(place, 100 * risk.value, xerr=ends, color=color, height=0.55, capsize=2)
        annotation = f"{100 * risk.value:.0f}"
        if bound is not None:
            annotation += f", proven: at most {of_hundred(bound)}"
            axes.plot([100 * bound] * 2, [place - 0.35, place + 0.35], color="black")
        inside = risk.value > 0.6
        beside = 100 * (risk.lower if inside else max(risk.upper, bound or 0.0))
        axes.annotate(
            annotation, (beside, place), (-6 if inside else 6, 0), textcoords="offset points",
            va="center", ha="right" if inside else "left", fontsize=9,
            color="white" if inside else "black",
        )  # fmt: skip
    axes.axvline(10, color="black", linestyle=":", linewidth=1)
    axes.annotate("guessing", (10, len(_BOARD) - 0.45), (3, 0), textcoords="offset points",
                  fontsize=8)  # fmt: skip
    axes.set_yticks(range(len(_BOARD)), [label for label, *_ in reversed(_BOARD)])
    axes.set(
        xlim=(0, 104),
        ylim=(-0.6, len(_BOARD) - 0.2),
        xlabel="patients named, of 100, out of ten each,\nby who knows all other patients there",
    )
    axes.set_title("What its patients risk", loc="left")
