"""One evaluation: within-site AUC, each hospital's figures, the worst one, and all as plain JSON.

Every figure here is computed from test patients without noise: ``release`` says so. Leaving a real
hospital, each needs an entry in the ledger.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aggregation.patients import Patients, Schema
from experiments.evaluation.calibration import Calibration, calibration
from experiments.evaluation.discrimination import auc, bootstrap_auc, delong
from experiments.evaluation.scored import Estimate, Scored
from privacy.errors import InvalidInputError

__all__ = ["ENOUGH", "Evaluation", "Site", "bands", "evaluate", "tells_bands"]

_SEXES = ("sex", "male", "female")

ENOUGH = 50  # of either class, before a hospital is ranked or tested on its own


@dataclass(frozen=True)
class Site:
    """One hospital's figures.

    Attributes:
      patients: Patients scored.
      positives: With the outcome.
      negatives: Without it.
      auc: With DeLong's interval (Newcombe's where DeLong's says nothing); None with one class.
      calibration: See there.
    """

    patients: int
    positives: int
    negatives: int
    auc: Estimate | None
    calibration: Calibration

    @property
    def enough(self) -> bool:
        """Whether both classes have the patients that ranking hospitals takes."""
        return min(self.positives, self.negatives) >= ENOUGH


@dataclass(frozen=True)
class Evaluation:
    """Figures of one model, or of one cross-validation, over all hospitals.

    Attributes:
      within_site_auc: Pair-weighted over hospitals, bootstrap interval.
      pooled_brier: Mean squared error of the risks over all patients.
      sites: Each hospital's figures; hospitals without test patients are left out.
      release: ``unprotected``: computed without noise.
    """

    within_site_auc: Estimate
    pooled_brier: float
    sites: Mapping[str, Site]
    release: Literal["unprotected"] = "unprotected"

    @property
    def worst(self) -> str | None:
        """The hospital of lowest AUC among those with enough of both classes, if any."""
        ranked = {n: s.auc.value for n, s in self.sites.items() if s.enough and s.auc is not None}
        return min(ranked, key=lambda name: ranked[name]) if ranked else None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, None where a figure does not exist."""
        return {**dataclasses.asdict(self), "worst_site": self.worst}


def evaluate(sites: Mapping[str, Scored], *, replicates: int = 1_000, seed: int = 0) -> Evaluation:
    """Return all figures of one model's scores.

    Args:
      sites: The scored test patients of each hospital; folds joined by ``join``.
      replicates: Draws of the bootstrap.
      seed: An experiment's seed.

    Raises:
      InvalidInputError: No pair of patients can be compared.
    """
    scored = {name: site for name, site in sites.items() if len(site)}
    interval = bootstrap_auc(scored, replicates=replicates, seed=seed)
    errors = np.concatenate([(site.risks - site.outcomes) ** 2 for site in scored.values()])
    return Evaluation(
        within_site_auc=interval,
        pooled_brier=float(errors.mean()),
        sites={
            name: Site(
                patients=len(site),
                positives=site.positives,
                negatives=site.negatives,
                auc=delong({name: site}) if site.positives and site.negatives else None,
                calibration=calibration(site),
            )
            for name, site in scored.items()
        },
    )


def tells_bands(schema: Schema) -> bool:
    """Whether a schema tells age and sex, so that ``bands`` can be made of it."""
    return "age" in schema.names and any(name in schema.names for name in _SEXES)


def bands(
    sites: Mapping[str, Scored],
    patients: Mapping[str, Patients],
    schema: Schema,
    *,
    of: Callable[[Mapping[str, Scored]], float] | None = None,
) -> dict[str, tuple[float | None, int, int]]:
    """Return within-site AUC (or another figure), number ill and well, of each sex and age band.

    Args:
      sites: Scored test patients.
      patients: The same patients in the same order.
      schema: It must have ``age`` (years), and one of ``sex`` (1 male), ``male`` and ``female``.
      of: The figure, of a band that has anybody; None: the AUC, where a pair can be compared.

    Raises:
      InvalidInputError: The schema tells no age or no sex.
    """
    told = [name for name in _SEXES if name in schema.names]
    if not tells_bands(schema):
        raise InvalidInputError(
            f"Bands need a column age and one of sex, male or female; the schema has "
            f"{schema.names}."
        )
    sex, age = schema.names.index(told[0]), schema.names.index("age")
    clinical = {name: schema.to_clinical(p.features) for name, p in patients.items()}

    def figures(masks: Mapping[str, NDArray[np.bool_]]) -> tuple[float | None, int, int]:
        some = {
            name: Scored(
                site.scores[masks[name]], site.outcomes[masks[name]], site.folds[masks[name]]
            )
            for name, site in sites.items()
            if masks[name].any()
        }
        ill = sum(site.positives for site in some.values())
        well = sum(site.negatives for site in some.values())
        mixed = any(
            np.intersect1d(s.folds[s.outcomes == 1], s.folds[s.outcomes == 0]).size
            for s in some.values()
        )
        if of is not None:
            return (of(some) if some else None), ill, well
        return (auc(some) if mixed else None), ill, well

    male = {n: (c[:, sex] >= 0.5) != (told[0] == "female") for n, c in clinical.items()}
    cuts = {
        "female": {n: ~rows for n, rows in male.items()},
        "male": male,
        "under 50": {n: c[:, age] < 50 for n, c in clinical.items()},
        "50 to 64": {n: (c[:, age] >= 50) & (c[:, age] < 65) for n, c in clinical.items()},
        "65 and over": {n: c[:, age] >= 65 for n, c in clinical.items()},
    }
    return {name: figures(masks) for name, masks in cuts.items()}
