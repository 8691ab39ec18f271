"""What is told of the correction rules: their figures, and the stated thresholds."""

from collections.abc import Sequence

from rich.box import SIMPLE
from rich.table import Table

from experiments.cohorts import called
from experiments.evaluation import AcceptanceCheck
from experiments.run.record import Record
from experiments.studies.correction_study import (
    SEALED,
    CorrectionPoint,
    CorrectionResult,
    KindFigures,
    read_correction,
)
from experiments.studies.fairness import clinical_table, fairness_table

__all__ = ["tables"]

LEGEND = (
    "within: within-site AUC; then that of each hospital or tier; ECE: of the worst hospital or "
    "tier, * if right risks would show as much in one case of twenty or more; +b: Brier score, "
    "then ECE, with the intercept that each hospital fits on its own patients and keeps."
)


def tables(records: Sequence[Record]) -> list[Table | str]:
    """The rules of each cohort; the sealed ones' thresholds, and what clinicians ask of them."""
    results = read_correction(records)
    shown: list[Table | str] = [
        _comparison(cohort, [r for r in results if r.point.cohort == cohort])
        for cohort in dict.fromkeys(r.point.cohort for r in results)
    ]
    shown += [_accepted(results)]
    shown += [_verdicts(r.point, r.metrics.acceptance) for r in results if r.point.rule == SEALED]
    shown.append(LEGEND)
    for result in results:
        title = f"{called(result.point.cohort)}: {result.point.rule}"
        if result.point.rule == SEALED and result.point.cohort == "heart":
            shown.append(clinical_table(f"{title}, local intercepts", result.metrics.clinical))
        if result.point.rule == SEALED and result.metrics.fairness:
            shown.append(fairness_table(title, result.metrics.fairness))
    return [*shown, "All counts here are of test patients without noise: unprotected."]


def _comparison(cohort: str, results: Sequence[CorrectionResult]) -> Table:
    groups = list(results[0].metrics.as_trained.groups)
    table = Table(title=called(cohort), title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("rule", no_wrap=True)
    for heading in ("within", *(g[:4] for g in groups), "Brier", "ECE", "+b", "ECE"):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        plain, fitted = result.metrics.as_trained, result.metrics.local_intercept
        table.add_row(
            result.point.rule,
            f"{plain.auc_within.value:.3f}",
            *(f"{plain.groups[g].auc:.3f}" for g in groups),
            f"{plain.brier:.3f}",
            _starred(plain),
            f"{fitted.brier:.3f}",
            _starred(fitted),
        )
    return table


def _starred(figures: KindFigures) -> str:
    ece, by_chance = figures.worst_ece
    return f"{ece:.2f}" + ("*" if ece <= by_chance else "")


def _accepted(results: Sequence[CorrectionResult]) -> Table:
    """How many thresholds each rule's model meets."""
    table = Table(title="stated thresholds", title_justify="left", box=SIMPLE)
    table.add_column("cohort and rule", no_wrap=True)
    for heading in ("pass", "open", "fail", "too few"):
        table.add_column(heading, justify="right")
    for r in results:
        verdicts = [c.verdict for c in r.metrics.acceptance]
        counts = (str(verdicts.count(v)) for v in ("pass", "open", "fail", "too few"))
        table.add_row(f"{called(r.point.cohort)}: {r.point.rule}", *counts)
    return table


def _verdicts(point: CorrectionPoint, checks: Sequence[AcceptanceCheck]) -> Table:
    """The thresholds of acceptance; hospitals that are too small are counted."""
    judged = [c for c in checks if c.verdict != "too few"]
    title = (
        f"{point.cohort}: sealed at epsilon {point.epsilon:g} "
        f"({len(checks) - len(judged)} checks left out: fewer than 50 of a class)"
    )
    table = Table(title=title, title_justify="left")
    for heading in ("rule", "where", "value", "asked", "verdict"):
        table.add_column(heading, justify="right" if heading == "value" else "left")
    for c in judged:
        value = "" if c.value is None else f"{c.value:.3f}"
        table.add_row(c.rule, c.where, value, c.bound, c.verdict)
    return table
