r"""What sealing gains as hospitals become many: the headline of shared noise.

Each hospital that uploads in clear must add all of the noise; where only the sum is opened the
hospitals share one. With n hospitals the noise on the sum is :math:`\sqrt n` times smaller. What
that is worth in AUC depends on what else grows with n, so both are measured, on simulated networks
(``experiments.cohorts.network``; there the truth and any number of hospitals are to be had):

``growing``
  n hospitals of the network: with their number the patients grow too, and all noise fades.
``divided``
  the same patients (those of 40 hospitals without differences) divided among n hospitals: only the
  number of shares changes.

A replicate draws a network, its training patients, its test patients (the next draw of the same
hospitals) and all noise anew, so the spread over replicates holds every source of chance, and the
interval is Student's over replicates. Designs are compared within a replicate.

References:
  [1] Kairouz, Liu, Steinke 2021, "The Distributed Discrete Gaussian Mechanism for Federated
      Learning with Secure Aggregation", section 1: one noise for the sum.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.stats import t as student

from aggregation.models import Model
from aggregation.patients import Patients
from aggregation.vectorised import Fleet
from experiments.cohorts.network import SCHEMA, Network
from experiments.design import DELTA, make_plan
from experiments.evaluation import Scored, auc
from experiments.settings import Setting

__all__ = ["ARRANGEMENTS", "SETTING", "Crowd", "Replicate", "Scaling", "grid"]

ARRANGEMENTS = ("growing", "divided")
DIVIDED_AMONG = 40  # hospitals of the network whose patients are divided
SETTING = Setting(20, 12.0, 1.0, 10)
"""The steps (4, 12, 30) and rounds (20, 40) were tried on networks of seeds 10^6 and up alone."""

_REPLICATES = {4: 24, 40: 12, 400: 6, 4000: 3}


@dataclass(frozen=True)
class Crowd:
    """Hospitals held at once, their patients one hospital after the other.

    Attributes:
      offsets: Where each hospital's patients begin, and the end.
      features: Standardised.
      outcomes: 0 or 1.
    """

    offsets: Int[np.ndarray, "ends"]
    features: Float[np.ndarray, "patients features"]
    outcomes: Int[np.ndarray, "patients"]

    @classmethod
    def of(cls, network: Network) -> "Crowd":
        """All hospitals of a network."""
        blocks = list(network.blocks())
        sizes = np.concatenate([np.diff(b.offsets) for b in blocks])
        return cls(
            np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            np.concatenate([b.features for b in blocks]),
            np.concatenate([b.outcomes for b in blocks]),
        )

    def divided(self, hospitals: int, rng: np.random.Generator) -> "Crowd":
        """The same patients in random order, in as many hospitals of equal size as asked."""
        order = rng.permutation(len(self.outcomes))
        ends = np.linspace(0, len(order), hospitals + 1).round().astype(np.int64)
        return Crowd(ends, self.features[order], self.outcomes[order])

    @property
    def hospitals(self) -> dict[str, Patients]:
        """By name, in order."""
        return {
            f"{k:05d}": Patients(self.features[low:high], self.outcomes[low:high])
            for k, (low, high) in enumerate(zip(self.offsets[:-1], self.offsets[1:], strict=True))
        }

    def within_site_auc(self, scores: NDArray[np.float64]) -> float:
        """Over all pairs of a case and a control of the same hospital."""
        places = zip(self.offsets[:-1], self.offsets[1:], strict=True)
        return auc(
            {
                str(k): Scored(scores[low:high], self.outcomes[low:high])
                for k, (low, high) in enumerate(places)
            }
        )


@dataclass(frozen=True)
class Replicate:
    """Within-site AUCs of one network on its next draw of patients.

    Attributes:
      none: Without clipping noise or secrecy: what there is to be lost.
      local: All of the noise at each hospital.
      sealed: One noise, shared.
      bayes: Of the true risks; no model can expect more.
      patients: Trained on.
      largest: Most patients of one hospital.
    """

    none: float
    local: float
    sealed: float
    bayes: float
    patients: int
    largest: int


@dataclass(frozen=True)
class Scaling:
    """One number of hospitals in one arrangement at one epsilon.

    Attributes:
      hospitals: How many.
      arrangement: ``growing`` or ``divided``.
      epsilon: Of the whole run, at delta 1e-5.
      replicates: Networks.
      seed: The experiment's seed.
      code_version: Raised when a change moves the numbers.
    """

    hospitals: int
    arrangement: str
    epsilon: float
    replicates: int
    seed: int = 0
    code_version: int = 1

    @property
    def config(self) -> dict[str, Any]:
        """The record's config."""
        return {
            "experiment": "scaling",
            "cohort": "network",
            "delta": DELTA,
            "model": "logistic",
            "setting": asdict(SETTING),
            **asdict(self),
        }

    @property
    def label(self) -> str:
        """A short name for progress and errors."""
        return f"scaling {self.arrangement} n={self.hospitals} eps={self.epsilon:g}"

    @property
    def units(self) -> list[int]:
        """Seeds of the replicates."""
        return [self.seed + k for k in range(self.replicates)]

    def measure(self, unit: int, data_dir: Path | None = None) -> Replicate:
        """Train the three designs on one network, and test them on its next draw."""
        growing = self.arrangement == "growing"
        size, apart = (self.hospitals, 1.0) if growing else (DIVIDED_AMONG, 0.0)
        network = Network(size, heterogeneity=apart, seed=unit)
        later = Network(size, heterogeneity=apart, seed=unit, draw=1)
        train, test = Crowd.of(network), Crowd.of(later)
        if not growing:
            train = train.divided(self.hospitals, np.random.default_rng([unit, 1]))
        return Replicate(
            none=self._trained(train, test, "sealed", math.inf, unit),
            local=self._trained(train, test, "local", self.epsilon, unit),
            sealed=self._trained(train, test, "sealed", self.epsilon, unit),
            bayes=later.bayes_auc(),
            patients=len(train.outcomes),
            largest=int(np.diff(train.offsets).max()),
        )

    def _trained(self, train: Crowd, test: Crowd, design: str, epsilon: float, unit: int) -> float:
        plan = make_plan(
            run=f"{self.label} {design}",
            design=design,
            epsilon=epsilon,
            model=Model("logistic", len(SCHEMA)),
            setting=SETTING,
            patients=train.hospitals,
        )
        fleet = Fleet.simulated(plan, lambda: [train], seed=(unit, len(design)))
        models = [plan.first_model()]
        for _ in range(plan.rounds):
            models.append(fleet.advance(models[-1])[0])
        return test.within_site_auc(plan.model.scores(plan.final_model(models), test.features))

    def summarise(self, parts: list[Replicate]) -> dict[str, Any]:
        """Means over replicates; differences within each."""
        columns = {n: np.array([getattr(p, n) for p in parts]) for n in asdict(parts[0])}
        return {
            "auc_none": _student(columns["none"]),
            "auc_local": _student(columns["local"]),
            "auc_sealed": _student(columns["sealed"]),
            "auc_bayes": _student(columns["bayes"]),
            "gain": _student(columns["sealed"] - columns["local"]),
            "cost_sealed": _student(columns["none"] - columns["sealed"]),
            "cost_local": _student(columns["none"] - columns["local"]),
            "patients": float(columns["patients"].mean()),
            "largest_hospital": int(columns["largest"].max()),
        }


def grid(
    seed: int = 0,
    *,
    hospitals: Sequence[int] = tuple(_REPLICATES),
    epsilons: Sequence[float] = (0.1, 1.0),
) -> list[Scaling]:
    """The published points: both arrangements; fewer replicates where one holds more patients."""
    return [
        Scaling(n, arrangement, epsilon, _REPLICATES.get(n, 3), seed)
        for arrangement in ARRANGEMENTS
        for n in hospitals
        for epsilon in epsilons
    ]


def _student(values: NDArray[np.float64]) -> dict[str, float]:
    """Mean with its 95 % interval (Student's t over replicates)."""
    mean = float(values.mean())
    half = float(student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return {"value": mean, "lower": mean - half, "upper": mean + half}
