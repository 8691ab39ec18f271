"""When a buffer is opened, and how much noise each share then has to bring."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from privacy._validate import natural, positive
from privacy.errors import InvalidInputError

__all__ = ["Trigger"]


@dataclass(frozen=True)
class Trigger:
    """The rule by which sums are opened; public, part of the plan.

    Guarantees (each is a test in ``tests/aggregation/arrival/test_trigger.py``):
      - nothing opens with fewer than ``distinct`` hospitals in it, time-out or not;
      - the smallest sum that it ever opens holds ``distinct - colluders`` honest shares, which is
        what ``share_std`` is sized for;
      - a hospital that is ``repeats`` times in one sum costs it no more than once elsewhere: the
        sum's noise grows with how far its patients can move it.

    Attributes:
      count: Contributions that open the buffer.
      distinct: Hospitals that have to be among them.
      timeout: Time after the first contribution when fewer than ``count`` will do; inf: never.
      repeats: Most contributions of one hospital in one sum: the opening policy refuses more.

    Raises:
      InvalidInputError: ``count`` is below ``distinct``, or a value is out of range.
    """

    count: int
    distinct: int
    timeout: float = math.inf
    repeats: int = 1

    def __post_init__(self) -> None:
        natural(count=self.count, least=1)
        natural(distinct=self.distinct, least=1)
        natural(repeats=self.repeats, least=1)
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

    def share_std(self, total_std: float, *, colluders: int) -> float:
        """Return the noise of one share, sized for the smallest sum ever opened.

        ``repeats`` times as much as for one contribution: r of them move a sum by r clip norms.

        Args:
          total_std: Standard deviation that the honest shares of any opened sum must reach.
          colluders: Hospitals that may give their shares away, at most.

        Raises:
          InvalidInputError: No honest share would be left in the smallest sum.
        """
        positive(total_std=total_std)
        natural(colluders=colluders)
        if colluders >= self.distinct:
            raise InvalidInputError(
                f"Expected colluders={colluders} < distinct={self.distinct}: the smallest sum "
                "would hold no honest share. Raise distinct."
            )
        return self.repeats * total_std / math.sqrt(self.distinct - colluders)
