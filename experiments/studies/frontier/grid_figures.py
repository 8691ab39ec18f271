"""Figures of the published grid, one a question, each from the records of its own points.

``FIGURES`` says which points a figure needs and how it is drawn, so that any one of them is made
alone: ``inpatient frontier --figure headline``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.run.plots import legend, spread
from experiments.run.record import Record
from experiments.run.study import GridPoint
from experiments.studies import scaling
from experiments.studies.frontier import grid
from experiments.studies.frontier.figures import (
    LABELS,
    LOOKS,
    draw_frontier,
    draw_line,
    say_not_tried,
)
from experiments.studies.frontier.risks import ADVERSARIES, NOT_TRIED, risk_of

__all__ = ["ABLATIONS", "FIGURES", "Drawing"]

ABLATIONS: Mapping[str, Callable[[Mapping[str, Any]], float]] = {
    "batch size": lambda c: c["setting"]["sampling_size"],
    "width": lambda c: c["width"],
    "local steps": lambda c: c["local_steps"],
    "clip norm": lambda c: c["setting"]["clip_norm"],
    "colluders": lambda c: c["colluders"],
    "rounds": lambda c: c["setting"]["rounds"],
    "buffer size": lambda c: c["buffer"],
}
_FACTORS = ("model", "regime", "fedavg", "memory", "framingham", "network", "adversary")


@dataclass(frozen=True)
class Drawing:
    """One figure.

    Attributes:
      points: What it shows, from the experiment's seed.
      draw: Of their records, in the points' order.
    """

    points: Callable[[int], Sequence[GridPoint]]
    draw: Callable[[Sequence[Record]], Figure]


def _base(seed: int) -> list[grid.AttackedPoint]:
    """The core's points around which one thing is varied."""
    wanted = (("none", None), ("local", 1.0), ("sealed", 1.0))
    return [p for p in grid.group("small", seed) if (p.design, p.epsilon) in wanted]


def _ablations(seed: int) -> list[grid.AttackedPoint]:
    """All ablations, and the points around which they vary one thing."""
    paced = [p for p in grid.group("memory", seed) if (p.design, p.epsilon) == ("sealed", 1.0)]
    return [*_base(seed), *grid.group("ablation", seed), *paced, *grid.group("buffer", seed)]


def _groups(*names: str) -> Callable[[int], Sequence[GridPoint]]:
    return lambda seed: [point for name in names for point in grid.group(name, seed)]


def draw_headline(records: Sequence[Record]) -> Figure:
    """AUC that sealing gains over full noise at each hospital, against the number of hospitals."""
    figure = Figure(figsize=(7.4, 3.4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    titles = {"growing": "more hospitals, more patients", "divided": "the same patients, divided"}
    looks = {0.1: ("#D55E00", "s"), 1.0: ("#0072B2", "o")}
    for ax, (arrangement, title) in zip(axes, titles.items(), strict=True):
        for epsilon, (colour, marker) in looks.items():
            ours = [
                r
                for r in records
                if (r.config["arrangement"], r.config["epsilon"]) == (arrangement, epsilon)
            ]
            ours.sort(key=lambda r: r.config["hospitals"])
            gains = [r.metrics["gain"] for r in ours]
            ax.errorbar(
                [r.config["hospitals"] for r in ours],
                [g["value"] for g in gains],
                yerr=spread(gains),
                color=colour,
                marker=marker,
                capsize=3,
                label=f"ε = {epsilon:g}",
            )
        ax.axhline(0, color="#555555", linestyle=":", linewidth=1)
        ax.set_xscale("log")
        ax.set_xlabel("hospitals")
        ax.set_title(title, fontsize=10)
        ax.grid(alpha=0.25, linewidth=0.5)
    axes[0].set_ylabel("AUC gained by sealing")
    axes[0].legend(fontsize=8)
    return figure


def draw_ablations(records: Sequence[Record]) -> Figure:
    """AUC and each adversary's risk as one thing is varied, one column each, around the core."""
    base = [r for r in records if r.config["ablation"] is None]
    names = [n for n in ABLATIONS if any(r.config["ablation"] == n for r in records)]
    figure = Figure(figsize=(1.4 * max(len(names), 1), 5.4), layout="constrained")
    axes = figure.subplots(3, max(len(names), 1), sharey="row", squeeze=False)
    for column, name in enumerate(names):
        varied = [r for r in records if r.config["ablation"] == name]
        tried: set[float] = set()
        untried: dict[str, set[float]] = {adversary: set() for adversary in ADVERSARIES}
        for kind in dict.fromkeys(_kind(r) for r in varied):
            ours = [r for r in (*varied, *base) if _kind(r) == kind]
            ours.sort(key=lambda r: ABLATIONS[name](r.config))
            at = [float(ABLATIONS[name](r.config)) for r in ours]
            tried |= set(at)
            colour, marker = LOOKS[kind]
            looks = {"color": colour, "marker": marker, "markersize": 4, "elinewidth": 0.7}
            aucs = [r.metrics["auc_within"] for r in ours]
            draw_line(axes[0, column], at, aucs, label=LABELS[kind], looks=looks)
            for ax, adversary in zip(axes[1:, column], ADVERSARIES, strict=True):
                risks = [risk_of(r, adversary) for r in ours]
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
            ax.set_xticks(sorted(tried), [f"{x:g}" for x in sorted(tried)], fontsize=7)
            ax.tick_params(axis="y", labelsize=7)
            ax.minorticks_off()
            ax.grid(alpha=0.25, linewidth=0.5)
    axes[0, 0].set_ylabel("within-site AUC", fontsize=8)
    for row, who in zip(axes[1:], ADVERSARIES.values(), strict=True):
        row[0].set_ylabel(f"risk:\n{who}", fontsize=8)
    legend(figure, list(axes.flat), columns=3)
    return figure


def draw_factors(records: Sequence[Record]) -> Figure:
    """Every point of the one-at-a-time factors: AUC, then each adversary's risk."""
    figure = Figure(figsize=(8.6, 0.17 * len(records) + 1.0), layout="constrained")
    left, *others = figure.subplots(1, 1 + len(ADVERSARIES), sharey=True)
    for row, record in enumerate(records):
        found = [record.metrics["auc_within"], *(risk_of(record, who) for who in ADVERSARIES)]
        for ax, value in zip((left, *others), found, strict=True):
            if value is None:
                ax.text(0.14, row, NOT_TRIED, fontsize=6, va="center", color="#333333")
                continue
            colour, marker = LOOKS[_kind(record)]
            ax.errorbar(
                [value["value"]], [row], xerr=spread([value]), color=colour, marker=marker,
                markersize=5,
            )  # fmt: skip
    for ax, title in zip(
        (left, *others),
        ("within-site AUC", *(f"risk: {who}" for who in ADVERSARIES.values())),
        strict=True,
    ):
        ax.set_xlabel(title, fontsize=8)
        ax.grid(alpha=0.25, linewidth=0.5)
    for ax in others:
        ax.axvline(0.1, color="#555555", linestyle=":", linewidth=1)
        ax.set_xlim(0, 1.05)
    left.set_yticks(range(len(records)), [_name(r) for r in records], fontsize=6)
    left.set_ylim(len(records) - 0.5, -0.5)
    return figure


def draw_at_risk(records: Sequence[Record]) -> Figure:
    """Each adversary's risk of those who have a trait, beside those who lack it."""
    shown = [r for r in records if r.metrics["risks_by_trait"]]
    traits = list(dict.fromkeys(t for r in shown for t in r.metrics["risks_by_trait"]))
    figure = Figure(figsize=(2.6 * max(len(traits), 1), 5.4), layout="constrained")
    axes = figure.subplots(
        len(ADVERSARIES), max(len(traits), 1), sharey=True, sharex=True, squeeze=False
    )
    for row, (adversary, who) in zip(axes, ADVERSARIES.items(), strict=True):
        for ax, trait in zip(row, traits, strict=True):
            for place, record in enumerate(shown):
                _draw_halves(ax, place, record, adversary, trait)
            ax.axhline(0.1, color="#555555", linestyle=":", linewidth=1)
            ax.set_ylim(0, 1.04)
            ax.grid(alpha=0.25, linewidth=0.5)
        row[0].set_ylabel(f"risk: {who}\n(filled: has the trait)", fontsize=8)
    for ax, trait in zip(axes[0], traits, strict=True):
        ax.set_title(trait, fontsize=10)
    for ax in axes[-1]:
        names = [f"{LABELS[r.config['design']]}, {_epsilon(r)}" for r in shown]
        ax.set_xticks(range(len(shown)), names, fontsize=6, rotation=30, ha="right")
        ax.set_xlim(-0.5, len(shown) - 0.5)
    return figure


def _draw_halves(ax: Axes, place: int, record: Record, adversary: str, trait: str) -> None:
    risk = risk_of(record, adversary)
    if risk is None:
        ax.text(place, 0.5, NOT_TRIED, fontsize=6, rotation=90, ha="center")
        return
    halves = record.metrics["risks_by_trait"].get(trait, {}).get(risk["attack"], {})
    for half, offset, fill in (("with", -0.12, "full"), ("without", 0.12, "none")):
        if half not in halves:
            continue
        colour, marker = LOOKS[record.config["design"]]
        ax.errorbar(
            [place + offset], [halves[half]["value"]], yerr=spread([halves[half]]),
            color=colour, marker=marker, fillstyle=fill, label=f"{half} the trait",
        )  # fmt: skip


def _kind(record: Record) -> str:
    """What tells a line: the rule of arrival at everybody's own pace, else the design."""
    return str(record.config.get("arrival", record.config["design"]))


def _epsilon(record: Record) -> str:
    strength = record.config["epsilon"]
    return "ε = ∞" if strength is None else f"ε = {strength:g}"


def _name(record: Record) -> str:
    c = record.config
    walk = "" if c["local_steps"] == 1 else f", {c['local_steps']} steps"
    seen = "" if c["sees"] is None else f", {c['sees'].replace('_', ' ')}"
    paced = f", {c['arrival']}" if "arrival" in c else ""
    design = f"{c['design']} {_epsilon(record)}{seen}"
    return f"{c['cohort']} {c['regime']} {c['model']}{walk}{paced}, {design}"


FIGURES: Mapping[str, Drawing] = MappingProxyType(
    {
        "frontier": Drawing(_groups("full", "small"), draw_frontier),
        "headline": Drawing(scaling.grid, draw_headline),
        "factors": Drawing(_groups(*_FACTORS), draw_factors),
        "ablations": Drawing(_ablations, draw_ablations),
        "at-risk": Drawing(_base, draw_at_risk),
    }
)
