"""How fast a hospital is: computing, sending, being there, and losing what it sent."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from privacy._validate import fraction, non_negative, positive
from privacy.errors import InvalidInputError

__all__ = ["Pace", "planned_rates"]


@dataclass(frozen=True)
class Pace:
    """The distributions that a hospital's times are drawn from; all times in one unit.

    Attributes:
      duration: Mean time from taking a model to having the update sealed; lognormal.
      variation: Coefficient of variation of the duration; 0: always the mean.
      upload: Time that an upload takes: bytes over bandwidth, worked out beforehand.
      dropout: Probability that an upload never arrives.
      up: Mean of the exponential time for which the hospital is there; inf: always.
      down: Mean of the exponential time for which it is then away.

    Raises:
      InvalidInputError: A value outside its range.
    """

    duration: float = 1.0
    variation: float = 0.3
    upload: float = 0.0
    dropout: float = 0.0
    up: float = math.inf
    down: float = 0.0

    def __post_init__(self) -> None:
        positive(duration=self.duration)
        non_negative(variation=self.variation)
        non_negative(upload=self.upload)
        fraction(dropout=self.dropout)
        non_negative(down=self.down)
        if not self.up > 0:
            raise InvalidInputError(f"Expected up={self.up} > 0.")

    def durations(self, rng: np.random.Generator) -> Iterator[float]:
        """Draw durations for ever; the mean is ``duration`` whatever the variation."""
        spread = math.sqrt(math.log1p(self.variation**2))
        while True:
            yield self.duration * math.exp(spread * float(rng.normal()) - spread**2 / 2)

    def presences(self, rng: np.random.Generator) -> Iterator[tuple[float, float]]:
        """Draw pairs of time there and time away for ever."""
        while True:
            there = math.inf if math.isinf(self.up) else float(rng.exponential(self.up))
            yield there, float(rng.exponential(self.down))

    @property
    def rate(self) -> float:
        """Arrivals per unit of time in the long run, for a hospital that never waits."""
        there = 1.0 if math.isinf(self.up) else self.up / (self.up + self.down)
        return (1 - self.dropout) * there / (self.duration + self.upload)


def planned_rates(paces: dict[str, Pace]) -> dict[str, float]:
    """Return each hospital's expected fraction of all arrivals, from the declared paces alone."""
    total = sum(pace.rate for pace in paces.values())
    if not total > 0:
        raise InvalidInputError("No hospital's upload ever arrives: every dropout is 1.")
    return {name: pace.rate / total for name, pace in paces.items()}
