"""What each hospital's clinicians ask of a model, and whether sexes and ages are served alike.

Computed from test patients without noise. Inside an experiment that is free; from a real hospital
each count is a release of its own, paid for or marked as unprotected, as the records mark it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from aggregation.data.patients import Patients
from experiments.cohorts import Cohort, Fold
from experiments.evaluation import Scored, bands, calibration, net_benefit, sensitivity_at

__all__ = [
    "BandFigures",
    "SiteFigures",
    "clinical_figures",
    "clinical_table",
    "fairness_figures",
    "fairness_table",
]

THRESHOLDS = (0.2, 0.5)  # risks from which one would treat
SPECIFICITY = 0.8


def clinical_figures(sites: Mapping[str, Scored]) -> dict[str, Any]:
    """Return each hospital's net benefit, sensitivity at a matched specificity, and E/O."""
    figures: dict[str, Any] = {}
    for name, site in sites.items():
        both = site.positives > 0 and site.negatives > 0
        figures[name] = {
            "patients": len(site),
            "negatives": site.negatives,
            "sensitivity": sensitivity_at(site, specificity=SPECIFICITY) if both else None,
            "expected_over_observed": calibration(site).expected_over_observed,
            "net_benefit": {
                f"{t:g}": [net_benefit(site, threshold=t).model,
                           net_benefit(site, threshold=t).treat_all]
                for t in THRESHOLDS
            },
        }  # fmt: skip
    return figures


def fairness_figures(
    sites: Mapping[str, Scored], split: Sequence[Fold], cohort: Cohort
) -> dict[str, Any]:
    """Return for each hospital, or tier, and band of sex or age: AUC, ill, well, mean error.

    ``mean_error`` is the mean predicted risk less the fraction ill: is a band told too much?
    """
    patients = {n: _joined([f.test[n] for f in split]) for n in sites}
    groups: dict[str, list[str]] = {}
    for name in sites:
        groups.setdefault(cohort.tiers[name] if cohort.tiers else name, []).append(name)
    figures: dict[str, Any] = {}
    for group, members in groups.items():
        scored = {n: sites[n] for n in members}
        tested = {n: patients[n] for n in members}
        aucs = bands(scored, tested, cohort.schema)
        errors = bands(scored, tested, cohort.schema, of=_mean_error)
        figures[group] = {
            band: {"auc": value, "ill": ill, "well": well, "mean_error": errors[band][0]}
            for band, (value, ill, well) in aucs.items()
        }
    return figures


def _mean_error(sites: Mapping[str, Scored]) -> float:
    risks = np.concatenate([s.risks for s in sites.values()])
    return float(risks.mean() - np.concatenate([s.outcomes for s in sites.values()]).mean())


def _joined(parts: Sequence[Patients]) -> Patients:
    """All of a hospital's test patients in the order of their numbers."""
    order = np.argsort(np.concatenate([p.ids for p in parts]))
    return Patients.together(parts).take(order)


@dataclass(frozen=True)
class SiteFigures:
    """What a record holds of one hospital (``clinical_figures``).

    Attributes:
      patients: Tested.
      negatives: Of them, without the outcome.
      sensitivity: At the matched specificity; None: a class lacks.
      expected_over_observed: Of the outcomes; None: nobody has it.
      net_benefit: By threshold: the model's, and of treating all.
    """

    patients: int
    negatives: int
    sensitivity: float | None
    expected_over_observed: float | None
    net_benefit: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class BandFigures:
    """What a record holds of one band of sex or age (``fairness_figures``)."""

    auc: float | None
    ill: int
    well: int
    mean_error: float | None


def clinical_table(title: str, sites: Mapping[str, SiteFigures]) -> Table:
    """Net benefit and sensitivity of one rule, a line a hospital, with its negatives."""
    table = Table(title=title, title_justify="left")
    table.add_column("hospital", no_wrap=True)
    headings = ("patients", "negatives", f"TPR at spec {SPECIFICITY:g}", "E/O")
    for heading in (*headings, *(f"benefit at {t:g} (all)" for t in THRESHOLDS)):
        table.add_column(heading, justify="right")
    for name, site in sites.items():
        table.add_row(
            name,
            str(site.patients),
            str(site.negatives),
            _number(site.sensitivity),
            _number(site.expected_over_observed),
            *(f"{model:.2f} ({everybody:.2f})" for model, everybody in site.net_benefit.values()),
        )
    return table


def fairness_table(title: str, groups: Mapping[str, Mapping[str, BandFigures]]) -> Table:
    """AUC and mean error of each band of sex and age, a line a hospital or tier."""
    table = Table(title=f"{title}, AUC (mean error; ill, well)", title_justify="left")
    table.add_column("", no_wrap=True)
    for band in next(iter(groups.values())):
        table.add_column(band, justify="right")
    for group, bands_of in groups.items():
        table.add_row(
            group,
            *(
                f"{_number(b.auc)} ({_number(b.mean_error)}; {b.ill}, {b.well})"
                for b in bands_of.values()
            ),
        )
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
