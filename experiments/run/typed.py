"""Records as typed objects: read once, so that what lacks is told by its name and at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from experiments.run.record import Record
from privacy.errors import CorruptMessageError

__all__ = ["TypedRecord", "read", "read_all"]

Point = TypeVar("Point", covariant=True)
Metrics = TypeVar("Metrics", covariant=True)
P = TypeVar("P")
M = TypeVar("M")


@dataclass(frozen=True)
class TypedRecord(Generic[Point, Metrics]):
    """A record that was read.

    Attributes:
      name: Of the record.
      point: What was measured.
      metrics: What came of it.
      commit: Of the code that measured it.
    """

    name: str
    point: Point
    metrics: Metrics
    commit: str


def read(record: Record, point: type[P], metrics: type[M]) -> TypedRecord[P, M]:
    """Return a record's point and metrics as what they are.

    Args:
      record: Plain JSON; what the two classes do not name is left out.
      point: A dataclass whose fields the config holds.
      metrics: A dataclass whose fields the metrics hold.

    Raises:
      CorruptMessageError: A field lacks, or is of another type.
    """
    kinds: tuple[Any, Any] = point, metrics
    try:
        return TypedRecord(
            record.name,
            _adapter(kinds[0]).validate_python(record.config),
            _adapter(kinds[1]).validate_python(record.metrics),
            str(record.stamp.get("commit", "unknown")),
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise CorruptMessageError(
            f"{record.name} is no record of {metrics.__name__}: {where}: {first['msg']}. Delete it "
            "and run the command again."
        ) from error


def read_all(
    records: Sequence[Record], point: type[P], metrics: type[M]
) -> list[TypedRecord[P, M]]:
    """Read records of one kind, in order."""
    return [read(record, point, metrics) for record in records]


@cache
def _adapter(kind: Any) -> Any:
    return TypeAdapter(kind)
