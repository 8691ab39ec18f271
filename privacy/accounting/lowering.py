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

import numpy as np
from dp_accounting import NeighboringRelation as Relation
from dp_accounting import dp_event as dp
from scipy.special import bdtr, bdtrc, log_ndtr
from scipy.stats import binom

from privacy._validate import member
from privacy.accounting import profiles
from privacy.accounting.allocation import Allocated
from privacy.accounting.concentrated import Concentrated, MomentBound
from privacy.accounting.drawn_runs import selected_log_moments
from privacy.accounting.events import (
    LinearOpeningsDpEvent,
    RandomAllocationDpEvent,
    SeenAllocationDpEvent,
    ShuffledBatchesDpEvent,
    check,
)
from privacy.accounting.lowered import Lowered, Side, merge, one, repeat, sampled
from privacy.accounting.moments import LARGEST_ORDER, log_moments
from privacy.accounting.nested import Composed
from privacy.accounting.unsampled import release
from privacy.errors import InvalidInputError

__all__ = ["lower"]

_MOST_RELEASES = 2**53
_ADDITIVE = (
    profiles.GaussianProfile,
    profiles.LaplaceProfile,
    profiles.DiscreteLaplaceProfile,
    profiles.SkellamOutcomes,
    profiles.DiscreteGaussianOutcomes,
    Concentrated,
)


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
            return repeat(inner, event.count)
        case dp.ComposedDpEvent():
            releases = (
                _lower(e, relation, side, f"{path}.events[{i}]") for i, e in enumerate(event.events)
            )
            return merge(releases)
        case dp.PoissonSampledDpEvent():
            return _poisson(event, relation, side, path)
        case dp.SampledWithoutReplacementDpEvent():
            return _fixed_size(event, relation, side, path)
        case dp.SampledWithReplacementDpEvent():
            return _with_replacement(event, relation, side, path)
        case dp.RepeatAndSelectDpEvent():
            return _selected(event, relation, side, path)
        case ShuffledBatchesDpEvent():
            return _shuffled(event, relation, side, path)
        case RandomAllocationDpEvent() | SeenAllocationDpEvent():
            return _allocated(event, relation, side, path)
        case dp.TruncatedSubsampledGaussianDpEvent():
            return _truncated(event, relation, side, path)
        case _:
            return release(event, relation, side, path)


def _poisson(event: dp.PoissonSampledDpEvent, relation: Relation, side: Side, path: str) -> Lowered:
    q = float(event.sampling_probability)
    inner = _lower(event.event, relation, side, f"{path}.event")
    if q == 0 or (not inner.parts and not inner.unbounded):
        return Lowered()
    if q == 1:
        return inner
    if inner.unbounded or _opened_together(event.event):
        # A mixture over samples is no worse than its worst member, and may be better.
        return inner if side == "above" else Lowered(unknown=path)
    profile, n = inner.parts[0]
    single = len(inner.parts) == 1 and n == 1
    if relation is Relation.REPLACE_ONE:
        if single and isinstance(profile, profiles.GaussianProfile):
            return sampled(inner, profiles.SampledGaussianReplace(q, profile.mu / 2))
        if single and isinstance(profile, profiles.SampledGaussianReplace):
            joint = profiles.SampledGaussianReplace(q * profile.prob, profile.mu)
            return sampled(inner, joint)
        if side == "below":
            # One who is replaced by a record of no influence: as if removed, at half the distance.
            removed = _lower(event.event, Relation.ADD_OR_REMOVE_ONE, side, f"{path}.event")
            if _additive(inner) and len(removed.parts) == 1 and removed.count == 1:
                return sampled(removed, profiles.Sampled(q, removed.parts[0][0]))
            return Lowered(unknown=path)
        if not all(isinstance(p, _ADDITIVE) for p, _ in inner.parts):
            raise InvalidInputError(
                f"{path} samples a {type(event.event).__name__}, for which no sound bound is known "
                "under REPLACE_ONE. Account for it under ADD_OR_REMOVE_ONE, or sample once."
            )
        removed = _lower(event.event, Relation.ADD_OR_REMOVE_ONE, side, f"{path}.event")
        both = profiles.SampledReplace(q, _nest(inner), _nest(removed))
        return sampled(inner, both)
    if relation is Relation.REPLACE_SPECIAL and _answers(event.event):
        raise InvalidInputError(
            f"{path} samples randomised response: an answer that was not sampled is missing, not "
            "special. Account for it without the sampling."
        )
    if single and isinstance(profile, profiles.Sampled):
        return sampled(inner, profiles.Sampled(q * profile.prob, profile.inner))
    if single:
        return sampled(inner, profiles.Sampled(q, profile))
    if side == "below":
        return Lowered(unknown=path)
    return sampled(inner, profiles.Sampled(q, _nest(inner)))


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
    if q == 0 or (not inner.parts and not inner.unbounded):
        return Lowered()
    if q == 1:
        return inner
    if inner.unbounded or _opened_together(event.event):
        return inner if side == "above" else Lowered(unknown=path)
    profile, n = inner.parts[0]
    single = len(inner.parts) == 1 and n == 1
    if side == "below":
        exact = single and _additive(inner)
        return sampled(inner, profiles.Sampled(q, profile)) if exact else Lowered(unknown=path)
    return sampled(inner, profiles.SampledReplace(q, _nest(inner)))


def _with_replacement(
    event: dp.SampledWithReplacementDpEvent, relation: Relation, side: Side, path: str
) -> Lowered:
    r"""A patient is drawn k times with a binomial chance, and then moves the sum k times as far.

    :math:`\delta(\gamma) \le \sum_{k \ge 1} P(k) \delta_k(\gamma')`, :math:`\gamma' = 1 + (\gamma -
    1) / P(k \ge 1)` (Balle, Barthe and Gaboardi 2018, Theorem 10). Gaussians alone are known for
    every k.
    """
    if relation is not Relation.REPLACE_ONE:
        raise InvalidInputError(
            f"{path} draws samples of a fixed size: a patient's coming or going changes who else "
            "is drawn. Account for it under REPLACE_ONE."
        )
    inner = _lower(event.event, relation, side, f"{path}.event")
    n, m = event.source_dataset_size, event.sample_size
    if m == 0 or (not inner.parts and not inner.unbounded):
        return Lowered()
    if side == "below":
        return Lowered(unknown=path)
    if inner.unbounded:
        return inner
    if inner.mu is None or inner.slack:
        raise InvalidInputError(
            f"{path} draws with replacement, where {type(event.event).__name__} has no bound: a "
            "patient may be drawn several times. Use a GaussianDpEvent, or "
            "SampledWithoutReplacementDpEvent."
        )
    drawn = -math.expm1(m * math.log1p(-1 / n)) if n > 1 else 1.0
    most = int(binom.isf(1e-15, m, 1 / n)) + 40 if n > 1 else m
    times = range(1, min(m, most) + 1)
    weights = [float(binom.pmf(k, m, 1 / n)) / drawn for k in times]
    # More often than that hardly anybody is drawn; whoever is, at most m times.
    beyond = float(binom.sf(times[-1], m, 1 / n)) / drawn
    parts = tuple(
        (weight, profiles.GaussianProfile(inner.gaussian_mu * k))
        for weight, k in ((*zip(weights, times, strict=True), (beyond, m)))
        if weight > 0
    )
    rho = (inner.gaussian_mu * m) ** 2 / 2
    mixture = profiles.MixtureProfile(parts)
    return one(profiles.SampledReplace(drawn, mixture) if drawn < 1 else mixture, rho=rho)


def _selected(
    event: dp.RepeatAndSelectDpEvent, relation: Relation, side: Side, path: str
) -> Lowered:
    """The best of a random number of runs (``drawn_runs``), of which moments alone are known."""
    inner = _lower(event.event, relation, side, f"{path}.event")
    if event.mean == 1 or (not inner.parts and not inner.unbounded):
        return inner
    if side == "below":
        return Lowered(unknown=path)
    orders = np.arange(LARGEST_ORDER + 1)
    one_run = math.inf if inner.unbounded else log_moments(_nest(inner))
    # P <= e^slack P' and Q >= e^-slack Q' in each of the moment's 2 k - 1 powers.
    one_run = one_run + np.maximum(2 * orders - 1, 0) * inner.slack
    best_moments = selected_log_moments(
        one_run + np.zeros(len(orders)), mean=float(event.mean), shape=float(event.shape)
    )
    if not np.isfinite(best_moments[2:]).any():
        return Lowered(unbounded=True, rho=math.inf)
    return one(MomentBound(tuple(best_moments.tolist())), rho=math.inf)


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
    return one(profiles.FiniteOutcomes(masses), rho=inner.rho, slack=inner.slack * event.batches)


def _allocated(
    event: RandomAllocationDpEvent | SeenAllocationDpEvent,
    relation: Relation,
    side: Side,
    path: str,
) -> Lowered:
    """Given its step, a unit costs one of the events; not knowing it lowers that (``allocation``).

    Nothing lowers it where the step is seen, where only Renyi divergences are known of one (narrow
    Skellam noise, for one), or where a record is replaced: the pass costs one event then, by joint
    convexity.
    """
    if relation is Relation.REPLACE_SPECIAL and _answers(event.event):
        raise InvalidInputError(
            f"{path} allocates randomised response: an answer in another step is missing, not "
            "special. Account for it without the allocation."
        )
    inner = _lower(event.event, relation, side, f"{path}.event")
    seen = isinstance(event, SeenAllocationDpEvent)
    if seen or event.steps == 1 or (not inner.parts and not inner.unbounded):
        return inner
    whole = inner.unbounded or inner.by_moments or _opened_together(event.event)
    if side == "above" and (whole or relation is Relation.REPLACE_ONE):
        return inner
    if side == "below" and relation is Relation.REPLACE_ONE and _additive(inner):
        # One who is replaced by a record of no influence: as if removed, at half the distance.
        inner = _lower(event.event, Relation.ADD_OR_REMOVE_ONE, side, f"{path}.event")
    elif side == "below" and (whole or relation is Relation.REPLACE_ONE):
        return Lowered(unknown=path)
    if side == "below" and inner.count != 1:
        return Lowered(unknown=path)
    allocated = sampled(inner, Allocated(event.steps, _nest(inner), attained=side == "below"))
    # Each step's real probabilities may differ by the slack, and all steps are seen.
    return dataclasses.replace(
        allocated, slack=inner.slack * event.steps, lost=inner.lost * event.steps
    )


def _truncated(
    event: dp.TruncatedSubsampledGaussianDpEvent, relation: Relation, side: Side, path: str
) -> Lowered:
    """Bound it as dp-accounting does (Ganesh et al. 2025, arXiv 2508.15089, Section 4).

    From below: all others have no influence, and the patient is in the batch where it is drawn and
    not cut away. So the ends are far apart where batches are cut: with batches of 100 on average,
    1,000 rounds and noise multiplier 1, 2.9 times (delta 1e-5) to 3.6 times (1e-15) for at most 120
    patients; 1.003 to 2.1 times for 150; for 200 they meet.
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
    cut = float(bdtrc(most, n, q)) if most < n else 0.0  # no binomial goes beyond its own end
    if side == "below":
        # q E[min(1, most / batch)], given that the patient is drawn; a hair less.
        stays = q * float(bdtr(min(most, n) - 1, n - 1, q)) + cut * most / n
        stays = min(1.0, stays * (1 - 1e-9))
        return one(profiles.Sampled(stays, profiles.GaussianProfile(mu)), rho=mu**2 / 2)
    # The batch is cut, given that the patient is drawn.
    full = float(bdtrc(most - 1, n - 1, q)) if most < n else 0.0
    plain = (
        profiles.Sampled(q, profiles.GaussianProfile(mu)) if q < 1 else profiles.GaussianProfile(mu)
    )
    if full == 0:
        return one(plain, rho=mu**2 / 2)
    kept = min(1.0, cut * most / full / n)
    replaced = profiles.SampledGaussianReplace(kept, 2 * mu)
    # A cut batch may exchange the patient for another: twice the distance.
    return one(profiles.MixtureProfile(((full, replaced), (1 - full, plain))), rho=2 * mu**2)


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


def _nest(inner: Lowered) -> profiles.Profile:
    if inner.count == 1:
        return inner.parts[0][0]
    return Composed(inner.parts)
