"""The metrics of a frontier point's record, from its folds, whatever order they came in."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from dp_accounting import (
    ComposedDpEvent,
    DpEvent,
    NonPrivateDpEvent,
    PoissonSampledDpEvent,
    SelfComposedDpEvent,
)

from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.releases import round_event, run_event
from aggregation.sized import sealing_for, wrap_probability_of
from experiments.evaluation import (
    Estimate,
    Scored,
    auc,
    bootstrap_auc,
    bootstrap_runs,
    by_patient,
    pool,
)
from experiments.studies.design import RELATION, Design
from experiments.studies.frontier.point import KEY_HOLDER, FoldResult, FrontierPoint
from experiments.studies.lineups import Trial, risk, worst_risk
from experiments.studies.people import LINEUP
from privacy.accounting import epsilon as epsilon_of
from privacy.reconstruction import success_bound

__all__ = ["by_trait", "cross_validation", "epsilon_spent", "of_models", "repeats_of", "summarise"]

_SEALED_AS = "shares"  # whose bytes stand for runs that were summed in clear
_LISTED = 12  # hospitals whose own AUC a record holds


def summarise(point: FrontierPoint, parts: list[FoldResult]) -> dict[str, Any]:
    """Turn the folds of a point into a record's metrics, whatever order they came in.

    ``risk`` is that of the worst attack, chosen on half of the folds and measured on the others;
    each attack's own figure over all folds stands in ``risks``, and over those targets that
    have a trait, or lack it, in ``risks_by_trait``. Sums that were added in clear are the same
    integers as the sealed ones; bytes and the chance of a wrap are then those of ``shares``.
    """
    parts = sorted(parts, key=lambda part: (part.seed, part.fold))
    trials = [one for part in parts for one in part.trials]
    plan = parts[0].plan
    return {
        **of_models(point, parts),
        "risk": _risk(point, trials),
        "risks": {name: risk(trials, name) for name in point.attacks.attacks if trials},
        "risks_by_trait": by_trait(trials),
        "not_measurable": list(parts[0].unmeasured),
        "prior_success": 1 / LINEUP,
        "adversary": _adversary(point),
        "bound": _bound(point, plan),
        "epsilon": epsilon_spent(run_event(plan, _most_drawn(plan)), delta=plan.delta),
        "noise_multiplier": plan.noise_multiplier,
        "radius": plan.radius,
        "dim": plan.model.dim,
        **_sealed(point, plan),
    }


@runtime_checkable
class CrossValidated(Protocol):
    """What tells how the folds of a point belong together."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """One cross-validation each."""
        ...

    @property
    def folds(self) -> int:
        """Folds of a cross-validation; 1 for a network."""
        ...


def of_models(point: CrossValidated, parts: list[FoldResult]) -> dict[str, Any]:
    """How well the folds' models do on patients whom they have not seen."""
    repeats = repeats_of(point, parts)
    return {
        **_auc_within(point, parts),
        "auc_sites": _sites(repeats),
        "brier": _brier(parts, local=False),
        "brier_local_intercept": _brier(parts, local=True),
        **_published(point, parts),
    }


def repeats_of(point: CrossValidated, parts: list[FoldResult]) -> list[dict[str, Scored]]:
    """The scores of each cross-validation; networks have other patients each, so are put together.

    Patients are in the order of their numbers, so that the bootstrap draws the same ones in every
    cross-validation.
    """
    repeats = [cross_validation([p for p in parts if p.seed == seed]) for seed in point.seeds]
    if point.folds > 1:
        return repeats
    return [
        {
            f"{name} of network {seed}": site
            for seed, sites in zip(point.seeds, repeats, strict=True)
            for name, site in sites.items()
        }
    ]


def cross_validation(parts: Sequence[FoldResult]) -> dict[str, Scored]:
    """One cross-validation's scores, every hospital's in the order of its patients' numbers."""
    folds = [{n: Scored(p.scores[n], t.outcomes) for n, t in p.test.items()} for p in parts]
    return pool(by_patient(folds, parts), {name for p in parts for name in p.pooled})


def _auc_within(point: CrossValidated, parts: list[FoldResult]) -> dict[str, Any]:
    """The AUC of each cross-validation or network, and their mean's interval.

    Networks have other patients each, so that how they differ holds all of their luck.
    """
    runs = [cross_validation([p for p in parts if p.seed == seed]) for seed in point.seeds]
    aucs = [auc(run) for run in runs]
    mean = Estimate.over_runs(aucs) if point.folds == 1 and len(runs) > 1 else _mean_auc(runs)
    return {"auc_within": _interval(mean), "auc_runs": aucs if len(runs) > 1 else []}


def _mean_auc(repeats: Sequence[Mapping[str, Scored]]) -> Estimate:
    """With splits and noise where there are several cross-validations; of one, patients alone."""
    return bootstrap_runs(*repeats)[0] if len(repeats) > 1 else bootstrap_auc(*repeats)


def _published(point: CrossValidated, parts: list[FoldResult]) -> dict[str, Any]:
    """What the published score reaches on the same patients, without any training."""
    if not parts[0].published:
        return {}
    rows = [replace(part, scores=part.published) for part in parts]
    return {"auc_within_published_score": _interval(bootstrap_auc(*repeats_of(point, rows)))}


def _sites(repeats: list[dict[str, Scored]]) -> dict[str, Any] | None:
    """Each hospital's AUC; None where there are too many hospitals to list."""
    if len(repeats[0]) > _LISTED:
        return None
    return {
        name: {
            **_interval(_mean_auc([{name: r[name]} for r in repeats])),
            "negatives": site.negatives,
            "positives": site.positives,
        }
        for name, site in repeats[0].items()
        if min(site.negatives, site.positives) > 0
    }


def _risk(point: FrontierPoint, trials: list[Trial]) -> dict[str, Any] | None:
    if point.design.federated:
        return worst_risk(trials) if trials else None  # every stratum is too small for a line-up
    value, reader = (1.0, "the pool's keeper reads it") if point.design is Design.POOLED else (
        1 / LINEUP, "nothing leaves a hospital")  # fmt: skip
    return {
        "attack": reader,
        "tried": [],
        "chosen_on": 0,
        "value": value,
        "lower": value,
        "upper": value,
        "targets": 0,
        "batches": 0,
        "exact": float(point.design is Design.POOLED),
    }


def by_trait(trials: list[Trial]) -> dict[str, Any]:
    """For each trait and attack: targets who have it, and those who lack it."""
    by_name: dict[str, Any] = {}
    for trait in sorted({trait for one in trials for trait in one.traits}):
        halves = {
            "with": [one for one in trials if trait in one.traits],
            "without": [one for one in trials if trait not in one.traits],
        }
        by_name[trait] = {
            name: {half: risk(ones, name) for half, ones in halves.items() if _enough(ones)}
            for name in dict.fromkeys(one.attack for one in trials)
        }
    return by_name


def _enough(trials: list[Trial]) -> bool:
    return len({one.batch for one in trials}) >= 2


def _adversary(point: FrontierPoint) -> str:
    if not point.design.federated:
        return "none"
    return point.sees or point.adversary


def _brier(parts: list[FoldResult], *, local: bool) -> float:
    """Mean squared error of the risks over all test patients."""
    errors = [
        Scored(p.scores[n] + local * p.intercepts.get(n, 0.0), t.outcomes).risks - t.outcomes
        for p in parts
        for n, t in p.test.items()
    ]
    return float(np.mean(np.concatenate(errors) ** 2))


def _interval(estimate: Estimate) -> dict[str, Any]:
    return {"value": estimate.value, "lower": estimate.lower, "upper": estimate.upper}


def _sealed(point: FrontierPoint, plan: Plan) -> dict[str, Any]:
    """Bytes of one hospital's upload of a round, and how likely any opened sum wraps."""
    if not point.design.federated:
        return {"upload_bytes": 0.0, "wrap_probability": 0.0}
    if point.design is Design.SEALED and plan.scheme == "plain":
        plan = replace(plan, scheme=_SEALED_AS)
    scheme = sealing_for(plan)
    upload = scheme.sealer(plan.hospitals[0]).seal(np.zeros(plan.dim, dtype=np.int64))
    return {
        "upload_bytes": float(len(upload)),
        "wrap_probability": wrap_probability_of(plan, scheme.parameters),
    }


def _most_drawn(plan: Plan) -> str:
    """The hospital whose patients are drawn most often: worst off under sampling."""
    return plan.hospitals[int(np.argmax(plan.sampling_probs))]


def _bound(point: FrontierPoint, plan: Plan) -> float | None:
    """Proven bound on naming a target of the first round, by whoever reads the whole run.

    That the target took part in the attacked round is given, so sampling does not hide it there; in
    all other rounds it does. In passes nothing is given: one takes part in a round of each. Who
    opens single updates meets one hospital's share of the noise only. None: unprotected, any
    success is possible.
    """
    if not point.design.federated:
        return None if point.design is Design.POOLED else 1 / LINEUP
    if point.sees == KEY_HOLDER and plan.noise == NoiseKind.SHARED:
        alone = plan.share_std / plan.radius
        plan = replace(
            plan, noise=NoiseKind.LOCAL, noise_multiplier=alone, colluders=0, scheme="plain"
        )
    every = round_event(plan, _most_drawn(plan))
    if isinstance(every, NonPrivateDpEvent):
        return None
    if plan.pass_rounds is not None:
        run = run_event(plan, _most_drawn(plan))
        return float(success_bound(run, prior_success=1 / LINEUP, relation=RELATION))
    attacked = _unsampled(every)
    rest = [SelfComposedDpEvent(every, plan.rounds - 1)] if plan.rounds > 1 else []
    run = ComposedDpEvent([attacked, *rest])
    return float(success_bound(run, prior_success=1 / LINEUP, relation=RELATION))


def _unsampled(event: DpEvent) -> DpEvent:
    """The same round, given that the target was drawn; of a walk, in each of its steps."""
    if isinstance(event, SelfComposedDpEvent):
        return SelfComposedDpEvent(_unsampled(event.event), event.count)
    return event.event if isinstance(event, PoissonSampledDpEvent) else event


def epsilon_spent(event: DpEvent, *, delta: float) -> dict[str, Any] | None:
    """Certified interval of everything that a hospital released; None: unprotected."""
    if isinstance(event, NonPrivateDpEvent):
        return None
    spent = epsilon_of(event, delta=delta, relation=RELATION)
    return {
        "lower": spent.lower,
        "estimate": spent.estimate,
        "upper": spent.upper,
        "method": spent.method,
    }
