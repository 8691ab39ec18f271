"""What it costs that Memory opens each noised update twice: the schedule as a matrix of openings.

The accounting itself is ``privacy.accounting.units.leverage``; here a schedule becomes its matrix
A, +1 at an upload's own opening and -1 where the same hospital's next one replaces it. Colluders
know their noise and their patients: their columns are removed.

This is exact for Gaussian shares; ``privacy.accounting.linear`` proves what it costs with the
discrete shares that are really added, and ``aggregation.agreement`` pays that.
"""

from collections.abc import Collection

import numpy as np
from jaxtyping import Float

from aggregation.timing.rounds import Timing
from privacy.accounting import units

__all__ = ["leverage", "opening_matrix"]


def opening_matrix(
    schedule: Timing, *, memory: bool = True
) -> tuple[Float[np.ndarray, "openings uploads"], tuple[str, ...]]:
    """Return A, and the hospital of each of its columns; only opened uploads have a column.

    Args:
      schedule: What is opened together.
      memory: Whether each upload is taken back when the next one of its hospital comes.
    """
    columns = [(t, a) for t in range(schedule.sums) for a in schedule.arrivals(t)]
    matrix = np.zeros((schedule.sums, len(columns)))
    last: dict[str, int] = {}
    for j, (t, arrival) in enumerate(columns):
        matrix[t, j] += 1
        if memory and arrival.hospital in last:
            matrix[t, last[arrival.hospital]] -= 1
        last[arrival.hospital] = j
    return matrix, tuple(arrival.hospital for _, arrival in columns)


def leverage(
    schedule: Timing, *, colluders: Collection[str] = (), memory: bool = True
) -> dict[str, float]:
    """Return each honest hospital's squared sensitivity, in units of (clip norm / share std)^2.

    A hospital whose m uploads were each opened once, among n honest shares, would have m / n. An
    upload of weight a before the noise counts a^2 times.

    Args:
      schedule: What is opened together.
      colluders: Hospitals whose noise and patients the adversary knows.
      memory: Memory's differences, or plain sums.
    """
    matrix, owners = opening_matrix(schedule, memory=memory)
    honest = [j for j, owner in enumerate(owners) if owner not in colluders]
    leverages = units.leverage(matrix[:, honest], owners=[owners[j] for j in honest])
    return {str(name): squared for name, squared in leverages.items()}
