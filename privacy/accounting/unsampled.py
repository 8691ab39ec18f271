"""Profiles of one release that is not sampled, from above or from below."""

import dataclasses
import math

import numpy as np
from dp_accounting import NeighboringRelation as Relation
from dp_accounting import dp_event as dp

from privacy.accounting import profiles
from privacy.accounting.concentrated import Concentrated, MomentBound
from privacy.accounting.discrete import concentrated_rho, sandwich
from privacy.accounting.events import (
    DiscreteGaussianDpEvent,
    DistributedDiscreteGaussianDpEvent,
    LinearOpeningsDpEvent,
    SkellamDpEvent,
)
from privacy.accounting.linear import certified
from privacy.accounting.lowered import Lowered, Side, one
from privacy.accounting.moments import LARGEST_ORDER
from privacy.errors import InvalidInputError

__all__ = ["release"]

_WIDEST_SKELLAM = 20_000.0  # standard deviation whose masses are still computed one by one
_NARROWER = 1.1  # a wider Gaussian by more costs more than Renyi divergences in its place
_FLOAT = 1e-14  # more than floating point changes in a sum of masses
_BESSEL = 1e-11  # more than the error of a Bessel function does to a delta


def release(event: dp.DpEvent, relation: Relation, side: Side, path: str) -> Lowered:
    """One release without sampling."""
    # Replacing a patient removes one vector and adds another: twice the distance.
    factor = 2 if relation is Relation.REPLACE_ONE else 1
    match event:
        case dp.GaussianDpEvent():
            mu = factor / event.noise_multiplier
            return one(profiles.GaussianProfile(mu), rho=mu**2 / 2)
        case DiscreteGaussianDpEvent():
            return _discrete(event, factor, side, factor * event.radius**2, 1, path)
        case DistributedDiscreteGaussianDpEvent():
            touched = min(event.dim, factor * event.radius**2)
            return _discrete(event, factor, side, touched, event.contributors, path)
        case LinearOpeningsDpEvent():
            return _linear(event, factor, side, path)
        case SkellamDpEvent():
            return _skellam(event, factor, side, path)
        case dp.LaplaceDpEvent():
            shift = factor / event.noise_multiplier
            return one(
                profiles.LaplaceProfile(shift), rho=shift**2 / 2
            )  # Bun, Steinke 2016, Prop. 1.4
        case dp.DiscreteLaplaceDpEvent():
            shift = factor * event.sensitivity
            rho = (event.noise_parameter * shift) ** 2 / 2
            return one(profiles.DiscreteLaplaceProfile(event.noise_parameter, shift), rho=rho)
        case dp.ZCDpEvent():
            return _zero_concentrated(event, side, path)
        case dp.MixtureOfGaussiansDpEvent():
            return _moved(event, relation, path)
        case dp.SingleEpochTreeAggregationDpEvent():
            return _tree(event, relation, path)
        case dp.RandomizedResponseDpEvent():
            return _randomised_response(event, relation, path)
        case _:
            raise InvalidInputError(f"{path} is a {type(event).__name__}, which has no bound here.")


def _discrete(
    event: DiscreteGaussianDpEvent | DistributedDiscreteGaussianDpEvent,
    factor: int,
    side: Side,
    coordinates: int,
    contributors: int,
    path: str,
) -> Lowered:
    std = float(event.noise_multiplier) * event.radius
    radius = factor * event.radius
    bounds = sandwich(std=std, radius=radius, coordinates=coordinates, contributors=contributors)
    rho = concentrated_rho(
        std=std, radius=radius, coordinates=coordinates, contributors=contributors
    )
    if side == "below":
        if bounds.mu_below == 0 and contributors == 1 and radius <= _overlap(std):
            exact = profiles.DiscreteGaussianOutcomes(std**2, radius)
            return Lowered(others=((exact, 1),), lost=_FLOAT)
        if bounds.mu_below == 0:
            return Lowered(unknown=path)
        return one(profiles.GaussianProfile(bounds.mu_below), slack=bounds.slack_below, rho=rho)
    if math.isfinite(bounds.mu_above) and bounds.mu_above <= _NARROWER * math.sqrt(2 * rho):
        return one(profiles.GaussianProfile(bounds.mu_above), slack=bounds.slack_above, rho=rho)
    return _concentrated(rho, 0.0)


def _concentrated(rho: float, xi: float) -> Lowered:
    if not math.isfinite(rho + xi):
        return Lowered(unbounded=True, rho=math.inf)
    return one(Concentrated(rho, xi, 1), rho=rho)


def _zero_concentrated(event: dp.ZCDpEvent, side: Side, path: str) -> Lowered:
    """What is claimed of a mechanism's divergences, under the relation that is asked for."""
    rho, xi = float(event.rho), float(event.xi)
    if rho == 0 and xi == 0:
        return Lowered()
    if side == "below":
        return Lowered(unknown=path)
    k = np.arange(LARGEST_ORDER + 1, dtype=np.float64)
    moments = tuple(((k - 1) * (k * rho + xi)).clip(0.0).tolist())
    return dataclasses.replace(one(MomentBound(moments), rho=rho), xi=xi)


def _moved(event: dp.MixtureOfGaussiansDpEvent, relation: Relation, path: str) -> Lowered:
    if relation is Relation.REPLACE_ONE:
        raise InvalidInputError(
            f"{path} is a mixture of Gaussians, the pair of one who comes or goes: account for it "
            "under ADD_OR_REMOVE_ONE or REPLACE_SPECIAL."
        )
    shifts = [float(c) / event.standard_deviation for c in event.sensitivities]
    parts = tuple((float(p), c) for p, c in zip(event.sampling_probs, shifts, strict=True) if p > 0)
    largest = max(c for _, c in parts)
    if largest == 0:
        return Lowered()
    if len({c for _, c in parts}) == 1:
        return one(profiles.GaussianProfile(largest), rho=largest**2 / 2)
    return one(profiles.GaussianMixtureProfile(parts), rho=largest**2 / 2)


def _tree(event: dp.SingleEpochTreeAggregationDpEvent, relation: Relation, path: str) -> Lowered:
    """A record is in one leaf and in all nodes above it, which are one Gaussian together.

    Kairouz et al. 2021 (arXiv 2103.00039), Appendix D; the first leaf of the largest tree is in all
    that many, so the bound is attained.
    """
    if relation is Relation.ADD_OR_REMOVE_ONE:
        raise InvalidInputError(
            f"{path} adds up a stream in a tree: a record that comes or goes moves the others to "
            "other steps. Account for it under REPLACE_SPECIAL or REPLACE_ONE."
        )
    counts = (
        event.step_counts if isinstance(event.step_counts, list | tuple) else [event.step_counts]
    )
    depth = int(max(counts)).bit_length()  # ceil(log2(steps + 1))
    factor = 2 if relation is Relation.REPLACE_ONE else 1
    mu = factor * math.sqrt(depth) / event.noise_multiplier
    return one(profiles.GaussianProfile(mu), rho=mu**2 / 2)


def _overlap(std: float) -> float:
    """Return a shift beyond which two discrete variables share no mass that is a float."""
    return 40 * std + 60


def _linear(event: LinearOpeningsDpEvent, factor: int, side: Side, path: str) -> Lowered:
    """Part of a Gaussian; with P <= e^k P' and Q >= e^-k Q', divergences rise by at most 3 k."""
    if side == "below":
        return Lowered(unknown=path)
    mu, slack = certified(event, factor=factor)
    if math.isinf(mu):
        return Lowered(unbounded=True, rho=math.inf)
    return Lowered(gaussian_mu=mu, slack=slack, rho=mu**2 / 2, xi=3 * slack)


def _skellam(event: SkellamDpEvent, factor: int, side: Side, path: str) -> Lowered:
    r"""From below: the exact law where the patient's vector lies along one coordinate.

    From above, Agarwal, Kairouz, Liu 2021, Theorem 3.5: whole :math:`\alpha`, variance :math:`v`.

    :math:`D_\alpha \le \frac{\alpha D^2}{2v} + \min\{\frac{(2\alpha-1)D^2+6D_1}{4v^2},
    \frac{3D_1}{2v}\}`, with L1 distance :math:`D_1 \le \min(\sqrt d D, D^2)`.
    """
    std = float(event.noise_multiplier) * event.radius
    if side == "below":
        if std > _WIDEST_SKELLAM or factor * event.radius > _overlap(std):
            return Lowered(unknown=path)
        exact = profiles.SkellamOutcomes(std**2, factor * event.radius)
        return Lowered(others=((exact, 1),), lost=_BESSEL)
    d2 = factor * event.radius
    d1 = min(math.sqrt(event.dim) * d2, d2**2)
    v = std**2
    first = d2**2 / (2 * v) + d2**2 / (2 * v**2), (6 * d1 - d2**2) / (4 * v**2)
    second = d2**2 / (2 * v), 3 * d1 / (2 * v)
    typical = 16  # either holds for every alpha; take what is smaller at an ordinary one
    rho, xi = min(first, second, key=lambda bound: bound[0] * typical + bound[1])
    return _concentrated(rho, max(xi, 0.0))


def _randomised_response(
    event: dp.RandomizedResponseDpEvent, relation: Relation, path: str
) -> Lowered:
    p, k = event.noise_parameter, event.num_buckets
    if k == 1 or p == 1:
        return Lowered()
    if p == 0:
        return Lowered(unbounded=True, rho=math.inf)
    if relation is Relation.ADD_OR_REMOVE_ONE:
        raise InvalidInputError(
            f"{path} is randomised response, which every patient answers: account for it under "
            "REPLACE_ONE or REPLACE_SPECIAL, not ADD_OR_REMOVE_ONE."
        )
    truthful, other = 1 - p * (k - 1) / k, p / k
    if relation is Relation.REPLACE_ONE:
        masses = (truthful, other), (other, truthful), ((k - 2) * other, (k - 2) * other)
    else:
        masses = (truthful, 1 / k), ((k - 1) * other, (k - 1) / k), (0.0, 0.0)
    largest = max(abs(math.log(a / b)) for a, b in masses if a > 0)
    return one(profiles.FiniteOutcomes(masses), rho=largest**2 / 2)
