"""Records as typed objects: read once, so that what lacks is told by its name and at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from experiments.run.record import Record
from privacy.errors import CorruptMessageError

__all__ = ["TypedRecord", "point_of", "read", "read_all"]

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
    commit = str(record.stamp.get("commit", "unknown"))
    measured = _parsed(record.name, metrics, record.metrics)
    return TypedRecord(record.name, point_of(record, point), measured, commit)


def point_of(record: Record, point: type[P]) -> P:
    """Return the point of a record, whatever was measured.

    Raises:
      CorruptMessageError: As ``read``.
    """
    return _parsed(record.name, point, record.config)


def read_all(
    records: Sequence[Record], point: type[P], metrics: type[M]
) -> list[TypedRecord[P, M]]:
    """Read records of one kind, in order."""
    return [read(record, point, metrics) for record in records]


def _parsed(name: str, kind: type[P], content: Mapping[str, Any]) -> P:
    key: Any = kind
    try:
        parsed: P = _adapter(key).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise CorruptMessageError(
            f"{name} is no record of {kind.__name__}: {where}: {first['msg']}. Delete it and run "
            "the command again."
        ) from error
    return parsed


@cache
def _adapter(kind: Any) -> Any:
    return TypeAdapter(kind)
