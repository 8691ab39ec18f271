"""Figures of the frontier.

Colours are Okabe and Ito's, told apart by the colour-blind, and each line has a marker of its own,
so that the figures read in grey too.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.run.plots import legend, spread
from experiments.run.record import Record
from experiments.studies.frontier.risks import ADVERSARIES, NOT_TRIED, by_definition, risk_of

__all__ = [
    "LABELS",
    "LOOKS",
    "TITLES",
    "draw_frontier",
    "draw_line",
    "say_not_tried",
]

LABELS = {
    "none": "no protection",
    "article": "the article's noise",
    "local": "full noise at each hospital",
    "sealed": "sealed sum, shared noise",
    "local only": "local training only",
    "pooled": "pooled training",
    "synchronous": "all wait for all",
    "corrected": "own pace, corrected FedBuff",
    "memory": "own pace, Memory",
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
_FLAT = 0.12  # risks at guessing all along a line: no room to name their epsilons
_LABELLED = (0.1, 1.0, 10.0, None)
_OFFSETS = {"local": (-5, 6), "sealed": (5, -10)}
TITLES = {"full": "all patients in every round", "small": "about 8 patients a hospital"}


def draw_frontier(records: Sequence[Record]) -> Figure:
    """Risk against AUC: a column a regime and model, a row an adversary, a line a design.

    The risk is how often the row's adversary picks the patient out of ten. The AUC axis points to
    the right: better models. A tick above a point is its proven bound, of any adversary. What is no
    federation has no risk to measure: its AUC is a vertical line with its interval.
    """
    panels = _panels(records)
    figure = Figure(
        figsize=(4.2 * max(len(panels), 1), 3.1 * len(ADVERSARIES) + 0.8), layout="constrained"
    )
    axes = figure.subplots(
        len(ADVERSARIES), max(len(panels), 1), sharey=True, sharex="col", squeeze=False
    )
    for row, (adversary, who) in zip(axes, ADVERSARIES.items(), strict=True):
        for ax, panel in zip(row, panels, strict=False):
            _draw_panel(ax, _of(records, *panel), adversary)
        row[0].set_ylabel(f"risk: {who}\nnames one of ten", fontsize=9)
    for ax, (regime, model) in zip(axes[0], panels, strict=False):
        ax.set_title(f"{TITLES[regime]} ({model})", fontsize=10)
    for ax in axes[-1]:
        ax.set_xlabel("within-site AUC")
    legend(figure, list(axes.flat), columns=3)
    return figure


def _panels(records: Sequence[Record]) -> list[tuple[str, str]]:
    found = {(r.config["regime"], r.config["model"]) for r in records}
    return sorted(found, key=lambda panel: (panel[0] != "full", panel[1]))


def _of(records: Sequence[Record], regime: str, model: str) -> list[Record]:
    return [r for r in records if (r.config["regime"], r.config["model"]) == (regime, model)]


def draw_line(
    ax: Axes,
    x: Sequence[float],
    risks: Sequence[Mapping[str, Any] | None],
    *,
    label: str,
    looks: Mapping[str, Any],
    xerr: list[list[float]] | None = None,
) -> None:
    """Draw one adversary's risks along ``x``, joined where neighbours met the same attack.

    A point that was not tried breaks the line; ``say_not_tried`` says so.
    """
    shown = [(k, risk) for k, risk in enumerate(risks) if risk is not None]
    run: list[tuple[int, Mapping[str, Any]]] = []
    for k, risk in [*shown, (-1, None)]:
        if run and (risk is None or k != run[-1][0] + 1 or _attack(risk) != _attack(run[-1][1])):
            at, found = [n for n, _ in run], [one for _, one in run]
            ax.errorbar(
                [x[n] for n in at],
                [one["value"] for one in found],
                xerr=None if xerr is None else [[side[n] for n in at] for side in xerr],
                yerr=spread(found),
                label=label,
                **looks,
            )
            run = []
        if risk is not None:
            run.append((k, risk))


def _attack(risk: Mapping[str, Any]) -> object:
    return risk.get("attack")


def say_not_tried(ax: Axes, names: Sequence[str], *, fontsize: float = 7) -> None:
    """Say in the middle of the panel what its adversary was not tried on."""
    if names:
        text = f"{NOT_TRIED}:\n" + "\n".join(dict.fromkeys(names))
        ax.text(
            0.5, 0.55, text, transform=ax.transAxes, fontsize=fontsize, va="center", ha="center",
            color="#333333",
        )  # fmt: skip


def _draw_panel(ax: Axes, records: Sequence[Record], adversary: str) -> None:
    untried = []
    for design in LOOKS:
        points = [r for r in records if r.config["design"] == design]
        points.sort(key=lambda r: _infinite_last(r.config["epsilon"]))
        if points and by_definition(points[0]):
            _draw_reference(ax, design, points[-1])
        elif points:
            _draw_design(ax, design, points, [risk_of(p, adversary) for p in points])
            untried += [_name(p) for p in points if risk_of(p, adversary) is None]
    say_not_tried(ax, untried)
    ax.plot([], [], marker="_", markersize=12, linestyle="", color="#555555", label="proven bound")
    ax.axhline(0.1, color="#555555", linestyle=":", linewidth=1, label="guessing")
    ax.set_ylim(0, 1.1)
    ax.grid(alpha=0.25, linewidth=0.5)


def _name(record: Record) -> str:
    strength = record.config["epsilon"]
    return f"{LABELS[record.config['design']]}, ε = {'∞' if strength is None else f'{strength:g}'}"


def _draw_design(
    ax: Axes,
    design: str,
    points: Sequence[Record],
    risks: Sequence[Mapping[str, Any] | None],
) -> None:
    colour, marker = LOOKS[design]
    auc = [p.metrics["auc_within"] for p in points]
    finite = [r["value"] for r, p in zip(risks, points, strict=True) if r and p.config["epsilon"]]
    flat = bool(finite) and max(finite) < _FLAT
    draw_line(
        ax,
        [a["value"] for a in auc],
        risks,
        label=LABELS[design],
        xerr=spread(auc),
        looks={
            "color": colour,
            "marker": marker,
            "markersize": 6,
            "linewidth": 1.2,
            "elinewidth": 0.6,
        },
    )
    for point, where, risk in zip(points, auc, risks, strict=True):
        bound = point.metrics["bound"]
        if bound is not None:
            ax.plot([where["value"]], [bound], marker="_", markersize=12, color=colour)
        if risk is not None and not (flat and risk["value"] < _FLAT):
            ax.annotate(
                _epsilon_label(point.config),
                (where["value"], risk["value"]),
                textcoords="offset points",
                xytext=_OFFSETS.get(design, (5, 5)),
                ha="right" if design == "local" else "left",
                fontsize=7,
                color=colour,
            )


def _draw_reference(ax: Axes, design: str, point: Record) -> None:
    colour, _ = LOOKS[design]
    auc = point.metrics["auc_within"]
    dash = (0, (4, 2)) if design == "pooled" else (0, (1, 1))
    ax.axvspan(auc["lower"], auc["upper"], color=colour, alpha=0.08, linewidth=0)
    ax.axvline(auc["value"], color=colour, linestyle=dash, linewidth=1.2, label=LABELS[design])


def _infinite_last(epsilon: float | None) -> float:
    return float("inf") if epsilon is None else epsilon


def _epsilon_label(config: Mapping[str, Any]) -> str:
    if config["design"] == "none" or config["epsilon"] not in _LABELLED:
        return ""
    return "ε = ∞" if config["epsilon"] is None else f"ε = {config['epsilon']:g}"
