"""Figures of the published grid, one a question, each from the records of its own points.

``FIGURES`` says which points a figure needs and how it is drawn, so that any one of them is made
alone: ``inpatient frontier --figure headline``.
"""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.run.plots import PAGE, decades, legend, printed, spread
from experiments.run.record import Record
from experiments.run.study import GridPoint
from experiments.run.text import epsilon as epsilon_of
from experiments.studies import scaling
from experiments.studies.design import Design
from experiments.studies.frontier import grid
from experiments.studies.frontier.figures import (
    LABELS,
    LOOKS,
    draw_frontier,
    draw_line,
    say_not_tried,
)
from experiments.studies.frontier.own_pace import AsynchronousPoint, AttackedPoint
from experiments.studies.frontier.risks import (
    ABLATIONS,
    ADVERSARIES,
    NOT_TRIED,
    FrontierResult,
    line_of,
    read_frontier,
    risk_of,
    varied,
)
from experiments.studies.lineups import AttackSuite
from experiments.studies.scaling_steps import Arrangement

__all__ = ["FIGURES", "Drawing"]

_FACTORS = ("small-logistic", "regime", "fedavg", "memory", "framingham", "network", "adversary")


@dataclass(frozen=True)
class Drawing:
    """One figure.

    Attributes:
      points: What it shows, from the experiment's seed.
      draw: Of their records, in the points' order.
    """

    points: Callable[[int], Sequence[GridPoint]]
    draw: Callable[[Sequence[Record]], Figure]


def _base(seed: int) -> list[AttackedPoint]:
    """The core's points around which one thing is varied."""
    wanted = ((Design.NONE, None), (Design.LOCAL, 1.0), (Design.SEALED, 1.0))
    return [p for p in grid.group("small", seed) if (p.design, p.epsilon) in wanted]


def _ablations(seed: int) -> list[AttackedPoint]:
    """All ablations, and the points around which they vary one thing."""
    paced = [p for p in grid.group("memory", seed) if (p.design, p.epsilon) == (Design.SEALED, 1.0)]
    return [*_base(seed), *grid.group("ablation", seed), *paced, *grid.group("buffer", seed)]


def _groups(*names: str) -> Callable[[int], Sequence[GridPoint]]:
    return lambda seed: [point for name in names for point in grid.group(name, seed)]


@printed
def draw_headline(records: Sequence[Record]) -> Figure:
    """AUC that sealing gains over full noise at each hospital, against the number of hospitals."""
    figure = Figure(figsize=(0.8 * PAGE, 2.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    results = scaling.read_scaling(records)
    titles = {
        Arrangement.GROWING: "more hospitals, more patients",
        Arrangement.DIVIDED: "the same patients, divided",
    }
    looks = {0.1: ("#D55E00", "s"), 1.0: ("#0072B2", "o")}
    for ax, (arrangement, title) in zip(axes, titles.items(), strict=True):
        for epsilon, (colour, marker) in looks.items():
            line = [
                r
                for r in results
                if (r.point.arrangement, r.point.epsilon) == (arrangement, epsilon)
            ]
            line.sort(key=lambda r: r.point.hospitals)
            gains = [r.metrics.gain for r in line]
            ax.errorbar(
                [r.point.hospitals for r in line],
                [g.value for g in gains],
                yerr=spread(gains),
                color=colour,
                marker=marker,
                capsize=3,
                label=f"ε = {epsilon:g}",
            )
        ax.axhline(0, color="#555555", linestyle=":", linewidth=1)
        ax.set_xscale("log")
        decades(ax.xaxis)
        ax.set_xlabel("hospitals")
        ax.set_title(title)
        ax.grid(alpha=0.25, linewidth=0.5)
    axes[0].set_ylabel("AUC gained by sealing")
    axes[0].legend()
    return figure


@printed
def draw_ablations(records: Sequence[Record]) -> Figure:
    """AUC and each adversary's risk as one thing is varied, one column each, around the core."""
    results = read_frontier(records)
    base = [r for r in results if r.point.ablation is None]
    names = [n for n in ABLATIONS if any(r.point.ablation == n for r in results)]
    figure = Figure(figsize=(PAGE, 4.0), layout="constrained")
    axes = figure.subplots(3, max(len(names), 1), sharey="row", squeeze=False)
    for column, name in enumerate(names):
        around = [r for r in results if r.point.ablation == name]
        tried: set[float] = set()
        untried: dict[str, set[float]] = {adversary: set() for adversary in ADVERSARIES}
        for kind in dict.fromkeys(line_of(r.point) for r in around):
            line = [r for r in (*around, *base) if line_of(r.point) == kind]
            line.sort(key=lambda r: varied(r.point, name))
            at = [varied(r.point, name) for r in line]
            tried |= set(at)
            colour, marker = LOOKS[kind]
            looks = {"color": colour, "marker": marker, "markersize": 4, "elinewidth": 0.7}
            aucs = [r.metrics.auc_within for r in line]
            draw_line(axes[0, column], at, aucs, label=LABELS[kind], looks=looks)
            for ax, adversary in zip(axes[1:, column], ADVERSARIES, strict=True):
                risks = [risk_of(r, adversary) for r in line]
                draw_line(ax, at, risks, label=LABELS[kind], looks=looks)
                untried[adversary] |= {x for x, r in zip(at, risks, strict=True) if r is None}
        for ax, adversary in zip(axes[1:, column], ADVERSARIES, strict=True):
            ax.axhline(0.1, color="#555555", linestyle=":", linewidth=1)
            if untried[adversary]:
                say_not_tried(ax, [", ".join(f"{x:g}" for x in sorted(untried[adversary]))])
            ax.set_ylim(0, 1.1)
        axes[-1, column].set_xlabel(name)
        for ax in axes[:, column]:
            ax.set_xscale("log")
            ax.set_xlim(min(tried) / 1.15, max(tried) * 1.15)
            ax.set_xticks(sorted(tried), [f"{x:g}" for x in sorted(tried)], fontsize=6.5)
            ax.minorticks_off()
            ax.grid(alpha=0.25, linewidth=0.5)
    axes[0, 0].set_ylabel("within-site AUC")
    for row, who in zip(axes[1:], ADVERSARIES.values(), strict=True):
        row[0].set_ylabel(textwrap.fill(f"risk: {who}", 18))
    legend(figure, list(axes.flat), columns=3)
    return figure


@printed
def draw_factors(results: Sequence[FrontierResult]) -> Figure:
    """Every point of the one-at-a-time factors: AUC, then each adversary's risk."""
    figure = Figure(figsize=(8.6, 0.17 * len(results) + 1.0), layout="constrained")
    auc_axis, *others = figure.subplots(1, 1 + len(ADVERSARIES), sharey=True)
    for row, result in enumerate(results):
        shown = [result.metrics.auc_within, *(risk_of(result, who) for who in ADVERSARIES)]
        for ax, estimate in zip((auc_axis, *others), shown, strict=True):
            if estimate is None:
                ax.text(0.14, row, NOT_TRIED, fontsize=6, va="center", color="#333333")
                continue
            colour, marker = LOOKS[line_of(result.point)]
            ax.errorbar(
                [estimate.value], [row], xerr=spread([estimate]), color=colour, marker=marker,
                markersize=5,
            )  # fmt: skip
    for ax, title in zip(
        (auc_axis, *others),
        ("within-site AUC", *(f"risk: {who}" for who in ADVERSARIES.values())),
        strict=True,
    ):
        ax.set_xlabel(title, fontsize=8)
        ax.grid(alpha=0.25, linewidth=0.5)
    for ax in others:
        ax.axvline(0.1, color="#555555", linestyle=":", linewidth=1)
        ax.set_xlim(0, 1.05)
    auc_axis.set_yticks(range(len(results)), [_name(r.point) for r in results], fontsize=6)
    auc_axis.set_ylim(len(results) - 0.5, -0.5)
    return figure


@printed
def draw_effort(records: Sequence[Record]) -> Figure:
    """How often TabLeak names a patient, against its restarts and its steps."""
    results = [r for r in read_frontier(records) if r.point.local_steps == 1]
    figure = Figure(figsize=(0.8 * PAGE, 2.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    whole = AttackSuite(())
    for ax, name, other in zip(
        axes, ("restarts", "iterations"), ("iterations", "restarts"), strict=True
    ):
        line = [r for r in results if _effort(r, other) == getattr(whole, other)]
        line.sort(key=lambda r: _effort(r, name))
        for kind in dict.fromkeys(line_of(r.point) for r in line):
            series = [r for r in line if line_of(r.point) == kind]
            colour, marker = LOOKS[kind]
            looks = {"color": colour, "marker": marker, "markersize": 4, "elinewidth": 0.7}
            draw_line(ax, [_effort(r, name) for r in series], [r.metrics.risk for r in series],
                      label=f"{LABELS[kind]}, no noise", looks=looks)  # fmt: skip
        tried = sorted({_effort(r, name) for r in line})
        ax.axvline(getattr(whole, name), color="#555555", linestyle="--", linewidth=0.8)
        ax.axhline(0.1, color="#555555", linestyle=":", linewidth=1)
        ax.set_xscale("log")
        ax.set_xticks(tried, [f"{x:g}" for x in tried], fontsize=6.5)
        ax.minorticks_off()
        ax.set_ylim(0, 1.05)
        ax.set_xlabel({"restarts": "restarts", "iterations": "steps of each"}[name])
        ax.grid(alpha=0.25, linewidth=0.5)
    axes[0].set_ylabel("risk: TabLeak alone")
    legend(figure, list(axes), columns=2)
    return figure


def _effort(result: FrontierResult, name: str) -> float:
    point = result.point
    return 0.0 if isinstance(point, AsynchronousPoint) else float(getattr(point.attacks, name))


def draw_at_risk(records: Sequence[Record]) -> Figure:
    """Each adversary's risk of those who have a trait, beside those who lack it."""
    shown = [r for r in read_frontier(records) if r.metrics.risks_by_trait]
    traits = list(dict.fromkeys(t for r in shown for t in r.metrics.risks_by_trait))
    figure = Figure(figsize=(2.6 * max(len(traits), 1), 5.4), layout="constrained")
    axes = figure.subplots(
        len(ADVERSARIES), max(len(traits), 1), sharey=True, sharex=True, squeeze=False
    )
    for row, (adversary, who) in zip(axes, ADVERSARIES.items(), strict=True):
        for ax, trait in zip(row, traits, strict=True):
            for place, result in enumerate(shown):
                _draw_halves(ax, place, result, adversary, trait)
            ax.axhline(0.1, color="#555555", linestyle=":", linewidth=1)
            ax.set_ylim(0, 1.04)
            ax.grid(alpha=0.25, linewidth=0.5)
        row[0].set_ylabel(f"risk: {who}\n(filled: has the trait)", fontsize=8)
    for ax, trait in zip(axes[0], traits, strict=True):
        ax.set_title(trait, fontsize=10)
    for ax in axes[-1]:
        names = [f"{LABELS[r.point.design]}, ε = {epsilon_of(r.point.epsilon)}" for r in shown]
        ax.set_xticks(range(len(shown)), names, fontsize=6, rotation=30, ha="right")
        ax.set_xlim(-0.5, len(shown) - 0.5)
    return figure


def _draw_halves(ax: Axes, place: int, result: FrontierResult, adversary: str, trait: str) -> None:
    risk = risk_of(result, adversary)
    if risk is None:
        ax.text(place, 0.5, NOT_TRIED, fontsize=6, rotation=90, ha="center")
        return
    halves = result.metrics.risks_by_trait.get(trait, {}).get(risk.attack, {})
    for half, offset, fill in (("with", -0.12, "full"), ("without", 0.12, "none")):
        if half not in halves:
            continue
        colour, marker = LOOKS[result.point.design]
        ax.errorbar(
            [place + offset], [halves[half].value], yerr=spread([halves[half]]),
            color=colour, marker=marker, fillstyle=fill, label=f"{half} the trait",
        )  # fmt: skip


def _name(point: AttackedPoint) -> str:
    walk = "" if point.local_steps == 1 else f", {point.local_steps} steps"
    seen = "" if point.sees is None else f", {point.sees.replace('_', ' ')}"
    pace = f", {point.arrival}" if isinstance(point, AsynchronousPoint) else point.rounds_together
    design = f"{point.design} ε = {epsilon_of(point.epsilon)}{seen}"
    return f"{point.cohort} {point.regime} {point.model}{walk}{pace}, {design}"


def _frontier(records: Sequence[Record]) -> Figure:
    return draw_frontier(read_frontier(records))


def _factors(records: Sequence[Record]) -> Figure:
    return draw_factors(read_frontier(records))


def _one_at_a_time(seed: int) -> list[AttackedPoint]:
    """What the other groups vary, at epsilon 1 and without noise."""
    return [
        point
        for name in _FACTORS
        for point in grid.group(name, seed)
        if point.epsilon in (None, 1.0) and point.design is not Design.POOLED
    ]


FIGURES: Mapping[str, Drawing] = MappingProxyType(
    {
        "frontier": Drawing(_groups("full", "small"), _frontier),
        "headline": Drawing(scaling.grid, draw_headline),
        "factors": Drawing(_one_at_a_time, _factors),
        "ablations": Drawing(_ablations, draw_ablations),
        "at-risk": Drawing(_base, draw_at_risk),
        "effort": Drawing(_groups("effort"), draw_effort),
    }
)
