"""The paper's figures from the records that are there; one without records is left out."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from experiments.figures import draw_frontier, draw_scaling, save
from experiments.learning_figures import draw_asynchrony, draw_calibration, draw_correction
from experiments.paper.points import CORE, Points
from experiments.record import Record

__all__ = ["draw"]


def draw(folder: Path, records: Sequence[Record]) -> dict[str, bool]:
    """Write every figure as SVG and PNG; say by name which could be drawn."""
    folder.mkdir(exist_ok=True)
    points = Points(records)
    groups: Mapping[str, tuple[Callable[[list[Record]], Figure], list[Record]]] = {
        "frontier": (draw_frontier, [r for panel in CORE for r in points.panel(*panel)]),
        "scaling": (draw_scaling, _of(records, "scaling")),
        "asynchrony": (draw_asynchrony, _of(records, "asynchrony")),
        "correction": (draw_correction, _of(records, "correction")),
        "calibration": (draw_calibration, _of(records, "correction", rule="fedavg")),
    }
    for name, (figure_of, own) in groups.items():
        if own:
            save(figure_of(own), folder / name)
    return {name: bool(own) for name, (_, own) in groups.items()}


def _of(records: Sequence[Record], experiment: str, **fixed: object) -> list[Record]:
    return [
        r
        for r in records
        if r.config["experiment"] == experiment
        and all(r.config.get(k) == v for k, v in fixed.items())
    ]
