"""The paper's figures from the records that are there; one without records is left out."""

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from experiments.run.plots import PAGE, printed, save, spread
from experiments.run.record import Record, config_hash
from experiments.run.typed import read
from experiments.studies.equivalent import Equivalent, EquivalentMetrics, Ratio
from experiments.studies.equivalent_heart import OwnPatients, OwnPatientsMetrics
from experiments.studies.frontier.figures import draw_frontier
from experiments.studies.frontier.grid_figures import FIGURES
from experiments.studies.frontier.risks import read_frontier
from experiments.studies.joining.drawn_gains import draw_joining
from experiments.studies.learning_figures import draw_asynchrony, draw_calibration, draw_correction
from paper.drawn_use import draw_use
from paper.joining_told import HALVES, draw_board
from paper.points import CORE, Points

__all__ = ["draw", "draw_equivalent"]

_GRID = ("headline", "ablations", "at-risk", "factors", "effort")


def draw(folder: Path, records: Sequence[Record]) -> None:
    """Write every figure as SVG and PNG."""
    folder.mkdir(exist_ok=True)
    points, joined = Points(records), _of(records, "joining")
    groups: dict[str, tuple[Callable[[list[Record]], Figure], list[Record]]] = {
        "frontier": (_frontier, [points.records[r.name] for p in CORE for r in points.panel(*p)]),
        "equivalent": (draw_equivalent, _of(records, "data equivalent")),
        "asynchrony": (draw_asynchrony, _of(records, "asynchrony")),
        "correction": (draw_correction, _of(records, "correction")),
        "joining": (_joining, [r for c in HALVES for r in joined if r.config["cohort"] == c]),
        "calibration": (draw_calibration, _of(records, "correction")),
    }
    by_name = {r.name: r for r in records}
    for name in _GRID:
        wanted = [config_hash(point.config) for point in FIGURES[name].points(0)]
        if all(one in by_name for one in wanted):
            groups[name] = (FIGURES[name].draw, [by_name[one] for one in wanted])
    for name, figure in (("board", draw_board(records)), ("use", draw_use(records))):
        if figure is not None:
            save(figure, folder / name, replace=True)
    for name, (figure_of, shown) in groups.items():
        if shown:
            save(figure_of(shown), folder / name, replace=True)


@printed
def draw_equivalent(records: Sequence[Record]) -> Figure:
    """How many times its own data joining is worth, against the hospital's size.

    Hollow: no size that a hospital was tried at alone is as good; the multiple is at least that.
    """
    figure = Figure(figsize=(0.7 * PAGE, 2.5), layout="constrained")
    ax = figure.subplots()
    curves: list[tuple[Sequence[Ratio], str, str, str, str]] = []
    for record in records:
        if "hospitals" in record.metrics:
            real = read(record, OwnPatients, OwnPatientsMetrics).metrics.hospitals
            looks = zip(real.items(), _REAL, strict=False)
            curves += [(h.ratio_joined, *look, _NAMES[name]) for (name, h), look in looks]
        else:
            m = read(record, Equivalent, EquivalentMetrics).metrics
            curves.append((m.ratio_joined, "#000000", "X", "-", "40 simulated, no protection"))
            curves.append((m.ratio_sealed, "#0072B2", "o", "--", "40 simulated, sealed, ε = 1"))
    for ratios, colour, marker, dash, label in curves:
        sizes, values = [r.patients for r in ratios], [r.value for r in ratios]
        ax.errorbar(
            sizes, values, spread(ratios), color=colour, linestyle=dash, linewidth=1.2, capsize=2
        )
        for size, value, r in zip(sizes, values, ratios, strict=True):
            face = "white" if r.at_least else colour
            ax.plot(size, value, marker, color=colour, markerfacecolor=face, zorder=3)
        ax.plot([], [], marker, color=colour, linestyle=dash, label=label)
    ax.axhline(3, color="#D55E00", linestyle=":", linewidth=1.2, label="the article's 3")
    ax.axhline(1, color="#555555", linewidth=0.8)
    ax.set(xscale="log", yscale="log", xlabel="patients of the hospital", ylabel="times its data")
    ax.grid(alpha=0.25, linewidth=0.5)
    ax.set_xticks(_SIZES, [str(size) for size in _SIZES])
    ax.set_yticks(_TIMES, [str(times) for times in _TIMES])
    ax.minorticks_off()
    figure.legend(ncols=3, loc="outside lower center")
    return figure


_SIZES = (20, 50, 100, 200, 400)
_TIMES = (1, 3, 10, 30)
_NAMES = {"cleveland": "Cleveland", "hungary": "Hungary", "va": "VA Long Beach"}
_REAL = (("#009E73", "s", "-."), ("#CC79A7", "^", "-."), ("#E69F00", "v", "-."))


_HALVES = {
    "ist-even": "confirmation half (hospitals of even numbers)",
    "ist-odd": "exploration half (odd numbers)",
}


def _joining(records: Sequence[Record]) -> Figure:
    return draw_joining(records, _HALVES)


def _frontier(records: Sequence[Record]) -> Figure:
    return draw_frontier(read_frontier(records))


def _of(records: Sequence[Record], experiment: str) -> list[Record]:
    return [r for r in records if r.config["experiment"] == experiment]
