"""A point's metrics without a sweep: for tests that look at numbers alone."""

from pathlib import Path
from typing import Any

from experiments.run.study import GridPoint

__all__ = ["measured"]


def measured(point: GridPoint, data_dir: Path | None = None) -> dict[str, Any]:
    """Measure all units in this process."""
    return point.summarise([point.measure(unit, data_dir) for unit in point.units])
