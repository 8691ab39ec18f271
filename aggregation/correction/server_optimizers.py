r"""FedAdam and FedYogi: the server steps with momentum and a step size for each coordinate.

.. math:: m^+ = \beta_1 m + (1 - \beta_1) \Delta, \qquad
   w^+ = w + \eta\, m^+ / (\sqrt{v^+} + \tau),

.. math:: v^+_{\text{Adam}} = \beta_2 v + (1 - \beta_2) \Delta^2, \qquad
   v^+_{\text{Yogi}} = v - (1 - \beta_2)\, \Delta^2\, \mathrm{sign}(v - \Delta^2),

with :math:`\Delta` the opened sum in units of the parameters.

- *Source*: Reddi et al. (2021), arXiv 2003.00295v5, Algorithm 2 (no bias correction).
- *Crosses the wall*: nothing of its own.
- *Unit and sensitivity*: those of the rule that made the sum; this is post-processing of it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from aggregation.correction.contract import Contract
from privacy._validate import positive
from privacy.errors import InvalidInputError

__all__ = ["SERVER_OPTIMIZERS", "Moments", "adam", "first_moments", "yogi"]

SERVER_OPTIMIZERS = Contract(
    "server optimisers",
    "Reddi et al. (2021), arXiv 2003.00295v5, Algorithm 2",
    "none",
    "nothing: post-processing of opened sums",
)


@dataclass(frozen=True)
class Moments:
    """What the server holds between rounds.

    Attributes:
      mean: m, in units of the parameters.
      square: v, in squared units of the parameters.
    """

    mean: Float[np.ndarray, "dim"]
    square: Float[np.ndarray, "dim"]


def first_moments(dim: int, *, adaptivity: float = 1e-3) -> Moments:
    r"""Return the moments before the first round: zero and :math:`\tau^2`."""
    positive(adaptivity=adaptivity)
    return Moments(np.zeros(dim), np.full(dim, adaptivity**2))


def adam(
    params: Float[np.ndarray, "dim"],
    total: Float[np.ndarray, "dim"],
    moments: Moments,
    *,
    rate: float,
    beta1: float = 0.9,
    beta2: float = 0.99,
    adaptivity: float = 1e-3,
) -> tuple[Float[np.ndarray, "dim"], Moments]:
    r"""Return the next model and moments; ``adaptivity`` is :math:`\tau`."""
    _check(beta1, beta2)
    square = beta2 * moments.square + (1 - beta2) * total**2
    return _step(params, total, moments, square, rate, beta1, adaptivity)


def yogi(
    params: Float[np.ndarray, "dim"],
    total: Float[np.ndarray, "dim"],
    moments: Moments,
    *,
    rate: float,
    beta1: float = 0.9,
    beta2: float = 0.99,
    adaptivity: float = 1e-3,
) -> tuple[Float[np.ndarray, "dim"], Moments]:
    r"""Return the next model and moments; v moves by an amount that does not depend on v."""
    _check(beta1, beta2)
    square = moments.square - (1 - beta2) * total**2 * np.sign(moments.square - total**2)
    return _step(params, total, moments, square, rate, beta1, adaptivity)


def _step(
    params: Float[np.ndarray, "dim"],
    total: Float[np.ndarray, "dim"],
    moments: Moments,
    square: Float[np.ndarray, "dim"],
    rate: float,
    beta1: float,
    adaptivity: float,
) -> tuple[Float[np.ndarray, "dim"], Moments]:
    positive(rate=rate)
    positive(adaptivity=adaptivity)
    mean = beta1 * moments.mean + (1 - beta1) * total
    return params + rate * mean / (np.sqrt(square) + adaptivity), Moments(mean, square)


def _check(beta1: float, beta2: float) -> None:
    for name, value in (("beta1", beta1), ("beta2", beta2)):
        if not 0 <= value < 1:
            raise InvalidInputError(f"Expected {name}={value} in [0, 1).")
