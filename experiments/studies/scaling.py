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
The steps were chosen on other networks (``studies.tuning``).

The very runs whose AUC is reported are attacked (``studies.likelihoods``), and the proven
bound stands beside: at any number of hospitals the same noise is left to hide a patient.

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

from aggregation.data.patients import Patients
from aggregation.engines.fleet import Fleet
from aggregation.models import Logistic
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.releases import run_event
from experiments.cohorts.network import SCHEMA, Network
from experiments.evaluation import Estimate, Scored, auc
from experiments.run.record import Record
from experiments.run.typed import TypedRecord, read_all
from experiments.studies.design import DELTA, RELATION, make_plan
from experiments.studies.likelihoods import name_targets, of_fleet
from experiments.studies.people import LINEUP, LineUp, in_network, targets_of
from experiments.studies.scaling_steps import SETTING, Arrangement, ScalingArm, step_of
from privacy.reconstruction import success_bound

__all__ = [
    "Arrangement",
    "Crowd",
    "NetworkReplicate",
    "Scaling",
    "ScalingArm",
    "grid",
    "plan_of",
    "read_scaling",
    "split",
    "trained",
]

DIVIDED_AMONG = 40  # hospitals of the network whose patients are divided
_TARGETS = 200  # of a network, at most
_REPLICATES = {
    Arrangement.GROWING: {4: 24, 40: 12, 400: 6, 4000: 3},
    Arrangement.DIVIDED: {4: 24, 40: 12, 400: 12, 4000: 12},
}


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
class NetworkReplicate:
    """Within-site AUCs of one network on its next draw of patients, and risks of its own.

    Attributes:
      none: Clipped as the others are, without noise: what there is to be lost.
      local: All of the noise at each hospital.
      sealed: One noise, shared.
      risk_local: How often the informed adversary names a target out of ten, updates in clear.
      risk_sealed: The same where only sums are opened.
      bound_local: What is proven of any adversary.
      bound_sealed: The same.
      bayes: Of the true risks; no model can expect more.
      patients: Trained on.
      largest: Most patients of one hospital.
      targets: Patients in line-ups.
    """

    none: float
    local: float
    sealed: float
    risk_local: float
    risk_sealed: float
    bound_local: float
    bound_sealed: float
    bayes: float
    patients: int
    largest: int
    targets: int


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
    arrangement: Arrangement
    epsilon: float
    replicates: int
    seed: int = 0
    code_version: int = 3

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
    def arms(self) -> dict[ScalingArm, float]:
        """The epsilon of each arm; the first one has no noise."""
        return {
            ScalingArm.NONE: math.inf,
            ScalingArm.LOCAL: self.epsilon,
            ScalingArm.SEALED: self.epsilon,
        }

    @property
    def steps(self) -> dict[ScalingArm, float]:
        """The step of each arm."""
        searched = {ScalingArm.NONE: ScalingArm.SEALED}  # by name of the step's table
        return {
            arm: step_of(self.arrangement, self.hospitals, searched.get(arm, arm), epsilon)
            for arm, epsilon in self.arms.items()
        }

    @property
    def units(self) -> list[int]:
        """Seeds of the replicates."""
        return [self.seed + k for k in range(self.replicates)]

    def measure(self, unit: int, data_dir: Path | None = None) -> NetworkReplicate:
        """Train the three designs on one network, attack two, test all on its next draw."""
        train, test, bayes = split(self.arrangement, self.hospitals, unit)
        plans = {
            arm: replace(plan_of(train, arm, epsilon), learning_rate=self.steps[arm])
            for arm, epsilon in self.arms.items()
        }
        targets = in_network(
            train,
            test,
            count=_TARGETS,
            colluders=plans[ScalingArm.SEALED].colluders,
            alike=self.arrangement is Arrangement.DIVIDED,
            rng=np.random.default_rng([unit, 3]),
        )
        auc, risk, bound = (
            dict[ScalingArm, float](),
            dict[ScalingArm, float](),
            dict[ScalingArm, float](),
        )
        for arm, plan in plans.items():
            sought = None if arm is ScalingArm.NONE else targets
            seed = (unit, arm.noise_seed)
            auc[arm], risk[arm] = trained(plan, train, test, seed=seed, targets=sought)
            event = run_event(plan, plan.hospitals[0])
            bound[arm] = 1.0 if arm is ScalingArm.NONE else success_bound(
                event, prior_success=1 / LINEUP, relation=RELATION
            )  # fmt: skip
        return NetworkReplicate(
            none=auc[ScalingArm.NONE],
            local=auc[ScalingArm.LOCAL],
            sealed=auc[ScalingArm.SEALED],
            risk_local=risk[ScalingArm.LOCAL],
            risk_sealed=risk[ScalingArm.SEALED],
            bound_local=bound[ScalingArm.LOCAL],
            bound_sealed=bound[ScalingArm.SEALED],
            bayes=bayes,
            patients=len(train.outcomes),
            largest=int(np.diff(train.offsets).max()),
            targets=len(targets),
        )

    def summarise(self, parts: list[NetworkReplicate]) -> dict[str, Any]:
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
            "risk_local": _student(columns["risk_local"]),
            "risk_sealed": _student(columns["risk_sealed"]),
            "bound_local": float(columns["bound_local"].max()),
            "bound_sealed": float(columns["bound_sealed"].max()),
            "prior_success": 1 / LINEUP,
            "targets": int(columns["targets"].sum()),
            "patients": float(columns["patients"].mean()),
            "largest_hospital": int(columns["largest"].max()),
        }


@dataclass(frozen=True)
class ScalingMetrics:
    """What a record holds of the three arms, and the gain of sealing."""

    auc_none: Estimate
    auc_local: Estimate
    auc_sealed: Estimate
    gain: Estimate


def read_scaling(records: Sequence[Record]) -> list[TypedRecord[Scaling, ScalingMetrics]]:
    """Read records of this study, in order."""
    return read_all(records, Scaling, ScalingMetrics)


def split(arrangement: Arrangement, hospitals: int, unit: int) -> tuple[Crowd, Crowd, float]:
    """Draw one network: who is trained on, who is tested on, and what no score can beat."""
    growing = arrangement is Arrangement.GROWING
    size, apart = (hospitals, 1.0) if growing else (DIVIDED_AMONG, 0.0)
    network = Network(size, heterogeneity=apart, seed=unit)
    later = replace(network, draw=1)
    train = Crowd.of(network)
    if not growing:
        train = train.divided(hospitals, np.random.default_rng([unit, 1]))
    return train, Crowd.of(later), later.bayes_auc()


def plan_of(train: Crowd, arm: ScalingArm, epsilon: float) -> Plan:
    """Calibrate an arm's design to the epsilon of the whole run; the step is left to be chosen."""
    return make_plan(
        run=f"scaling {arm.design} eps={epsilon:g} n={len(train.offsets) - 1}",
        design=arm.design,
        epsilon=epsilon,
        model=Logistic(len(SCHEMA)),
        setting=SETTING,
        patients=train.hospitals,
    )


def trained(
    plan: Plan,
    train: Crowd,
    test: Crowd,
    *,
    seed: tuple[int, ...],
    targets: Sequence[LineUp] | None = None,
) -> tuple[float, float]:
    """Run a plan on all hospitals; return its model's within-site AUC, and the risk of targets.

    Args:
      plan: Full batch, one step a round.
      train: Who is trained on.
      test: Who is tested on.
      seed: Of all noise.
      targets: Whom the informed adversary looks for in this very run; None: nobody, risk NaN.
    """
    fleet = Fleet.simulated(plan, lambda: [train], seed=seed)
    noiseless = Fleet(replace(plan, noise=NoiseKind.NONE, noise_multiplier=0.0), lambda: [train])
    models, logs = [plan.first_model()], []
    for _ in range(plan.rounds):
        sent = np.concatenate(list(fleet.updates(models[-1])))
        if targets is not None:
            clear = np.concatenate(list(noiseless.updates(models[-1])))
            logs.append(of_fleet(plan, targets, models[-1], sent, clear))
        models.append(plan.advance(models[-1], sent.sum(axis=0)))
    scores = plan.model.scores(plan.final_model(models), test.features)
    within = test.within_site_auc(scores)
    if not logs:
        return within, math.nan
    places = name_targets(np.sum(logs, axis=0), np.random.default_rng([*seed, 2]))
    return within, float((places == targets_of(targets or ())).mean())


def grid(
    seed: int = 0,
    *,
    hospitals: Sequence[int] = (4, 40, 400, 4000),
    epsilons: Sequence[float] = (0.1, 1.0),
) -> list[Scaling]:
    """The published points: both arrangements; fewer replicates where one holds more patients."""
    return [
        Scaling(n, arrangement, epsilon, _REPLICATES[arrangement].get(n, 3), seed)
        for arrangement in Arrangement
        for n in hospitals
        for epsilon in epsilons
    ]


def _student(values: NDArray[np.float64]) -> dict[str, float]:
    """Mean with its 95 % interval over replicates."""
    mean = Estimate.over_runs(values.tolist())
    return {"value": mean.value, "lower": mean.lower, "upper": mean.upper}
