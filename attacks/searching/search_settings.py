"""How hard a search tries, where it starts and what it computes on: the same for every search."""

from dataclasses import dataclass

from attacks.searching.device import PROCESSOR
from privacy._validate import natural, positive

__all__ = ["SearchSettings"]


@dataclass(frozen=True)
class SearchSettings:
    """Base of every attack that searches; each has defaults of its own.

    Attributes:
      restarts: Guessed batches.
      iterations: Steps of each.
      rate: First step of the signed Adam, in the free numbers; it falls to a tenth.
      seed: Draws the starts.
      device: That it computes on, such as ``cpu`` or ``cuda``.

    Raises:
      InvalidInputError: A count below 1, or a rate that is not above 0.
    """

    restarts: int = 30
    iterations: int = 1500
    rate: float = 0.06
    seed: int = 0
    device: str = PROCESSOR

    def __post_init__(self) -> None:
        natural(restarts=self.restarts, least=1)
        natural(iterations=self.iterations, least=1)
        positive(rate=self.rate)
