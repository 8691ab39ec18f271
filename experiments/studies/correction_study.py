"""Correction rules side by side: what each does for every hospital, and what it leaves wrong.

Each rule is trained on the same folds and scored twice: as it is, and with the intercept that a
hospital fits on its own patients and keeps. One record a cohort and rule; a second run into the
same folder computes only what is missing.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aggregation.data.patients import Patients
from aggregation.federation import Federation
from aggregation.models import Logistic
from aggregation.rules import RULES, Contract, fit_intercept, recalibrate
from experiments.cohorts import Cohort, Fold, called, folds, load
from experiments.cohorts.network import Network
from experiments.evaluation import (
    AcceptanceCheck,
    Scored,
    acceptance,
    auc,
    bootstrap_auc,
    brier,
    by_patient,
    calibration,
    chance_ece,
    delong,
    reliability,
    tells_bands,
)
from experiments.evaluation.scored import Estimate
from experiments.run.record import Record
from experiments.run.typed import TypedRecord, read_all
from experiments.studies.design import TRAINING, Design, Regime, make_plan
from experiments.studies.fairness import (
    BandFigures,
    SiteFigures,
    clinical_figures,
    fairness_figures,
)
from experiments.studies.problem import LogisticProblem, scores
from experiments.studies.trainers import TRAINERS, Steps, Trained, trainer_of

__all__ = [
    "COHORTS",
    "RULES_COMPARED",
    "SEALED",
    "SEEDS",
    "CorrectionMetrics",
    "CorrectionPoint",
    "CorrectionResult",
    "grid",
    "read_correction",
]

COHORTS = ("heart", "network")
SEEDS = 20  # cross-validations of the heart cohort: one alone moves the Brier score by .001
SEALED = "sealed"
_STEPS = Steps()
RULES_COMPARED = (*TRAINERS, SEALED)
"""Those of the project; ``grid`` adds what other files registered."""

Sites = Mapping[str, Scored]
KINDS = ("as_trained", "local_intercept", "recalibrated")
"""A model as it is; with the intercept, or the line, that each hospital fits and keeps."""


@dataclass(frozen=True)
class CorrectionPoint:
    """One rule on one cohort.

    Attributes:
      cohort: ``heart`` (cross-validated) or ``network`` (tested on the next draw of patients).
      rule: One of ``RULES_COMPARED``; ``sealed`` is one-step training, clipped, with shared noise.
      seeds: One cross-validation each; of the network, one network each.
      folds: Of a cross-validation.
      steps: How long and how fast.
      ridge: Of each hospital's own objective, in patients: that of all together has as many as
        there are hospitals.
      epsilon: Of the whole run (``sealed``).
      hospitals: Of the network.
      heterogeneity: Of the network.
      code_version: Raised when a change moves the numbers.
    """

    cohort: str
    rule: str
    seeds: tuple[int, ...] = (0,)
    folds: int = 5
    steps: Steps = _STEPS
    ridge: float = 1.0
    epsilon: float = 1.0
    hospitals: int = 40
    heterogeneity: float = 1.0
    code_version: int = 5

    @property
    def config(self) -> dict[str, Any]:
        """What names the point's record."""
        return {"experiment": "correction", **dataclasses.asdict(self)}

    @property
    def label(self) -> str:
        """A short name for progress and errors."""
        return f"correction, {called(self.cohort)}: {self.rule}"

    @property
    def units(self) -> tuple[int, ...]:
        """Seeds of the cross-validations, or of the networks."""
        return self.seeds

    def split(self, seed: int, data_dir: Path | None = None) -> tuple[Cohort, tuple[Fold, ...]]:
        """Return the cohort and its folds."""
        if self.cohort == "network":
            network = Network(self.hospitals, self.heterogeneity, seed, tier3_fraction=0.25)
            return network.cohort(), (network.fold(),)
        cohort = load(self.cohort, data_dir)
        return cohort, folds(cohort, count=self.folds, seed=seed, alone=True)

    def train(self, patients: Mapping[str, Patients], *, seed: int, fold: int) -> Trained:
        """Return each hospital's parameters."""
        if self.rule != SEALED:
            problem = LogisticProblem(patients, self.ridge * len(patients))
            return trainer_of(self.rule)(problem, self.steps)
        features = next(iter(patients.values())).features.shape[1]
        plan = make_plan(
            run=f"correction-{seed}-{fold}",
            design=Design.SEALED,
            epsilon=self.epsilon,
            model=Logistic(features),
            setting=TRAINING[Regime.FULL, "logistic"],
            patients=patients,
            scheme="plain",  # opens to the same integers as the schemes that hide
        )
        outcome = Federation.simulated(plan, patients, seed=(seed, fold)).run()
        return dict.fromkeys(patients, outcome.params)

    def measure(self, unit: int, data_dir: Path | None = None) -> "CrossValidation":
        """Train on every fold of one seed; the first seed also holds what is told of one alone."""
        cohort, split = self.split(unit, data_dir)
        sites = self._validated(split, unit)
        figures: dict[str, Any] = {}
        if unit == self.seeds[0]:
            local = sites["local_intercept"]
            figures = {
                "acceptance": self._acceptance(sites, cohort, split),
                "clinical": clinical_figures(local),
                "fairness": (
                    fairness_figures(local, split, cohort) if tells_bands(cohort.schema) else {}
                ),
            }
        trained_on = sum(len(p) for p in split[0].train.values())
        return CrossValidation(sites, trained_on, dict(cohort.tiers or {}), figures)

    def summarise(self, parts: "list[CrossValidation]") -> dict[str, Any]:
        """The record's metrics, plain JSON."""
        rule = RULES.get({SEALED: "fedsgd"}.get(self.rule, self.rule))
        contract = getattr(rule, "contract", None)
        return {
            "patients_trained": parts[0].trained_on,
            "unit": contract.unit.value if isinstance(contract, Contract) else None,
            "release": "unprotected",  # counts of test patients, without noise
            **parts[0].told,
            **{kind: _figures([p.sites[kind] for p in parts], parts[0].tiers) for kind in KINDS},
        }

    def _validated(self, split: Sequence[Fold], seed: int) -> dict[str, Sites]:
        folded = [
            _score(self.train(fold.train, seed=seed, fold=k), fold) for k, fold in enumerate(split)
        ]
        return {kind: by_patient([one[kind] for one in folded], split) for kind in KINDS}

    def _acceptance(
        self, ours: Mapping[str, Sites], cohort: Cohort, split: Sequence[Fold]
    ) -> list[dict[str, Any]]:
        """Hold the rule's model against the stated thresholds, on its first seed."""

        def plain(rule: str) -> Sites:
            other = dataclasses.replace(self, rule=rule)
            return other._validated(split, self.seeds[0])["as_trained"]

        pooled = plain("pooled")
        checks = acceptance(
            ours["as_trained"],
            local=plain("local"),
            pooled=pooled,
            recalibrated=ours["recalibrated"],
            unprotected=pooled if self.rule == SEALED else None,
            tiers=cohort.tiers or None,
            replicates=500,
        )
        return [dataclasses.asdict(check) for check in checks]


@dataclass(frozen=True)
class CrossValidation:
    """What one cross-validation gave, every hospital's patients in the order of their numbers.

    Attributes:
      sites: The scored test patients by hospital, for each of ``KINDS``.
      trained_on: Patients of the first fold's training.
      tiers: Of the hospitals; empty where the cohort has none.
      told: Metrics of this cross-validation alone; empty for all but the first.
    """

    sites: Mapping[str, Sites]
    trained_on: int
    tiers: Mapping[str, str]
    told: Mapping[str, Any]


def grid(
    seed: int = 0,
    *,
    seeds: int = SEEDS,
    cohorts: Sequence[str] = COHORTS,
    rules: Sequence[str] = (),
) -> list[CorrectionPoint]:
    """Every rule (or some) on every cohort; the network is drawn once."""
    every = tuple(range(seed, seed + seeds))
    rules = rules or (*RULES_COMPARED, *RULES.added)
    return [
        CorrectionPoint(c, r, (seed,) if c == "network" else every) for c in cohorts for r in rules
    ]


def _score(trained: Trained, fold: Fold) -> dict[str, Sites]:
    """The fold's test patients, scored by each of ``KINDS``."""
    kinds: dict[str, dict[str, Scored]] = {kind: {} for kind in KINDS}
    for name, test in fold.test.items():
        seen = fold.train[name]
        fitted_on = scores(trained[name], seen.features)
        given = scores(trained[name], test.features)
        shift, slope = recalibrate(fitted_on, seen.outcomes)
        plain = Scored(given, test.outcomes)
        kinds["as_trained"][name] = plain
        kinds["local_intercept"][name] = plain.shifted(fit_intercept(fitted_on, seen.outcomes))
        kinds["recalibrated"][name] = Scored(shift + slope * given, test.outcomes)
    return dict(kinds)


def _figures(repeats: list[Sites], tiers: Mapping[str, str]) -> dict[str, Any]:
    tiers = tiers or {name: name for name in repeats[0]}
    groups = {
        tier: [name for name in repeats[0] if tiers[name] == tier]
        for tier in dict.fromkeys(tiers.values())
    }
    whole = [brier(r).value for r in repeats]
    worst = [[auc({n: s}) for n, s in r.items() if min(s.positives, s.negatives) >= 50]
             for r in repeats]  # fmt: skip
    return {
        "auc_within": _interval(bootstrap_auc(*repeats, replicates=500)),
        "brier": brier(*repeats).value,
        "brier_half_width": brier(*repeats).half_width,  # over patients
        "brier_spread": float(np.std(whole)),  # between cross-validations of the same patients
        "worst_site_auc": float(np.mean([min(w) for w in worst])) if all(worst) else None,
        "groups": {
            tier: _group([{n: r[n] for n in members} for r in repeats])
            for tier, members in groups.items()
            if members  # hospitals that only train have no figures
        },
    }


def _group(repeats: list[Sites]) -> dict[str, Any]:
    """Figures of one hospital or tier: the mean of the repeats, the interval of the first."""
    wholes = [_together(r) for r in repeats]
    calibrations = [calibration(whole) for whole in wholes]
    first = reliability(wholes[0])
    interval = delong(repeats[0])
    return {
        "hospitals": len(repeats[0]),
        "patients": len(wholes[0]),
        "negatives": wholes[0].negatives,
        "auc": float(np.mean([auc(r) for r in repeats])),
        "auc_half_width": interval.half_width,
        "ece": float(np.mean([c.ece for c in calibrations])),
        "ece_by_chance": chance_ece(*wholes),
        "brier": float(np.mean([c.brier for c in calibrations])),
        "in_the_large": _mean([c.in_the_large for c in calibrations]),
        "slope": _mean([c.slope for c in calibrations]),
        "reliability": {
            "predicted": first.predicted.tolist(),
            "observed": first.observed.tolist(),
            "lower": first.lower.tolist(),
            "upper": first.upper.tolist(),
        },
    }


def _together(sites: Sites) -> Scored:
    """All patients of some hospitals as one; for calibration, which compares no pairs."""
    return Scored(
        np.concatenate([s.scores for s in sites.values()]),
        np.concatenate([s.outcomes for s in sites.values()]),
    )


def _mean(estimates: Sequence[Estimate | None]) -> float | None:
    estimated = [e.value for e in estimates if e is not None]
    return float(np.mean(estimated)) if len(estimated) == len(estimates) else None


def _interval(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "lower": estimate.lower, "upper": estimate.upper}


@dataclass(frozen=True)
class ReliabilityCurve:
    """Observed against predicted risk, bin by bin, with the observed fraction's interval."""

    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]


@dataclass(frozen=True)
class GroupFigures:
    """What a record holds of one hospital or tier."""

    auc: float
    ece: float
    ece_by_chance: float
    reliability: ReliabilityCurve


@dataclass(frozen=True)
class KindFigures:
    """What a record holds of one of ``KINDS``."""

    auc_within: Estimate
    brier: float
    brier_half_width: float
    groups: Mapping[str, GroupFigures]

    @property
    def worst_ece(self) -> tuple[float, float]:
        """The largest calibration error of a hospital or tier, and what chance gives there."""
        worst = max(self.groups.values(), key=lambda group: group.ece)
        return worst.ece, worst.ece_by_chance


@dataclass(frozen=True)
class CorrectionMetrics:
    """What a record holds: the rule as it is, with local intercepts, and what it is held against.

    Attributes:
      as_trained: Of the models as they are.
      local_intercept: With the intercept that each hospital fits and keeps.
      acceptance: The stated thresholds.
      clinical: By hospital, with local intercepts.
      fairness: By hospital or tier, and band of sex or age; empty where they are not told.
    """

    as_trained: KindFigures
    local_intercept: KindFigures
    acceptance: tuple[AcceptanceCheck, ...]
    clinical: Mapping[str, SiteFigures]
    fairness: Mapping[str, Mapping[str, BandFigures]]


CorrectionResult = TypedRecord[CorrectionPoint, CorrectionMetrics]


def read_correction(records: Sequence[Record]) -> list[CorrectionResult]:
    """Read records of this study, in order."""
    return read_all(records, CorrectionPoint, CorrectionMetrics)
