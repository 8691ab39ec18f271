r"""Does a predicted risk of 30 % mean that three in ten fall ill?

The logit of the outcome is regressed on the score s: calibration *in the large* is a of
:math:`\mathrm{logit}\,P(y) = a + s` (0 is right, above 0 the model predicts too little), the
*slope* is b of :math:`a + b s` (1 is right, below 1 the model is too sure).

>>> site = Scored(np.log([1 / 3] * 4 + [3] * 4), np.array([0, 0, 0, 1, 0, 1, 1, 1]))
>>> c = calibration(site)
>>> [round(v, 6) for v in (c.in_the_large.value, c.slope.value, c.expected_over_observed, c.ece)]
[0.0, 1.0, 1.0, 0.0]

References:
  Cox (1958), Biometrika 45:562.
  Van Calster et al. (2016), Journal of Clinical Epidemiology 74:167 (the four levels).
  Guo et al. (2017), On calibration of modern neural networks, ICML.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Float, Int

from experiments.evaluation.scored import Estimate, Scored
from privacy._validate import natural
from privacy.errors import InvalidInputError

__all__ = [
    "Calibration",
    "Reliability",
    "brier",
    "calibration",
    "chance_ece",
    "ece_by_chance",
    "reliability",
]

_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Reliability:
    """Observed against predicted risk, in bins of equal width; empty bins are left out.

    Attributes:
      predicted: Mean predicted risk, ``[bins]``.
      observed: Fraction with the outcome, ``[bins]``.
      lower: Lower end of its 95 % Wilson interval, ``[bins]``.
      upper: Upper end, ``[bins]``.
      patients: Patients in the bin, ``[bins]``.
    """

    predicted: Float[np.ndarray, "bins"]
    observed: Float[np.ndarray, "bins"]
    lower: Float[np.ndarray, "bins"]
    upper: Float[np.ndarray, "bins"]
    patients: Int[np.ndarray, "bins"]

    @property
    def ece(self) -> float:
        """Expected calibration error: mean gap of the bins, weighted by their patients."""
        gaps = np.abs(self.predicted - self.observed)
        return float(np.average(gaps, weights=self.patients))


@dataclass(frozen=True)
class Calibration:
    """Calibration of one hospital's predictions.

    Attributes:
      in_the_large: a of ``a + score``, in logits; None with one class only.
      slope: b of ``a + b score``; None with one class, equal scores or separated classes.
      expected_over_observed: Sum of risks over the number ill; None where nobody is ill.
      ece: Expected calibration error over ten bins of equal width (Guo et al. 2017, Eq. 3).
      brier: Mean squared error of the risks.
    """

    in_the_large: Estimate | None
    slope: Estimate | None
    expected_over_observed: float | None
    ece: float
    brier: float


def calibration(site: Scored) -> Calibration:
    """Return the calibration of one hospital; intervals are Wald's, from the fit's information.

    Raises:
      InvalidInputError: No patients.
    """
    both = site.positives > 0 and site.negatives > 0
    large = _fit(np.ones((len(site), 1)), site.outcomes, offset=site.scores) if both else None
    line = np.stack([site.scores, np.ones(len(site))], axis=1)
    slope = _fit(line, site.outcomes, offset=np.zeros(len(site))) if both else None
    return Calibration(
        in_the_large=large,
        slope=slope,
        expected_over_observed=float(site.risks.sum() / site.positives) if site.positives else None,
        ece=reliability(site).ece,
        brier=float(np.mean((site.risks - site.outcomes) ** 2)),
    )


def brier(*repeats: Mapping[str, Scored]) -> Estimate:
    """Return the mean squared error of the risks over all patients, with its 95 % interval.

    The interval is of the mean over patients drawn within their hospitals (normal, n - 1).

    Args:
      repeats: One evaluation, or several cross-validations of the same patients in the same order:
        a patient counts once, with the mean error.

    Raises:
      InvalidInputError: No patients.
    """
    errors = {
        name: np.mean([(r[name].risks - r[name].outcomes) ** 2 for r in repeats], axis=0)
        for name in repeats[0]
        if len(repeats[0][name])
    }
    patients = sum(map(len, errors.values()))
    natural(patients=patients, least=1)
    value = float(sum(e.sum() for e in errors.values())) / patients
    variance = sum(len(e) * float(e.var(ddof=1)) for e in errors.values() if len(e) > 1)
    half = _Z * math.sqrt(variance) / patients
    return Estimate(value, max(0.0, value - half), min(1.0, value + half), "normal", 0.95)


def ece_by_chance(
    *repeats: Scored, bins: int = 10, draws: int = 1_000, seed: int = 0
) -> Float[np.ndarray, "draws"]:
    """Return calibration errors that *right* risks show at these patients.

    The error is not 0 for a model whose every risk is right: each bin's few patients fall ill more
    or less often than they should. Outcomes are drawn from the risks themselves (Broecker and Smith
    2007, Weather and Forecasting 22:651: consistency resampling).

    Args:
      repeats: As ``brier``'s, of one hospital; a patient's chance is the mean of its risks.
      bins: As ``reliability``'s.
      draws: Of all outcomes.
      seed: An experiment's seed.

    Raises:
      InvalidInputError: No patients, no bin or no draw.
    """
    natural(draws=draws, least=1)
    natural(bins=bins, least=1)
    patients = len(repeats[0])
    natural(patients=patients, least=1)
    chances = np.mean([r.risks for r in repeats], axis=0)
    outcomes = np.random.default_rng(seed).random((draws, patients)) < chances
    errors = np.zeros(draws)
    for r in repeats:
        places = np.minimum((r.risks * bins).astype(np.int64), bins - 1)
        members = (places[:, None] == np.arange(bins)).astype(float)
        errors += np.abs((r.risks - outcomes) @ members).sum(axis=1) / patients / len(repeats)
    return errors


def chance_ece(*repeats: Scored, bins: int = 10, draws: int = 1_000, seed: int = 0) -> float:
    """Return what ``ece_by_chance`` exceeds once in twenty; arguments as there."""
    return float(np.quantile(ece_by_chance(*repeats, bins=bins, draws=draws, seed=seed), 0.95))


def reliability(site: Scored, *, bins: int = 10) -> Reliability:
    """Return observed against predicted risk; a bin is ``[k, k + 1) / bins``, the last one closed.

    Raises:
      InvalidInputError: No patients, or no bin.
    """
    natural(bins=bins, least=1)
    if len(site) == 0:
        raise InvalidInputError("No patients to calibrate on; score at least one.")
    order = np.argsort(site.risks, kind="stable")
    risks, outcomes = site.risks[order], site.outcomes[order]
    places = np.minimum((risks * bins).astype(np.int64), bins - 1)
    starts = np.flatnonzero(np.diff(places, prepend=-1))
    patients = np.diff(np.append(starts, len(site)))
    observed = np.add.reduceat(outcomes, starts) / patients
    # Wilson (1927), J Am Stat Assoc 22:209.
    shrink = 1 + _Z**2 / patients
    centre = (observed + _Z**2 / (2 * patients)) / shrink
    spread = observed * (1 - observed) / patients + _Z**2 / (4.0 * patients**2)
    half = _Z / shrink * np.sqrt(spread)
    return Reliability(
        predicted=np.add.reduceat(risks, starts) / patients,
        observed=observed,
        lower=np.maximum(centre - half, 0.0),
        upper=np.minimum(centre + half, 1.0),
        patients=patients,
    )


def _fit(
    design: Float[np.ndarray, "patients terms"],
    outcomes: Int[np.ndarray, "patients"],
    *,
    offset: Float[np.ndarray, "patients"],
) -> Estimate | None:
    """Logistic regression by Newton's method; the first coefficient, or None without a maximum."""
    if np.linalg.matrix_rank(design) < design.shape[1] or _separated(design, outcomes):
        return None
    beta = np.zeros(design.shape[1])
    loss = _loss(offset, outcomes)
    for _ in range(100):
        risks = 0.5 * (1 + np.tanh(0.5 * (offset + design @ beta)))
        information = design.T @ (design * (risks * (1 - risks))[:, None])
        if np.linalg.matrix_rank(information, hermitian=True) < len(beta):
            return None  # every risk is 0 or 1 in double precision
        step = np.linalg.solve(information, design.T @ (outcomes - risks))
        while (nxt := _loss(offset + design @ (beta + step), outcomes)) > loss + 1e-12 * abs(loss):
            step /= 2
        beta, loss = beta + step, nxt
        if np.abs(step).max() < 1e-10:
            break
    half = _Z * math.sqrt(float(np.linalg.inv(information)[0, 0]))
    return Estimate(float(beta[0]), float(beta[0] - half), float(beta[0] + half), "Wald")


def _loss(logits: Float[np.ndarray, "patients"], outcomes: Int[np.ndarray, "patients"]) -> float:
    return float((np.logaddexp(0, logits) - outcomes * logits).sum())


def _separated(
    design: Float[np.ndarray, "patients terms"], outcomes: Int[np.ndarray, "patients"]
) -> bool:
    """Whether one cut of the first column parts the classes, so that the slope is infinite."""
    if design.shape[1] == 1:
        return False
    ill, well = design[outcomes == 1, 0], design[outcomes == 0, 0]
    return bool(ill.min() >= well.max() or well.min() >= ill.max())
