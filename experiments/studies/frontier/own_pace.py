"""Points of the frontier whose hospitals work at their own pace: AUC, risk and bound of one run.

They stand beside ``frontier.point``: logistic regression on all patients (an upload is one step
over everybody), sums sealed, noise shared. Settings are those that ``studies.tuning``
chose on simulated studies. Without noise the schedule is that of the budget at epsilon 1, so that
the noise alone differs.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from dp_accounting import DpEvent, NonPrivateDpEvent

from aggregation.agreement import Agreement
from aggregation.federation import Federation
from aggregation.noise_kind import NoiseKind
from aggregation.rules.local_intercept import fit_intercept
from aggregation.sized import sealing_for
from aggregation.timing import Schedule
from attacks import Prior
from experiments.studies import likelihoods
from experiments.studies.asynchronous import (
    SEALED,
    SEALED_SETTINGS,
    ArrivalRule,
    AsynchronousRun,
    agreed,
    averaged,
)
from experiments.studies.design import DELTA, RELATION, Design, Regime
from experiments.studies.frontier.metrics import by_trait, epsilon_spent, of_models
from experiments.studies.frontier.point import FoldResult, FrontierPoint
from experiments.studies.lineups import INFORMED, LIKELIHOOD, risk, trials_of, worst_risk
from experiments.studies.people import LINEUP, LineUpFold, with_line_ups
from privacy.reconstruction import success_bound

__all__ = ["ARRIVALS", "AsynchronousPoint", "AttackedPoint"]

ARRIVALS = tuple(SEALED)
_TRIED = (LIKELIHOOD, INFORMED)
_SEALED_AS = "shares"  # whose bytes stand for runs that were summed in clear


@dataclass(frozen=True)
class AsynchronousFold(FoldResult):
    """One fold: what a ``FoldResult`` has, and what each hospital released.

    Attributes:
      events: All uploads of each hospital together.
      openings: Number of opened sums.
      upload_bytes: Of one upload, sealed as ``shares``.
    """

    events: Mapping[str, DpEvent]
    openings: int
    upload_bytes: int


@dataclass(frozen=True)
class AsynchronousPoint:
    """One rule at one epsilon; the fields are the record's key.

    Attributes:
      arrival: One of ``ARRIVALS``: all wait for all; FedBuff corrected for pace; Memory.
      epsilon: Of the whole run, of every hospital; None: no noise.
      buffer: Hospitals in a sum; all of them where all wait.
      seeds: One cross-validation each.
      folds: Of a cross-validation.
      cohort: ``heart``.
      colluders: Hospitals whose share of the noise does not count, and who tell what they sent.
      ablation: What is varied, where this is a point of an ablation.
      code_version: Raised when a change moves the numbers.
    """

    arrival: ArrivalRule
    epsilon: float | None
    buffer: int = 3
    seeds: tuple[int, ...] = (0,)
    folds: int = 5
    cohort: str = "heart"
    colluders: int = 1
    ablation: str | None = None
    code_version: int = 3

    @property
    def design(self) -> Design:
        """Sealed sums, shared noise."""
        return Design.SEALED

    @property
    def regime(self) -> Regime:
        """All patients in every upload."""
        return Regime.FULL

    @property
    def model(self) -> str:
        """The only one whose settings were searched."""
        return "logistic"

    @property
    def local_steps(self) -> int:
        """Of an upload."""
        return 1

    @property
    def sees(self) -> None:
        """Nobody opens single updates."""
        return None

    @property
    def config(self) -> dict[str, Any]:
        """The record's config; beside its own fields those by which the frontier's are told."""
        return {
            **asdict(self),
            "experiment": "own pace",
            "delta": DELTA,
            "lineup": LINEUP,
            "design": self.design,
            "regime": self.regime,
            "model": self.model,
            "attacks": {"attacks": list(_TRIED)},
            "local_steps": self.local_steps,
            "sees": self.sees,
            "run": self.ruled(self.seeds[0]).config,
        }

    @property
    def label(self) -> str:
        """A short name for progress and errors."""
        epsilon = "inf" if self.epsilon is None else f"{self.epsilon:g}"
        return f"{self.cohort} {self.arrival} buffer={self.buffer} eps={epsilon}"

    @property
    def units(self) -> list[tuple[int, int]]:
        """Seed and fold of each run."""
        return list(product(self.seeds, range(self.folds)))

    def ruled(self, seed: int) -> AsynchronousRun:
        """The run of one seed; without noise, that of epsilon 1 before its noise."""
        rule = SEALED[self.arrival]
        epsilon = 1.0 if self.epsilon is None else self.epsilon
        setting = {**SEALED_SETTINGS["heart", rule], "buffer": self.buffer}
        if rule.waits_for_all:
            setting.pop("buffer")
        return AsynchronousRun(
            self.cohort, rule, seed=seed, folds=self.folds, epsilon=epsilon, **setting
        )

    def measure(self, unit: tuple[int, int], data_dir: Path | None = None) -> AsynchronousFold:
        """Run one fold of one seed, and attack it."""
        seed, fold = unit
        ruled = self.ruled(seed)
        cohort, _ = ruled.split(data_dir)
        split = with_line_ups(cohort, count=self.folds, seed=seed, alone=True)[fold]
        agreement, schedule = agreed(ruled, cohort, split, fold)
        if self.epsilon is None:
            plan = replace(agreement.plan, noise=NoiseKind.NONE, noise_multiplier=0.0)
            agreement = Agreement.of(plan, schedule)
        prior = Prior.from_schema(cohort.schema)
        return _measured(agreement, schedule, split, prior, (seed, fold), average=ruled.average)

    def summarise(self, parts: list[AsynchronousFold]) -> dict[str, Any]:
        """The record's metrics, by the names that ``studies.frontier.metrics`` gives them."""
        parts = sorted(parts, key=lambda part: (part.seed, part.fold))
        trials = [one for part in parts for one in part.trials]
        plan = parts[0].plan
        bound, worst = max(
            ((_bound(event), event) for part in parts for event in part.events.values()),
            key=lambda pair: 1.0 if pair[0] is None else pair[0],
        )
        return {
            **of_models(self, list[FoldResult](parts)),
            "risk": worst_risk(trials),
            "risks": {name: risk(trials, name) for name in _TRIED},
            "risks_by_trait": by_trait(trials),
            "not_measurable": list(parts[0].unmeasured),
            "prior_success": 1 / LINEUP,
            "adversary": "buffered",
            "bound": bound,
            "epsilon": epsilon_spent(worst, delta=DELTA),
            "noise_multiplier": plan.noise_multiplier,
            "radius": plan.radius,
            "dim": plan.model.dim,
            "upload_bytes": float(max(part.upload_bytes for part in parts)),
            "openings": float(np.mean([part.openings for part in parts])),
        }


AttackedPoint = FrontierPoint | AsynchronousPoint


def _measured(
    agreement: Agreement,
    schedule: Schedule,
    split: LineUpFold,
    prior: Prior,
    unit: tuple[int, int],
    *,
    average: float,
) -> AsynchronousFold:
    plan, (seed, fold) = agreement.plan, unit
    federation = Federation.simulated(plan, split.train, seed=1000 * seed + fold, schedule=schedule)
    ran = federation.run()
    params = averaged(ran.models, average)[-1]
    rng = np.random.default_rng([seed, fold, 1])
    lineups = [one for one in split.lineups if one.hospital in schedule.uploads]
    trials = []
    for name, logs in (
        (LIKELIHOOD, likelihoods.of_public_schedule(agreement, ran, prior, lineups)),
        (INFORMED, likelihoods.of_schedule(agreement, ran, split.train, lineups)),
    ):
        trials += trials_of(name, lineups, logs, f"{seed}/{fold}", rng)
    scores = {n: plan.model.scores(params, t.features) for n, t in split.test.items()}
    sealed = sealing_for(replace(plan, scheme=_SEALED_AS), schedule)
    upload = sealed.sealer(plan.hospitals[0]).seal(np.zeros(plan.dim, dtype=np.int64))
    return AsynchronousFold(
        seed=seed,
        fold=fold,
        plan=plan,
        scores=scores,
        test=split.test,
        intercepts={
            name: fit_intercept(plan.model.scores(params, p.features), p.outcomes)
            for name, p in split.train.items()
        },
        trials=tuple(trials),
        unmeasured=split.unmeasured,
        events={name: agreement.run_event(name) for name in schedule.uploads},
        openings=len(schedule.openings),
        upload_bytes=len(upload),
    )


def _bound(event: DpEvent) -> float | None:
    """Proven bound on naming a patient of this hospital; None: unprotected."""
    if isinstance(event, NonPrivateDpEvent):
        return None
    return float(success_bound(event, prior_success=1 / LINEUP, relation=RELATION))
