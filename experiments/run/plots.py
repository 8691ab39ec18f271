"""What all figures share: the same records give the same bytes."""

import io
import re
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from experiments.evaluation import Estimate
from experiments.run.record import write_new
from experiments.run.text import power_of_ten

__all__ = ["PAGE", "decades", "legend", "printed", "save", "spread"]

_DEFINED = re.compile(rb'id="([a-z][0-9a-f]{10})"')
_NAMED = re.compile(rb"\b[a-z][0-9a-f]{10}\b")
_Given = ParamSpec("_Given")
_Drawn = TypeVar("_Drawn", bound="Figure | None")

PAGE = 6.7
"""Width of the paper's text, in inches. Figures are drawn as large as they are printed."""

_PRINTED: dict[Any, Any] = {
    "font.size": 7.5,
    "axes.titlesize": 8.0,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "legend.fontsize": 7.0,
}


def printed(draw: Callable[_Given, _Drawn]) -> Callable[_Given, _Drawn]:
    """Draw a figure in the sizes of text of a printed page: nothing is below 6 points."""

    @wraps(draw)
    def drawn(*args: _Given.args, **named: _Given.kwargs) -> _Drawn:
        with mpl.rc_context(_PRINTED):
            return draw(*args, **named)

    return drawn


def save(figure: Figure, path: Path, *, replace: bool = False) -> tuple[Path, Path]:
    """Write ``path`` as SVG and as PNG, without a date, and return both.

    Another figure that is there already stays, and this one gets the next number, unless it is to
    be replaced (the paper's, which stand in a repository).
    """
    svg, png = io.BytesIO(), io.BytesIO()
    with mpl.rc_context({**_PRINTED, "svg.fonttype": "none", "svg.hashsalt": "inpatient"}):
        figure.savefig(svg, format="svg", metadata={"Date": None})
        figure.savefig(png, format="png", dpi=160, metadata={"Software": None})
    paths = path.with_suffix(".svg"), path.with_suffix(".png")
    if replace:
        for one in paths:
            one.unlink(missing_ok=True)
    one, other = write_new((paths[0], _numbered(svg.getvalue())), (paths[1], png.getvalue()))
    return one, other


def _numbered(svg: bytes) -> bytes:
    """Number what is defined: hashes follow the last bits of floats, which processors differ in."""
    names = dict.fromkeys(_DEFINED.findall(svg))
    numbers = {name: b"d%d" % k for k, name in enumerate(names)}
    return _NAMED.sub(lambda match: numbers.get(match[0], match[0]), svg)


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
        )


def decades(axis: Axis) -> None:
    """Label the decades of a logarithmic axis in text of one size."""
    axis.set_major_formatter(lambda value, _: power_of_ten(value))


def spread(values: Sequence[Estimate]) -> list[list[float]]:
    """Distances to both ends; a percentile interval need not hold the estimate."""
    return [
        [max(0.0, v.value - v.lower) for v in values],
        [max(0.0, v.upper - v.value) for v in values],
    ]
