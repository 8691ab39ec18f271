r"""How many patients of its own would serve a hospital as well as joining does.

On a simulated network every hospital can be given any number of patients. A hospital alone learns
from m of its own; a federation learns from n of each of its hospitals. The *data equivalent* of
joining is m/n for that m at which the hospital alone is as good as the federation is at n, by the
within-site AUC on other patients of the same hospitals. Where no m that was tried is enough, the
ratio is *at least* the largest m over n, and says so. ``studies.equivalent_heart`` asks the
same of real hospitals.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

from aggregation.data.patients import Patients
from aggregation.federation import Federation
from aggregation.models import Logistic
from experiments.cohorts import Network
from experiments.evaluation import Estimate, Scored, auc
from experiments.studies.design import DELTA, TRAINING, Design, Regime, make_plan
from experiments.studies.problem import LogisticProblem, scored_by, scores

__all__ = ["Equivalent", "EquivalentMetrics", "Ratio", "SizeCurves", "crossing"]

ALONE = (25, 50, 100, 200, 400, 800, 1600, 3200, 6400, 12800)
JOINED = (25, 50, 100, 200, 400)
_TEST_DRAWS = (1_000, 1_001, 1_002)


@dataclass(frozen=True)
class SizeCurves:
    """One network.

    Attributes:
      alone: AUC of hospitals by themselves, at each m of ``ALONE``.
      joined: AUC of the federation without noise, at each n of ``JOINED``.
      sealed: The same at the point's epsilon, with sealed sums.
    """

    alone: tuple[float, ...]
    joined: tuple[float, ...]
    sealed: tuple[float, ...]


@dataclass(frozen=True)
class Equivalent:
    """The curve over hospital sizes.

    Attributes:
      hospitals: Of the network.
      judged: Hospitals, from the first on, that are trained alone and tested.
      epsilon: Of the sealed federation.
      ridge: Of the models without noise, in patients.
      seeds: One network each.
      code_version: Raised when a change moves the numbers.
    """

    hospitals: int = 40
    judged: int = 20
    epsilon: float = 1.0
    ridge: float = 10.0
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    code_version: int = 2

    @property
    def config(self) -> Mapping[str, Any]:
        """What names the record."""
        return {
            "experiment": "data equivalent",
            "delta": DELTA,
            "alone": list(ALONE),
            "joined": list(JOINED),
            "setting": asdict(TRAINING[Regime.FULL, "logistic"]),
            **asdict(self),
        }

    @property
    def label(self) -> str:
        """A short name for progress and errors."""
        return "data equivalent"

    @property
    def units(self) -> tuple[int, ...]:
        """Networks."""
        return self.seeds

    def measure(self, unit: int, data_dir: Path | None) -> SizeCurves:
        """Train hospitals alone and together on one network."""
        pool = self._pool(unit, max(ALONE))
        judged = list(pool)[: self.judged]
        test = self._drawn(unit, _TEST_DRAWS)
        test = {name: test[name] for name in judged}

        def alone(m: int) -> float:
            params = {
                n: LogisticProblem({n: pool[n].take(np.arange(m))}, self.ridge).optimum
                for n in judged
            }
            return auc(
                {n: Scored(scores(params[n], test[n].features), test[n].outcomes) for n in judged}
            )

        def joined(n: int) -> float:
            return auc(scored_by(LogisticProblem(_first(pool, n), self.ridge).optimum, test))

        def sealed(n: int) -> float:
            patients = _first(pool, n)
            model = Logistic(next(iter(pool.values())).features.shape[1])
            plan = make_plan(
                run=f"equivalent-{unit}-{n}",
                design=Design.SEALED,
                epsilon=self.epsilon,
                model=model,
                setting=TRAINING[Regime.FULL, "logistic"],
                patients=patients,
                scheme="plain",
            )
            params = Federation.simulated(plan, patients, seed=(unit, n)).run().params
            return auc(scored_by(params, test))

        return SizeCurves(
            tuple(alone(m) for m in ALONE),
            tuple(joined(n) for n in JOINED),
            tuple(sealed(n) for n in JOINED),
        )

    def summarise(self, parts: list[SizeCurves]) -> dict[str, Any]:
        """Mean curves over networks, and the data equivalent at each size with its interval."""
        return {
            "auc_alone": _means([p.alone for p in parts]),
            "auc_joined": _means([p.joined for p in parts]),
            "auc_sealed": _means([p.sealed for p in parts]),
            "ratio_joined": self._ratios([p.alone for p in parts], [p.joined for p in parts]),
            "ratio_sealed": self._ratios([p.alone for p in parts], [p.sealed for p in parts]),
        }

    def _ratios(
        self, alone: list[tuple[float, ...]], joined: list[tuple[float, ...]]
    ) -> list[dict[str, Any]]:
        ratios = []
        for k, n in enumerate(JOINED):
            m = np.array(
                [
                    crossing(ALONE, curve, together[k])
                    for curve, together in zip(alone, joined, strict=True)
                ]
            )
            logs = np.log(m / n)
            half = 0.0
            if len(logs) > 1:
                spread = float(logs.std(ddof=1)) / math.sqrt(len(logs))
                half = float(student.ppf(0.975, len(logs) - 1)) * spread
            mean = float(logs.mean())
            ratios.append(
                {
                    "patients": n,
                    "value": math.exp(mean),
                    "lower": math.exp(mean - half),
                    "upper": math.exp(mean + half),
                    "at_least": int((m >= max(ALONE)).sum()),
                }
            )
        return ratios

    def _pool(self, seed: int, size: int) -> dict[str, Patients]:
        """At least ``size`` patients of each hospital, draw after draw."""
        pool = self._drawn(seed, (0,))
        draw = 0
        while min(len(p) for p in pool.values()) < size:
            draw += 1
            more = self._drawn(seed, (draw,))
            pool = {
                n: p if len(p) >= size else Patients.together((p, more[n])) for n, p in pool.items()
            }
        return pool

    def _drawn(self, seed: int, draws: tuple[int, ...]) -> dict[str, Patients]:
        cohorts = [
            Network(self.hospitals, 1.0, seed, tier3_fraction=0.25, draw=draw).cohort()
            for draw in draws
        ]
        pool = dict(cohorts[0].hospitals)
        for cohort in cohorts[1:]:
            pool = {
                name: Patients.together((p, cohort.hospitals[name])) for name, p in pool.items()
            }
        return pool


@dataclass(frozen=True)
class Ratio(Estimate):
    """How many times its own data joining is worth to a hospital.

    Attributes:
      patients: Of the hospital.
      at_least: Whether no size that was tried alone is enough; of networks, in how many.
    """

    patients: int = 0
    at_least: int = 0


@dataclass(frozen=True)
class EquivalentMetrics:
    """What a record of networks holds: the data equivalent at each size."""

    ratio_joined: tuple[Ratio, ...]
    ratio_sealed: tuple[Ratio, ...]


def crossing(sizes: Sequence[int], alone: Sequence[float], level: float) -> float:
    """Return the m at which hospitals alone reach an AUC: the first crossing, straight in log m.

    Below the smallest m that was tried it is that m; above the largest, the largest.

    Args:
      sizes: Every m that was tried, rising.
      alone: AUC at each of them; where it falls the best before stands, as more data never serves
        worse.
      level: The AUC to reach.
    """
    best = np.maximum.accumulate(alone)
    if level >= best[-1]:
        return float(sizes[-1])
    k = int(np.argmax(best > level))
    if k == 0:
        return float(sizes[0])
    part = (level - best[k - 1]) / (best[k] - best[k - 1])
    low, high = math.log(sizes[k - 1]), math.log(sizes[k])
    return math.exp(low + part * (high - low))


def _first(pool: Mapping[str, Patients], count: int) -> dict[str, Patients]:
    return {name: patients.take(np.arange(count)) for name, patients in pool.items()}


def _means(curves: list[tuple[float, ...]]) -> list[float]:
    return [float(value) for value in np.mean(curves, axis=0)]
