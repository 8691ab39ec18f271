"""How many patients of its own would serve a real hospital as well as joining the others does.

One hospital has n of its training patients and joins the others, who have all of theirs; alone it
learns from m of its own. Both are tested on the hospital's patients of the fold, and the *data
equivalent* is m/n for that m at which the hospital alone reaches the federation's AUC
(``studies.equivalent`` asks the same of simulated networks). Hospitals are small, so m ends early:
a ratio at the largest m is *at least* that, and says so.

Neither has noise, and both have the same penalty. The interval draws the tested patients, the same
in every cross-validation and for every m and n.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregation.data.patients import Patients
from experiments.cohorts import folds, load
from experiments.evaluation import Scored, auc, auc_draws, by_patient
from experiments.studies.equivalent import Ratio, crossing
from experiments.studies.problem import LogisticProblem, scores

__all__ = ["ALONE", "JOINED", "Curves", "OwnPatients", "OwnPatientsMetrics", "judged"]
ALONE = (20, 40, 80, 120, 160, 200)
JOINED = (20, 40, 80, 120, 160)
_REPLICATES = 1_000
_LEAST_OF_EITHER, _MOST_JUDGED = 40, 3


def judged(hospitals: Mapping[str, Patients]) -> tuple[str, ...]:
    """The three largest hospitals with at least 40 patients of either outcome, as they stand.

    Fewer of an outcome leave a hospital's AUC too wide to compare anything by; three keep the hours
    of a cohort of hundreds in bounds.
    """
    enough = [
        name
        for name, p in hospitals.items()
        if min(np.bincount(p.outcomes, minlength=2)) >= _LEAST_OF_EITHER
    ]
    largest = sorted(enough, key=lambda name: -len(hospitals[name]))[:_MOST_JUDGED]
    return tuple(name for name in hospitals if name in largest)


@dataclass(frozen=True)
class Curves:
    """One fold: the test patients of each hospital, scored by every model.

    Attributes:
      alone: By hospital, scores of the models of m patients, as far as there are so many.
      joined: By hospital, scores of the models of n patients and all others'.
      test: By hospital, who was scored.
    """

    alone: Mapping[str, Mapping[int, NDArray[np.float64]]]
    joined: Mapping[str, Mapping[int, NDArray[np.float64]]]
    test: Mapping[str, Patients]


@dataclass(frozen=True)
class OwnPatients:
    """The curve over the size of each real hospital.

    Attributes:
      hospitals: Those that have enough patients of either outcome to be judged (``judged``).
      cohort: Whose patients, named as ``experiments.cohorts.resolve`` names it.
      ridge: Of all models, in patients.
      seeds: One cross-validation each; which of its patients a hospital has is drawn by it too.
      folds: Of a cross-validation.
      code_version: Raised when a change moves the numbers.
    """

    hospitals: tuple[str, ...] = ("cleveland", "hungary", "va")
    cohort: str = "heart"
    ridge: float = 10.0
    seeds: tuple[int, ...] = tuple(range(10))
    folds: int = 5
    code_version: int = 1

    @property
    def config(self) -> Mapping[str, Any]:
        """What names the record."""
        return {
            "experiment": "data equivalent",
            "alone": list(ALONE),
            "joined": list(JOINED),
            **asdict(self),
        }

    @property
    def label(self) -> str:
        """A short name for progress and errors."""
        return "data equivalent of real hospitals"

    @property
    def units(self) -> list[tuple[int, int]]:
        """Seed and fold."""
        return list(product(self.seeds, range(self.folds)))

    def measure(self, unit: tuple[int, int], data_dir: Path | None) -> Curves:
        """Train every hospital alone and with the others, at every size."""
        seed, fold = unit
        split = folds(load(self.cohort, data_dir), count=self.folds, seed=seed)[fold]
        alone: dict[str, dict[int, NDArray[np.float64]]] = {}
        joined: dict[str, dict[int, NDArray[np.float64]]] = {}
        for name in self.hospitals:
            patients, test = split.train[name], split.test[name]
            order = np.random.default_rng([seed, fold, *name.encode()]).permutation(len(patients))
            some = {m: patients.take(order[:m]) for m in ALONE if m <= len(patients)}
            alone[name] = {m: self._scores({name: p}, test) for m, p in some.items()}
            joined[name] = {
                n: self._scores({**split.train, name: p}, test)
                for n, p in some.items()
                if n in JOINED
            }
        return Curves(alone, joined, {name: split.test[name] for name in self.hospitals})

    def _scores(self, train: Mapping[str, Patients], test: Patients) -> NDArray[np.float64]:
        return scores(LogisticProblem(train, self.ridge).optimum, test.features)

    def summarise(self, parts: list[Curves]) -> dict[str, Any]:
        """By hospital: mean curves, and the data equivalent at each size with its interval."""
        return {
            "hospitals": {
                name: {
                    "auc_alone": {str(m): self._auc(parts, name, "alone", m) for m in sizes},
                    "auc_joined": {
                        str(n): self._auc(parts, name, "joined", n) for n in parts[0].joined[name]
                    },
                    "ratio_joined": self._ratios(parts, name, sizes),
                }
                for name in self.hospitals
                for sizes in [tuple(parts[0].alone[name])]
            }
        }

    def _ratios(
        self, parts: list[Curves], name: str, sizes: tuple[int, ...]
    ) -> list[dict[str, Any]]:
        alone = [self._auc(parts, name, "alone", m) for m in sizes]
        drawn = np.stack([self._draws(parts, name, "alone", m) for m in sizes], axis=1)
        ratios = []
        for n in parts[0].joined[name]:
            level = self._auc(parts, name, "joined", n)
            levels = self._draws(parts, name, "joined", n)
            draws = [
                crossing(sizes, a.tolist(), float(b)) / n
                for a, b in zip(drawn, levels, strict=True)
            ]
            value = crossing(sizes, alone, level)
            lower, upper = np.quantile(draws, [0.025, 0.975])
            ratios.append(
                {
                    "patients": n,
                    "value": value / n,
                    "lower": float(lower),
                    "upper": float(upper),
                    "at_least": value >= sizes[-1],
                }
            )
        return ratios

    def _auc(self, parts: list[Curves], name: str, kind: str, size: int) -> float:
        return float(np.mean([auc(s) for s in self._scored(parts, name, kind, size)]))

    def _draws(self, parts: list[Curves], name: str, kind: str, size: int) -> NDArray[np.float64]:
        return auc_draws(*self._scored(parts, name, kind, size), replicates=_REPLICATES)

    def _scored(
        self, parts: list[Curves], name: str, kind: str, size: int
    ) -> list[dict[str, Scored]]:
        """One hospital's patients in order, as each cross-validation scored them."""
        repeats = []
        for k in range(0, len(parts), self.folds):
            together = parts[k : k + self.folds]
            sites = [
                {name: Scored(getattr(p, kind)[name][size], p.test[name].outcomes)}
                for p in together
            ]
            repeats.append(by_patient(sites, together))
        return repeats


@dataclass(frozen=True)
class HospitalRatios:
    """One hospital's data equivalent at each size."""

    ratio_joined: tuple[Ratio, ...]


@dataclass(frozen=True)
class OwnPatientsMetrics:
    """What a record of real hospitals holds, by hospital."""

    hospitals: Mapping[str, HospitalRatios]
