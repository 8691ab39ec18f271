"""How a run goes: what an upload costs, and which model follows from an opened sum.

The hospital and the aggregator hold a course each, computed from what is public: the hospital
trains on no model but the one that its own course gives. Synchronous rounds are ``Rounds``;
hospitals at their own pace follow ``aggregation.arrival.paced.Paced``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from dp_accounting import DpEvent
from jaxtyping import Float, Int

from aggregation.plan import Plan
from aggregation.releases import round_event

__all__ = ["Course", "Rounds"]


@runtime_checkable
class Course(Protocol):
    """What a hospital has to know of a run beyond its plan."""

    @property
    def keeps_memory(self) -> bool:
        """Whether a hospital sends what changed since the last upload of its that was opened."""
        ...

    def event(self, hospital: str, weight: float) -> DpEvent:
        """Return the DP event of one upload."""
        ...

    def uploads(self, hospital: str) -> int | None:
        """Return how many uploads of one weight are declared beforehand; None: unknown."""
        ...

    def weight(self, hospital: str, staleness: int = 0) -> float:
        """Return what an upload is multiplied by before the noise.

        Args:
          hospital: Whose.
          staleness: Sums that were opened since it took the model.
        """
        ...

    def bases(self, version: int) -> Mapping[str, int]:
        """Return whose uploads the sum opened at a version holds, each with its base version."""
        ...

    def takers(self, version: int) -> tuple[tuple[str, float | None], ...]:
        """Return who is sent the model of a version, and when; None: as soon as it is there."""
        ...

    def advance(
        self, params: Float[np.ndarray, "dim"], opened_sum: Int[np.ndarray, "slots"], version: int
    ) -> Float[np.ndarray, "dim"]:
        """Return the model that follows at ``version + 1``; called once a version, in order."""
        ...


@dataclass(frozen=True)
class Rounds:
    """Synchronous rounds: all hospitals, once each, every round."""

    plan: Plan
    keeps_memory: bool = False

    def event(self, hospital: str, weight: float) -> DpEvent:
        """Return the DP event of one round."""
        return round_event(self.plan, hospital, weight=weight)

    def uploads(self, hospital: str) -> int:
        """Return the number of rounds."""
        return self.plan.rounds

    def weight(self, hospital: str, staleness: int = 0) -> float:
        """Return 1."""
        return 1.0

    def bases(self, version: int) -> Mapping[str, int]:
        """Return all hospitals, at that very version."""
        return dict.fromkeys(self.plan.hospitals, version) if version < self.plan.rounds else {}

    def takers(self, version: int) -> tuple[tuple[str, float | None], ...]:
        """Return all hospitals, at once."""
        return tuple((name, None) for name in self.bases(version))

    def advance(
        self, params: Float[np.ndarray, "dim"], opened_sum: Int[np.ndarray, "slots"], version: int
    ) -> Float[np.ndarray, "dim"]:
        """Return the next model, as the plan has it."""
        return self.plan.advance(params, opened_sum)
