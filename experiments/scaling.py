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
interval is Student's over replicates. Designs are compared within a replicate, each at its own best
step: more noise wants smaller steps, and one step for all would count that as a gain of sealing.
The steps were chosen on other networks (``experiments.scaling_tuning``).

References:
  [1] Kairouz, Liu, Steinke 2021, "The Distributed Discrete Gaussian Mechanism for Federated
      Learning with Secure Aggregation", section 1: one noise for the sum.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.stats import t as student

from aggregation.models import Model
from aggregation.patients import Patients
from aggregation.plan import Plan
from aggregation.vectorised import Fleet
from experiments.cohorts.network import SCHEMA, Network
from experiments.design import DELTA, make_plan
from experiments.evaluation import Scored, auc
from experiments.scaling_steps import SETTING, step_of

__all__ = ["ARRANGEMENTS", "Crowd", "Replicate", "Scaling", "grid", "plan_of", "split", "trained"]

ARRANGEMENTS = ("growing", "divided")
DIVIDED_AMONG = 40  # hospitals of the network whose patients are divided
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
      none: Clipped as the others are, without noise: what there is to be lost.
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
    code_version: int = 2

    @property
    def config(self) -> dict[str, Any]:
        """The record's config."""
        return {
            "experiment": "scaling",
            "cohort": "network",
            "delta": DELTA,
            "model": "logistic",
            "setting": {k: v for k, v in asdict(SETTING).items() if k != "learning_rate"},
            "learning_rates": self.steps,
            **asdict(self),
        }

    @property
    def label(self) -> str:
        """A short name for progress and errors."""
        return f"scaling {self.arrangement} n={self.hospitals} eps={self.epsilon:g}"

    @property
    def steps(self) -> dict[str, float]:
        """The step of each design, by its name in ``Replicate``."""
        where = (self.arrangement, self.hospitals)
        return {
            "none": step_of(*where, "sealed", math.inf),
            "local": step_of(*where, "local", self.epsilon),
            "sealed": step_of(*where, "sealed", self.epsilon),
        }

    @property
    def units(self) -> list[int]:
        """Seeds of the replicates."""
        return [self.seed + k for k in range(self.replicates)]

    def measure(self, unit: int, data_dir: Path | None = None) -> Replicate:
        """Train the three designs on one network, and test them on its next draw."""
        train, test, bayes = split(self.arrangement, self.hospitals, unit)

        def auc_of(name: str, design: str, epsilon: float) -> float:
            plan = plan_of(train, design, epsilon)
            plan = replace(plan, learning_rate=self.steps[name])
            return trained(plan, train, test, seed=(unit, len(design)))

        return Replicate(
            none=auc_of("none", "sealed", math.inf),
            local=auc_of("local", "local", self.epsilon),
            sealed=auc_of("sealed", "sealed", self.epsilon),
            bayes=bayes,
            patients=len(train.outcomes),
            largest=int(np.diff(train.offsets).max()),
        )

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


def split(arrangement: str, hospitals: int, unit: int) -> tuple[Crowd, Crowd, float]:
    """Draw one network: who is trained on, who is tested on, and what no score can beat."""
    growing = arrangement == "growing"
    size, apart = (hospitals, 1.0) if growing else (DIVIDED_AMONG, 0.0)
    network = Network(size, heterogeneity=apart, seed=unit)
    later = replace(network, draw=1)
    train = Crowd.of(network)
    if not growing:
        train = train.divided(hospitals, np.random.default_rng([unit, 1]))
    return train, Crowd.of(later), later.bayes_auc()


def plan_of(train: Crowd, design: str, epsilon: float) -> Plan:
    """Calibrate a design to the epsilon of the whole run; the step is left to be chosen."""
    return make_plan(
        run=f"scaling {design} eps={epsilon:g} n={len(train.offsets) - 1}",
        design=design,
        epsilon=epsilon,
        model=Model("logistic", len(SCHEMA)),
        setting=SETTING,
        patients=train.hospitals,
    )


def trained(plan: Plan, train: Crowd, test: Crowd, *, seed: tuple[int, ...]) -> float:
    """Run a plan on all hospitals; return its final model's within-site AUC on the test patients.

    Args:
      plan: Full batch, one step a round.
      train: Who is trained on.
      test: Who is tested on.
      seed: Of all noise.
    """
    fleet = Fleet.simulated(plan, lambda: [train], seed=seed)
    models = [plan.first_model()]
    for _ in range(plan.rounds):
        models.append(fleet.advance(models[-1])[0])
    return test.within_site_auc(plan.model.scores(plan.final_model(models), test.features))


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
