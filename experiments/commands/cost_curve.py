"""Epsilon against delta, between its certified ends, as a figure of ``inpatient account``."""

from pathlib import Path
from typing import TYPE_CHECKING

from experiments.run.plots import save

if TYPE_CHECKING:
    from dp_accounting import DpEvent, NeighboringRelation

__all__ = ["plot_cost"]

_DELTAS = tuple(10.0**-k for k in range(1, 13))


def plot_cost(
    event: "DpEvent", *, relation: "NeighboringRelation", delta: float, path: Path
) -> tuple[Path, Path]:
    """Write the curve as SVG and PNG and return both; ``delta`` is marked.

    Raises:
      InvalidInputError: The event can't be accounted for under the relation.
    """
    import math

    from matplotlib.figure import Figure

    from privacy.accounting import epsilon

    deltas = sorted({*_DELTAS, delta})
    intervals = [epsilon(event, delta=d, relation=relation) for d in deltas]
    upper = [f.upper if math.isfinite(f.upper) else math.nan for f in intervals]
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    ax = figure.subplots()
    ax.fill_between(
        deltas, [f.lower for f in intervals], upper, alpha=0.25, label="between the certified ends"
    )
    ax.plot(deltas, upper, marker="o", markersize=3, label="certified from above")
    ax.axvline(delta, color="0.4", linewidth=0.8, linestyle=":")
    ax.set_xscale("log")
    ax.set_ylim(bottom=0)
    ax.set_xlabel("delta")
    ax.set_ylabel("epsilon")
    at = intervals[deltas.index(delta)].upper
    bound = f"at most {at:.3g}" if math.isfinite(at) else "no bound"
    ax.set_title(f"epsilon {bound} at delta {delta:g}", fontsize=10)
    ax.legend(fontsize=8)
    return save(figure, path)
