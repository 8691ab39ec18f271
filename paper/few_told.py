"""How many releases a prior needs: sums that are opened once or twice, beside all rounds."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.evaluation import Estimate
from experiments.run.record import Record
from experiments.run.text import nearest, signed, up
from experiments.studies.joining.arm_point import End, JoiningArm
from experiments.studies.joining.shown import by_cohort
from experiments.studies.joining.sums import HospitalSums, difference, mean_of
from experiments.studies.joining.verdicts import ArmAt, cohort_records, size_classes
from experiments.studies.lineups import INFORMED, LIKELIHOOD
from experiments.studies.words import NOTHING_YET
from paper.joining_told import HALVES
from paper.markdown import table

__all__ = ["few_block", "few_rows", "once"]

_ALL = (JoiningArm.SEALED, 1.0)
_OWN = (JoiningArm.OWN, None)
_COHORTS = {
    "en": {
        "ist-even": "stroke, confirmation half",
        "ist-odd": "stroke, exploration half",
        "heart": "heart",
        "dialysis": "dialysis",
    },
    "zh": {
        "ist-even": "卒中，验证半",
        "ist-odd": "卒中，探索半",
        "heart": "心脏病",
        "dialysis": "透析",
    },
}
_ARMS = {
    "en": {
        "sealed": "{} rounds of gradients",
        "one gradient": "one gradient",
        "two gradients": "two gradients",
        "moments": "moments, once",
    },
    "zh": {
        "sealed": "{} 轮梯度",
        "one gradient": "一次梯度",
        "two gradients": "两次梯度",
        "moments": "矩，一次",
    },
}
_HEADINGS = {
    "en": ("hospitals", "opened", "ε", "AUC, bare", "AUC, with a fit after", "less all rounds",
           "less own models", "named by who knows all others", "bound"),
    "zh": ("医院", "公开的内容", "ε", "AUC，仅模型", "AUC，之后本院拟合", "减去全部轮次",
           "减去各院自己的模型", "被知道其余所有患者者指出", "上界"),
}  # fmt: skip


def few_rows(records: Sequence[Record]) -> list[dict[str, Any]]:
    """One row a cohort, what is opened, and epsilon; none of a cohort without such arms.

    Args:
      records: Of the study of joining, of all cohorts.
    """
    rows = []
    for cohort, its_records in by_cohort(records).items():
        sorted_ = cohort_records(its_records)
        if cohort not in _COHORTS["en"] or not sorted_.few or not {_ALL, _OWN} <= {*sorted_.whole}:
            continue
        every = sorted_.whole[_ALL].ends[End.FIT]
        alone = sorted_.whole[_OWN].ends[End.FIT]
        among = size_classes(alone)["all"]
        arms = {_ALL: sorted_.whole[_ALL], **sorted_.few}
        for (arm, epsilon), metrics in sorted(arms.items(), key=_place):
            bare, fitted = metrics.ends[End.BARE], metrics.ends[End.FIT]
            risk = (sorted_.few_risks if arm.few else sorted_.risks).get((arm, epsilon))
            informed = None if risk is None else risk.risks.get(INFORMED)
            public = None if risk is None else risk.risks.get(LIKELIHOOD)
            rows.append(
                {
                    "cohort": cohort,
                    "arm": arm.value,
                    "epsilon": "" if epsilon is None else f"{epsilon:g}",
                    "bare": _told(_mean(bare)),
                    "fit": _told(_mean(fitted)),
                    "less_all": "" if arm is JoiningArm.SEALED else _signed(
                        difference(fitted, every, among)),
                    "gain": _signed(difference(fitted, alone, among)),
                    "informed": "" if informed is None else _told(informed, 2),
                    "curious": "" if public is None else _told(public, 2),
                    "bound": "" if risk is None or risk.bound is None else up(risk.bound),
                }
            )  # fmt: skip
    return rows


def once(rows: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the moments at epsilon 1 of each half of the stroke trial, by what it is called."""
    return {
        HALVES[row["cohort"]]: row
        for row in rows
        if row["cohort"] in HALVES and (row["arm"], row["epsilon"]) == (JoiningArm.MOMENTS, "1")
    }


def few_block(rows: Sequence[Mapping[str, str]], language: str, rounds: int) -> str:
    """The rows as a table; what was not attacked says so.

    Args:
      rows: Of ``few_rows``.
      language: ``en`` or ``zh``.
      rounds: Of the arm that opens a gradient in each.
    """
    if not rows:
        return NOTHING_YET[language]
    untried = {"en": "not tried", "zh": "未试"}[language]
    body = [
        (
            _COHORTS[language][row["cohort"]],
            _ARMS[language][row["arm"]].format(rounds),
            row["epsilon"],
            row["bare"],
            row["fit"],
            row["less_all"] or "—",
            row["gain"],
            row["informed"] or untried,
            row["bound"] or "—",
        )
        for row in rows
    ]
    return table(_HEADINGS[language], body)


def _place(item: tuple[ArmAt, object]) -> tuple[int, float]:
    (arm, epsilon), _ = item
    return [*_ARMS["en"]].index(arm.value), epsilon or 0.0


def _mean(sums: HospitalSums) -> Estimate:
    return mean_of(sums, size_classes(sums)["all"])


def _told(one: Estimate, digits: int = 3) -> str:
    low, high = (nearest(v, digits) for v in (one.lower, one.upper))
    return f"{nearest(one.value, digits)} ({low}–{high})"


def _signed(one: Estimate) -> str:
    return f"{signed(one.value)} ({signed(one.lower)} to {signed(one.upper)})"
