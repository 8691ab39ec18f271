"""What each hospital's clinicians ask of a model, and whether sexes and ages are served alike.

Computed from test patients without noise. Inside an experiment that is free; from a real hospital
each count is a release of its own, paid for or marked as unprotected, as the records mark it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from aggregation.patients import Patients
from experiments.cohorts import Cohort, Fold, called
from experiments.evaluation import Scored, bands, calibration, net_benefit, sensitivity_at
from experiments.run.record import Record

__all__ = ["clinical_figures", "fairness_figures", "tables"]

THRESHOLDS = (0.2, 0.5)  # risks from which one would treat
SPECIFICITY = 0.8


def clinical_figures(sites: Mapping[str, Scored]) -> dict[str, Any]:
    """Return each hospital's net benefit, sensitivity at a matched specificity, and E/O."""
    found: dict[str, Any] = {}
    for name, site in sites.items():
        both = site.positives > 0 and site.negatives > 0
        found[name] = {
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
    return found


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
    found: dict[str, Any] = {}
    for group, members in groups.items():
        own = {n: sites[n] for n in members}
        theirs = {n: patients[n] for n in members}
        whole = bands(own, theirs, cohort.schema)
        errors = bands(own, theirs, cohort.schema, of=_mean_error)
        found[group] = {
            band: {"auc": value, "ill": ill, "well": well, "mean_error": errors[band][0]}
            for band, (value, ill, well) in whole.items()
        }
    return found


def _mean_error(sites: Mapping[str, Scored]) -> float:
    risks = np.concatenate([s.risks for s in sites.values()])
    return float(risks.mean() - np.concatenate([s.outcomes for s in sites.values()]).mean())


def _joined(parts: Sequence[Patients]) -> Patients:
    """All of a hospital's test patients in the order of their numbers."""
    ids = np.concatenate([p.ids for p in parts])
    whole = Patients(
        np.concatenate([p.features for p in parts]),
        np.concatenate([p.outcomes for p in parts]),
        ids,
    )
    return whole.take(np.argsort(ids))


def clinical_table(record: Record) -> Table:
    """Net benefit and sensitivity of one rule, a line a hospital, with its negatives."""
    table = Table(
        title=f"{called(record.config['cohort'])}: {record.config['rule']}, local intercepts",
        title_justify="left",
    )
    table.add_column("hospital", no_wrap=True)
    headings = ("patients", "negatives", f"TPR at spec {SPECIFICITY:g}", "E/O")
    for heading in (*headings, *(f"benefit at {t:g} (all)" for t in THRESHOLDS)):
        table.add_column(heading, justify="right")
    for name, m in record.metrics["clinical"].items():
        table.add_row(
            name,
            str(m["patients"]),
            str(m["negatives"]),
            _number(m["sensitivity"]),
            _number(m["expected_over_observed"]),
            *(f"{ours:.2f} ({everybody:.2f})" for ours, everybody in m["net_benefit"].values()),
        )
    return table


def fairness_table(record: Record) -> Table:
    """AUC and mean error of each band of sex and age, a line a hospital or tier."""
    table = Table(
        title=(
            f"{called(record.config['cohort'])}: {record.config['rule']}, AUC (mean error; ill, "
            "well)"
        ),
        title_justify="left",
    )
    found = record.metrics["fairness"]
    table.add_column("", no_wrap=True)
    for band in next(iter(found.values())):
        table.add_column(band, justify="right")
    for group, own in found.items():
        table.add_row(
            group,
            *(
                f"{_number(m['auc'])} ({_number(m['mean_error'])}; {m['ill']}, {m['well']})"
                for m in own.values()
            ),
        )
    return table


def tables(records: Sequence[Record]) -> list[Table | str]:
    """What clinicians ask, of the sealed models; and a word on the counts."""
    sealed = [r for r in records if r.config["rule"] == "sealed"]
    clinical = [clinical_table(r) for r in sealed if r.config["cohort"] == "heart"]
    fair = [fairness_table(r) for r in sealed if r.metrics["fairness"]]  # age and sex are told
    return [*clinical, *fair, "All counts here are of test patients without noise: unprotected."]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
