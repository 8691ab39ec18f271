"""Figures of each sex and age band: whom a model serves less well."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from aggregation.data.patients import Patients, Schema
from experiments.evaluation.discrimination import auc
from experiments.evaluation.scored import Scored
from privacy.errors import InvalidInputError

__all__ = ["bands", "tells_bands"]

_SEXES = ("sex", "male", "female")


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
    sex_columns = [name for name in _SEXES if name in schema.names]
    if not tells_bands(schema):
        raise InvalidInputError(
            f"Bands need a column age and one of sex, male or female; the schema has "
            f"{schema.names}."
        )
    sex, age = schema.names.index(sex_columns[0]), schema.names.index("age")
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

    male = {n: (c[:, sex] >= 0.5) != (sex_columns[0] == "female") for n, c in clinical.items()}
    cuts = {
        "female": {n: ~rows for n, rows in male.items()},
        "male": male,
        "under 50": {n: c[:, age] < 50 for n, c in clinical.items()},
        "50 to 64": {n: (c[:, age] >= 50) & (c[:, age] < 65) for n, c in clinical.items()},
        "65 and over": {n: c[:, age] >= 65 for n, c in clinical.items()},
    }
    return {name: figures(masks) for name, masks in cuts.items()}
