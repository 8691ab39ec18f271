"""A hospital's noise that is correlated over rounds, kept on its disk before it is used.

    draw z of the round -> w, and what later rounds need -> disk -> spend -> compute -> send

What is remembered is noise that was sent: whoever has it takes it off the updates that it hid. So
no more of it lies on the disk than later rounds need, in one file that each round replaces, and it
goes when the run is saved.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from aggregation.correlation import Correlation
from aggregation.plan import Plan
from aggregation.roles.kept import Kept, read_state, write_state
from privacy.errors import InvalidInputError, RefusedError
from privacy.mechanisms import NoiseSource

__all__ = ["CorrelatedNoise"]

_NAME = "noise"


class CorrelatedNoise:
    """The noise source of a hospital's updates under a plan that correlates them.

    Guarantees (each is a test in ``tests/aggregation/roles/test_correlated_noise.py``):
      - each round has one noise, whatever is asked for again, and whatever dies in between;
      - a round that was missed, or whose upload was forfeited, has its place in what follows;
      - with nothing to remember (one round, one band) it is the source's own noise, bit for bit;
      - what is lost is not made up: nothing more is released.

    Attributes:
      protects: As the source's.

    Args:
      plan: With a correlation.
      correlation: The plan's.
      source: Of what is drawn.
      kept: Where it is kept; None: in memory alone.
    """

    def __init__(
        self, plan: Plan, correlation: Correlation, source: NoiseSource, kept: Kept | None
    ) -> None:
        self.protects = source.protects
        self._plan, self._correlation, self._source, self._kept = plan, correlation, source, kept
        self._round = -1
        self._noise = np.zeros(plan.update_dim, dtype=np.int64)
        self._past = correlation.nothing(plan.update_dim)
        content = None if kept is None else kept.latest(_NAME)
        if content is not None:
            self._round, (self._noise, self._past) = read_state(content)

    def prepare(self, round_: int, *, last: int) -> None:
        """Have a round's noise drawn and kept, before anything is spent for it.

        Args:
          round_: The round.
          last: The last round that something was spent for; -1: none was.

        Raises:
          RefusedError: The noise of earlier rounds is lost, or the disk refuses.
        """
        if last > self._round:
            raise RefusedError(
                f"Something was released in round {last}, and its noise is lost: what follows "
                "would have to go on from it. The rest of the run is forfeited here."
            )
        plan = self._plan
        while self._round < round_:
            drawn = self._source.discrete_gaussian(plan.share_std, plan.update_dim)
            self._noise, self._past = self._correlation.sent(drawn, self._past, plan.rounds)
            self._round += 1
            if self._kept is not None:
                self._kept.replace(_NAME, write_state(self._round, (self._noise, self._past)))

    def discrete_gaussian(self, std: float, size: int) -> Int[np.ndarray, "size"]:
        """Return the noise of the round that was prepared."""
        if self._round < 0 or (std, size) != (self._plan.share_std, self._plan.update_dim):
            raise InvalidInputError(
                f"Correlated noise is that of an update; {size} draws of std={std} are none."
            )
        return self._noise

    def gaussian(self, std: float, size: int) -> Float[np.ndarray, "size"]:
        """Return the source's."""
        return self._source.gaussian(std, size)

    def skellam(self, variance: float, size: int) -> Int[np.ndarray, "size"]:
        """Return the source's."""
        return self._source.skellam(variance, size)

    def poisson_sample(self, prob: float, size: int) -> Bool[np.ndarray, "size"]:
        """Return the source's."""
        return self._source.poisson_sample(prob, size)
