r"""Noise that is correlated over rounds (DP-FTRL, matrix factorisation), of integers: with a proof.

A hospital sends :math:`y_t = x_t + w_t` in round t, where

.. math:: w_t = z_t - \mathrm{rint}\Big(\sum_{j=1}^{t} c_j\, w_{t-j}\Big), \qquad c_0 = 1,

the :math:`z_t` fresh from the discrete Gaussian of parameter :math:`\sigma` on every coordinate.
But for the rounding this is :math:`w = C^{-1} z` with the lower triangular Toeplitz matrix C of the
:math:`c_j`: the answers of the factorisation :math:`A = B C` (Denisov, McMahan, Rush, Smith and
Thakurta 2022, arXiv 2202.08312v2, Section 2) told as noised gradients. All of it is one hospital's
own: shares of several hospitals are rounded apart, and their sum has no such law, so for shares
there is no certificate.

**The proof, for the integers that are sent.** Outputs y and data x fix w = y - x and so z, by
:math:`z_t = w_t + \mathrm{rint}(\sum_j c_j w_{t-j})`: given everything before, :math:`y_t` is a
whole number plus fresh noise :math:`z_t`. For neighbours, whose sums differ by :math:`\delta_t`,
the same y needs a z that differs by

.. math:: s_t = \delta_t + \sum_{j=1}^{t} c_j\, \delta_{t-j} + e_t, \qquad
   \lVert e_t \rVert_2 \le \sqrt d,

where :math:`e_t` is what rounding may add, at most 1 a coordinate (1.001, for sums of floats), and
is 0 while none of the :math:`\delta` before has a coefficient. No rounding is carried on: w, not z,
is what is remembered. A round whose upload nobody got has its noise all the same: to hide an
output is to process what was sent.
So round t is a discrete Gaussian mechanism whose shift :math:`s_t` is fixed by what was seen before
it, and :math:`\sum_t \lVert s_t \rVert^2 \le B^2` on every course that things can take. Such a run
is a composition of at most one Gaussian at distance B, whichever way the differences were provoked
(``linear``, steps 2 and 3, with nothing shown twice).

**Sensitivity.** A patient takes part in the rounds :math:`\pi`, each time with a norm of at most D.
Where no :math:`c_j` is negative the worst is one direction throughout,

.. math:: B^2 = \max_\pi \sum_t \Big( D \sum_{i \in \pi,\, i \le t} c_{t-i}
   + \sqrt d\; [\exists\, i \in \pi,\, i < t,\, c_{t-i} > 0] \Big)^2.

In all rounds, or in one fixed round of each pass of p rounds, the first such rounds are worst:
later ones cut off terms that are not negative. With p at least the number of bands this is
:math:`k \sum_j c_j^2` but for the rounding, k passes (Choquette-Choo et al. 2023, arXiv
2306.08153v2, Theorem 2; Kalinin and Lampert 2024, arXiv 2405.13763v2, Theorem 2).

Amplification by sampling is not claimed: with the round of a patient fixed for the whole run there
is none, and drawn anew for each pass it may lie close to the last one.

>>> banded_square_root(3)
(1.0, 0.5, 0.375)
>>> round(squared_sensitivity((1.0, 0.5), rounds=4, every=2, radius=10**6, dim=1), 3)
2.5
"""

import math
from collections.abc import Sequence

import numpy as np

from privacy._validate import natural, positive
from privacy.accounting.events import LinearOpeningsDpEvent
from privacy.errors import InvalidInputError

__all__ = ["banded_square_root", "buffered", "squared_sensitivity", "upload_event"]

_MOST = 100_000  # coefficients: their convolution is quadratic at worst
_ROUNDING = 1.001  # of a coordinate: 1, and what sums of floats are wrong by
_SLACK = 1e-9  # relative, of sums of floats


def banded_square_root(bands: int) -> tuple[float, ...]:
    r"""Return the first coefficients of :math:`(1 - x)^{-1/2}`: the square root of prefix sums.

    :math:`c_j = \binom{2j}{j} / 4^j` (Kalinin and Lampert 2024, arXiv 2405.13763v2, Eq. 5).

    Args:
      bands: How many, at least 1; with 1 the noise of rounds is independent.
    """
    natural(bands=bands, least=1)
    coefficients = [1.0]
    for j in range(1, bands):
        coefficients.append(coefficients[-1] * (2 * j - 1) / (2 * j))
    return tuple(coefficients)


def buffered(scales: Sequence[float], decays: Sequence[float], rounds: int) -> tuple[float, ...]:
    r"""Return the coefficients of a buffered linear Toeplitz matrix (BLT).

    :math:`c_0 = 1` and :math:`c_j = \sum_i a_i \lambda_i^{j-1}` (Dvijotham, McMahan, Pillutla,
    Steinke and Thakurta 2024, arXiv 2404.16706v2, Eq. 5), so that as many buffers as decays are
    all that has to be remembered.

    Args:
      scales: :math:`a_i`, none below 0.
      decays: :math:`\lambda_i` in [0, 1).
      rounds: How many coefficients.
    """
    natural(rounds=rounds, least=1)
    powers = np.asarray(decays, dtype=np.float64)[:, None] ** np.arange(rounds - 1)
    return (1.0, *(np.asarray(scales, dtype=np.float64) @ powers).tolist())


def squared_sensitivity(
    coefficients: Sequence[float], *, rounds: int, every: int, radius: int, dim: int
) -> float:
    r"""Return :math:`B^2 / D^2` of the module docstring, rounded up.

    Args:
      coefficients: :math:`c_0 = 1, c_1, \dots`; those that are left out are 0.
      rounds: T.
      every: Rounds of a pass, in one fixed round of which a patient takes part; 1: in all rounds.
      radius: D, in integer steps.
      dim: d.

    Raises:
      InvalidInputError: A coefficient is negative or no number, the first is not 1, or there are
        too many.
    """
    natural(rounds=rounds, least=1)
    natural(every=every, least=1)
    natural(radius=radius, least=1)
    natural(dim=dim, least=1)
    c = np.asarray(coefficients, dtype=np.float64)[:rounds]
    if len(c) == 0 or rounds > _MOST or c[0] != 1 or not (np.isfinite(c) & (c >= 0)).all():
        raise InvalidInputError(
            f"Expected coefficients 1, c_1, ... >= 0 and at most {_MOST} rounds, got "
            f"{list(coefficients)[:4]}... and rounds={rounds}. Negative ones have no bound here."
        )
    took_part = np.zeros(rounds)
    took_part[::every] = 1.0
    moved = np.convolve(took_part, c)[:rounds]
    shown = np.convolve(took_part, np.append(0.0, (c[1:] > 0).astype(np.float64)))[:rounds]
    total = moved + np.where(shown > 0.5, _ROUNDING * math.sqrt(dim) / radius, 0.0)
    return float((total**2).sum()) * (1 + _SLACK)


def upload_event(
    coefficients: Sequence[float],
    *,
    noise_multiplier: float,
    rounds: int,
    every: int,
    radius: int,
    dim: int,
) -> LinearOpeningsDpEvent:
    """Return the event of one of a hospital's uploads; all ``rounds`` together are the whole cost.

    Each carries an equal part of it, so that only a declared schedule has one.

    Args:
      coefficients: As in ``squared_sensitivity``.
      noise_multiplier: Parameter of each z over ``radius``.
      rounds: T.
      every: As in ``squared_sensitivity``.
      radius: D.
      dim: d.
    """
    positive(noise_multiplier=noise_multiplier)
    squared = squared_sensitivity(coefficients, rounds=rounds, every=every, radius=radius, dim=dim)
    return LinearOpeningsDpEvent(
        noise_multiplier=noise_multiplier,
        radius=radius,
        dim=dim,
        leverage=squared * (1 + _SLACK) / rounds,
        openings=rounds,
        uploads=rounds,
        least_eigenvalue=1.0,
        coset_spread=1.0,
    )
