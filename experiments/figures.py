"""Figures: the same records give the same bytes.

Colours are Okabe and Ito's, told apart by the colour-blind, and each line has a marker of its own,
so that the figures read in grey too.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.record import Record

__all__ = ["LABELS", "LOOKS", "TITLES", "draw_frontier", "legend", "save"]

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
_LABELLED = (0.1, 1.0, 10.0, None)
_OFFSETS = {"local": (-5, 6), "sealed": (5, -10)}
TITLES = {"full": "all patients in every round", "small": "about 8 patients a hospital"}


def draw_frontier(records: Sequence[Record]) -> Figure:
    """Risk against AUC, one panel a regime and model, one line a design, the proven bound drawn.

    The risk is that of the worst attack of a point: how often it picks the patient out of ten. The
    AUC axis points to the right: better models. A tick above a point is its proven bound. What is
    no federation has no risk to measure: its AUC is a vertical line with its interval.
    """
    panels = [(r, m) for r, m in _panels(records) if _of(records, r, m)]
    figure = Figure(figsize=(4.2 * max(len(panels), 1), 4.2), layout="constrained")
    axes = figure.subplots(1, max(len(panels), 1), sharey=True, squeeze=False)[0]
    for ax, (regime, model) in zip(axes, panels, strict=True):
        _draw_panel(ax, _of(records, regime, model))
        ax.set_title(f"{TITLES[regime]} ({model})", fontsize=10)
    axes[0].set_ylabel("patients picked out of ten (risk)")
    legend(figure, list(axes), columns=3)
    return figure


def save(figure: Figure, path: Path) -> tuple[Path, Path]:
    """Write ``path`` as SVG and as PNG, without a date, and return both."""
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "inpatient"}):
        svg, png = path.with_suffix(".svg"), path.with_suffix(".png")
        figure.savefig(svg, metadata={"Date": None})
        figure.savefig(png, dpi=160, metadata={"Software": None})
    return svg, png


def legend(figure: Figure, axes: Sequence[Axes], *, columns: int) -> None:
    """Put one legend below, each label once."""
    handles: dict[str, Artist] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        figure.legend(
            list(handles.values()),
            list(handles),
            loc="outside lower center",
            ncols=columns,
            fontsize=8,
        )


def _panels(records: Sequence[Record]) -> list[tuple[str, str]]:
    found = {(r.config["regime"], r.config["model"]) for r in records}
    return sorted(found, key=lambda panel: (panel[0] != "full", panel[1]))


def _of(records: Sequence[Record], regime: str, model: str) -> list[Record]:
    return [r for r in records if (r.config["regime"], r.config["model"]) == (regime, model)]


def _draw_panel(ax: Axes, records: Sequence[Record]) -> None:
    for design in LOOKS:
        points = [r for r in records if r.config["design"] == design]
        points.sort(key=lambda r: _infinite_last(r.config["epsilon"]))
        if points and points[0].metrics["risks"]:
            _draw_line(ax, design, points)
        elif points:
            _draw_reference(ax, design, points[-1])
    ax.plot([], [], marker="_", markersize=12, linestyle="", color="#555555", label="proven bound")
    ax.axhline(0.1, color="#555555", linestyle=":", linewidth=1, label="guessing")
    ax.set_ylim(0, 1.1)
    ax.set_xlabel("within-site AUC")
    ax.grid(alpha=0.25, linewidth=0.5)


def _draw_line(ax: Axes, design: str, points: Sequence[Record]) -> None:
    colour, marker = LOOKS[design]
    auc = [p.metrics["auc_within"] for p in points]
    risk = [p.metrics["risk"] for p in points]
    x, y = [a["value"] for a in auc], [r["value"] for r in risk]
    ax.errorbar(
        x,
        y,
        xerr=_bars(auc),
        yerr=_bars(risk),
        color=colour,
        marker=marker,
        markersize=6,
        linewidth=1.2,
        elinewidth=0.6,
        label=LABELS[design],
    )
    for point, px, py in zip(points, x, y, strict=True):
        ax.annotate(
            _epsilon_label(point.config),
            (px, py),
            textcoords="offset points",
            xytext=_OFFSETS.get(design, (5, 5)),
            ha="right" if design == "local" else "left",
            fontsize=7,
            color=colour,
        )
        bound = point.metrics["bound"]
        if bound is not None:
            ax.plot([px], [bound], marker="_", markersize=12, color=colour)


def _draw_reference(ax: Axes, design: str, point: Record) -> None:
    colour, _ = LOOKS[design]
    auc = point.metrics["auc_within"]
    dash = (0, (4, 2)) if design == "pooled" else (0, (1, 1))
    ax.axvspan(auc["lower"], auc["upper"], color=colour, alpha=0.08, linewidth=0)
    ax.axvline(auc["value"], color=colour, linestyle=dash, linewidth=1.2, label=LABELS[design])


def _bars(found: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """Distances to both ends; a mean over replicates may leave its interval by rounding alone."""
    return [
        [max(0.0, f["value"] - f["lower"]) for f in found],
        [max(0.0, f["upper"] - f["value"]) for f in found],
    ]


def _infinite_last(epsilon: float | None) -> float:
    return float("inf") if epsilon is None else epsilon


def _epsilon_label(config: Mapping[str, Any]) -> str:
    if config["design"] == "none" or config["epsilon"] not in _LABELLED:
        return ""
    return "ε = ∞" if config["epsilon"] is None else f"ε = {config['epsilon']:g}"
