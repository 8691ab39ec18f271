r"""The exact law of a canary's projection under discrete noise.

Whoever knows everything but which of two patients took part looks at one number: the release's
inner product with their difference. Under discrete Gaussian noise :math:`N` that is
:math:`\langle g, N\rangle = \sum_j g_j N_j`, a sum of independent lattice variables, whose masses
are convolved here: no normal approximation, no Monte Carlo. (The discrete Gaussian: Canonne,
Kamath, Steinke 2020, Definition 1; the likelihood-ratio test: Neyman and Pearson.)

>>> offset, masses = projection_law(np.array([3, -4]), 2.0)
>>> round(float(masses.sum()), 12), int((masses * (np.arange(len(masses)) + offset)).sum().round())
(1.0, 0)
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.signal import fftconvolve

from privacy._validate import positive
from privacy.errors import InvalidInputError

__all__ = ["antipodal_success", "projection_law"]

_TAIL = 9.0  # standard deviations kept of each coordinate: 2e-18 lies beyond
_LARGEST = 50_000_000


def projection_law(
    row: Int[np.ndarray, "dim"], noise_std: float
) -> tuple[int, Float[np.ndarray, "support"]]:
    r"""Return the smallest value of :math:`\langle g, N\rangle` and the masses from there on.

    Guarantees (each is a test in ``tests/attacks/test_projection.py``):
      - masses sum to 1 within 1e-9 and are those of naive enumeration;
      - variance is :math:`\lVert g \rVert^2` times one coordinate's.

    Args:
      row: The difference of the canaries' gradients, in integer steps.
      noise_std: The discrete Gaussian's parameter, in integer steps.

    Raises:
      InvalidInputError: A support of more than 5e7 values; use a smaller radius.
    """
    positive(noise_std=noise_std)
    most = int(np.ceil(_TAIL * noise_std))
    values = np.arange(-most, most + 1)
    one = np.exp(-(values.astype(np.float64) ** 2) / (2 * noise_std**2))
    one /= one.sum()
    steps = np.abs(row[row != 0])
    if 2 * most * int(steps.sum()) > _LARGEST:
        raise InvalidInputError(
            f"The projection has {2 * most * int(steps.sum())} values, more than {_LARGEST}. Give "
            "the row in fewer integer steps."
        )
    law = np.ones(1)
    for step in steps:
        stretched = np.zeros(2 * most * int(step) + 1)
        stretched[:: int(step)] = one
        law = np.maximum(fftconvolve(law, stretched), 0.0)
    return -most * int(steps.sum()), law


def antipodal_success(row: Int[np.ndarray, "dim"], noise_std: float) -> float:
    r"""Return the optimal chance of telling a gradient g from -g, equally likely.

    The likelihood names g if :math:`\langle g, g + N\rangle > 0`; ties are halved.
    """
    offset, law = projection_law(row, noise_std)
    values = np.arange(len(law)) + offset + int((row.astype(np.int64) ** 2).sum())
    return float(law[values > 0].sum() + 0.5 * law[values == 0].sum())
