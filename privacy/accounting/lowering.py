r"""From an event tree to profiles that bound it from above, or from below.

Discrete Gaussians become continuous ones with a slack (``privacy.accounting.discrete``), sampling
is pushed onto profiles, compositions become counts, and all Gaussians that are not sampled become
one. What only concentrated DP can bound is kept beside it: each release is also
:math:`(\rho, \xi)`-zCDP, :math:`D_\alpha \le \rho\alpha + \xi`, which ignores sampling.

Bounds from below keep only releases that a real pair of data sets attains; leaving out a release
is post-processing, so the bound stays true.
"""

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from dp_accounting import NeighboringRelation as Relation
from dp_accounting import dp_event as dp
from scipy.special import bdtr, bdtrc, log_ndtr

from privacy._validate import member
from privacy.accounting import profiles
from privacy.accounting.composition import Parts
from privacy.accounting.discrete import concentrated_rho, sandwich
from privacy.accounting.events import (
    DiscreteGaussianDpEvent,
    DistributedDiscreteGaussianDpEvent,
    LinearOpeningsDpEvent,
    ShuffledBatchesDpEvent,
    SkellamDpEvent,
    check,
)
from privacy.accounting.linear import certified
from privacy.accounting.nested import Composed
from privacy.errors import InvalidInputError

__all__ = ["Lowered", "lower"]

Side = Literal["above", "below"]
_MOST_RELEASES = 2**53
_WIDEST = 8.0  # mu of a Gaussian on a grid
_MOST_PIECES = 2**40  # of a Gaussian wider than any grid
_WIDEST_SKELLAM = 20_000.0  # standard deviation whose masses are still computed one by one
_BESSEL = 1e-11  # more than the error of a Bessel function does to a delta
_ADDITIVE = (profiles.Gaussian, profiles.Laplace, profiles.DiscreteLaplace, profiles.Skellam)


@dataclass(frozen=True)
class Lowered:
    """An event tree as profiles.

    Unsampled Gaussians have no place among ``others``: whatever their order and their nesting, all
    that counts of them is the one Gaussian that they are together. So a tree and its flattening are
    one value, up to rounding.

    Attributes:
      gaussian_mu: Root of the sum of the squared mu of all unsampled Gaussians.
      others: All other profiles and how many such releases, each profile once.
      slack: kappa: logarithm of the factor by which real probabilities may differ.
      rho: Concentrated DP of the whole, sampling ignored (with ``xi``); infinite where none holds.
      xi: See ``rho``.
      narrow: Whether some noise is too narrow, or has no profile: then only ``rho`` bounds it.
      unbounded: Whether a release is not private at all.
      lost: What a delta from below must give up for the numbers behind the profiles.
      unknown: A release that nothing is known of from below, by its path; empty if none.
    """

    gaussian_mu: float = 0.0
    others: Parts = ()
    slack: float = 0.0
    rho: float = 0.0
    xi: float = 0.0
    narrow: bool = False
    unbounded: bool = False
    lost: float = 0.0
    unknown: str = ""

    @property
    def mu(self) -> float | None:
        """The mu of the whole where it is one Gaussian (or nothing), else None."""
        return None if self.others else self.gaussian_mu

    @property
    def parts(self) -> Parts:
        """All profiles and their counts, as they are composed.

        Beside others a wide Gaussian goes on a grid: as several narrow ones, whose losses are
        floats.
        """
        if self.gaussian_mu == 0:
            return self.others
        if not self.others:
            return ((profiles.Gaussian(self.gaussian_mu), 1),)
        squares = self.gaussian_mu**2
        several = min(max(1, math.ceil(squares / _WIDEST**2)), _MOST_PIECES)
        return ((profiles.Gaussian(math.sqrt(squares / several)), several), *self.others)

    @property
    def count(self) -> int:
        """Number of releases that are composed."""
        return sum(n for _, n in self.parts)


def lower(event: dp.DpEvent, relation: Relation, side: Side) -> Lowered:
    """Turn an event tree into profiles; every public function's event and relation pass here.

    Raises:
      InvalidInputError: The event can't be accounted for, ``relation`` is no member of the
        enumeration, or a release has no sound bound under it; the message names it.
    """
    member(Relation, relation=relation)
    check(event)
    return _lower(event, relation, side, "event")


def _lower(event: dp.DpEvent, relation: Relation, side: Side, path: str) -> Lowered:
    match event:
        case dp.NoOpDpEvent():
            return Lowered()
        case dp.NonPrivateDpEvent():
            return Lowered(unbounded=True, rho=math.inf)
        case dp.SelfComposedDpEvent():
            inner = _lower(event.event, relation, side, f"{path}.event")
            if inner.count * event.count > _MOST_RELEASES:
                raise InvalidInputError(
                    f"Expected {path}.count={event.count} times the {inner.count} releases inside "
                    "to be at most 2^53."
                )
            return _repeat(inner, event.count)
        case dp.ComposedDpEvent():
            found = (
                _lower(e, relation, side, f"{path}.events[{i}]") for i, e in enumerate(event.events)
            )
            return _merge(found)
        case dp.PoissonSampledDpEvent():
            return _poisson(event, relation, side, path)
        case dp.SampledWithoutReplacementDpEvent():
            return _fixed_size(event, relation, side, path)
        case ShuffledBatchesDpEvent():
            return _shuffled(event, relation, side, path)
        case dp.TruncatedSubsampledGaussianDpEvent():
            return _truncated(event, relation, side, path)
        case _:
            return _leaf(event, relation, side, path)


def _leaf(event: dp.DpEvent, relation: Relation, side: Side, path: str) -> Lowered:
    """One release without sampling."""
    # Replacing a patient removes one vector and adds another: twice the distance.
    factor = 2 if relation is Relation.REPLACE_ONE else 1
    match event:
        case dp.GaussianDpEvent():
            mu = factor / event.noise_multiplier
            return _one(profiles.Gaussian(mu), rho=mu**2 / 2)
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
            return _one(profiles.Laplace(shift), rho=shift**2 / 2)  # Bun, Steinke 2016, Prop. 1.4
        case dp.DiscreteLaplaceDpEvent():
            shift = factor * event.sensitivity
            rho = (event.noise_parameter * shift) ** 2 / 2
            return _one(profiles.DiscreteLaplace(event.noise_parameter, shift), rho=rho)
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
    found = sandwich(std=std, radius=radius, coordinates=coordinates, contributors=contributors)
    rho = concentrated_rho(
        std=std, radius=radius, coordinates=coordinates, contributors=contributors
    )
    if side == "below":
        if found.mu_below == 0:
            return Lowered(unknown=path)
        return _one(profiles.Gaussian(found.mu_below), slack=found.slack_below, rho=rho)
    if math.isinf(found.mu_above):
        return Lowered(rho=rho, narrow=True)
    return _one(profiles.Gaussian(found.mu_above), slack=found.slack_above, rho=rho)


def _linear(event: LinearOpeningsDpEvent, factor: int, side: Side, path: str) -> Lowered:
    """Part of a Gaussian; with P <= e^k P' and Q >= e^-k Q', divergences rise by at most 3 k."""
    if side == "below":
        return Lowered(unknown=path)
    mu, slack = certified(event, factor=factor)
    if math.isinf(mu):
        return Lowered(rho=math.inf, narrow=True)
    return Lowered(gaussian_mu=mu, slack=slack, rho=mu**2 / 2, xi=3 * slack)


def _skellam(event: SkellamDpEvent, factor: int, side: Side, path: str) -> Lowered:
    r"""From below: the exact law where the patient's vector lies along one coordinate.

    From above, Agarwal, Kairouz, Liu 2021, Theorem 3.5: whole :math:`\alpha`, variance :math:`v`.

    :math:`D_\alpha \le \frac{\alpha D^2}{2v} + \min\{\frac{(2\alpha-1)D^2+6D_1}{4v^2},
    \frac{3D_1}{2v}\}`, with L1 distance :math:`D_1 \le \min(\sqrt d D, D^2)`.
    """
    std = float(event.noise_multiplier) * event.radius
    if side == "below":
        if std > _WIDEST_SKELLAM:
            return Lowered(unknown=path)
        exact = profiles.Skellam(std**2, factor * event.radius)
        return Lowered(others=((exact, 1),), lost=_BESSEL)
    d2 = factor * event.radius
    d1 = min(math.sqrt(event.dim) * d2, d2**2)
    v = std**2
    first = d2**2 / (2 * v) + d2**2 / (2 * v**2), (6 * d1 - d2**2) / (4 * v**2)
    second = d2**2 / (2 * v), 3 * d1 / (2 * v)
    typical = 16  # either holds for every alpha; take what is smaller at an ordinary one
    rho, xi = min(first, second, key=lambda bound: bound[0] * typical + bound[1])
    return Lowered(rho=rho, xi=max(xi, 0.0), narrow=True)


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
    own, other = 1 - p * (k - 1) / k, p / k
    if relation is Relation.REPLACE_ONE:
        masses = (own, other), (other, own), ((k - 2) * other, (k - 2) * other)
    else:
        masses = (own, 1 / k), ((k - 1) * other, (k - 1) / k), (0.0, 0.0)
    largest = max(abs(math.log(a / b)) for a, b in masses if a > 0)
    return _one(profiles.Finite(masses), rho=largest**2 / 2)


def _poisson(event: dp.PoissonSampledDpEvent, relation: Relation, side: Side, path: str) -> Lowered:
    q = float(event.sampling_probability)
    inner = _lower(event.event, relation, side, f"{path}.event")
    if q == 0 or (not inner.parts and not inner.narrow and not inner.unbounded):
        return Lowered()
    if q == 1:
        return inner
    if inner.narrow or inner.unbounded or _opened_together(event.event):
        # A mixture over samples is no worse than its worst member, and may be better.
        return inner if side == "above" else Lowered(unknown=path)
    profile, n = inner.parts[0]
    single = len(inner.parts) == 1 and n == 1
    if relation is Relation.REPLACE_ONE:
        if single and isinstance(profile, profiles.Gaussian):
            return _sampled(inner, profiles.SampledGaussianReplace(q, profile.mu / 2))
        if single and isinstance(profile, profiles.SampledGaussianReplace):
            joint = profiles.SampledGaussianReplace(q * profile.prob, profile.mu)
            return _sampled(inner, joint)
        if side == "below":
            # One who is replaced by a record of no influence: as if removed, at half the distance.
            removed = _lower(event.event, Relation.ADD_OR_REMOVE_ONE, side, f"{path}.event")
            if _additive(inner) and len(removed.parts) == 1 and removed.count == 1:
                return _sampled(removed, profiles.Sampled(q, removed.parts[0][0]))
            return Lowered(unknown=path)
        if not all(isinstance(p, _ADDITIVE) for p, _ in inner.parts):
            raise InvalidInputError(
                f"{path} samples a {type(event.event).__name__}, for which no sound bound is known "
                "under REPLACE_ONE. Account for it under ADD_OR_REMOVE_ONE, or sample once."
            )
        return _sampled(inner, profiles.SampledReplace(q, profile if single else _nest(inner)))
    if relation is Relation.REPLACE_SPECIAL and _answers(event.event):
        raise InvalidInputError(
            f"{path} samples randomised response: an answer that was not sampled is missing, not "
            "special. Account for it without the sampling."
        )
    if single and isinstance(profile, profiles.Sampled):
        return _sampled(inner, profiles.Sampled(q * profile.prob, profile.inner))
    if single:
        return _sampled(inner, profiles.Sampled(q, profile))
    if side == "below":
        return Lowered(unknown=path)
    return _sampled(inner, profiles.Sampled(q, _nest(inner)))


def _fixed_size(
    event: dp.SampledWithoutReplacementDpEvent, relation: Relation, side: Side, path: str
) -> Lowered:
    """From below: all others lie opposite to the patient, who is replaced by one like them.

    Then the sum is that of the sample's size, moved by the whole distance where the patient is
    drawn: a sampled release, exactly.
    """
    if relation is not Relation.REPLACE_ONE:
        raise InvalidInputError(
            f"{path} draws samples of a fixed size: a patient's coming or going changes who else "
            "is drawn. Account for it under REPLACE_ONE."
        )
    q = event.sample_size / event.source_dataset_size
    inner = _lower(event.event, relation, side, f"{path}.event")
    if q == 0 or (not inner.parts and not inner.narrow and not inner.unbounded):
        return Lowered()
    if q == 1:
        return inner
    if inner.narrow or inner.unbounded or _opened_together(event.event):
        return inner if side == "above" else Lowered(unknown=path)
    profile, n = inner.parts[0]
    single = len(inner.parts) == 1 and n == 1
    if side == "below":
        known = single and _additive(inner)
        return _sampled(inner, profiles.Sampled(q, profile)) if known else Lowered(unknown=path)
    return _sampled(inner, profiles.SampledReplace(q, profile if single else _nest(inner)))


def _shuffled(event: ShuffledBatchesDpEvent, relation: Relation, side: Side, path: str) -> Lowered:
    """Given the order, a patient takes part in one batch: the pass costs one of its events.

    From below: all other patients pull one way, so that the largest batch total gives the patient
    away (Chua et al. 2024, "How private are DP-SGD implementations?", Section 4). The total is
    binned, which is post-processing. The patient's batch is two sensitivities above the others;
    without the patient (REPLACE_SPECIAL) one, and with a patient like the others none.
    """
    if relation is Relation.ADD_OR_REMOVE_ONE:
        raise InvalidInputError(
            f"{path} shuffles patients into batches: a patient's coming or going moves the others. "
            "Account for it under REPLACE_SPECIAL or REPLACE_ONE."
        )
    inner = _lower(event.event, relation, side, f"{path}.event")
    if side == "above" or event.batches == 1:
        return inner
    if not inner.mu:
        return Lowered(unknown=path)
    shifts = (2 * inner.mu, inner.mu) if relation is Relation.REPLACE_SPECIAL else (inner.mu, 0.0)
    edges = np.linspace(-10.0, 10.0 + shifts[0], 400)
    others = (event.batches - 1) * log_ndtr(edges)
    with_, without = (-np.expm1(log_ndtr(edges - shift) + others) for shift in shifts)  # P(max > C)
    p, q = (-np.diff(above, prepend=1.0, append=0.0) for above in (with_, without))
    masses = tuple((float(a), float(b)) for a, b in zip(p, q, strict=True) if a > 0 and b > 0)
    return _one(profiles.Finite(masses), rho=inner.rho, slack=inner.slack * event.batches)


def _truncated(
    event: dp.TruncatedSubsampledGaussianDpEvent, relation: Relation, side: Side, path: str
) -> Lowered:
    """Bound it as dp-accounting does (Ganesh et al. 2025, arXiv 2508.15089, Section 4).

    From below: all others have no influence, and the patient is in the batch where it is drawn and
    not cut away.
    """
    if relation is Relation.REPLACE_ONE:
        raise InvalidInputError(
            f"{path} truncates its batches: it has a bound under ADD_OR_REMOVE_ONE and "
            "REPLACE_SPECIAL only."
        )
    q, mu = float(event.sampling_probability), 1 / event.noise_multiplier
    if q == 0:
        return Lowered()
    n, most = event.dataset_size, event.truncated_batch_size
    if side == "below":
        # q E[min(1, most / batch)], given that the patient is drawn; a hair less.
        stays = q * float(bdtr(min(most, n) - 1, n - 1, q)) + float(bdtrc(most, n, q)) * most / n
        stays = min(1.0, stays * (1 - 1e-9))
        return _one(profiles.Sampled(stays, profiles.Gaussian(mu)), rho=mu**2 / 2)
    full = float(bdtrc(most - 1, n - 1, q))  # the batch is cut, given that the patient is drawn
    plain = profiles.Sampled(q, profiles.Gaussian(mu)) if q < 1 else profiles.Gaussian(mu)
    if full == 0:
        return _one(plain, rho=mu**2 / 2)
    kept = min(1.0, float(bdtrc(most, n, q)) * most / full / n)
    cut = profiles.SampledGaussianReplace(kept, 2 * mu)
    # A cut batch may exchange the patient for another: twice the distance.
    return _one(profiles.Mixture(((full, cut), (1 - full, plain))), rho=2 * mu**2)


def _additive(inner: Lowered) -> bool:
    return all(isinstance(profile, _ADDITIVE) for profile, _ in inner.parts)


def _answers(event: dp.DpEvent) -> bool:
    return _contains(event, dp.RandomizedResponseDpEvent)


def _opened_together(event: dp.DpEvent) -> bool:
    """Whether it is part of a cost that is only known as a whole: no sampling amplifies a part."""
    return _contains(event, LinearOpeningsDpEvent)


def _contains(event: dp.DpEvent, kind: type[dp.DpEvent]) -> bool:
    if isinstance(event, kind):
        return True
    if isinstance(event, dp.ComposedDpEvent):
        return any(_contains(e, kind) for e in event.events)
    child = getattr(event, "event", None)
    return child is not None and _contains(child, kind)


def _one(profile: profiles.Profile, *, rho: float, slack: float = 0.0) -> Lowered:
    if isinstance(profile, profiles.Gaussian):
        return Lowered(gaussian_mu=float(profile.mu), rho=rho, slack=slack)
    return Lowered(others=((profile, 1),), rho=rho, slack=slack)


def _sampled(inner: Lowered, profile: profiles.Profile) -> Lowered:
    return Lowered(
        others=((profile, 1),), slack=inner.slack, rho=inner.rho, xi=inner.xi, lost=inner.lost
    )


def _nest(inner: Lowered) -> Composed:
    return Composed(inner.parts)


def _repeat(inner: Lowered, times: int) -> Lowered:
    if times == 0:
        return Lowered()
    return dataclasses.replace(
        inner,
        gaussian_mu=inner.gaussian_mu * math.sqrt(times),
        others=tuple((profile, n * times) for profile, n in inner.others),
        slack=inner.slack * times,
        rho=inner.rho * times,
        xi=inner.xi * times,
        lost=inner.lost * times,
    )


def _merge(found: Iterable[Lowered]) -> Lowered:
    every = tuple(found)
    counts: dict[profiles.Profile, int] = {}
    for profile, n in (part for one in every for part in one.others):
        counts[profile] = counts.get(profile, 0) + n
    return Lowered(
        gaussian_mu=math.sqrt(math.fsum(one.gaussian_mu**2 for one in every)),
        others=tuple(counts.items()),
        slack=math.fsum(one.slack for one in every),
        rho=math.fsum(one.rho for one in every),
        xi=math.fsum(one.xi for one in every),
        narrow=any(one.narrow for one in every),
        unbounded=any(one.unbounded for one in every),
        lost=math.fsum(one.lost for one in every),
        unknown=next((one.unknown for one in every if one.unknown), ""),
    )
