r"""Bounds on reconstruction: how often anybody can be right about a patient after all releases.

Reconstruction robustness (Balle, Cherubin and Hayes 2022, Definition 2): a patient is drawn from a
prior that the adversary knows, and a guess within a stated distance is a success. Who guesses well
without the release succeeds with ``prior_success`` at most (kappa; 1/n for a uniform candidate set
of n). With the release nobody succeeds more often than gamma (``success_bound``), however clever,
knowing all other patients and every release.

This concerns one patient drawn from the very prior that defines ``prior_success``. With B guesses,
success is within the distance of any of them and ``prior_success`` must be that of the best B
guesses. A ``prior_success`` that was estimated by a good guess is too small, and then so is gamma.

>>> from dp_accounting import GaussianDpEvent, NeighboringRelation
>>> round(success_bound(GaussianDpEvent(3.7306), prior_success=0.1,
...                     relation=NeighboringRelation.ADD_OR_REMOVE_ONE), 4)
0.1554
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from dp_accounting import NeighboringRelation as Relation
from dp_accounting import dp_event as dp
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from privacy._validate import fraction, unit_open
from privacy.accounting.composition import upper_deltas
from privacy.accounting.lowered import Lowered
from privacy.accounting.lowering import lower
from privacy.accounting.renyi import renyi_success
from privacy.accounting.roads import quick_grid
from privacy.accounting.tilt import at_success
from privacy.errors import InvalidInputError

__all__ = ["attribute_bound", "success_bound", "success_curve"]

_FLOAT = 1e-9


def success_bound(event: dp.DpEvent, *, prior_success: float, relation: Relation) -> float:
    r"""Return gamma: no adversary reconstructs a patient with a higher probability.

    :math:`\gamma(\kappa) = 1 - f(\kappa)`, f the trade-off curve between the releases with the
    patient and without (Hayes, Mahloujifar and Balle 2023, Theorem 2); computed as
    :math:`\min_\varepsilon [\kappa e^\varepsilon + \delta_{remove}(\varepsilon)]` over real
    epsilon, each of which gives a valid bound.

    Guarantees (each is a test in ``tests/privacy/test_reconstruction.py``):
      - prior_success <= the result <= 1;
      - Gaussian releases without sampling: :math:`\Phi(\Phi^{-1}(\kappa) + \mu)` to 1e-8;
      - never below the true optimum, discrete noise and rounding included; where releases are
        composed numerically, at most 1 % above it, for ``prior_success`` from 1e-12 to .9.

    Args:
      event: All that was released.
      prior_success: kappa, in (0, 1).
      relation: How the releases without the patient are meant.

    Raises:
      InvalidInputError: The event can't be accounted for, or ``prior_success`` is out of range.
    """
    return success_curve(event, prior_successes=[prior_success], relation=relation)[0]


def success_curve(
    event: dp.DpEvent, *, prior_successes: Sequence[float], relation: Relation
) -> list[float]:
    """Return ``success_bound`` for each prior success; the event is composed once."""
    for prior_success in prior_successes:
        unit_open(prior_success=prior_success)
    above = lower(event, relation, "above")
    return [_bound(above, kappa) for kappa in prior_successes]


def attribute_bound(event: dp.DpEvent, *, prior: Sequence[float], relation: Relation) -> float:
    r"""Return how often anybody is right about a value that is drawn from a known prior, at most.

    Whoever guesses value i where the release falls into :math:`S_i` is right with
    :math:`\sum_i \pi_i P_i(S_i)`, and the :math:`S_i` share one :math:`Q`, the release without the
    patient: for every :math:`\lambda > 0` that is at most :math:`\lambda + \sum_i \pi_i
    \delta_{remove}(\log(\lambda / \pi_i))`. So the whole prior counts, not its largest value alone
    (Kulynych and others 2025, arXiv 2507.06969, bound by the trade-off curve; here its dual).

    Guarantees (each is a test in ``tests/privacy/test_named_risks.py``):
      - max(prior) <= the result <= ``success_bound`` of max(prior);
      - no guess at Gaussian releases of a patient whose values lie anywhere is right more often;
      - equal values: what ``success_bound`` says of one over their number.

    Args:
      event: All that was released.
      prior: Probability of each value, given all that the adversary knows; at least two, sum 1.
      relation: How the releases without the patient are meant.

    Raises:
      InvalidInputError: The event can't be accounted for, or ``prior`` is no such list.
    """
    values = [fraction(prior=p) for p in prior]
    largest = max(values, default=0.0)
    if abs(math.fsum(values) - 1) > _FLOAT or not largest < 1:
        raise InvalidInputError(
            f"Expected prior={list(prior)} to add up to 1, with two values or more above 0."
        )
    above = lower(event, relation, "above")
    by_largest = _bound(above, largest)
    delta = _removal(above, largest)
    if delta is None or above.unbounded:
        return by_largest
    some = np.array([p for p in values if p > 0])

    def right(z: float) -> float:
        """At lambda = e^z; with slack as in ``_bound``."""
        return math.exp(z + above.slack) + float(some @ delta(z - np.log(some)))

    by_prior = _least(right, lowest=-40.0) * math.exp(above.slack) * (1 + _FLOAT)
    return min(by_largest, max(by_prior, largest))


def _bound(above: Lowered, kappa: float) -> float:
    if above.unbounded:
        return 1.0
    if not above.parts:
        return kappa
    # With the slack of discrete noise, P <= e^s P' and Q' <= e^s Q (``accounting.discrete``).
    raised = min(1.0, kappa * math.exp(above.slack))
    best = _dominated(above, raised) * math.exp(above.slack) * (1 + _FLOAT)
    return min(1.0, max(best, kappa))


def _dominated(above: Lowered, kappa: float) -> float:
    if above.mu is not None:
        return float(ndtr(ndtri(kappa) + above.mu)) if kappa < 1 else 1.0
    single = above.count == 1
    by_moments = 1.0 if single or kappa >= 1 else renyi_success(above.parts, kappa)
    delta = _removal(above, kappa)
    if delta is None:
        return by_moments
    by_delta = _least(lambda e: kappa * math.exp(e) + float(delta(np.array([e]))[0]), lowest=-30.0)
    return min(by_delta, by_moments)


def _removal(
    above: Lowered, kappa: float
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]] | None:
    """Return delta of removing, at epsilons of any sign; None where it is not affordable."""
    if not above.parts:
        return lambda e: np.maximum(-np.expm1(e), 0.0)
    if above.count == 1:
        profile = above.parts[0][0]
        return lambda e: profile.deltas(e)[0]
    grid = quick_grid(above.parts, at_success(_rounded(kappa)), finer=2.0)
    return None if grid is None else (lambda e: upper_deltas(grid.remove, e))


def _rounded(kappa: float) -> float:
    """Return a prior success of the same size: all of one size share a composition."""
    tenths = min(math.floor(10 * kappa), 9) / 10
    return tenths or 10.0 ** math.floor(math.log10(kappa))


def _least(value: Callable[[float], float], *, lowest: float = 0.0) -> float:
    """Return the least value over [lowest, 300]; ``value`` falls, then rises (convex in e^x)."""
    low, high = lowest, 300.0
    for _ in range(100):
        third = (high - low) / 3
        if value(low + third) <= value(high - third):
            high -= third
        else:
            low += third
        if high - low < 1e-6:
            break
    return value((low + high) / 2)
