r"""What releases mean to somebody who tests whether a patient took part.

All from one object, the trade-off curve f (Dong, Roth and Su 2022, Definition 2.1): the least type
II error at each type I error, here as a certified lower bound. Advantage, Bayes success and mu-GDP
are readings of it.

>>> from dp_accounting import GaussianDpEvent, NeighboringRelation
>>> risks = attack_risks(GaussianDpEvent(1.0), relation=NeighboringRelation.ADD_OR_REMOVE_ONE)
>>> round(risks.advantage, 4), round(risks.worst_mu, 4), round(risks.fitted_mu, 4)
(0.3829, 1.0, 1.0)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from dp_accounting import NeighboringRelation as Relation
from dp_accounting import dp_event as dp
from scipy.optimize import minimize_scalar
from scipy.special import ndtr, ndtri

from privacy._validate import unit_open
from privacy.accounting.intervals import delta as delta_of
from privacy.reconstruction import success_curve

__all__ = ["AttackRisks", "attack_risks", "bayes_success", "tradeoff_curve"]

_ERRORS = np.concatenate([np.geomspace(1e-5, 0.1, 25), np.linspace(0.12, 0.9, 27)])


@dataclass(frozen=True)
class AttackRisks:
    """Upper bounds on what an adversary achieves, and the Gaussian that tells the same.

    Attributes:
      advantage: Largest true positive rate less false positive rate.
      worst_mu: Smallest mu whose Gaussian trade-off lies below the curve wherever both errors are
        1e-5 and more: a valid mu-GDP statement over that range.
      fitted_mu: The mu whose Gaussian trade-off is nearest in the largest difference; no guarantee.
      regret: That largest difference.
    """

    advantage: float
    worst_mu: float
    fitted_mu: float
    regret: float


def tradeoff_curve(
    event: dp.DpEvent, *, errors: Sequence[float], relation: Relation
) -> list[float]:
    """Return for each type I error in (0, 1) a lower bound on the type II error of any test."""
    successes = success_curve(event, prior_successes=errors, relation=relation)
    return [1 - success for success in successes]


def attack_risks(event: dp.DpEvent, *, relation: Relation) -> AttackRisks:
    """Return the readings of the trade-off curve.

    Guarantees (each is a test in ``tests/privacy/accounting/test_tradeoff.py``):
      - ``advantage`` is delta at epsilon 0, from above;
      - no type II error of the Gaussian with ``worst_mu`` lies above the curve;
      - for Gaussian releases both mus are the mechanism's own.
    """
    curve = np.array(tradeoff_curve(event, errors=[float(a) for a in _ERRORS], relation=relation))
    precise = curve >= _ERRORS[0]  # below, 1 - success has lost its digits
    worst = float((ndtri(1 - _ERRORS) - ndtri(np.clip(curve, 0.0, 1.0)))[precise].max(initial=0.0))
    if not precise.any():
        worst = math.inf

    def regret(mu: float) -> float:
        return float(np.abs(ndtr(ndtri(1 - _ERRORS) - mu) - curve).max())

    bound = worst if math.isfinite(worst) else 100.0
    fit = minimize_scalar(regret, bounds=(0.0, bound + 1e-9), method="bounded")
    advantage = delta_of(event, epsilon=0.0, relation=relation).upper
    return AttackRisks(advantage, worst, float(fit.x), regret(float(fit.x)))


def bayes_success(event: dp.DpEvent, *, prior: float, relation: Relation) -> float:
    r"""Return an upper bound on guessing whether a patient took part, who did with ``prior``.

    :math:`\sup_S \pi P(S) + (1-\pi)(1-Q(S)) = (1-\pi) + \pi\,\delta(\log\frac{1-\pi}{\pi})`.
    """
    unit_open(prior=prior)
    # By symmetry of the two hypotheses the rarer one may be taken: its epsilon is not negative.
    rare = min(prior, 1 - prior)
    odds = delta_of(event, epsilon=math.log((1 - rare) / rare), relation=relation).upper
    return min(1.0, (1 - rare) + rare * odds)
