"""Bytes of a transcript as integers: an opened sum, and an update that was never sealed."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

from aggregation.plan import Plan
from aggregation.sealing.plain import read_update
from aggregation.sized import sealing_for
from privacy.errors import CorruptMessageError

__all__ = ["plain_reader", "read_opened"]


def read_opened(payload: bytes, plan: Plan) -> Int[np.ndarray, "dim"]:
    """Read the update of an opened sum: int64, little-endian; scalars behind it are left out.

    Raises:
      CorruptMessageError: The bytes are not as many such integers as the plan seals.
    """
    if len(payload) != 8 * plan.dim:
        raise CorruptMessageError(
            f"An opened sum of {plan.dim} values has {8 * plan.dim} bytes; this one has "
            f"{len(payload)}. Use the transcript and the plan of one run."
        )
    return np.frombuffer(payload, dtype="<i8").astype(np.int64)[: plan.model.dim]


def plain_reader(plan: Plan) -> Callable[[bytes], NDArray[np.int64]]:
    """Return a function that reads one update of a run whose scheme is ``plain``.

    It needs public material alone: the adder's, which every server holds. On an update of any
    other scheme it raises CorruptMessageError.
    """
    parameters = sealing_for(plan).parameters
    return lambda payload: read_update(parameters, payload)[: plan.model.dim]
