r"""What it costs that Memory opens each noised update twice: a matrix mechanism.

Upload j is :math:`u_j = x_j + z_j` with the share's noise z of standard deviation
:math:`\sigma`; opening t shows :math:`y_t = \sum_j A_{tj} u_j`, where A is +1 at the upload's own
opening and -1 where the same hospital's next one replaces it. Colluders know their noise and their
patients: their columns are removed. For Gaussian noise the squared distance between neighbouring
outputs is

.. math:: \frac{1}{\sigma^2} \sum_{ij} P_{ij} \langle \delta_i, \delta_j \rangle,
   \qquad P = A^\top (A A^\top)^+ A,

with :math:`\delta_j` what a patient adds to upload j, norm at most C, whose directions the
adversary may choose: at most :math:`\sum_{ij} |P_{ij}|` over the uploads of its hospital, in units
of :math:`C^2 / \sigma^2`, and at most their number times the largest eigenvalue of that block of P
(Denisov et al. 2022, arXiv 2202.08312v2, section 3; adaptivity: Theorem 2.1 there).

The same holds for plain sums in which a hospital appears twice: r of n shares cost r^2 / n, not
r / n.

This is exact accounting for *Gaussian* shares. For discrete shares it is an estimate, so Memory is
not the default.
"""

from collections.abc import Collection

import numpy as np
from jaxtyping import Float

from aggregation.arrival.schedule import Schedule

__all__ = ["leverage", "opening_matrix"]


def opening_matrix(
    schedule: Schedule, *, memory: bool = True
) -> tuple[Float[np.ndarray, "openings uploads"], tuple[str, ...]]:
    """Return A, and the hospital of each of its columns; only opened uploads have a column.

    Args:
      schedule: What is opened together.
      memory: Whether each upload is taken back when the next one of its hospital comes.
    """
    columns = [(t, a) for t, opening in enumerate(schedule.openings) for a in opening.arrivals]
    matrix = np.zeros((len(schedule.openings), len(columns)))
    last: dict[str, int] = {}
    for j, (t, arrival) in enumerate(columns):
        matrix[t, j] += 1
        if memory and arrival.hospital in last:
            matrix[t, last[arrival.hospital]] -= 1
        last[arrival.hospital] = j
    return matrix, tuple(arrival.hospital for _, arrival in columns)


def leverage(
    schedule: Schedule, *, colluders: Collection[str] = (), memory: bool = True
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
    kept = matrix[:, honest]
    projector = np.linalg.pinv(kept) @ kept
    found = {}
    for name in dict.fromkeys(owners[j] for j in honest):
        own = [i for i, j in enumerate(honest) if owners[j] == name]
        block = projector[np.ix_(own, own)]
        largest = float(np.linalg.eigvalsh((block + block.T) / 2)[-1])
        found[name] = min(float(np.abs(block).sum()), len(own) * largest)
    return found
