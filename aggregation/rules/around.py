"""A rule around another: it changes what follows from a sum, not what crosses the wall."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from aggregation.rules.fedavg import FedSGD
from aggregation.rules.rule import Call, Contract, Local, Opened, Rule, State, Vector

__all__ = ["Around"]


@dataclass(frozen=True)
class Around(Rule):
    """Does what ``base`` does; the contract is the base's, under a name of its own.

    Attributes:
      base: The rule whose sums are opened.
    """

    adds: ClassVar[Contract]  # what is said of the rule by itself
    base: Rule = field(default_factory=FedSGD)

    def __init_subclass__(cls) -> None:
        Rule.registered.add(cls.adds.name, cls)

    @property
    def contract(self) -> Contract:  # type: ignore[override]  # follows from the base rule
        """The base's, under the name of both."""
        base = self.base.contract
        return replace(base, name=f"{self.adds.name} over {base.name}")

    @property
    def kind(self) -> str:
        """The name that ``spec`` says."""
        return self.adds.name

    def begin(self, params: Vector, hospitals: Sequence[str]) -> State:
        """Return the base's public state."""
        return self.base.begin(params, hospitals)

    def start(self, dim: int) -> State:
        """Return the base's first state of a hospital."""
        return self.base.start(dim)

    def weight(self, public: State, hospital: str, staleness: int) -> float:
        """Return the base's weight."""
        return self.base.weight(public, hospital, staleness)

    def steps_of(self, hospital: str, planned: int) -> int:
        """Return the base's local steps."""
        return self.base.steps_of(hospital, planned)

    def offset(self, hospital: str) -> float:
        """Return the base's offset."""
        return self.base.offset(hospital)

    def record_weights(
        self,
        hospital: str,
        features: Float[np.ndarray, "patients features"],
        outcomes: Int[np.ndarray, "patients"],
        residuals: Float[np.ndarray, "patients"],
    ) -> Float[np.ndarray, "patients"] | None:
        """Return the base's weights."""
        return self.base.record_weights(hospital, features, outcomes, residuals)

    @property
    def weighs_records(self) -> bool:
        """As the base."""
        return self.base.weighs_records

    def local(self, state: State, call: Call) -> tuple[Vector, State]:
        """Return what the base sends."""
        return self.base.local(state, call)

    def send(self, state: State, noised: NDArray[Any]) -> tuple[NDArray[Any], State]:
        """Return what leaves under the base."""
        return self.base.send(state, noised)

    def opened(self, state: State, opening: Opened, before: Vector, after: Vector) -> State:
        """Return the base's state after an opening."""
        return self.base.opened(state, opening, before, after)

    def advance(self, public: State, params: Vector, opening: Opened) -> tuple[Vector, State]:
        """Return the base's next model and state."""
        return self.base.advance(public, params, opening)

    def finish(
        self,
        scores: Float[np.ndarray, "patients"],
        features: Float[np.ndarray, "patients features"],
        outcomes: Int[np.ndarray, "patients"],
    ) -> Local:
        """Return what the base keeps to itself."""
        return self.base.finish(scores, features, outcomes)
