r"""Calibration over all hospitals of a study: observed risk by tenths, and the slope.

The slope is b of :math:`\mathrm{logit}\,P(y) = a + b s` over all scored patients of one seed,
averaged over seeds. Its interval draws hospitals and seeds as every other of the study; of each
draw one Newton step is taken from the seed's own fit, which is exact to the order of 1 over the
number of hospitals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregation.rules.posterior_mode import posterior_mode
from experiments.evaluation import Estimate, Scored
from experiments.studies.joining.sums import REPLICATES, over

__all__ = ["Calibrated", "CalibrationBand", "calibrated"]

_BANDS = 10


@dataclass(frozen=True)
class CalibrationBand:
    """Patients whose risk was predicted between two tenths.

    Attributes:
      predicted: Their mean predicted risk.
      observed: Fraction with the outcome.
      patients: How many at a seed, in the mean.
    """

    predicted: float
    observed: Estimate
    patients: float


@dataclass(frozen=True)
class Calibrated:
    """How right the risks are; 1 is the right slope.

    Attributes:
      slope: Below 1 the model is too sure.
      bands: From the lowest risk up; empty ones are left out.
    """

    slope: Estimate
    bands: Sequence[CalibrationBand]


def calibrated(
    hospitals: Sequence[str], seeds: Sequence[Sequence[Mapping[str, Scored]]]
) -> Calibrated:
    """Return the calibration of all scored patients; arguments as of ``HospitalSums.of``."""
    place = {name: k for k, name in enumerate(hospitals)}
    rows = [_joined(folds, place) for folds in seeds]
    slope = _slope(rows, len(hospitals))
    shape = (_BANDS, len(seeds), len(hospitals))
    count, ill, risk = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for s, (where, scores, outcomes) in enumerate(rows):
        risks = 1 / (1 + np.exp(-scores))
        band = np.minimum((risks * _BANDS).astype(np.int64), _BANDS - 1)
        np.add.at(count[:, s], (band, where), 1.0)
        np.add.at(ill[:, s], (band, where), outcomes)
        np.add.at(risk[:, s], (band, where), risks)
    bands = [
        CalibrationBand(
            float(risk[k].sum() / count[k].sum()),
            over(ill[k], count[k]),
            float(count[k].sum() / len(seeds)),
        )
        for k in range(_BANDS)
        if count[k].any()
    ]
    return Calibrated(slope, bands)


_Rows = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]


def _joined(folds: Sequence[Mapping[str, Scored]], place: Mapping[str, int]) -> _Rows:
    """Hospital, score and outcome of every patient of a seed."""
    sites = [(place[name], site) for fold in folds for name, site in fold.items()]
    return (
        np.concatenate([np.full(len(site), k) for k, site in sites]),
        np.concatenate([site.scores for _, site in sites]),
        np.concatenate([site.outcomes for _, site in sites]),
    )


def _slope(rows: Sequence[_Rows], hospitals: int) -> Estimate:
    rng = np.random.default_rng([0, 43])
    drawn = rng.multinomial(hospitals, np.full(hospitals, 1 / hospitals), size=REPLICATES)
    values, draws = [], []
    for where, scores, outcomes in rows:
        columns = np.column_stack([np.ones_like(scores), scores])
        fitted = posterior_mode(columns, outcomes, precision=np.zeros(2))
        risks = 1 / (1 + np.exp(-(columns @ fitted)))
        gradients, curvatures = np.zeros((hospitals, 2)), np.zeros((hospitals, 2, 2))
        np.add.at(gradients, where, (outcomes - risks)[:, None] * columns)
        spread = (risks * (1 - risks))[:, None, None] * columns[:, :, None] * columns[:, None, :]
        np.add.at(curvatures, where, spread)
        hessians = np.einsum("rh,hij->rij", drawn, curvatures)
        right = (drawn @ gradients)[..., None]
        values.append(fitted[1])
        draws.append(fitted[1] + np.linalg.solve(hessians, right)[:, 1, 0])
    picks = rng.integers(len(rows), size=(REPLICATES, len(rows)))
    slopes = np.take_along_axis(np.stack(draws, axis=1), picks, axis=1).mean(axis=1)
    lower, upper = np.quantile(slopes, [0.025, 0.975])
    return Estimate(float(np.mean(values)), float(lower), float(upper), "hospitals and seeds drawn")
