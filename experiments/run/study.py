"""What a study is: points of a grid, each measured unit by unit and told in one record."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from matplotlib.figure import Figure
from rich.table import Table

from experiments.run.record import Record

__all__ = ["GridPoint", "Study"]


@runtime_checkable
class GridPoint(Protocol):
    """What a sweep asks of a point; frozen and picklable."""

    @property
    def config(self) -> Mapping[str, Any]:
        """What names the record: plain JSON, no clock; ``experiment`` tells the study."""
        ...

    @property
    def label(self) -> str:
        """A short name for progress and errors."""
        ...

    @property
    def units(self) -> Sequence[Any]:
        """What is measured apart; not empty."""
        ...

    def measure(self, unit: Any, data_dir: Path | None) -> Any:
        """Measure one unit, in a worker of one thread."""
        ...

    def summarise(self, parts: list[Any]) -> dict[str, Any]:
        """Turn all units, in the order of ``units``, into the record's metrics."""
        ...


def _plain(record: Record) -> dict[str, Any]:
    return asdict(record)


@dataclass(frozen=True)
class Study:
    """One kind of experiment: what its records are, and what is told and drawn of them.

    Attributes:
      experiments: What its records say under ``experiment``.
      what: What such a record measures, in a phrase.
      command: The command that makes all of them.
      tables: Of its records, for the terminal.
      figures: How each of its figures is drawn, by file name.
      plain: A record as JSON, with what is told beside it.
    """

    experiments: tuple[str, ...]
    what: str
    command: str
    tables: Callable[[Sequence[Record]], Sequence[Table | str]] = lambda _: ()
    figures: Mapping[str, Callable[[Sequence[Record]], Figure]] = field(default_factory=dict)
    plain: Callable[[Record], dict[str, Any]] = _plain

    def made(self, record: Record) -> bool:
        """Whether a record is of this study."""
        return record.config["experiment"] in self.experiments
