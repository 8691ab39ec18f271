"""Is a federated model acceptable to every hospital? A table of stated thresholds and verdicts.

The thresholds are conventions, chosen before any result: margins well under the between-setting SD
of .055 in AUC found over 469 cardiovascular models (arXiv 2406.08628). A non-inferiority test
*passes* when its whole interval is above the margin, *fails* when it is all below, and is *open*
otherwise; hospitals with fewer than 50 of a class are told as *too few*, never judged.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from experiments.evaluation.discrimination import auc, bootstrap_difference
from experiments.evaluation.reliability import calibration
from experiments.evaluation.scored import Estimate, Scored
from privacy.errors import InvalidInputError

__all__ = ["Check", "acceptance"]

ENOUGH = 50  # of either class, before a hospital is ranked or tested on its own
Verdict = Literal["pass", "fail", "open", "too few"]

AUC_MARGIN = 0.02  # of the federated model against local and pooled ones, per hospital
TIER_GAP = 0.10  # between best and worst tier
TIER_GAP_OVER_POOLED = 0.02
PRIVACY_COST = 0.01  # within-site AUC
IN_THE_LARGE = 0.2  # logits, either way
EXPECTED_OVER_OBSERVED = (0.9, 1.1)
SLOPE = (0.8, 1.2)
ECE, ECE_SMALL, SMALL = 0.05, 0.08, 200  # the looser one below 200 patients


@dataclass(frozen=True)
class Check:
    """One line of the table.

    Attributes:
      rule: What is asked.
      where: The hospital, or ``all``.
      value: What was measured, in the rule's unit; None where it does not exist.
      bound: What it is held against, in words.
      verdict: ``pass``, ``fail``, ``open`` (the interval holds the margin) or ``too few``.
    """

    rule: str
    where: str
    value: float | None
    bound: str
    verdict: Verdict


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
) -> tuple[Check, ...]:
    """Return the table; all arguments score the same patients in the same order.

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
    checks = []
    for name, site in federated.items():
        for other, theirs in (("local", local), ("pooled", pooled)):
            if name not in theirs:
                raise InvalidInputError(f"The {other} scores lack hospital {name!r}.")
            rule, bound = f"AUC not below {other}", f">= -{AUC_MARGIN}"
            if min(site.positives, site.negatives) < ENOUGH:
                checks.append(Check(rule, name, None, bound, "too few"))
                continue
            difference = bootstrap_difference(
                [{name: site}], [{name: theirs[name]}], replicates=replicates, seed=seed
            )
            checks.append(_non_inferior(rule, name, difference, AUC_MARGIN))
        checks += _calibrated(name, recalibrated[name])
    if tiers is not None:
        gap, pooled_gap = _gap(federated, tiers), _gap(pooled, tiers)
        allowed = min(TIER_GAP, pooled_gap + TIER_GAP_OVER_POOLED)
        checks.append(_within("AUC gap between tiers", "all", gap, -1.0, allowed))
    if unprotected is not None:
        cost = bootstrap_difference([federated], [unprotected], replicates=replicates, seed=seed)
        checks.append(_non_inferior("AUC not below unprotected", "all", cost, PRIVACY_COST))
    return tuple(checks)


def _calibrated(name: str, site: Scored) -> list[Check]:
    rules = ("calibration in the large", "expected / observed", "calibration slope", "ECE")
    if min(site.positives, site.negatives) < ENOUGH:
        return [Check(rule, name, None, "after recalibration", "too few") for rule in rules]
    found = calibration(site)
    ece = ECE_SMALL if len(site) < SMALL else ECE
    large = found.in_the_large.value if found.in_the_large else None
    slope = found.slope.value if found.slope else None
    return [
        _within(rules[0], name, large, -IN_THE_LARGE, IN_THE_LARGE),
        _within(rules[1], name, found.expected_over_observed, *EXPECTED_OVER_OBSERVED),
        _within(rules[2], name, slope, *SLOPE),
        _within(rules[3], name, found.ece, 0.0, ece),
    ]


def _within(rule: str, where: str, value: float | None, low: float, high: float) -> Check:
    passed = value is not None and low <= value <= high
    bound = f"<= {high:g}" if low in (-1.0, 0.0) else f"{low:g} to {high:g}"
    return Check(rule, where, value, bound, "pass" if passed else "fail")


def _non_inferior(rule: str, where: str, difference: Estimate, margin: float) -> Check:
    verdict: Verdict = "open"
    if difference.lower >= -margin:
        verdict = "pass"
    elif difference.upper < -margin:
        verdict = "fail"
    return Check(rule, where, difference.value, f">= -{margin:g}", verdict)


def _gap(sites: Mapping[str, Scored], tiers: Mapping[str, str]) -> float:
    """Best tier's within-site AUC less the worst's."""
    by_tier: dict[str, dict[str, Scored]] = {}
    for name, site in sites.items():
        by_tier.setdefault(tiers[name], {})[name] = site
    aucs = [auc(members) for members in by_tier.values()]
    return max(aucs) - min(aucs)
