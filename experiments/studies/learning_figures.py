"""Figures of the learning experiments: curves over time and bytes, and each hospital's calibration.

In the style of the frontier's: Okabe and Ito's colours, a dash or marker for each line.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aggregation.rules import RULES
from experiments.cohorts import called
from experiments.run.plots import PAGE, decades, legend, printed
from experiments.run.record import Record
from experiments.studies.asynchronous import ArrivalRule
from experiments.studies.asynchrony_study import GAP, AsynchronyMetrics, read_asynchrony
from experiments.studies.correction_study import (
    RULES_COMPARED,
    CorrectionMetrics,
    KindFigures,
    read_correction,
)

__all__ = ["draw_asynchrony", "draw_calibration", "draw_correction"]

_PATHS = {
    ArrivalRule.SYNCHRONOUS: ("#000000", "-"),
    ArrivalRule.FASTEST_HALF: ("#999999", ":"),
    ArrivalRule.FEDASYNC: ("#56B4E9", "-."),
    ArrivalRule.FEDBUFF: ("#E69F00", "--"),
    ArrivalRule.FEDBUFF_FRESH: ("#E69F00", ":"),
    ArrivalRule.CORRECTED: ("#0072B2", "-"),
    ArrivalRule.CA2FL: ("#CC79A7", "--"),
    ArrivalRule.MEMORY: ("#009E73", "-"),
    ArrivalRule.SEALED_SYNCHRONOUS: ("#000000", "--"),
    ArrivalRule.SEALED_CORRECTED: ("#D55E00", "-"),
    ArrivalRule.SEALED_MEMORY: ("#009E73", "--"),
}


def _fits(metrics: CorrectionMetrics) -> list[tuple[KindFigures, str, str, str]]:
    """What is drawn of a rule, each with its colour, marker and name."""
    return [
        (metrics.as_trained, "#D55E00", "o", "as trained"),
        (metrics.local_intercept, "#0072B2", "s", "with local intercept"),
    ]


@printed
def draw_asynchrony(records: Sequence[Record]) -> Figure:
    """Gap and AUC against simulated time and against bytes, means over seeds; one row a cohort."""
    results = read_asynchrony(records)
    cohorts = sorted({r.point.cohort for r in results})
    figure = Figure(figsize=(PAGE, 1.5 * len(cohorts) + 0.7), layout="constrained")
    rows = figure.subplots(len(cohorts), 4, squeeze=False)
    for row, cohort in zip(rows, cohorts, strict=True):
        shown = [r for r in results if r.point.cohort == cohort]
        for rule in ArrivalRule:
            seeds = [r.metrics for r in shown if r.point.rule is rule]
            if seeds:
                _draw_run(list(row), rule, seeds)
        pooled = float(np.mean([r.metrics.pooled_auc for r in shown]))
        row[0].set(ylabel=f"{called(cohort)}: excess loss (nats)")
        row[2].set(ylabel="within-site AUC")
        for ax in row[:2]:
            ax.axhline(GAP, color="#555555", linewidth=0.6)
            ax.set(yscale="log", ylim=(1e-5, 1.0))
            decades(ax.yaxis)
        for ax in row[2:]:
            ax.axhline(pooled, color="#555555", linewidth=0.6)
            ax.set(ylim=(pooled - 0.15, pooled + 0.02))
        for ax in row[::2]:
            ax.set(xlabel="simulated time")
        for ax in row[1::2]:
            ax.set(xlabel="kB of all uploads", xscale="log")
            decades(ax.xaxis)
    legend(figure, [rows[0][0]], columns=6)
    return figure


def _draw_run(row: list[Axes], rule: ArrivalRule, seeds: Sequence[AsynchronyMetrics]) -> None:
    colour, dash = _PATHS[rule]
    style: dict[str, Any] = {"color": colour, "linestyle": dash, "linewidth": 1.0, "label": rule}
    time, gap, auc, sent = (
        np.mean(values, axis=0)
        for values in (
            [m.time for m in seeds],
            [m.gap for m in seeds],
            [m.auc for m in seeds],
            [m.bytes for m in seeds],
        )
    )
    gap = np.maximum(gap, 1e-9)
    some = sent > 0  # nothing sent has no place on a logarithmic axis
    row[0].plot(time, gap, **style)
    row[1].plot(sent[some] / 1e3, gap[some], **style)
    row[2].plot(time[1:], auc[1:], **style)
    row[3].plot(sent[some] / 1e3, auc[some], **style)


@printed
def draw_correction(records: Sequence[Record]) -> Figure:
    """Within-site AUC of each rule, and each hospital's or tier's calibration error."""
    results = read_correction(records)
    cohorts = sorted({r.point.cohort for r in results})
    figure = Figure(figsize=(9.5, 4.0 * len(cohorts) + 0.6), layout="constrained")
    rows = figure.subplots(len(cohorts), 2, squeeze=False, sharey="row")
    for row, cohort in zip(rows, cohorts, strict=True):
        shown = [r for r in results if r.point.cohort == cohort]
        order = [*RULES_COMPARED, *RULES.added]
        shown.sort(key=lambda r: order.index(r.point.rule))
        places = [len(shown) - 1 - k for k in range(len(shown))]
        for place, result in zip(places, shown, strict=True):
            _draw_rule(list(row), place, result.metrics)
        row[0].set_yticks(places, [r.point.rule for r in shown], fontsize=8)
        row[0].set(xlabel="within-site AUC, 95 % interval", title=called(cohort))
        row[1].set(xlabel="calibration error (ECE), each hospital or tier", xlim=(0, None))
        for ax in row:
            ax.grid(alpha=0.25, linewidth=0.5)
    legend(figure, [rows[0][1]], columns=2)
    return figure


def _draw_rule(row: list[Axes], place: int, metrics: CorrectionMetrics) -> None:
    auc = metrics.as_trained.auc_within
    low, high = auc.value - auc.lower, auc.upper - auc.value
    row[0].errorbar(
        [auc.value], [place], xerr=[[low], [high]], color="#000000", marker="o", linewidth=1
    )
    for shift, (figures, colour, marker, label) in zip((0.15, -0.15), _fits(metrics), strict=True):
        errors = [group.ece for group in figures.groups.values()]
        row[1].plot(
            errors,
            [place + shift] * len(errors),
            color=colour,
            marker=marker,
            markersize=4,
            linestyle="",
            label=label,
        )


@printed
def draw_calibration(records: Sequence[Record], rule: str = "fedavg") -> Figure:
    """Observed against predicted risk of one rule, a panel a hospital or tier."""
    shown = [r for r in read_correction(records) if r.point.rule == rule]
    shown.sort(key=lambda r: r.point.cohort)
    panels = [(r.metrics, g) for r in shown for g in r.metrics.as_trained.groups]
    columns = min(3, max(1, len(panels)))
    lines = -(-max(1, len(panels)) // columns)
    figure = Figure(figsize=(0.25 * PAGE * columns, 1.5 * lines + 0.4), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False)
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    for ax, (metrics, group) in zip(axes.flat, panels, strict=False):
        for figures, colour, marker, label in _fits(metrics):
            curve = figures.groups[group].reliability
            value, low, high = curve.observed, curve.lower, curve.upper
            ax.errorbar(
                curve.predicted,
                value,
                yerr=[
                    [max(0.0, v - a) for v, a in zip(value, low, strict=True)],
                    [max(0.0, b - v) for v, b in zip(value, high, strict=True)],
                ],
                color=colour,
                marker=marker,
                markersize=3,
                linewidth=1,
                elinewidth=0.5,
                label=label,
            )
        ax.plot([0, 1], [0, 1], color="#555555", linestyle=":", linewidth=0.8)
        ax.set(title=group, xlim=(0, 1), ylim=(0, 1))
        ax.set(xlabel=f"predicted risk ({rule})", ylabel="observed")
    if panels:
        legend(figure, [axes[0][0]], columns=2)
    return figure
