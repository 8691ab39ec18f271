"""What the paper states of mechanisms alone: computed here, from no record of an experiment."""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

from dp_accounting import (
    DpEvent,
    GaussianDpEvent,
    NeighboringRelation,
    PoissonSampledDpEvent,
    SelfComposedDpEvent,
)

from experiments.run.text import tiny, up
from experiments.studies.design import DELTA, RELATION, Design
from experiments.studies.frontier.own_pace import AsynchronousPoint
from experiments.studies.frontier.risks import FrontierResult
from experiments.studies.people import LINEUP
from privacy.accounting import epsilon as epsilon_of
from privacy.accounting.discrete import sandwich
from privacy.calibration import noise_multiplier
from privacy.reconstruction import success_bound

__all__ = ["theory"]

_UPLOADS = (1, 10, 100, 1000)
_EPSILONS = (1.0, 2.0, 4.0, 8.0)
_SAMPLED_ROUNDS = 100


def theory(frontier: Sequence[FrontierResult]) -> dict[str, Any]:
    """Return the article's formula composed, bounds at equal epsilon, the slack of discreteness."""
    return {"article": _article(), "bounds": _bounds(), "discrete": _discrete(frontier)}


@cache
def _article() -> dict[str, Any]:
    """The article's noise at epsilon 1, were its sensitivity a constant."""
    multiplier = math.sqrt(2 * math.log(1.25 / DELTA))
    rows = []
    for uploads in _UPLOADS:
        event = SelfComposedDpEvent(GaussianDpEvent(multiplier), uploads)
        spent, replaced = (
            epsilon_of(event, delta=DELTA, relation=relation).upper
            for relation in (RELATION, NeighboringRelation.REPLACE_ONE)
        )
        bound = success_bound(event, prior_success=1 / LINEUP, relation=RELATION)
        rows.append(
            {
                "uploads": f"{uploads}",
                "epsilon": up(spent, 2),
                "replace": up(replaced, 2),
                "bound": up(bound),
            }
        )
    return {"multiplier": up(multiplier), "rows": rows}


@cache
def _bounds() -> list[dict[str, str]]:
    """What runs that spend the same epsilon let the best attack do."""

    def full(multiplier: float) -> DpEvent:
        return GaussianDpEvent(multiplier)

    def sampled(prob: float, multiplier: float) -> DpEvent:
        return SelfComposedDpEvent(
            PoissonSampledDpEvent(prob, GaussianDpEvent(multiplier)), _SAMPLED_ROUNDS
        )

    rows = []
    for target in _EPSILONS:
        row = {"epsilon": f"{target:g}"}
        for name, event_at in (
            ("full", full),
            ("tenth", lambda m: sampled(0.1, m)),
            ("hundredth", lambda m: sampled(0.01, m)),
        ):
            multiplier = noise_multiplier(
                event_at, target_epsilon=target, delta=DELTA, relation=RELATION
            )
            bound = success_bound(event_at(multiplier), prior_success=1 / LINEUP, relation=RELATION)
            row[name] = up(bound)
        rows.append(row)
    return rows


def _discrete(frontier: Sequence[FrontierResult]) -> dict[str, str]:
    """The worst slack of the published runs, and the share of variance that the proof gives up."""
    slack, given_up = 0.0, 0.0
    for result in frontier:
        point, m = result.point, result.metrics
        if not m.noise_multiplier or m.epsilon is None or isinstance(point, AsynchronousPoint):
            continue
        std = m.noise_multiplier * m.radius
        sites = len(m.auc_sites or ())
        bounds = sandwich(
            std=std,
            radius=m.radius,
            coordinates=min(m.dim, m.radius**2),
            contributors=sites - point.colluders if point.design is Design.SEALED else 1,
        )
        slack = max(slack, bounds.slack_above * point.training.rounds)
        given_up = max(given_up, 1 - (m.radius / bounds.mu_above / std) ** 2)
    return {"slack": tiny(slack), "given_up": tiny(given_up)}
