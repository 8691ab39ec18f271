"""What a model is told about the columns that it reads."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from privacy._validate import natural
from privacy.errors import InvalidInputError

if TYPE_CHECKING:
    from aggregation.data.patients import Schema

__all__ = ["Inputs"]


@dataclass(frozen=True)
class Inputs:
    """The columns of a patient's row, as far as a model's shape may follow from them: public.

    Attributes:
      features: Number of columns.
      groups: Column numbers of each one-hot group (dummy-coded: all zero is the reference level);
        columns in none are numbers, or yes or no.

    Raises:
      InvalidInputError: No columns, or a group of columns that are not there or in another group.
    """

    features: int
    groups: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        natural(features=self.features, least=1)
        grouped = [column for group in self.groups for column in group]
        inside = all(0 <= column < self.features for column in grouped)
        if not inside or len(set(grouped)) < len(grouped) or not all(self.groups):
            raise InvalidInputError(
                f"Expected groups of columns below {self.features}, each column in one group at "
                f"most and no group empty; got {self.groups}."
            )

    @classmethod
    def of(cls, schema: "Schema") -> "Inputs":
        """Return what a schema says of its columns."""
        return cls(len(schema), tuple(schema.groups.values()))

    @property
    def single(self) -> tuple[int, ...]:
        """Columns that are in no group."""
        grouped = {column for group in self.groups for column in group}
        return tuple(column for column in range(self.features) if column not in grouped)
