r"""Whose coming or going is hidden, and how often they take part: from arrangements to events.

Each function turns an arrangement into an event that ``epsilon`` accounts for; none is an
accountant of its own.

There is none for drawing whole hospitals in secret. To a patient that is no sampling: whoever knows
the hospital's other patients sees from their part of the sum whether it was drawn, and then the
patient faces the unsampled release. At best delta is multiplied by the probability q of the draw:
:math:`\delta(\varepsilon) = q \delta_{inner}(\varepsilon)`, so one Gaussian of noise multiplier
1 with q = .01 costs 3.139 at delta 1e-5, not .199. A sampled composition is right for the hospital
itself as the unit, whose every step the draw covers.

>>> opened = np.array([[1.0, 0.0], [-1.0, 1.0]])  # the second sum takes the first upload back
>>> round(leverage(opened, owners=("a", "a"))["a"], 9)  # two uploads, as if each stood alone
2.0
"""

from collections.abc import Hashable, Sequence

import attr
import numpy as np
from dp_accounting import dp_event as dp
from jaxtyping import Float

from privacy._validate import finite_array, natural
from privacy.accounting.events import (
    DiscreteGaussianDpEvent,
    DistributedDiscreteGaussianDpEvent,
    SkellamDpEvent,
)
from privacy.errors import InvalidInputError

__all__ = ["in_several_hospitals", "leverage"]


def in_several_hospitals(event: dp.DpEvent, *, hospitals: int) -> dp.DpEvent:
    """Return the event for a patient whose records lie in up to ``hospitals`` of them.

    In one sum such a patient moves the result by up to that many clip norms: the sensitivity is
    multiplied, which is worse than composing as often. Sampling is left out: the hospitals draw
    independently, and a patient's records may all be drawn.

    Raises:
      InvalidInputError: The event holds something that is not noise added to a sum.
    """
    natural(hospitals=hospitals, least=1)
    match event:
        case dp.NoOpDpEvent() | dp.NonPrivateDpEvent():
            return event
        case dp.SelfComposedDpEvent():
            return dp.SelfComposedDpEvent(
                in_several_hospitals(event.event, hospitals=hospitals), event.count
            )
        case dp.ComposedDpEvent():
            return dp.ComposedDpEvent(
                [in_several_hospitals(e, hospitals=hospitals) for e in event.events]
            )
        case dp.PoissonSampledDpEvent():
            if hospitals > 1:
                return in_several_hospitals(event.event, hospitals=hospitals)
            return event
        case dp.GaussianDpEvent() | dp.LaplaceDpEvent():
            return attr.evolve(event, noise_multiplier=event.noise_multiplier / hospitals)
        case DiscreteGaussianDpEvent() | DistributedDiscreteGaussianDpEvent() | SkellamDpEvent():
            return attr.evolve(
                event,
                noise_multiplier=event.noise_multiplier / hospitals,
                radius=event.radius * hospitals,
            )
        case _:
            raise InvalidInputError(
                f"A {type(event).__name__} is not noise added to a sum: what a patient in "
                f"{hospitals} hospitals does to it is not known."
            )


def leverage(
    openings: Float[np.ndarray, "openings uploads"], *, owners: Sequence[Hashable]
) -> dict[Hashable, float]:
    r"""Return each owner's squared sensitivity, in units of (clip norm / one upload's noise)^2.

    Upload j is :math:`x_j + z_j` with fresh noise; opening t shows :math:`\sum_j A_{tj}(x_j +
    z_j)`. All openings together are a Gaussian with covariance :math:`\sigma^2 A A^\top`, and
    neighbours whose uploads differ by :math:`\delta_j` are :math:`\sum_{ij} P_{ij} \langle\delta_i,
    \delta_j\rangle / \sigma^2` apart (squared Mahalanobis distance), with :math:`P = A^\top (A
    A^\top)^+ A` the projector on A's rows. The unit may move all uploads of its owner, each by one
    clip norm in a direction that the adversary provoked: the worst case is at most the smaller of
    :math:`\sum |P_{ij}|` and the largest eigenvalue times the number of uploads, over the owner's
    block (Denisov, McMahan, Rush, Smith and Thakurta 2022, arXiv 2202.08312v2, Section 3).
    Openings may be chosen adaptively (Theorem 2.1 there).

    A plain sum is the simplest case: an owner with r of its n uploads has r^2 / n, not r / n.

    Args:
      openings: A, one row an opened sum, one column an upload; what the adversary knows of (its
        own uploads) has no column.
      owners: Whose upload each column is.

    Raises:
      InvalidInputError: ``owners`` does not fit the columns, or a value is NaN or infinite.
    """
    finite_array(openings=openings)
    if len(owners) != openings.shape[1]:
        raise InvalidInputError(
            f"Expected one owner an upload: {openings.shape[1]} columns, {len(owners)} owners."
        )
    projector = np.linalg.pinv(openings) @ openings
    leverages: dict[Hashable, float] = {}
    for owner in dict.fromkeys(owners):
        columns = [j for j, other in enumerate(owners) if other == owner]
        block = projector[np.ix_(columns, columns)]
        largest = float(np.linalg.eigvalsh((block + block.T) / 2)[-1])
        leverages[owner] = min(float(np.abs(block).sum()), len(columns) * largest)
    return leverages
