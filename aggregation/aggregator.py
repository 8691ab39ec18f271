"""The aggregator: sends models, adds what comes back, and can open nothing."""

import numpy as np
from jaxtyping import Float, Int

from aggregation.plan import Plan
from aggregation.sealing import Adder, Contribution
from privacy.errors import CorruptMessageError, RefusedError

__all__ = ["Aggregator"]


class Aggregator:
    """Adds sealed updates and steps the model by opened sums.

    Guarantees (each is a test in ``tests/aggregation/test_aggregator.py``):
      - it holds an ``Adder`` and never a key: what it can learn is in the transcript;
      - a contribution of another run, round or unknown hospital, or a second one of the same
        hospital, is refused and leaves the sum as it was;
      - the next model depends on the opened sum alone.

    Attributes:
      plan: What all parties agreed on.
      round: The round that is open.
      params: The model of that round.
    """

    def __init__(self, plan: Plan, adder: Adder) -> None:
        self.plan = plan
        self.round = 0
        self.params: Float[np.ndarray, dim] = plan.first_model()
        self._adder = adder
        self._contributions: dict[str, Contribution] = {}

    def receive(self, contribution: Contribution) -> None:
        """Add one sealed update.

        Raises:
          RefusedError: It belongs elsewhere, or its hospital has sent already.
          CorruptMessageError: The sealed bytes are not what the scheme makes.
        """
        if contribution.run != self.plan.run or contribution.base_version != self.round:
            raise RefusedError(
                f"An update of run {contribution.run!r}, round {contribution.base_version} reached "
                f"run {self.plan.run!r}, round {self.round}; it is not added."
            )
        if contribution.hospital not in self.plan.hospitals:
            raise RefusedError(f"{contribution.hospital!r} is not a hospital of this run.")
        if contribution.hospital in self._contributions:
            raise RefusedError(
                f"{contribution.hospital!r} has sent its update of round {self.round} already; the "
                "second is not added."
            )
        self._adder.add(contribution.sealed)
        self._contributions[contribution.hospital] = contribution

    @property
    def ready(self) -> bool:
        """Whether all hospitals have sent (synchronous)."""
        return len(self._contributions) == len(self.plan.hospitals)

    def total(self) -> tuple[bytes, tuple[Contribution, ...]]:
        """The sealed sum and the signed contributions that it is made of, for the opener."""
        return self._adder.total(), tuple(self._contributions.values())

    def step(self, opened_sum: Int[np.ndarray, "slots"], adder: Adder) -> None:
        """Step the model by an opened sum and start the next round with an empty adder."""
        if opened_sum.shape != (self.plan.dim,):
            raise CorruptMessageError(
                f"Expected an opened sum of {self.plan.dim} values, got {opened_sum.shape}."
            )
        self.params = self.plan.advance(self.params, opened_sum)
        self.round += 1
        self._adder = adder
        self._contributions = {}
