r"""Where settings come from: searches on simulated patients, never on those that are reported.

Every candidate is tried on the same studies; the record holds each one's mean within-site AUC with
its standard error. There are three searches, of what is trained in rounds (``studies.design``), of
true runs at hospitals' own pace (``studies.asynchronous``) and of the steps of
``studies.scaling``.

The published searches read no heart patient (``studies.simulated``); ``studies.design`` says what
was known of them when the first was designed. Networks of searches have seeds that no published
one has. ``studies.searched`` reads what was found.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from aggregation.data.patients import Patients, Schema
from aggregation.models import Inputs, Moments, named_model
from experiments.cohorts import Cohort, Fold, called
from experiments.evaluation import Scored, auc
from experiments.studies.asynchronous import ArrivalRule, AsynchronousRun, follow
from experiments.studies.design import WIDTH, Design, Regime, TrainingSetting, make_plan
from experiments.studies.final_model import final_model
from experiments.studies.frontier.point import NETWORK, network_of
from experiments.studies.named_models import called_model, identity
from experiments.studies.problem import scored_by
from experiments.studies.scaling import Arrangement, ScalingArm, plan_of, split, trained
from experiments.studies.scaling_steps import SETTING
from experiments.studies.simulated import PublicShape, shape_of, simulated_study

__all__ = [
    "AsynchronousSearch",
    "Search",
    "StepSearch",
    "TrainingSearch",
]

_MANY_HOSPITALS = 10  # from here on a sum of half of them is tried as the larger one
_OTHER_NETWORKS = 1_000  # the first seed of networks that no run at hospitals' own pace is told of


class Search(ABC):
    """One search, a point of a sweep: every candidate on every study; a unit is a study."""

    best_first = True
    """Whether the record begins with the best; else candidates stand in their order."""

    @property
    @abstractmethod
    def config(self) -> Mapping[str, Any]:
        """What names the record."""

    @property
    @abstractmethod
    def label(self) -> str:
        """A short name for progress and errors."""

    @property
    @abstractmethod
    def units(self) -> range:
        """Seeds of the studies."""

    @abstractmethod
    def rows(self) -> list[dict[str, Any]]:
        """What the record says of each candidate, in order."""

    @abstractmethod
    def measure(self, unit: int, data_dir: Path | None = None) -> list[float]:
        """Within-site AUC of each candidate on one study."""

    def summarise(self, parts: list[list[float]]) -> dict[str, Any]:
        """Mean and standard error of each candidate over the studies."""
        rows = []
        for row, values in zip(self.rows(), np.array(parts).T, strict=True):
            error = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
            rows.append({**row, "auc": float(values.mean()), "standard_error": error})
        return {"scores": sorted(rows, key=lambda r: -r["auc"]) if self.best_first else rows}


@dataclass(frozen=True)
class TrainingSearch(Search):
    """How a model is trained in rounds: at epsilon 1, shared noise, one colluder.

    Attributes:
      regime: All patients in every round, or few.
      model: As in ``named_model``; of a module's file the record keeps a short name and a digest.
      studies: Simulated studies.
      cohort: Whose sizes and schema they have, named as ``experiments.cohorts.resolve`` names it;
        of ``network-N`` other networks of N hospitals are drawn.
      rounds: Numbers of them that are tried; none: the usual ones of the regime.
    """

    regime: Regime
    model: str
    studies: int = 8
    cohort: str = "heart"
    rounds: tuple[int, ...] = ()

    @property
    def candidates(self) -> list[TrainingSetting]:
        """The settings that are tried; the second half of the models is averaged."""
        full = self.regime is Regime.FULL
        norms: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 8.0)
        rates: tuple[float, ...] = (1.0, 4.0, 16.0)
        sampling_size = None if full else 8
        if full and self.model == Moments.kind:  # opened once, whatever the step
            return [TrainingSetting(1, 1.0, clip_norm, 1) for clip_norm in norms]
        rounds = self.rounds or ((20, 40, 80) if full else (50, 100, 200))
        if self.cohort != "heart" or self.rounds:  # as the protocol of joining has them
            if not full:
                norms, rates = (0.5, 2.0, 8.0), (0.125, 0.5, 2.0)
            return [
                TrainingSetting(count, rate, clip_norm, max(1, count // 2), sampling_size)
                for count, clip_norm, rate in product(rounds, norms, rates)
            ]
        scale = 1.0 if full else 0.125
        steps = ((1, 1.0), (2, 1.0), (4, 1.0), (2, 0.5), (4, 0.5), (8, 0.5))  # rate and clip norm
        return [
            TrainingSetting(count, scale * rate, clip_norm, count // 2, sampling_size)
            for count, (rate, clip_norm) in product(rounds, steps)
        ]

    @property
    def config(self) -> Mapping[str, Any]:
        """What names the record."""
        return {
            "experiment": "tuning",
            "regime": self.regime,
            "model": self.model,
            **identity(self.model),
            "studies": self.studies,
            "candidates": [asdict(setting) for setting in self.candidates],
            "code_version": 1,
            # why: published records are of the heart study's shape and do not say so
            **({} if self.cohort == "heart" else {"cohort": self.cohort}),
            **({"rounds": self.rounds} if self.rounds else {}),
        }

    @property
    def label(self) -> str:
        """A short name for progress and errors."""
        counted = f" rounds={','.join(map(str, self.rounds))}" if self.rounds else ""
        return f"{called(self.cohort)} {self.regime} {called_model(self.model)}{counted}"

    @property
    def units(self) -> range:
        """Seeds of the studies."""
        return range(self.studies)

    def rows(self) -> list[dict[str, Any]]:
        """The settings."""
        return [{"setting": asdict(setting)} for setting in self.candidates]

    def measure(self, unit: int, data_dir: Path | None = None) -> list[float]:
        """Train every candidate on one simulated study."""
        schema, train, test = self._study(unit, data_dir)
        model = named_model(self.model, Inputs.of(schema), width=WIDTH, seed=unit)
        values = []
        for setting in self.candidates:
            plan = make_plan(
                run=f"tuning {unit}",
                design=Design.SEALED,
                epsilon=1.0,
                model=model,
                setting=setting,
                patients=train,
                scheme="plain",
                model_seed=unit,
            )
            params = final_model(plan, train, seed=unit)
            values.append(
                auc(
                    {
                        n: Scored(plan.model.scores(params, t.features), t.outcomes)
                        for n, t in test.items()
                    }
                )
            )
        return values

    def _study(
        self, unit: int, data_dir: Path | None
    ) -> tuple[Schema, Mapping[str, Patients], Mapping[str, Patients]]:
        """The schema, who trains and who is tested, at every hospital."""
        if self.cohort.startswith(NETWORK):
            network = network_of(self.cohort, _OTHER_NETWORKS + unit)
            fold = network.fold()
            return network.cohort(self.cohort).schema, fold.train, fold.test
        shape = shape_of(self.cohort, data_dir)
        return (shape.schema, *simulated_study(shape, unit))


@dataclass(frozen=True)
class AsynchronousSearch(Search):
    """True runs at hospitals' own pace, at epsilon 1, by the AUC over the last quarter of the time.

    Attributes:
      rule: A sealed one.
      cohort: ``network`` (of other seeds); another gives simulated studies its sizes and schema.
      studies: Simulated studies, or networks.
      hospitals: Of the cohort; a network's are as many as ``asynchronous`` says.
    """

    rule: ArrivalRule
    cohort: str = "heart"
    studies: int = 3
    hospitals: int = 4

    @property
    def candidates(self) -> list[AsynchronousRun]:
        """The settings that are tried: uploads a budget buys, step, and size of a sum."""
        base = AsynchronousRun(self.cohort, self.rule)
        count = base.hospitals if self.cohort == "network" else self.hospitals
        few = count < _MANY_HOSPITALS
        sums = {max(1, count * k // 4) for k in ((2, 3) if few else (1, 2))}
        rates = (0.5, 1.0, 2.0, 4.0) if few else (1.0, 4.0, 16.0, 64.0)
        if self.cohort == "network":
            base = replace(base, horizon=400.0)
        if self.rule.waits_for_all:
            sums = {count}
        return [
            replace(base, uploads=uploads, sealed_rate=rate, buffer=buffer)
            for uploads, rate, buffer in product((10, 30), rates, sorted(sums))
        ]

    @property
    def config(self) -> Mapping[str, Any]:
        """What names the record."""
        return {
            "experiment": "tuning asynchrony",
            "rule": self.rule,
            "studies": self.studies,
            "candidates": [run.config for run in self.candidates],
            "code_version": 1,
        }

    @property
    def label(self) -> str:
        """A short name for progress and errors."""
        return f"{called(self.cohort)} {self.rule}"

    @property
    def units(self) -> range:
        """Seeds of the studies."""
        return range(self.studies)

    def rows(self) -> list[dict[str, Any]]:
        """What is varied, and the clip norm."""
        names = ("uploads", "sealed_rate", "buffer", "clip_norm")
        return [{"setting": {k: getattr(run, k) for k in names}} for run in self.candidates]

    def measure(self, unit: int, data_dir: Path | None = None) -> list[float]:
        """Follow every candidate on one study."""
        shape = None if self.cohort == "network" else shape_of(self.cohort, data_dir)
        return [self._late_auc(run, unit, shape) for run in self.candidates]

    def _late_auc(self, run: AsynchronousRun, seed: int, shape: PublicShape | None) -> float:
        study, fold = self._study(run, seed, shape)
        timed = follow(replace(run, seed=seed), study, fold, 0)
        late = timed.models[timed.times >= 0.75 * run.horizon]
        late = late if len(late) else timed.models[-1:]
        some = late[:: max(1, len(late) // 5)]
        return float(np.mean([auc(scored_by(params, fold.test)) for params in some]))

    def _study(
        self, run: AsynchronousRun, seed: int, shape: PublicShape | None
    ) -> tuple[Cohort, Fold]:
        if shape is None:
            cohort, (fold,) = replace(run, seed=_OTHER_NETWORKS + seed).split()
            return cohort, fold
        train, test = simulated_study(shape, seed)
        return Cohort("simulated", train, shape.schema), Fold(train, test)


CANDIDATES = (0.0625, 0.25, 1.0, 4.0, 16.0, 64.0)
ARMS = (
    (ScalingArm.SEALED, math.inf),
    (ScalingArm.LOCAL, 0.1),
    (ScalingArm.SEALED, 0.1),
    (ScalingArm.LOCAL, 1.0),
    (ScalingArm.SEALED, 1.0),
)
NETWORKS: Mapping[tuple[Arrangement, int], int] = {
    (Arrangement.GROWING, 4): 24,
    (Arrangement.GROWING, 40): 6,
    (Arrangement.GROWING, 400): 2,
    (Arrangement.DIVIDED, 4): 6,
    (Arrangement.DIVIDED, 40): 6,
    (Arrangement.DIVIDED, 400): 6,
    (Arrangement.DIVIDED, 4000): 2,
}
"""How many networks are searched: fewer where one holds more patients or more shares of noise.

The largest is not searched (hours of training): it takes the steps of the searched place whose mean
gradient is as noisy (``scaling_steps.step_of``).
"""
FIRST_SEED = 1_000_000  # published replicates have seeds below


@dataclass(frozen=True)
class StepSearch(Search):
    """Every step of every design of ``studies.scaling`` in one place, on the same networks.

    Attributes:
      arrangement: Of the hospitals.
      hospitals: How many.
    """

    best_first = False

    arrangement: Arrangement
    hospitals: int

    @property
    def config(self) -> Mapping[str, Any]:
        """What names the record."""
        return {
            "experiment": "tuning scaling",
            "arrangement": self.arrangement,
            "hospitals": self.hospitals,
            "candidates": list(CANDIDATES),
            "setting": {k: v for k, v in asdict(SETTING).items() if k != "learning_rate"},
            "networks": len(self.units),
            "first_seed": FIRST_SEED,
            "code_version": 1,
        }

    @property
    def label(self) -> str:
        """A short name for progress and errors."""
        return f"steps {self.arrangement} n={self.hospitals}"

    @property
    def units(self) -> range:
        """Seeds of the networks."""
        return range(FIRST_SEED, FIRST_SEED + NETWORKS[self.arrangement, self.hospitals])

    def rows(self) -> list[dict[str, Any]]:
        """Design, epsilon and step."""
        return [
            {"design": arm, "epsilon": None if math.isinf(epsilon) else epsilon, "step": step}
            for arm, epsilon in ARMS
            for step in CANDIDATES
        ]

    def measure(self, unit: int, data_dir: Path | None = None) -> list[float]:
        """Train every design at every step on one network."""
        train, test, _ = split(self.arrangement, self.hospitals, unit)
        values = []
        for arm, epsilon in ARMS:
            plan = plan_of(train, arm, epsilon)
            for step in CANDIDATES:
                stepped = replace(plan, learning_rate=step)
                values.append(trained(stepped, train, test, seed=(unit, arm.noise_seed))[0])
        return values
