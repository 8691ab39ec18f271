r"""Sums of what a model does at each hospital, and intervals that draw hospitals and seeds.

Of a hospital at a seed are kept the *wins* and *pairs* of its AUC, the squared errors and the
excess of predicted over observed outcomes: every mean and every paired difference over any class of
hospitals follows from them, without a patient.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool
from numpy.typing import NDArray

from experiments.evaluation import Estimate, Scored
from privacy._validate import natural, unit_open
from privacy.errors import InvalidInputError

__all__ = ["HospitalSums", "as_json", "difference", "mean_of"]

_FIGURES = ("auc", "brier", "excess")
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
    """

    wins: Sequence[Sequence[float]]
    pairs: Sequence[Sequence[float]]
    squares: Sequence[Sequence[float]]
    excess: Sequence[Sequence[float]]
    patients: Sequence[Sequence[float]]

    @classmethod
    def of(
        cls, hospitals: Sequence[str], seeds: Sequence[Sequence[Mapping[str, Scored]]]
    ) -> "HospitalSums":
        """Sum the folds of each seed.

        Args:
          hospitals: All of them, in the order of the sums.
          seeds: Of each seed its folds, each with the scored patients by hospital.
        """
        sums = np.zeros((5, len(seeds), len(hospitals)))
        place = {name: k for k, name in enumerate(hospitals)}
        for s, folds in enumerate(seeds):
            for fold in folds:
                for name, site in fold.items():
                    sums[:, s, place[name]] += _of_site(site)
        return cls(*(part.tolist() for part in sums))

    def ratio(self, figure: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Numerator and denominator of a figure, ``[seeds, hospitals]``."""
        if figure not in _FIGURES:
            raise InvalidInputError(f"Unknown figure {figure!r}; choose of {', '.join(_FIGURES)}.")
        above = {"auc": self.wins, "brier": self.squares, "excess": self.excess}[figure]
        return np.array(above), np.array(self.pairs if figure == "auc" else self.patients)


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
    zero = HospitalSums(none, sums.pairs, none, none, sums.patients)
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
      figure: ``auc`` (weighted by pairs), ``brier`` or ``excess`` (weighted by patients).
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
    rng = np.random.default_rng([seed, 41])
    seeds, hospitals = gaps.shape
    drawn = rng.multinomial(hospitals, np.full(hospitals, 1 / hospitals), size=replicates)
    by_seed = _ratio(drawn @ gaps.T, drawn @ weights.T)  # [replicates, seeds]
    picks = rng.integers(seeds, size=(replicates, seeds))
    found = _mean(np.take_along_axis(by_seed, picks, axis=1))
    tail = (1 - confidence) / 2
    lower, upper = np.nanquantile(found, [tail, 1 - tail])
    value = float(_mean(_ratio(gaps.sum(axis=1), weights.sum(axis=1))[None])[0])
    return Estimate(value, float(lower), float(upper), "hospitals and seeds drawn", confidence)


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each row, over what is there: a seed may have drawn none of the hospitals."""
    there = ~np.isnan(values)
    return _ratio(np.where(there, values, 0.0).sum(axis=1), there.sum(axis=1).astype(float))


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.divide(above, below, out=np.full(below.shape, np.nan), where=below > 0))


def _of_site(site: Scored) -> NDArray[np.float64]:
    ill, well = site.scores[site.outcomes == 1], np.sort(site.scores[site.outcomes == 0])
    left, right = np.searchsorted(well, ill, side="left"), np.searchsorted(well, ill, side="right")
    gap = site.risks - site.outcomes
    return np.array(
        [(left + right).sum() / 2, len(ill) * len(well), gap @ gap, gap.sum(), len(site)]
    )


def as_json(sums: HospitalSums) -> dict[str, Any]:
    """As a record holds it: whole and half wins, the rest to six digits."""
    return {
        "wins": [list(row) for row in sums.wins],
        "pairs": [list(row) for row in sums.pairs],
        "squares": [[round(v, 6) for v in row] for row in sums.squares],
        "excess": [[round(v, 6) for v in row] for row in sums.excess],
        "patients": [list(row) for row in sums.patients],
    }
