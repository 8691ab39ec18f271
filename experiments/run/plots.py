"""What all figures share: the same records give the same bytes."""

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.evaluation import Estimate
from experiments.run.record import write_new

__all__ = ["legend", "save", "spread"]


def save(figure: Figure, path: Path, *, replace: bool = False) -> tuple[Path, Path]:
    """Write ``path`` as SVG and as PNG, without a date, and return both.

    Another figure that is there already stays, and this one gets the next number, unless it is to
    be replaced (the paper's, which stand in a repository).
    """
    svg, png = io.BytesIO(), io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "inpatient"}):
        figure.savefig(svg, format="svg", metadata={"Date": None})
        figure.savefig(png, format="png", dpi=160, metadata={"Software": None})
    paths = path.with_suffix(".svg"), path.with_suffix(".png")
    if replace:
        for one in paths:
            one.unlink(missing_ok=True)
    one, other = write_new((paths[0], svg.getvalue()), (paths[1], png.getvalue()))
    return one, other


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


def spread(values: Sequence[Estimate]) -> list[list[float]]:
    """Distances to both ends; a percentile interval need not hold the estimate."""
    return [
        [max(0.0, v.value - v.lower) for v in values],
        [max(0.0, v.upper - v.value) for v in values],
    ]
