"""What an event demands of each release: whose noise, how much of it, of which sample.

One convention, the accountant's: an event's noise multiplier is the noise's standard deviation over
the distance that a unit moves the sum by *coming or going*. Replacing a unit is one that goes and
one that comes, so that under ``REPLACE_ONE`` the sum may move twice as far, and the same event
costs more (``privacy.accounting`` doubles the distance there). ``moves`` is that factor.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from dp_accounting import NeighboringRelation as Relation
from dp_accounting import dp_event as dp
from numpy.typing import NDArray

from privacy.accounting.events import (
    DiscreteGaussianDpEvent,
    DistributedDiscreteGaussianDpEvent,
    SkellamDpEvent,
    check,
)
from privacy.errors import InvalidInputError

__all__ = ["Demand", "Demands", "moves", "read"]

_MOST = 1_000  # releases: more rounds show nothing that a few do not
_KINDS = {
    dp.GaussianDpEvent: "gaussian",
    dp.LaplaceDpEvent: "laplace",
    DiscreteGaussianDpEvent: "discrete_gaussian",
    DistributedDiscreteGaussianDpEvent: "discrete_gaussian",
    SkellamDpEvent: "skellam",
}


@dataclass(frozen=True)
class Demand:
    """What the claim demands of one release.

    Attributes:
      kind: Of noise, as a source calls it.
      noise_multiplier: Of the event.
      shares: How many draws of noise make it up at least (1 but for distributed noise).
      radius: The integer distance that a unit moves the sum by at most; None for continuous noise.
      dim: Coordinates of the release; None where the event holds for any.
      sample: Which of the claim's Poisson samples the release is made of; None for all patients.
    """

    kind: str
    noise_multiplier: float
    shares: int
    radius: int | None
    dim: int | None
    sample: int | None

    @property
    def order(self) -> int:
        """Of the norm that the event's sensitivity is in: 1 for Laplace noise, else 2."""
        return 1 if self.kind == "laplace" else 2

    def strength(self, scales: Sequence[tuple[str, NDArray[np.float64]]]) -> NDArray[np.float64]:
        """Return the standard deviation, coordinate by coordinate, that the event may count on.

        Noise beyond what the event needs, or of another kind, is post-processing: it harms nobody.

        Args:
          scales: Kind and standard deviation ``[dim]`` of each draw in the release, zero on
            coordinates that it does not reach; at least one draw.
        """
        stds = np.array([scale for kind, scale in scales if kind == self.kind])
        if len(stds) < self.shares:
            return np.zeros_like(scales[0][1])
        if self.kind in ("gaussian", "skellam"):  # these stay what they are in sums
            return np.asarray(np.sqrt((stds**2).sum(axis=0)))
        # As many equal shares as the event has, each as large as the smallest of the largest.
        least = np.sort(stds, axis=0)[-self.shares]
        return np.asarray(math.sqrt(self.shares) * least)


@dataclass(frozen=True)
class Demands:
    """An event tree, release by release.

    Attributes:
      demands: One a release, in order.
      probs: Probability of each Poisson sample, in order.
    """

    demands: tuple[Demand, ...]
    probs: tuple[float, ...]


def moves(relation: Relation) -> int:
    """Return how often one unit's change moves the sum: 2 where it is replaced by another, else 1.

    Raises:
      InvalidInputError: ``relation`` is no ``NeighboringRelation``.
    """
    if not isinstance(relation, Relation):
        raise InvalidInputError(
            f"Expected relation={relation!r} to be a dp_accounting.NeighboringRelation, for "
            "instance NeighboringRelation.ADD_OR_REMOVE_ONE."
        )
    return 2 if relation is Relation.REPLACE_ONE else 1


def read(event: dp.DpEvent) -> Demands:
    """Read a claim of (sampled) additive noise.

    Raises:
      InvalidInputError: An event that is not additive noise, a sample of a sample, or more than
        1,000 releases.
    """
    check(event)
    demands: list[Demand] = []
    probs: list[float] = []
    for demand in _demands(event, probs, None):
        demands.append(demand)
        if len(demands) > _MOST:
            raise InvalidInputError(
                f"Expected a claim of at most {_MOST} releases: check fewer rounds of the same "
                "mechanism, a few show as much."
            )
    return Demands(tuple(demands), tuple(probs))


def _demands(event: dp.DpEvent, probs: list[float], sample: int | None) -> Iterator[Demand]:
    match event:
        case dp.NoOpDpEvent():
            return
        case dp.SelfComposedDpEvent():
            for _ in range(event.count):
                yield from _demands(event.event, probs, sample)
        case dp.ComposedDpEvent():
            for child in event.events:
                yield from _demands(child, probs, sample)
        case dp.PoissonSampledDpEvent():
            if event.sampling_probability == 1:
                yield from _demands(event.event, probs, sample)
                return
            if sample is not None:
                raise InvalidInputError(
                    "A Poisson sample of a Poisson sample can't be told from its draws: claim one "
                    "sample, with the product of the probabilities."
                )
            probs.append(float(event.sampling_probability))
            yield from _demands(event.event, probs, len(probs) - 1)
        case _ if type(event) in _KINDS:
            yield Demand(
                _KINDS[type(event)],
                float(event.noise_multiplier),
                int(getattr(event, "contributors", 1)),
                getattr(event, "radius", None),
                getattr(event, "dim", None),
                sample,
            )
        case _:
            raise InvalidInputError(
                f"A {type(event).__name__} is not (sampled) additive noise; this check reads "
                f"{', '.join(kind.__name__ for kind in _KINDS)} only."
            )
