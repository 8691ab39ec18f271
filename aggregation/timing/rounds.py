"""Synchronous rounds, and what they have in common with a schedule."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import ClassVar, Protocol, runtime_checkable

from aggregation.timing.schedule import Arrival

__all__ = ["Rounds", "Timing"]


@runtime_checkable
class Timing(Protocol):
    """Which uploads are opened together, and who takes which model: agreed on beforehand."""

    @property
    def synchronous(self) -> bool:
        """Whether all hospitals are in every sum, each at its newest model."""
        ...

    @property
    def sums(self) -> int:
        """How many sums are opened."""
        ...

    @property
    def uploads(self) -> Mapping[str, int]:
        """How many uploads each hospital seals."""
        ...

    def arrivals(self, version: int) -> tuple[Arrival, ...]:
        """Return whose uploads the sum opened at a version holds; none after the last."""
        ...

    def takers(self, version: int) -> tuple[tuple[str, float | None], ...]:
        """Return who is sent the model of a version, and when; None: as soon as it is there."""
        ...

    def staleness(self, hospital: str) -> tuple[int, ...]:
        """Return how many versions pass while each upload of a hospital is made, in order."""
        ...

    def stale(self, hospital: str, base_version: int) -> int:
        """Return how many versions pass while the upload on the model of a version is made.

        Raises:
          RefusedError: No upload of this hospital is due on that model.
        """
        ...


@dataclass(frozen=True)
class Rounds:
    """All hospitals, once each, every round.

    Attributes:
      hospitals: Their names, in order.
      sums: Number of rounds.
    """

    hospitals: tuple[str, ...]
    sums: int
    synchronous: ClassVar[bool] = True

    @cached_property
    def uploads(self) -> Mapping[str, int]:
        """One a round, of each hospital."""
        return dict.fromkeys(self.hospitals, self.sums)

    def arrivals(self, version: int) -> tuple[Arrival, ...]:
        """Return all hospitals, at that very version."""
        return _round(self.hospitals, version) if version < self.sums else ()

    def takers(self, version: int) -> tuple[tuple[str, float | None], ...]:
        """Return all hospitals, at once."""
        return tuple((name, None) for name in self.hospitals) if version < self.sums else ()

    def staleness(self, hospital: str) -> tuple[int, ...]:
        """Return 0 for every round: all are waited for."""
        return (0,) * self.sums

    def stale(self, hospital: str, base_version: int) -> int:
        """Return 0: all are waited for."""
        return 0


@lru_cache(maxsize=64)
def _round(hospitals: tuple[str, ...], version: int) -> tuple[Arrival, ...]:
    return tuple(Arrival(name, version, version, version, 0.0, 0.0, 0.0) for name in hospitals)
