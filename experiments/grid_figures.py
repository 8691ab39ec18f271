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

from experiments import grid, scaling
from experiments.figures import LABELS, LOOKS, draw_frontier
from experiments.record import Record
from experiments.sweep import Point

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

    points: Callable[[int], Sequence[Point]]
    draw: Callable[[Sequence[Record]], Figure]


def _base(seed: int) -> list[grid.Cell]:
    """The core's points around which one thing is varied."""
    wanted = (("none", None), ("local", 1.0), ("sealed", 1.0))
    return [p for p in grid.group("small", seed) if (p.design, p.epsilon) in wanted]


def _ablations(seed: int) -> list[grid.Cell]:
    """All ablations, and the points around which they vary one thing."""
    paced = [p for p in grid.group("memory", seed) if (p.design, p.epsilon) == ("sealed", 1.0)]
    return [*_base(seed), *grid.group("ablation", seed), *paced, *grid.group("buffer", seed)]


def _groups(*names: str) -> Callable[[int], Sequence[Point]]:
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
                yerr=_spread(gains),
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
    """AUC and risk as one thing is varied, one column each; the core's own point among them."""
    base = [r for r in records if r.config["ablation"] is None]
    names = [n for n in ABLATIONS if any(r.config["ablation"] == n for r in records)]
    figure = Figure(figsize=(1.4 * max(len(names), 1), 3.8), layout="constrained")
    axes = figure.subplots(2, max(len(names), 1), sharey="row", squeeze=False)
    for column, name in enumerate(names):
        varied = [r for r in records if r.config["ablation"] == name]
        tried: set[float] = set()
        for kind in dict.fromkeys(_kind(r) for r in varied):
            ours = [r for r in (*varied, *base) if _kind(r) == kind]
            ours.sort(key=lambda r: ABLATIONS[name](r.config))
            tried |= {float(ABLATIONS[name](r.config)) for r in ours}
            for ax, metric in zip(axes[:, column], ("auc_within", "risk"), strict=True):
                _line(ax, [float(ABLATIONS[name](r.config)) for r in ours], ours, metric, kind)
        axes[1, column].axhline(0.1, color="#555555", linestyle=":", linewidth=1)
        axes[1, column].set_xlabel(name)
        for ax in axes[:, column]:
            ax.set_xscale("log")
            ax.set_xticks(sorted(tried), [f"{x:g}" for x in sorted(tried)], fontsize=7)
            ax.tick_params(axis="y", labelsize=7)
            ax.minorticks_off()
            ax.grid(alpha=0.25, linewidth=0.5)
    axes[0, 0].set_ylabel("within-site AUC")
    axes[1, 0].set_ylabel("risk")
    handles = {
        label: handle
        for ax in axes[0]
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=3)
    return figure


def draw_factors(records: Sequence[Record]) -> Figure:
    """Every point of the one-at-a-time factors: AUC on the left, risk on the right."""
    figure = Figure(figsize=(7.4, 0.17 * len(records) + 1.0), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    rows = list(range(len(records)))
    for ax, metric, title in (
        (left, "auc_within", "within-site AUC"),
        (right, "risk", "risk (guessing: 0.1)"),
    ):
        for row, record in zip(rows, records, strict=True):
            colour, marker = LOOKS[_kind(record)]
            value = record.metrics[metric]
            ax.errorbar(
                [value["value"]], [row], xerr=_spread([value]), color=colour, marker=marker,
                markersize=5,
            )  # fmt: skip
        ax.set_xlabel(title)
        ax.grid(alpha=0.25, linewidth=0.5)
    right.axvline(0.1, color="#555555", linestyle=":", linewidth=1)
    left.set_yticks(rows, [_name(r) for r in records], fontsize=6)
    left.invert_yaxis()
    return figure


def draw_at_risk(records: Sequence[Record]) -> Figure:
    """The worst attack's risk of those who have a trait, beside those who lack it."""
    shown = [r for r in records if r.metrics["risks_by_trait"]]
    traits = list(dict.fromkeys(t for r in shown for t in r.metrics["risks_by_trait"]))
    figure = Figure(figsize=(2.6 * max(len(traits), 1), 3.4), layout="constrained")
    axes = figure.subplots(1, max(len(traits), 1), sharey=True, squeeze=False)[0]
    for ax, trait in zip(axes, traits, strict=True):
        for row, record in enumerate(shown):
            attack = record.metrics["risk"]["attack"]
            halves = record.metrics["risks_by_trait"].get(trait, {}).get(attack, {})
            for half, offset, fill in (("with", -0.12, "full"), ("without", 0.12, "none")):
                if half not in halves:
                    continue
                colour, marker = LOOKS[record.config["design"]]
                ax.errorbar(
                    [row + offset], [halves[half]["value"]], yerr=_spread([halves[half]]),
                    color=colour, marker=marker, fillstyle=fill, label=f"{half} the trait",
                )  # fmt: skip
        ax.axhline(0.1, color="#555555", linestyle=":", linewidth=1)
        ax.set_xticks(range(len(shown)), [_name(r) for r in shown], fontsize=6, rotation=30)
        ax.set_title(trait, fontsize=10)
        ax.set_ylim(0, 1.04)
    axes[0].set_ylabel("risk (filled: has the trait)")
    return figure


def _kind(record: Record) -> str:
    """What tells a line: the rule of arrival at everybody's own pace, else the design."""
    return str(record.config.get("arrival", record.config["design"]))


def _line(ax: Axes, x: list[float], records: Sequence[Record], metric: str, kind: str) -> None:
    values = [r.metrics[metric] for r in records]
    colour, marker = LOOKS[kind]
    ax.errorbar(
        x, [v["value"] for v in values], yerr=_spread(values), color=colour, marker=marker,
        markersize=4, elinewidth=0.7, label=LABELS[kind],
    )  # fmt: skip


def _spread(values: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """Distances to both ends; a percentile interval need not hold the estimate."""
    return [
        [max(0.0, v["value"] - v["lower"]) for v in values],
        [max(0.0, v["upper"] - v["value"]) for v in values],
    ]


def _name(record: Record) -> str:
    c = record.config
    epsilon = "∞" if c["epsilon"] is None else f"{c['epsilon']:g}"
    walk = "" if c["local_steps"] == 1 else f", {c['local_steps']} steps"
    seen = "" if c["sees"] is None else f", {c['sees'].replace('_', ' ')}"
    paced = f", {c['arrival']}" if "arrival" in c else ""
    return f"{c['cohort']} {c['regime']} {c['model']}{walk}{paced}, {c['design']} ε={epsilon}{seen}"


FIGURES: Mapping[str, Drawing] = MappingProxyType(
    {
        "frontier": Drawing(_groups("full", "small"), draw_frontier),
        "headline": Drawing(scaling.grid, draw_headline),
        "factors": Drawing(_groups(*_FACTORS), draw_factors),
        "ablations": Drawing(_ablations, draw_ablations),
        "at-risk": Drawing(_base, draw_at_risk),
    }
)
