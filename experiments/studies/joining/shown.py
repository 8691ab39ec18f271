"""What is told of the study of joining: AUC and gain by size of hospital, and the verdicts."""

from collections.abc import Sequence

from rich.box import SIMPLE
from rich.table import Table

from experiments.cohorts import called
from experiments.evaluation import Estimate
from experiments.run.record import Record
from experiments.studies.joining.arm_point import End, JoiningArm, JoiningMetrics
from experiments.studies.joining.sums import difference, mean_of
from experiments.studies.joining.verdicts import (
    ArmAt,
    cohort_records,
    judged,
    size_classes,
)

__all__ = ["by_cohort", "tables"]


def by_cohort(records: Sequence[Record]) -> dict[str, list[Record]]:
    """The study's records by cohort, in order."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(str(record.config["cohort"]), []).append(record)
    return groups


def tables(records: Sequence[Record]) -> list[Table]:
    """Three of each cohort, none wider than 80 columns: what is piped is as wide as that."""
    return [
        table
        for cohort, study_records in by_cohort(records).items()
        for table in (*_figures(cohort, study_records), _verdicts(cohort, study_records))
        if table.row_count
    ]


def _figures(cohort: str, records: Sequence[Record]) -> tuple[Table, Table]:
    """One row an arm and end: AUC by class; the gain over hospitals' own models, Brier score."""
    whole = cohort_records(records).whole
    rows = [
        (arm, _name(arm, epsilon, end), sums)
        for (arm, epsilon), metrics in sorted(whole.items(), key=_place)
        for end, sums in metrics.ends.items()
    ]
    aucs, gains = (
        Table(
            title=f"{what}, {called(cohort)}",
            title_justify="left",
            box=SIMPLE,
            padding=(0, 1, 0, 0),
        )
        for what in ("within-site AUC", "less a hospital's own model, and Brier score")
    )
    if not rows:
        return aucs, gains
    slopes = {
        _name(arm, epsilon, end): f"{one.slope.value:.2f}"
        for (arm, epsilon), metrics in whole.items()
        for end, one in metrics.calibration.items()
    }
    local = next((sums for arm, _, sums in rows if arm is JoiningArm.OWN), None)
    classes = {name: among for name, among in size_classes(rows[0][2]).items() if among.any()}
    for table, headings in ((aucs, classes), (gains, ("AUC (95 %)", "Brier", "slope"))):
        table.add_column("", no_wrap=True)
        for heading in headings:
            table.add_column(heading.replace("above ", "> "), justify="right", no_wrap=True)
    counts = [str(int(among.sum())) for among in classes.values()]
    aucs.add_row("hospitals scored", *counts, style="dim")
    for arm, name, sums in rows:
        values = [f"{mean_of(sums, among).value:.3f}" for among in classes.values()]
        gain = ""
        if local is not None and arm is not JoiningArm.OWN:
            gain = _signed(difference(sums, local, classes["all"]))
        aucs.add_row(name, *values)
        if arm is not JoiningArm.SCORE:
            brier = mean_of(sums, classes["all"], figure="brier").value
            gains.add_row(name, gain, f"{brier:.3f}", slopes.get(name, ""))
        else:
            gains.add_row(name, gain, "", "")
    return aucs, gains


def _verdicts(cohort: str, records: Sequence[Record]) -> Table:
    shown = Table(title=f"verdicts, {called(cohort)}", title_justify="left", box=SIMPLE)
    for heading in ("question", "verdict", "difference (95 %)", ""):
        shown.add_column(heading, no_wrap=heading != "question")
    for one in judged(records):
        effect = "" if one.effect is None else _signed(one.effect)
        shown.add_row(one.question, one.verdict.value, effect, one.note)
    return shown


def _place(item: tuple[ArmAt, JoiningMetrics]) -> tuple[int, float]:
    (arm, epsilon), _ = item
    return list(JoiningArm).index(arm), epsilon or 0.0


def _name(arm: JoiningArm, epsilon: float | None, end: End) -> str:
    at = "" if epsilon is None else f" eps {epsilon:g}"
    after = "" if end is End.BARE or not arm.shared else f" + {end}"
    return f"{arm}{at}{after}"


def _signed(one: Estimate) -> str:
    return f"{one.value:+.3f} ({one.lower:+.3f} to {one.upper:+.3f})"
