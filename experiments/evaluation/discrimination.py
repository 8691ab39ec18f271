r"""Does the model rank the ill above the well? AUC within hospitals, with intervals.

Pooling hospitals rewards a model for telling the hospitals apart, so the first figure is the
*within-site* AUC: only patients of the same hospital (and scored by the same model) are compared,

.. math:: A = \frac{\sum_k U_k}{\sum_k W_k}, \qquad
   U_k = \sum_{i \text{ ill}, j \text{ well}} [s_i > s_j] + \tfrac12 [s_i = s_j],

with :math:`W_k` the number of pairs, so that each hospital weighs by its pairs.

>>> site = Scored(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]))
>>> auc({"a": site}), round(delong({"a": site}).half_width, 3)
(0.75, 0.471)

References:
  DeLong, DeLong and Clarke-Pearson (1988), Biometrics 44:837.
  Newcombe (2006), Statistics in Medicine 25:559, method 5.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from experiments.evaluation.scored import Estimate, Scored
from privacy._validate import natural, unit_open
from privacy.errors import InvalidInputError

__all__ = ["auc", "auc_draws", "bootstrap_auc", "bootstrap_difference", "bootstrap_runs", "delong"]


def auc(sites: Mapping[str, Scored]) -> float:
    """Return the pair-weighted within-site AUC of one or more hospitals.

    Raises:
      InvalidInputError: No pair of patients can be compared.
    """
    return float(_aucs(sites)[0])


def delong(sites: Mapping[str, Scored], *, confidence: float = 0.95) -> Estimate:
    r"""Return the within-site AUC with DeLong's interval.

    The variance is the sum of squared influences :math:`(u_i - A w_i) / W` (:math:`u_i` is what
    patient i adds to U, :math:`w_i` to W), times :math:`m / (m - 1)` over the m ill of a hospital
    and likewise over its well. For one hospital and one model this is DeLong's Eq. 5 exactly; for
    several it treats them as independent and their weights as given.

    Where that variance says nothing (perfect ranking, or fewer than two of a class in a hospital)
    the interval is Newcombe's method 5, which needs neither.

    Raises:
      InvalidInputError: No pair of patients can be compared.
    """
    unit_open(confidence=confidence)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    value = auc(sites)
    comparable = {n: s for n, s in sites.items() if _comparable(s)}
    few = any(min(s.positives, s.negatives) < 2 for s in comparable.values())
    if few or not 0 < value < 1:
        positives = sum(s.positives for s in comparable.values())
        negatives = sum(s.negatives for s in comparable.values())
        lower, upper = _newcombe(value, positives, negatives, z)
        return Estimate(value, lower, upper, "Newcombe", confidence)
    pairs = sum(float(_influence(s)[1][s.outcomes == 1].sum()) for s in comparable.values())
    variance = 0.0
    for site in comparable.values():
        wins, partners = _influence(site)
        influence = (wins - value * partners) / pairs
        for outcome, n in ((1, site.positives), (0, site.negatives)):
            variance += n / (n - 1) * float((influence[site.outcomes == outcome] ** 2).sum())
    half = z * math.sqrt(variance)
    return Estimate(value, max(0.0, value - half), min(1.0, value + half), "DeLong", confidence)


def bootstrap_auc(
    *repeats: Mapping[str, Scored],
    replicates: int = 1_000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Estimate:
    """Return the within-site AUC with a percentile interval, patients drawn within hospitals.

    A replicate in which no pair is left to compare is not counted.

    Args:
      repeats: One evaluation, or several cross-validations of the same patients in the same order:
        their mean is taken, and a replicate draws the same patients in all of them, so that
        repeating the cross-validation does not pass for more patients.
      replicates: Draws of the bootstrap.
      seed: An experiment's seed.
      confidence: Nominal coverage.
    """
    unit_open(confidence=confidence)
    draws = auc_draws(*repeats, replicates=replicates, seed=seed)
    return _percentile(float(np.mean([auc(s) for s in repeats])), draws, confidence)


def auc_draws(
    *repeats: Mapping[str, Scored], replicates: int = 1_000, seed: int = 0
) -> Float[np.ndarray, "replicates"]:
    """Return the replicates behind ``bootstrap_auc``, NaN where no pair is left.

    The same seed draws the same patients of a hospital, whatever scored them: functions of several
    AUCs on the same patients are bootstrapped pairwise by their replicates.
    """
    drawn = _Draws(replicates, seed)
    return np.asarray(np.mean([_aucs(sites, drawn) for sites in repeats], axis=0))


def bootstrap_difference(
    ours: Sequence[Mapping[str, Scored]],
    theirs: Sequence[Mapping[str, Scored]],
    *,
    replicates: int = 1_000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Estimate:
    """Return our mean within-site AUC less theirs over the same cross-validations, paired.

    A replicate draws patients within hospitals, the same for both and in every cross-validation,
    and then cross-validations: so the noise of each run counts, as far as few of them show it.

    Raises:
      InvalidInputError: Other numbers of cross-validations, or other patients in one of them.
    """
    if len(ours) != len(theirs) or not ours:
        raise InvalidInputError(
            f"Expected as many cross-validations of both, got {len(ours)} and {len(theirs)}."
        )
    unit_open(confidence=confidence)
    for one, other in zip(ours, theirs, strict=True):
        _check_same(one, other)
    drawn = _Draws(replicates, seed)
    gaps = np.stack([_aucs(a, drawn) - _aucs(b, drawn) for a, b in zip(ours, theirs, strict=True)])
    rng = np.random.default_rng([seed, len(ours)])
    repeats = rng.integers(len(ours), size=gaps.shape)
    draws = np.take_along_axis(gaps, repeats, axis=0).mean(axis=0)
    value = float(np.mean([auc(a) - auc(b) for a, b in zip(ours, theirs, strict=True)]))
    return _percentile(value, draws, confidence)


def bootstrap_runs(
    *repeats: Mapping[str, Scored],
    replicates: int = 1_000,
    seed: int = 0,
    confidence: float = 0.95,
) -> tuple[Estimate, Estimate]:
    r"""Return the mean within-site AUC over cross-validations, with two intervals.

    The patients are drawn within hospitals, the same in every cross-validation. To each draw of the
    mean comes what the cross-validations' luck adds, which share neither splits nor noise: with
    deviation :math:`s` over :math:`n` of them, :math:`s\, t_{n-1} / \sqrt n` for the mean over
    endless ones, :math:`s\, t_{n-1} \sqrt{1 + 1/n}` for a single one (Student's t: drawing few
    cross-validations again would make too little of their luck).

    Raises:
      InvalidInputError: Fewer than two cross-validations.
    """
    natural(cross_validations=len(repeats), least=2)
    unit_open(confidence=confidence)
    patients = auc_draws(*repeats, replicates=replicates, seed=seed)
    runs, n = np.array([auc(sites) for sites in repeats]), len(repeats)
    luck = runs.std(ddof=1) * np.random.default_rng([seed, n]).standard_t(n - 1, size=replicates)
    of_mean, of_one = (
        _percentile(float(runs.mean()), np.clip(patients + luck * scale, 0, 1), confidence)
        for scale in (n**-0.5, (1 + 1 / n) ** 0.5)
    )
    return of_mean, of_one


def _check_same(ours: Mapping[str, Scored], theirs: Mapping[str, Scored]) -> None:
    for name in ours.keys() | theirs.keys():
        if (
            name not in ours
            or name not in theirs
            or not np.array_equal(ours[name].outcomes, theirs[name].outcomes)
        ):
            raise InvalidInputError(
                f"The two evaluations do not score the same patients of {name!r}; a paired "
                "bootstrap needs the same patients in the same order."
            )


def _percentile(value: float, draws: NDArray[np.float64], confidence: float) -> Estimate:
    tail = (1 - confidence) / 2
    lower, upper = np.nanquantile(draws, [tail, 1 - tail])
    return Estimate(value, float(lower), float(upper), "bootstrap", confidence)


@dataclass(frozen=True)
class _Draws:
    """Patients drawn with replacement within their hospital, the same for the same seed."""

    replicates: int
    seed: int

    def counts(self, hospital: str, patients: int) -> Int[np.ndarray, "replicates patients"]:
        """How often each patient was drawn."""
        natural(replicates=self.replicates, least=2)
        rng = np.random.default_rng([self.seed, *hospital.encode()])
        prob = np.full(patients, 1 / max(patients, 1))
        return rng.multinomial(patients, prob, size=self.replicates)


def _aucs(sites: Mapping[str, Scored], draws: _Draws | None = None) -> NDArray[np.float64]:
    """Within-site AUC of each replicate (None: of the patients as they are); NaN without a pair."""
    if not any(_comparable(site) for site in sites.values()):
        raise InvalidInputError(
            "No hospital has both patients with and without the outcome, so there is no pair to "
            "compare. Score more patients."
        )
    wins, pairs = np.zeros(1), np.zeros(1)
    for name, site in sites.items():
        once = np.ones((1, len(site)), dtype=np.int64)
        counts = once if draws is None else draws.counts(name, len(site))
        for fold in np.unique(site.folds):
            rows = site.folds == fold
            u, w = _mann_whitney(site.scores[rows], site.outcomes[rows], counts[:, rows])
            wins, pairs = wins + u, pairs + w
    return np.divide(wins, pairs, out=np.full_like(wins, np.nan), where=pairs > 0)


def _mann_whitney(
    scores: Float[np.ndarray, "patients"],
    outcomes: Int[np.ndarray, "patients"],
    counts: Int[np.ndarray, "replicates patients"],
) -> tuple[Float[np.ndarray, "replicates"], Float[np.ndarray, "replicates"]]:
    """Wins and pairs of each replicate; ties are half a win."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))  # first of each tied group
    weights = counts[:, order].astype(float)
    ill = np.add.reduceat(weights * outcomes[order], starts, axis=1)
    well = np.add.reduceat(weights * (1 - outcomes[order]), starts, axis=1)
    below = np.cumsum(well, axis=1) - well
    return (ill * (below + 0.5 * well)).sum(axis=1), ill.sum(axis=1) * well.sum(axis=1)


def _comparable(site: Scored) -> bool:
    """Whether some model scored both an ill and a well patient."""
    ill, well = site.outcomes == 1, site.outcomes == 0
    return bool(np.isin(site.folds[ill], site.folds[well]).any())


def _influence(site: Scored) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What each patient adds to the wins, and to the pairs, of its hospital."""
    wins, partners = np.zeros(len(site)), np.zeros(len(site))
    for fold in np.unique(site.folds):
        rows = site.folds == fold
        ill, well = rows & (site.outcomes == 1), rows & (site.outcomes == 0)
        for group, other, sign in ((ill, well, 1), (well, ill, -1)):
            ranked = np.sort(sign * site.scores[other])
            mine = sign * site.scores[group]
            below = np.searchsorted(ranked, mine, side="left")
            not_above = np.searchsorted(ranked, mine, side="right")
            wins[group] = (below + not_above) / 2
            partners[group] = len(ranked)
    return wins, partners


def _newcombe(value: float, positives: int, negatives: int, z: float) -> tuple[float, float]:
    """Newcombe (2006), method 5: the thetas at which the score statistic is -z and z."""
    spare = (positives + negatives) / 2 - 1

    def far(theta: float) -> bool:
        spread = 1 + spare * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        variance = theta * (1 - theta) * spread / (positives * negatives)
        return (value - theta) ** 2 > z**2 * variance

    ends = []
    for outside in (0.0, 1.0):
        inside = value
        for _ in range(60):
            middle = (outside + inside) / 2
            outside, inside = (middle, inside) if far(middle) else (outside, middle)
        ends.append(inside)
    return ends[0], ends[1]
