r"""Uploads whose discrete noise is shown in several sums at once: a bound with a proof.

Upload j is :math:`x_j + z_j`, integers, with fresh noise :math:`z_j` from the discrete Gaussian of
parameter :math:`\sqrt s` on every coordinate; opening t shows :math:`y_t = \sum_j A_{tj} (x_j +
z_j)`, A whole numbers, T openings of m uploads, d coordinates. :math:`x_j` may depend on everything
opened before. Noise shares alone prove little here, as post-processing of each upload's own noise
gives the cost of no sealing at all; what protects is their *sum*, so the sums are compared.

**1. The opened noise is a discrete Gaussian of covariance** :math:`\Sigma = s A A^\top`. Let each
opening have an upload of coefficient 1 that no earlier opening shows. These T columns form a lower
triangular matrix :math:`A_1` with ones on its diagonal, so A maps :math:`Z^m` onto :math:`Z^T`, and
the z with :math:`Az = v` are one point plus the lattice :math:`\{(-Wf, f)\}`,
:math:`W = A_1^{-1} A_2`, with Gram matrix :math:`G = I + W^\top W`. Splitting :math:`\|z\|^2` into
its parts in and across the row space of A,

.. math:: P(Az = v) \propto e^{-v^\top \Sigma^{-1} v / 2} \cdot
   \sum_{f \in Z^{m-T}} e^{-(f-c)^\top G (f-c) / 2s},

and by Poisson summation the second factor is a constant times a number within :math:`\pm\left[(1 +
\theta(s/\lambda))^{m-T} - 1\right]` of 1 (:math:`\theta` as in ``discrete``, :math:`\lambda` at
least the largest eigenvalue of G). For one plain sum this is the statement on shares there; the
general one is that of Agrawal, Gentry, Halevi and Sahai 2013 (ePrint 2012/714, Theorem 2).

**2. It is post-processing of a slightly narrower continuous Gaussian.** Where :math:`\Sigma \succ
r^2 I`, draw :math:`Y \sim N(0, \Sigma - r^2 I)`, then each :math:`X_t` from the discrete Gaussian
of parameter r centred at :math:`Y_t`. As in ``discrete``, coordinate by coordinate, X has the
discrete Gaussian's masses up to :math:`e^{\pm\zeta}` each, and adding whole numbers to Y adds them
to X: :math:`(Ax)_t + X_t` is computed from :math:`(Ax)_t + Y_t` and fresh randomness.

**3. Adaptivity.** Fix all outputs y: they fix every :math:`x_j`, so the real run shows y with
probability :math:`P(Az = y - A x(y))`, and the factors of 1 and 2 hold point by point. What is left
is the continuous matrix mechanism with noise of covariance :math:`\Sigma - r^2 I`, answered in
order; with its Cholesky factor L, :math:`L^{-1}` is computed in order too and leaves unit noise, so
the squared distances of all answers add up to :math:`\delta^\top A^\top (\Sigma - r^2 I)^{-1} A
\delta` whichever way the differences :math:`\delta_j` were provoked (Denisov et al. 2022, arXiv
2202.08312v2, Theorem 2.1; Smith and Thakurta 2022, arXiv 2210.17520, for Gaussians chosen
adaptively). With :math:`\alpha` the least eigenvalue of :math:`A A^\top` this is at most
:math:`\frac{s\alpha}{s\alpha - r^2}` times the continuous cost, which is ``units.leverage``.

In all: :math:`\delta(\varepsilon) \le e^\kappa \delta_\mu(\varepsilon - 2\kappa)` with
:math:`\mu^2 = \frac{\mathrm{leverage}\, D^2}{s} \cdot \frac{s\alpha}{s\alpha - r^2}` and
:math:`\kappa` the logarithm of the largest over the smallest of these factors (constants drop out:
both are probabilities), d coordinates each.

The cost is that of *all* openings. It can't be told upload by upload without knowing what follows:
an upload that is held while others renew theirs is shown again with fresh noise around it, and in
the long run only its own share is left to hide it (``tests/privacy/accounting/test_linear.py``).
So each upload's event carries an equal part of the whole, and only a declared schedule has one.
"""

import math
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from jaxtyping import Float
from scipy.linalg import solve_triangular

from privacy._validate import finite_array, natural, positive
from privacy.accounting.discrete import discrete_theta, log_ratio
from privacy.accounting.events import LinearOpeningsDpEvent
from privacy.accounting.units import leverage
from privacy.errors import InvalidInputError

__all__ = ["certified", "coset_spread", "upload_events"]

_LOG_SLACK = 1e-14  # what all openings may add to the logarithm of a probability


def upload_events(
    openings: Float[np.ndarray, "openings uploads"],
    *,
    owners: Sequence[Hashable],
    noise_multiplier: float,
    radius: int,
    dim: int,
    uploads: Mapping[Hashable, int] | None = None,
) -> dict[Hashable, LinearOpeningsDpEvent]:
    """Return for each owner the event of *one* of its uploads; all together are its whole cost.

    Args:
      openings: A: whole numbers, one row an opened sum in order, one column an upload. What the
        adversary knows of (its own uploads) has no column.
      owners: Whose upload each column is.
      noise_multiplier: Parameter of one upload's noise over ``radius``.
      radius: L2 norm by which a patient moves one upload at most, in integer steps.
      dim: Coordinates of an upload.
      uploads: Over how many uploads an owner's cost is spread; by default those with a column.

    Raises:
      InvalidInputError: ``owners`` does not fit the columns, a value is not whole, or an opening
        has no upload of coefficient 1 that no earlier one shows.
    """
    positive(noise_multiplier=noise_multiplier)
    natural(radius=radius, least=1)
    natural(dim=dim, least=1)
    leverages = leverage(openings, owners=owners)
    spread = coset_spread(openings)
    gram = openings @ openings.T
    eigenvalues = np.linalg.eigvalsh(gram)
    least = float(eigenvalues[0] - 1e-9 * eigenvalues[-1])  # rounding goes against us
    if not least > 0:
        raise InvalidInputError(
            f"The least eigenvalue of the openings' Gram matrix is {eigenvalues[0]:.3g}: they are "
            "too close to dependent to be accounted for. Open fewer sums."
        )
    counts = {owner: list(owners).count(owner) for owner in leverages}
    return {
        owner: LinearOpeningsDpEvent(
            noise_multiplier=noise_multiplier,
            radius=radius,
            dim=dim,
            leverage=squared * (1 + 1e-9) / (uploads or counts)[owner],
            openings=openings.shape[0],
            uploads=openings.shape[1],
            least_eigenvalue=least,
            coset_spread=spread,
        )
        for owner, squared in leverages.items()
    }


def coset_spread(openings: Float[np.ndarray, "openings uploads"]) -> float:
    r"""Return a bound on the largest eigenvalue of G (module docstring), from whole numbers alone.

    Of the columns that may stand for an opening the one shown again latest is taken: chains of
    replacements stay short. :math:`\|W\|_2^2 \le \|W\|_1 \|W\|_\infty`.

    Raises:
      InvalidInputError: A value is not whole, or an opening shows nothing fresh.
    """
    finite_array(openings=openings)
    if not np.array_equal(openings, np.rint(openings)):
        raise InvalidInputError("Expected whole numbers: sums of integers with weights 1 and -1.")
    shown = openings != 0
    first = np.where(shown.any(axis=0), shown.argmax(axis=0), -1)
    again = np.array(
        [np.append(np.flatnonzero(column)[1:], len(openings))[0] for column in shown.T]
    )
    pivots = []
    for t in range(len(openings)):
        fresh = np.flatnonzero((first == t) & (openings[t] == 1))
        if len(fresh) == 0:
            raise InvalidInputError(
                f"Opening {t} has no honest upload of coefficient 1 that no earlier one shows: "
                "nothing fresh hides it."
            )
        pivots.append(int(fresh[np.argmax(again[fresh])]))
    others = np.setdiff1d(np.arange(openings.shape[1]), pivots)
    if len(others) == 0:
        return 1.0
    w = np.abs(solve_triangular(openings[:, pivots], openings[:, others], lower=True))
    return float(1 + (w.sum(axis=0).max() + 1e-6) * (w.sum(axis=1).max() + 1e-6))


def certified(event: LinearOpeningsDpEvent, *, factor: int = 1) -> tuple[float, float]:
    """Return mu and kappa of the module docstring; mu is infinite where the noise is too narrow.

    Args:
      event: Of one upload; its slack is that of all openings.
      factor: 2 where a patient is replaced.
    """
    variance = (event.noise_multiplier * event.radius) ** 2
    answers = event.dim * event.openings
    r2 = math.log(5 * answers / _LOG_SLACK) / (2 * math.pi**2)
    free = event.uploads - event.openings
    theta = discrete_theta(variance / event.coset_spread)
    off = math.expm1(free * math.log1p(theta)) if theta < 1 and free * theta < 1 else math.inf
    coset = math.log1p(off) - math.log1p(-off) if off < 1 else math.inf
    slack = answers * log_ratio(r2) + event.dim * coset
    hidden = variance * event.least_eigenvalue
    if not (slack < 1e-3 and hidden > 2 * r2):
        return math.inf, slack
    squared = factor**2 * event.leverage / event.noise_multiplier**2
    return math.sqrt(squared * hidden / (hidden - r2)), slack
