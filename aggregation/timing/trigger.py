"""When a buffer is opened."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from privacy._validate import natural, positive
from privacy.errors import InvalidInputError

__all__ = ["Trigger"]


@dataclass(frozen=True)
class Trigger:
    """The rule by which sums are opened; public, part of the plan.

    Guarantees (each is a test in ``tests/aggregation/timing/test_trigger.py``):
      - nothing opens with fewer than ``distinct`` hospitals in it, time-out or not;
      - the smallest sum that it ever opens holds ``distinct`` hospitals: the plan's
        ``smallest_sum``, which shares of noise are sized for.

    Attributes:
      count: Contributions that open the buffer.
      distinct: Hospitals that have to be among them.
      timeout: Time after the first contribution when fewer than ``count`` will do; inf: never.

    Raises:
      InvalidInputError: ``count`` is below ``distinct``, or a value is out of range.
    """

    count: int
    distinct: int
    timeout: float = math.inf

    def __post_init__(self) -> None:
        natural(count=self.count, least=1)
        natural(distinct=self.distinct, least=1)
        if self.count < self.distinct:
            raise InvalidInputError(
                f"Expected count={self.count} >= distinct={self.distinct}: so many hospitals can't "
                "be among so few contributions."
            )
        if not math.isinf(self.timeout):
            positive(timeout=self.timeout)

    @classmethod
    def synchronous(cls, hospitals: int) -> "Trigger":
        """All hospitals, once each; they wait for each other."""
        return cls(count=hospitals, distinct=hospitals)

    def fires(self, hospitals: Sequence[str], *, overdue: bool = False) -> bool:
        """Whether the contributions of these hospitals (repeats included) are opened now."""
        enough = overdue or len(hospitals) >= self.count
        return enough and len(set(hospitals)) >= self.distinct
