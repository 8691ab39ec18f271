"""Figures of the frontier.

Colours are Okabe and Ito's, told apart by the colour-blind, and each line has a marker of its own,
so that the figures read in grey too.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.evaluation import Estimate
from experiments.run.plots import PAGE, legend, printed, spread
from experiments.run.text import epsilon
from experiments.studies.asynchronous import ArrivalRule
from experiments.studies.design import Design, Regime
from experiments.studies.frontier.risks import (
    ADVERSARIES,
    NOT_TRIED,
    FrontierResult,
    Risk,
    risk_of,
)
from experiments.studies.words import DESIGNS

__all__ = [
    "LABELS",
    "LOOKS",
    "TITLES",
    "draw_frontier",
    "draw_line",
    "say_not_tried",
]

LABELS = {
    **DESIGNS["en"],
    ArrivalRule.SYNCHRONOUS: "all wait for all",
    ArrivalRule.CORRECTED: "own pace, corrected FedBuff",
    ArrivalRule.MEMORY: "own pace, Memory",
}
LOOKS = {
    "none": ("#000000", "X"),
    "article": ("#D55E00", "s"),
    "local": ("#E69F00", "^"),
    "sealed": ("#0072B2", "o"),
    "local only": ("#009E73", "v"),
    "pooled": ("#666666", "D"),
    "synchronous": ("#0072B2", "<"),
    "corrected": ("#CC79A7", "P"),
    "memory": ("#56B4E9", "*"),
}
TITLES = {
    Regime.FULL: "all patients in every round",
    Regime.SMALL: "about 8 patients a hospital",
}


@printed
def draw_frontier(results: Sequence[FrontierResult]) -> Figure:
    """Risk against AUC: a column a regime and model, a row an adversary, a line a design.

    The risk is how often the row's adversary picks the patient out of ten. The AUC axis points to
    the right: better models. Along a line epsilon rises; a large marker is 1, a hollow one has no
    noise. A tick above a point is its proven bound, of any adversary. What is no
    federation has no risk to measure: its AUC is a vertical line with its interval.
    """
    panels = sorted({(r.point.regime, r.point.model) for r in results})  # "full" comes first
    figure = Figure(figsize=(PAGE, 1.9 * len(ADVERSARIES) + 0.6), layout="constrained")
    axes = figure.subplots(
        len(ADVERSARIES), max(len(panels), 1), sharey=True, sharex="col", squeeze=False
    )
    for row, (adversary, who) in zip(axes, ADVERSARIES.items(), strict=True):
        for ax, panel in zip(row, panels, strict=False):
            _draw_panel(
                ax, [r for r in results if (r.point.regime, r.point.model) == panel], adversary
            )
        row[0].set_ylabel(textwrap.fill(f"risk: {who} names one of ten", 22))
    for ax, (regime, model) in zip(axes[0], panels, strict=False):
        ax.set_title(f"{TITLES[regime]} ({model})")
    for ax in axes[-1]:
        ax.set_xlabel("within-site AUC")
    legend(figure, list(axes.flat), columns=3)
    return figure


def draw_line(
    ax: Axes,
    x: Sequence[float],
    risks: Sequence[Estimate | None],
    *,
    label: str,
    looks: Mapping[str, Any],
    xerr: list[list[float]] | None = None,
) -> None:
    """Draw one adversary's risks along ``x``, joined where neighbours met the same attack.

    A point that was not tried breaks the line; ``say_not_tried`` says so.
    """
    shown = [(k, risk) for k, risk in enumerate(risks) if risk is not None]
    run: list[tuple[int, Estimate]] = []
    for k, risk in [*shown, (-1, None)]:
        if run and (risk is None or k != run[-1][0] + 1 or _attack(risk) != _attack(run[-1][1])):
            at, joined = [n for n, _ in run], [one for _, one in run]
            ax.errorbar(
                [x[n] for n in at],
                [one.value for one in joined],
                xerr=None if xerr is None else [[side[n] for n in at] for side in xerr],
                yerr=spread(joined),
                label=label,
                **looks,
            )
            run = []
        if risk is not None:
            run.append((k, risk))


def _attack(risk: Estimate) -> str:
    return risk.attack if isinstance(risk, Risk) else ""


def say_not_tried(ax: Axes, names: Sequence[str], *, fontsize: float = 7) -> None:
    """Say in the middle of the panel what its adversary was not tried on."""
    if names:
        text = f"{NOT_TRIED}:\n" + "\n".join(dict.fromkeys(names))
        ax.text(
            0.5, 0.55, text, transform=ax.transAxes, fontsize=fontsize, va="center", ha="center",
            color="#333333",
        )  # fmt: skip


_MARKED: Mapping[float | None, Mapping[str, Any]] = {
    1.0: {"markersize": 8},
    None: {"markersize": 5, "markerfacecolor": "white"},
}
"""Epsilons that a point shows by its marker: labels would lie on each other, where lines meet."""


def _draw_panel(ax: Axes, results: Sequence[FrontierResult], adversary: str) -> None:
    untried = []
    for design in LOOKS:
        line = [r for r in results if r.point.design == design]
        line.sort(key=lambda r: math.inf if r.point.epsilon is None else r.point.epsilon)
        if line and not line[0].point.design.federated:
            _draw_reference(ax, line[-1])
        elif line:
            _draw_design(ax, line, [risk_of(r, adversary) for r in line])
            untried += [_name(r) for r in line if risk_of(r, adversary) is None]
    say_not_tried(ax, untried)
    grey: dict[str, Any] = {"linestyle": "", "color": "#555555"}
    ax.plot([], [], marker="_", markersize=12, label="proven bound", **grey)
    ax.plot([], [], marker="o", label="ε = 1 (large)", **grey, **_MARKED[1.0])
    ax.plot([], [], marker="o", label="no noise (hollow)", **grey, **_MARKED[None])
    ax.axhline(0.1, color="#555555", linestyle=":", linewidth=1, label="guessing")
    ax.set_ylim(0, 1.1)
    ax.grid(alpha=0.25, linewidth=0.5)


def _name(result: FrontierResult) -> str:
    return f"{LABELS[result.point.design]}, ε = {epsilon(result.point.epsilon)}"


def _draw_design(ax: Axes, line: Sequence[FrontierResult], risks: Sequence[Risk | None]) -> None:
    design = line[0].point.design
    colour, marker = LOOKS[design]
    aucs = [r.metrics.auc_within for r in line]
    draw_line(
        ax,
        [a.value for a in aucs],
        risks,
        label=LABELS[design],
        xerr=spread(aucs),
        looks={
            "color": colour,
            "marker": marker,
            "markersize": 4,
            "linewidth": 1.2,
            "elinewidth": 0.6,
        },
    )
    for result, where, risk in zip(line, aucs, risks, strict=True):
        bound = result.metrics.bound
        if bound is not None:
            ax.plot([where.value], [bound], marker="_", markersize=12, color=colour)
        if risk is not None and design is not Design.NONE and result.point.epsilon in _MARKED:
            looks = _MARKED[result.point.epsilon]
            ax.plot([where.value], [risk.value], marker=marker, color=colour, zorder=3, **looks)


def _draw_reference(ax: Axes, result: FrontierResult) -> None:
    design, auc = result.point.design, result.metrics.auc_within
    colour, _ = LOOKS[design]
    dash = (0, (4, 2)) if design is Design.POOLED else (0, (1, 1))
    ax.axvspan(auc.lower, auc.upper, color=colour, alpha=0.08, linewidth=0)
    ax.axvline(auc.value, color=colour, linestyle=dash, linewidth=1.2, label=LABELS[design])
