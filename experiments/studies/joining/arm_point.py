"""One arm of the study: trained fold by fold, then fitted inside each hospital, then scored."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregation.data.patients import Patients, Schema
from aggregation.models import Logistic, Moments, make_model
from aggregation.plan import Plan
from aggregation.releases import run_event
from aggregation.rules import Local, LocalForm, fit_locally
from experiments.cohorts import Cohort, Fold, called, folds, folds_by_hospital, load
from experiments.evaluation import Scored
from experiments.studies.design import DELTA, Design, TrainingSetting, make_plan
from experiments.studies.final_model import final_model
from experiments.studies.frontier.metrics import epsilon_spent
from experiments.studies.joining.calibrated import Calibrated, calibrated
from experiments.studies.joining.sums import HospitalSums, as_json
from experiments.studies.problem import LogisticProblem
from privacy.errors import InvalidInputError

__all__ = ["FOLDS", "End", "JoiningArm", "JoiningMetrics", "JoiningPoint", "ScoredFold"]

FOLDS = 5
Vector = NDArray[np.float64]

_RIDGE = 1.0  # of pooled training, in patients
_GROWING = (20, 60)  # patients of a hospital where their number is varied


class JoiningArm(StrEnum):
    """What is compared; the value is the name in records.

    - ``own``: each hospital's own ridge regression, its strength chosen inside it.
    - ``score``: the cohort's published score, which needs no training.
    - ``pooled``: all patients in one place.
    - ``none``, ``article``, ``local``, ``sealed``: federations, as ``studies.design`` has them.
    - ``one gradient``, ``two gradients``, ``moments``: sealed sums that are opened once or twice,
      the last gradient and curvature together (``aggregation.models.Moments``).
    """

    OWN = "own"
    SCORE = "score"
    POOLED = "pooled"
    NONE = "none"
    ARTICLE = "article"
    LOCAL = "local"
    SEALED = "sealed"
    GRADIENT = "one gradient"
    GRADIENTS = "two gradients"
    MOMENTS = "moments"

    @property
    def few(self) -> bool:
        """Whether sums are opened once or twice alone."""
        return self in (JoiningArm.GRADIENT, JoiningArm.GRADIENTS, JoiningArm.MOMENTS)

    @property
    def design(self) -> Design:
        """Who adds which noise, of a federation."""
        return Design.SEALED if self.few else Design(self.value)

    @property
    def model(self) -> str:
        """The model's kind."""
        return Moments.kind if self is JoiningArm.MOMENTS else Logistic.kind

    @property
    def shared(self) -> bool:
        """Whether there is one model of all hospitals."""
        return self not in (JoiningArm.OWN, JoiningArm.SCORE)


class End(StrEnum):
    """What a hospital predicts with at the end; the value is the name in records."""

    BARE = "bare"
    INTERCEPT = "intercept"
    FIT = "fit"


@dataclass(frozen=True)
class JoiningPoint:
    """One arm on one cohort; its fields are the record's key. A unit is a seed and a fold.

    Attributes:
      arm: What is compared.
      epsilon: Of the whole run (``article``: of an upload); None: no noise.
      cohort: As ``experiments.cohorts.load`` takes it.
      setting: How federations are trained; the others do not read it.
      seeds: Of splits and noise.
      folds: Of a cross-validation.
      unseen: Whether hospitals are folded instead of patients.
      hospitals: How many take part, drawn by each seed among those of 20 to 60 patients; the first
        of a longer draw, so that more hospitals hold the fewer ones. None: all of the cohort.
      colluders: Hospitals whose share of the noise does not count.
      code_version: Raised when a change moves the numbers.
    """

    arm: JoiningArm
    epsilon: float | None
    cohort: str
    setting: TrainingSetting
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    folds: int = FOLDS
    unseen: bool = False
    hospitals: int | None = None
    colluders: int = 1
    code_version: int = 2

    def __post_init__(self) -> None:
        if self.unseen and self.arm is JoiningArm.OWN:
            raise InvalidInputError(
                "A hospital that was never seen has no model of its own; compare with the score."
            )

    @property
    def config(self) -> dict[str, Any]:
        """What names the record."""
        return {"experiment": "joining", "delta": DELTA, **asdict(self)}

    @property
    def label(self) -> str:
        """A short name for progress and errors."""
        epsilon = "" if self.epsilon is None else f" eps={self.epsilon:g}"
        where = " unseen" if self.unseen else ""
        few = "" if self.hospitals is None else f" of {self.hospitals}"
        return f"joining {called(self.cohort)}{few}{where} {self.arm}{epsilon}"

    @property
    def units(self) -> list[tuple[int, int]]:
        """Seed and fold."""
        return list(product(self.seeds, range(self.folds)))

    def measure(self, unit: tuple[int, int], data_dir: Path | None) -> "ScoredFold":
        """Train on one fold, fit inside each hospital, and score its test patients."""
        seed, number = unit
        cohort = self._taking_part(load(self.cohort, data_dir), seed)
        if self.unseen:
            fold = folds_by_hospital(cohort, count=self.folds, seed=seed)[number]
        else:  # a hospital is compared with itself, so that it has to be scored by itself
            fold = folds(cohort, count=self.folds, seed=seed, alone=True)[number]
        plan: Plan | None = None
        if self.arm is JoiningArm.OWN:
            ends = {End.FIT: {name: _own(fold.train[name]) for name in fold.test}}
            shared = None
        elif self.arm is JoiningArm.SCORE:
            if not cohort.schema.score:
                raise InvalidInputError(f"The cohort {self.cohort!r} has no published score.")
            ends, shared = {End.BARE: dict.fromkeys(fold.test, Local())}, None
        else:
            plan, shared = self._trained(fold, seed, number)
            ends = self._ends(fold, shared)
        scored = {
            end: {
                name: Scored(
                    fit.scores(self._scores(cohort.schema, shared, patients), patients.features),
                    patients.outcomes,
                )
                for name, patients in fold.test.items()
                for fit in (fits[name],)
            }
            for end, fits in ends.items()
        }
        return ScoredFold(unit, scored, plan)

    def summarise(self, parts: "list[ScoredFold]") -> dict[str, Any]:
        """Sums by hospital and seed, and calibration over all of them, for each end."""
        names = sorted({n for p in parts for site in p.scored.values() for n in site}, key=_natural)
        plan = parts[0].plan
        # Everybody is drawn in full batches: all hospitals spend the same.
        spent = plan and epsilon_spent(run_event(plan, plan.hospitals[0]), delta=plan.delta)
        seeds = {
            end: [[p.scored[end] for p in parts if p.unit[0] == seed] for seed in self.seeds]
            for end in parts[0].scored
        }
        # A score is no risk; and of few hospitals a slope says little.
        sure = self.arm is not JoiningArm.SCORE and self.hospitals is None
        return {
            "hospitals": names,
            "ends": {
                end: as_json(HospitalSums.of(names, seed_folds))
                for end, seed_folds in seeds.items()
            },
            "calibration": {
                end: asdict(calibrated(names, seed_folds))
                for end, seed_folds in seeds.items()
                if sure
            },
            "epsilon_spent": spent and spent["upper"],
            "noise_multiplier": None if plan is None else plan.noise_multiplier,
        }

    def _taking_part(self, cohort: Cohort, seed: int) -> Cohort:
        if self.hospitals is None:
            return cohort
        low, high = _GROWING
        some = [n for n, p in cohort.hospitals.items() if low <= len(p) <= high]
        if len(some) < self.hospitals:
            raise InvalidInputError(
                f"{len(some)} hospitals of {self.cohort!r} have {low} to {high} patients; "
                f"{self.hospitals} were asked for."
            )
        order = np.random.default_rng([seed, *b"joining"]).permutation(some)[: self.hospitals]
        chosen = {name: cohort.hospitals[name] for name in sorted(order.tolist(), key=_natural)}
        return Cohort(cohort.name, chosen, cohort.schema, public=cohort.public)

    def _trained(self, fold: Fold, seed: int, number: int) -> tuple[Plan | None, Vector]:
        if self.arm is JoiningArm.POOLED:
            return None, LogisticProblem(fold.train, _RIDGE).optimum
        features = next(iter(fold.train.values())).features.shape[1]
        plan = make_plan(
            run=f"{self.label} seed={seed} fold={number}",
            design=self.arm.design,
            epsilon=math.inf if self.epsilon is None else self.epsilon,
            model=make_model(self.arm.model, features),
            setting=self.setting,
            patients=fold.train,
            colluders=self.colluders,
            scheme="plain",
        )
        params = final_model(plan, fold.train, seed=(seed, number))
        return plan, plan.model.linear(params) if isinstance(plan.model, Moments) else params

    def _ends(self, fold: Fold, shared: Vector) -> dict[End, dict[str, Local]]:
        ends = {End.BARE: dict.fromkeys(fold.test, Local())}
        if self.unseen:
            return ends
        for end, forms in ((End.INTERCEPT, (LocalForm.INTERCEPT,)), (End.FIT, tuple(LocalForm))):
            ends[end] = {
                name: fit_locally(
                    _linear(shared, train), train.features, train.outcomes, forms=forms
                )[1]
                for name in fold.test
                for train in (fold.train[name],)
            }
        return ends

    def _scores(self, schema: Schema, shared: Vector | None, patients: Patients) -> Vector:
        if self.arm is JoiningArm.SCORE:
            return schema.scores(patients.features)
        return np.zeros(len(patients)) if shared is None else _linear(shared, patients)


@dataclass(frozen=True)
class ScoredFold:
    """The test patients of one fold.

    Attributes:
      unit: Seed and fold.
      scored: By end and hospital.
      plan: What was run; None: no federation.
    """

    unit: tuple[int, int]
    scored: Mapping[End, Mapping[str, Scored]]
    plan: Plan | None


@dataclass(frozen=True)
class JoiningMetrics:
    """What a record holds.

    Attributes:
      hospitals: Scored ones, in the order of the sums.
      ends: Sums by what hospitals predict with.
      calibration: Likewise, over all hospitals; none of a score, and of a few hospitals.
      epsilon_spent: Upper bound of the whole run's, for the hospital where it is largest; None: no
        federation, or one without noise.
      noise_multiplier: Of the sum.
    """

    hospitals: tuple[str, ...]
    ends: Mapping[End, HospitalSums]
    calibration: Mapping[End, Calibrated] = field(default_factory=dict)
    epsilon_spent: float | None = None
    noise_multiplier: float | None = None


def _own(patients: Patients) -> Local:
    """Chosen and fitted inside the hospital, which knows nothing of others."""
    nothing, forms = np.zeros(len(patients)), (LocalForm.OWN,)
    fitted = fit_locally(nothing, patients.features, patients.outcomes, forms=forms, sparing=False)
    return fitted[1]


def _linear(params: Vector, patients: Patients) -> Vector:
    return Logistic(len(params) - 1).scores(params, patients.features)


def _natural(name: str) -> tuple[int, str]:
    return (int(name), name) if name.isdigit() else (10**9, name)
