r"""Sums of what a model does at each hospital, and intervals that draw hospitals and seeds.

Of a hospital at a seed are kept the *wins* and *pairs* of its AUC, the squared errors, the excess
of predicted over observed outcomes and the net benefit at some thresholds: every mean and every
paired difference over any class of hospitals follows from them, without a patient.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool
from numpy.typing import NDArray

from experiments.evaluation import Estimate, Scored, net_benefit
from privacy._validate import natural, unit_open
from privacy.errors import InvalidInputError

__all__ = ["THRESHOLDS", "HospitalSums", "as_json", "benefit_at", "difference", "mean_of", "over"]

Matrix = NDArray[np.float64]

THRESHOLDS = (0.2, 0.4, 0.6, 0.8)
"""Risks from which one would treat."""
REPLICATES = 2_000


@dataclass(frozen=True)
class HospitalSums:
    """What a model does at every hospital, by seed; a hospital that was not scored has 0 of all.

    Attributes:
      wins: Pairs of an ill and a well patient of the hospital, scored by the same model, that are
        ranked rightly; ties are one half; ``[seed][hospital]``.
      pairs: All such pairs.
      squares: Summed squared differences of risk and outcome.
      excess: Summed differences of risk and outcome.
      patients: Who were scored.
      benefits: Summed net benefit of treating from each of ``THRESHOLDS`` on (``evaluation``'s
        ``net_benefit``), ``[threshold][seed][hospital]``; without any, none is asked for.
    """

    wins: Sequence[Sequence[float]]
    pairs: Sequence[Sequence[float]]
    squares: Sequence[Sequence[float]]
    excess: Sequence[Sequence[float]]
    patients: Sequence[Sequence[float]]
    benefits: Sequence[Sequence[Sequence[float]]] = ()

    @classmethod
    def of(
        cls, hospitals: Sequence[str], seeds: Sequence[Sequence[Mapping[str, Scored]]]
    ) -> "HospitalSums":
        """Sum the folds of each seed.

        Args:
          hospitals: All of them, in the order of the sums.
          seeds: Of each seed its folds, each with the scored patients by hospital.
        """
        sums = np.zeros((5 + len(THRESHOLDS), len(seeds), len(hospitals)))
        place = {name: k for k, name in enumerate(hospitals)}
        for s, folds in enumerate(seeds):
            for fold in folds:
                for name, site in fold.items():
                    sums[:, s, place[name]] += _of_site(site)
        wins, pairs, squares, excess, patients, *benefits = (part.tolist() for part in sums)
        return cls(wins, pairs, squares, excess, patients, benefits)

    def ratio(self, figure: str) -> tuple[Matrix, Matrix]:
        """Numerator and denominator of a figure, ``[seeds, hospitals]``."""
        above = {"auc": self.wins, "brier": self.squares, "excess": self.excess}
        above |= {
            benefit_at(t): benefit for t, benefit in zip(THRESHOLDS, self.benefits, strict=False)
        }
        if figure not in above:
            raise InvalidInputError(f"Unknown figure {figure!r}; choose of {', '.join(above)}.")
        return np.array(above[figure]), np.array(self.pairs if figure == "auc" else self.patients)


def benefit_at(threshold: float) -> str:
    """The figure's name of the net benefit at a threshold."""
    return f"net benefit at {threshold:g}"


def mean_of(
    sums: HospitalSums,
    among: Bool[np.ndarray, "hospitals"],
    *,
    figure: str = "auc",
    each: bool = False,
    confidence: float = 0.95,
    replicates: int = REPLICATES,
) -> Estimate:
    """Return a figure over a class of hospitals; arguments as of ``difference``."""
    none = [[0.0] * len(row) for row in sums.wins]
    zero = HospitalSums(none, sums.pairs, none, none, sums.patients, [none] * len(sums.benefits))
    return difference(
        sums,
        zero,
        among,
        figure=figure,
        each=each,
        confidence=confidence,
        replicates=replicates,
    )


def difference(
    ours: HospitalSums,
    theirs: HospitalSums,
    among: Bool[np.ndarray, "hospitals"],
    *,
    figure: str = "auc",
    each: bool = False,
    confidence: float = 0.95,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Estimate:
    """Return our figure less theirs over a class of hospitals, paired by hospital and seed.

    A replicate draws hospitals with replacement, then seeds, the same for both: the interval holds
    hospitals, splits and the noise of runs. Of one seed it holds hospitals alone.

    Guarantees (each is a test in ``tests/experiments/joining/test_sums.py``):
      - of one hospital, it is the AUC (Brier score, mean excess) that ``experiments.evaluation``
        gives, averaged over seeds;
      - swapping the two turns the signs, and a figure less itself is 0 with no width;
      - simulated hospitals' true difference lies in the interval about as often as it says.

    Args:
      ours: Of a design.
      theirs: Of what it is compared to, at the same seeds and hospitals.
      among: The class.
      figure: ``auc`` (weighted by pairs), ``brier``, ``excess`` or ``benefit_at`` a threshold
        (weighted by patients).
      each: Whether every hospital weighs the same instead.
      confidence: Nominal coverage.
      replicates: Draws.
      seed: Of the draws.

    Raises:
      InvalidInputError: Other hospitals, seeds or patients; nobody scored in the class.
    """
    unit_open(confidence=confidence)
    natural(replicates=replicates, least=2)
    above, below = ours.ratio(figure)
    other, same = theirs.ratio(figure)
    if below.shape != same.shape or not np.array_equal(below, same):
        raise InvalidInputError(
            "The two do not score the same patients; compare designs at the same cohort, seeds "
            "and folds."
        )
    if len(among) != below.shape[1]:
        raise InvalidInputError(f"A class of {len(among)} hospitals for {below.shape[1]}.")
    gaps, weights = (above - other)[:, among], below[:, among]
    some = weights.sum(axis=0) > 0
    gaps, weights = gaps[:, some], weights[:, some]
    if not some.any():
        raise InvalidInputError("No hospital of this class has a scored pair of patients.")
    if each:
        gaps = np.divide(gaps, weights, out=np.zeros_like(gaps), where=weights > 0)
        weights = (weights > 0).astype(float)
    return over(gaps, weights, confidence=confidence, replicates=replicates, seed=seed)


def over(
    above: Matrix,
    below: Matrix,
    *,
    confidence: float = 0.95,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Estimate:
    """Return the ratio of sums over hospitals, averaged over seeds, with the study's interval.

    Args:
      above: Numerator, ``[seeds, hospitals]``.
      below: Denominator, ``[seeds, hospitals]``.
      confidence: Nominal coverage.
      replicates: Draws of hospitals and seeds, as of ``difference``.
      seed: Of the draws.
    """
    rng = np.random.default_rng([seed, 41])
    seeds, hospitals = above.shape
    drawn = rng.multinomial(hospitals, np.full(hospitals, 1 / hospitals), size=replicates)
    by_seed = _ratio(drawn @ above.T, drawn @ below.T)  # [replicates, seeds]
    picks = rng.integers(seeds, size=(replicates, seeds))
    means = _mean(np.take_along_axis(by_seed, picks, axis=1))
    tail = (1 - confidence) / 2
    lower, upper = np.nanquantile(means, [tail, 1 - tail])
    value = float(_mean(_ratio(above.sum(axis=1), below.sum(axis=1))[None])[0])
    return Estimate(value, float(lower), float(upper), "hospitals and seeds drawn", confidence)


def _mean(values: Matrix) -> Matrix:
    """Of each row, over what is there: a seed may have drawn none of the hospitals."""
    there = ~np.isnan(values)
    return _ratio(np.where(there, values, 0.0).sum(axis=1), there.sum(axis=1).astype(float))


def _ratio(above: Matrix, below: Matrix) -> Matrix:
    return np.asarray(np.divide(above, below, out=np.full(below.shape, np.nan), where=below > 0))


def _of_site(site: Scored) -> Matrix:
    ill, well = site.scores[site.outcomes == 1], np.sort(site.scores[site.outcomes == 0])
    below, not_above = (
        np.searchsorted(well, ill, side="left"),
        np.searchsorted(well, ill, side="right"),
    )
    gap = site.risks - site.outcomes
    benefits = [len(site) * net_benefit(site, threshold=t).model for t in THRESHOLDS]
    wins = (below + not_above).sum() / 2
    return np.array([wins, len(ill) * len(well), gap @ gap, gap.sum(), len(site), *benefits])


def as_json(sums: HospitalSums) -> dict[str, Any]:
    """As a record holds it: whole and half wins, the rest to six digits."""
    return {
        "wins": [list(row) for row in sums.wins],
        "pairs": [list(row) for row in sums.pairs],
        "squares": [[round(v, 6) for v in row] for row in sums.squares],
        "excess": [[round(v, 6) for v in row] for row in sums.excess],
        "patients": [list(row) for row in sums.patients],
        "benefits": [[[round(v, 6) for v in row] for row in one] for one in sums.benefits],
    }
