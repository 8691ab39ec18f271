"""What sealing costs, from the committed benchmark: the paper's rows, its figure and its verdicts.

``paper/bench/sealing.json`` is what ``inpatient bench sealing --out paper/bench`` wrote on an idle
machine, beside the field's packages. Nothing is said of sealing's cost while it is not there.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from experiments.benchmarks.sealing_cost import SealingBenchmark, SealingRow, draw
from privacy.errors import InvalidInputError

__all__ = ["TARGETS", "Target", "committed", "draw_committed", "rows"]

_PATH = Path("bench") / "sealing.json"
_AT = 100_000


@dataclass(frozen=True)
class Target:
    """What was asked of one scheme at 1e5 values, before it was measured.

    Attributes:
      scheme: Ours.
      quantity: ``bytes`` or ``seconds`` of one sealed update.
      beside: The row that it is compared with.
      most: The largest ratio to that row that meets the target.
    """

    scheme: str
    quantity: str
    beside: str
    most: float

    def ratio(self, benchmark: SealingBenchmark, hospitals: int) -> float:
        """Return the measured ratio at 1e5 values.

        Raises:
          InvalidInputError: The benchmark lacks one of the two rows.
        """
        ours, theirs = (
            _value(benchmark, name, hospitals, self.quantity) for name in (self.scheme, self.beside)
        )
        return ours / theirs


TARGETS = (
    Target("bfv", "bytes", "nvflare", 1 / 3),
    Target("bfv", "seconds", "nvflare", 1 / 2),
    Target("shares", "bytes", "plain", 1.1),  # the integers in clear, in whole bytes
    Target("shares", "seconds", "aes", 3.0),
)


def committed(paper: Path) -> SealingBenchmark | None:
    """Read the committed benchmark; None where there is none.

    Raises:
      InvalidInputError: It is no record of this benchmark.
    """
    path = paper / _PATH
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        measured = tuple(SealingRow(**row) for row in content["rows"])
        return SealingBenchmark(measured, dict(content["peers"]), int(content["peak_bytes"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(
            f"{path} is no record of this benchmark ({error}). Measure it again: inpatient bench "
            "sealing --out paper/bench, on an idle machine, in .venv-bench."
        ) from error


def draw_committed(benchmark: SealingBenchmark) -> Figure:
    """Bytes and seconds by size, at the number of hospitals that all sizes were measured for."""
    return draw(benchmark, benchmark.rows[0].hospitals)


def rows(benchmark: SealingBenchmark | None) -> list[dict[str, Any]]:
    """Return one row a contender at 1e5 values and the first number of hospitals, as text."""
    if benchmark is None:
        return []
    hospitals = benchmark.rows[0].hospitals
    return [
        {
            "name": row.name,
            "hospitals": str(hospitals),
            "kilobytes": _text(row.bytes, 1e-3),
            "bytes_ratio": _text(row.bytes_ratio),
            "milliseconds": _text(row.seconds, 1e3),
            "ratio": _text(row.ratio),
            "error": "" if row.accuracy is None else f"{row.accuracy:.0e}",
        }
        for row in benchmark.rows
        if row.size == _AT and row.hospitals == hospitals
    ]


def _value(benchmark: SealingBenchmark, name: str, hospitals: int, quantity: str) -> float:
    for row in benchmark.rows:
        same = (row.name, row.size, row.hospitals) == (name, _AT, hospitals)
        if same and (measured := getattr(row, quantity)):
            return float(measured)
    raise InvalidInputError(
        f"The benchmark has no {quantity} of {name} at {_AT} values and {hospitals} hospitals: "
        "measure it with its peers (make bench)."
    )


def _text(value: int | float | None, unit: float = 1.0) -> str:
    return "" if value is None else _plain(value * unit)


def _plain(value: float) -> str:
    """Three digits, and never a power of ten."""
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"
