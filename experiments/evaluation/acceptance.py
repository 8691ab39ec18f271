"""Is a federated model acceptable to every hospital? A table of stated thresholds and verdicts.

The thresholds are conventions (``experiments.margins``). A check *passes* when its whole interval
is within them, *fails* when it is all outside and stays so under Holm's correction over all judged
checks, and is *open* otherwise: of seventy checks of a model whose every risk is right one would be
outside by chance almost surely. Hospitals with fewer than 50 of a class are told as *too few*,
never judged.

The calibration error has no interval, because it is above 0 for right risks too. It passes below
its threshold, and fails where right risks would hardly ever show as much (``ece_by_chance``).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal

import numpy as np

from experiments.evaluation.calibration_slopes import calibration, ece_by_chance
from experiments.evaluation.discrimination import auc, bootstrap_auc, bootstrap_difference
from experiments.evaluation.scored import Estimate, Scored
from experiments.evaluation.several_tests import holm, p_beyond
from experiments.margins import (
    AUC_MARGIN,
    ECE,
    ECE_SMALL,
    ENOUGH,
    EXPECTED_OVER_OBSERVED,
    IN_THE_LARGE,
    LEVEL,
    PRIVACY_COST,
    SLOPE,
    SMALL,
    TIER_GAP,
    TIER_GAP_OVER_POOLED,
)
from privacy.errors import InvalidInputError

__all__ = ["AcceptanceCheck", "acceptance"]

CheckVerdict = Literal["pass", "fail", "open", "too few"]
_Z = NormalDist().inv_cdf(0.975)
_CHANCE_DRAWS = 10_000  # so that a p-value may be small enough for Holm's first step


@dataclass(frozen=True)
class AcceptanceCheck:
    """One line of the table.

    Attributes:
      rule: What is asked.
      where: The hospital, or ``all``.
      value: What was measured, in the rule's unit; None where it does not exist.
      bound: What it is held against, in words.
      verdict: ``pass``, ``fail``, ``open`` (the interval holds the margin) or ``too few``.
      lower: Lower end of the value's 95 % interval; None: without one.
      upper: Upper end.
    """

    rule: str
    where: str
    value: float | None
    bound: str
    verdict: CheckVerdict
    lower: float | None = None
    upper: float | None = None


def acceptance(
    federated: Mapping[str, Scored],
    *,
    local: Mapping[str, Scored],
    pooled: Mapping[str, Scored],
    recalibrated: Mapping[str, Scored],
    unprotected: Mapping[str, Scored] | None = None,
    tiers: Mapping[str, str] | None = None,
    replicates: int = 1_000,
    seed: int = 0,
) -> tuple[AcceptanceCheck, ...]:
    """Return the table; all arguments score the same patients in the same order.

    Guarantee (a test in ``tests/experiments/evaluation/test_acceptance.py``): of a model whose
    every risk is right any check fails with a probability of about 5 % at most, however many there
    are.

    Args:
      federated: Scores of the federated model.
      local: Of each hospital's own model.
      pooled: Of the model of all patients in one place.
      recalibrated: Of the federated model after each hospital's local recalibration.
      unprotected: Of the federation without privacy; None leaves the cost of privacy out.
      tiers: The tier of each hospital; None leaves the gap between tiers out.
      replicates: Draws of the paired bootstrap.
      seed: An experiment's seed.

    Raises:
      InvalidInputError: The arguments do not score the same patients.
    """
    checks: list[_Judged] = []
    for name, site in federated.items():
        for other, theirs in (("local", local), ("pooled", pooled)):
            if name not in theirs:
                raise InvalidInputError(f"The {other} scores lack hospital {name!r}.")
            rule, bound = f"AUC not below {other}", f">= -{AUC_MARGIN}"
            if min(site.positives, site.negatives) < ENOUGH:
                checks.append(_too_few(rule, name, bound))
                continue
            difference = bootstrap_difference(
                [{name: site}], [{name: theirs[name]}], replicates=replicates, seed=seed
            )
            checks.append(_within(rule, name, difference, -AUC_MARGIN, math.inf))
        checks += _calibrated(name, recalibrated[name])
    if tiers is not None:
        gap = _gap(federated, tiers, replicates, seed)
        allowed = min(TIER_GAP, _gap(pooled, tiers, 2, seed).value + TIER_GAP_OVER_POOLED)
        checks.append(_within("AUC gap between tiers", "all", gap, -math.inf, allowed))
    if unprotected is not None:
        cost = bootstrap_difference([federated], [unprotected], replicates=replicates, seed=seed)
        rule = "AUC not below unprotected"
        checks.append(_within(rule, "all", cost, -PRIVACY_COST, math.inf))
    return _corrected(checks)


@dataclass(frozen=True)
class _Judged:
    """A check, and the p-value of its being outside; None: it is not outside, or not judged."""

    check: AcceptanceCheck
    p_value: float | None = None


def _corrected(checks: Sequence[_Judged]) -> tuple[AcceptanceCheck, ...]:
    """What is outside fails only if it survives Holm over all judged checks."""
    judged = [k for k, one in enumerate(checks) if one.check.verdict != "too few"]
    values = [1.0 if (p := checks[k].p_value) is None else p for k in judged]
    failed = {judged[i] for i in holm(values, level=2 * LEVEL)}
    return tuple(
        replace(one.check, verdict="fail") if k in failed and one.p_value is not None else one.check
        for k, one in enumerate(checks)
    )


def _calibrated(name: str, site: Scored) -> list[_Judged]:
    rules = ("calibration in the large", "expected / observed", "calibration slope", "ECE")
    if min(site.positives, site.negatives) < ENOUGH:
        return [_too_few(rule, name, "after recalibration") for rule in rules]
    figures = calibration(site)
    limit = ECE_SMALL if len(site) < SMALL else ECE
    return [
        _within(rules[0], name, figures.in_the_large, -IN_THE_LARGE, IN_THE_LARGE),
        _within(rules[1], name, _expected_over_observed(site), *EXPECTED_OVER_OBSERVED),
        _within(rules[2], name, figures.slope, *SLOPE),
        _small(
            AcceptanceCheck(rules[3], name, figures.ece, f"<= {limit:g}", "pass"),
            site,
            figures.ece,
            limit,
        ),
    ]


def _small(check: AcceptanceCheck, site: Scored, ece: float, limit: float) -> _Judged:
    if ece <= limit:
        return _Judged(check)
    chance = ece_by_chance(site, draws=_CHANCE_DRAWS)
    p_value = float((1 + (chance >= ece).sum()) / (1 + len(chance)))
    return _Judged(replace(check, verdict="open"), p_value)


def _expected_over_observed(site: Scored) -> Estimate:
    """With the binomial spread of the observed (Debray et al. 2017, BMJ 356:i6460, on log E/O)."""
    ill, patients = site.positives, len(site)
    value = float(site.risks.sum()) / ill
    spread = math.exp(_Z * math.sqrt((1 - ill / patients) / ill))
    return Estimate(value, value / spread, value * spread, "binomial", 0.95)


def _too_few(rule: str, where: str, bound: str) -> _Judged:
    return _Judged(AcceptanceCheck(rule, where, None, bound, "too few"))


def _within(rule: str, where: str, value: Estimate | None, low: float, high: float) -> _Judged:
    """Whether a whole interval is between two bounds, or surely not."""
    bound = f"{low:g} to {high:g}"
    if high == math.inf:
        bound = f">= {low:g}"
    elif low == -math.inf:
        bound = f"<= {high:g}"
    if value is None:  # classes that a line separates: no slope exists
        return _Judged(AcceptanceCheck(rule, where, None, bound, "open"))
    check = AcceptanceCheck(rule, where, value.value, bound, "open", value.lower, value.upper)
    if low <= value.lower and value.upper <= high:
        return _Judged(replace(check, verdict="pass"))
    if value.upper < low or value.lower > high:
        return _Judged(check, 2 * p_beyond(value, low if value.value < low else high))
    return _Judged(check)


def _gap(
    sites: Mapping[str, Scored], tiers: Mapping[str, str], replicates: int, seed: int
) -> Estimate:
    """Best tier's within-site AUC less the worst's; which they are is taken as known."""
    by_tier: dict[str, dict[str, Scored]] = {}
    for name, site in sites.items():
        by_tier.setdefault(tiers[name], {})[name] = site
    ranked = sorted(by_tier.values(), key=auc)
    worst, best = (
        bootstrap_auc(members, replicates=replicates, seed=seed)
        for members in (ranked[0], ranked[-1])
    )
    value = best.value - worst.value
    half = float(np.hypot(best.half_width, worst.half_width)) if len(ranked) > 1 else 0.0
    return Estimate(value, value - half, value + half, "normal", 0.95)
