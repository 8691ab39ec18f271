"""One point of the frontier: train, evaluate and attack the very same runs.

A point is a design at an epsilon in a regime. It is cross-validated; every fold is one federation
whose transcript gives both numbers: the AUC of its final model on the fold's test patients, and the
risk of its training patients (``experiments.lineups``).
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from dp_accounting import (
    ComposedDpEvent,
    NonPrivateDpEvent,
    PoissonSampledDpEvent,
    SelfComposedDpEvent,
)
from jaxtyping import Float

from aggregation.correction.local_intercept import fit_intercept
from aggregation.federation import Federation
from aggregation.models import Model
from aggregation.patients import Patients
from aggregation.plan import Plan
from aggregation.releases import round_event, run_event
from aggregation.transcript import AGGREGATOR
from attacks.views import Name
from experiments.cohorts import folds, load
from experiments.design import DELTA, RELATION, make_plan
from experiments.evaluation import Estimate, Scored, bootstrap_auc, evaluate
from experiments.lineups import LINEUP, LineUp, Settings, attack_round, risk, worst_risk
from experiments.settings import SETTINGS, WIDTH
from privacy.accounting import epsilon as epsilon_of
from privacy.reconstruction import success_bound

__all__ = ["Part", "Point", "measure", "summarise"]


@dataclass(frozen=True)
class Point:
    """One point; its fields are the record's key.

    Attributes:
      design: One of ``experiments.design.DESIGNS``.
      epsilon: Of the whole run (``article``: of each upload); None: no noise.
      regime: ``full`` (all patients in every round) or ``small`` (about 8 a hospital).
      model: ``logistic`` or ``mlp``.
      attacks: The attacks, each tried on every fold.
      seeds: One cross-validation each.
      folds: Folds of a cross-validation.
      colluders: Hospitals whose share of the noise does not count.
      width: Hidden units of the perceptron.
      scheme: How sums are sealed.
      code_version: Raised when a change moves the numbers.
    """

    design: str
    epsilon: float | None
    regime: str
    model: str
    attacks: Settings
    seeds: tuple[int, ...] = (0,)
    folds: int = 5
    colluders: int = 1
    width: int = WIDTH
    scheme: str = "bfv"
    code_version: int = 2

    @property
    def config(self) -> dict[str, Any]:
        """The record's config: the fields, how the model is trained, the cohort."""
        return {
            "experiment": "frontier",
            "cohort": "heart",
            "delta": DELTA,
            "lineup": LINEUP,
            "setting": asdict(SETTINGS[self.regime, self.model]),
            **asdict(self),
        }

    @property
    def label(self) -> str:
        """A short name for progress and errors."""
        epsilon = "inf" if self.epsilon is None else f"{self.epsilon:g}"
        return f"{self.regime} {self.model} {self.design} eps={epsilon}"

    @property
    def adversary(self) -> Name:
        """Who attacks: the curious server, who sees updates or sums by the design."""
        return "server_sealed" if self.design == "sealed" else "server_plain"

    @property
    def units(self) -> list[tuple[int, int]]:
        """Seed and fold of each federation."""
        return list(product(self.seeds, range(self.folds)))

    def measure(self, unit: tuple[int, int], data_dir: Path | None = None) -> "Part":
        """Run one fold of one seed."""
        return measure(self, *unit, data_dir)

    def summarise(self, parts: list["Part"]) -> dict[str, Any]:
        """The record's metrics."""
        return summarise(self, parts)

    def plan(self, patients: Mapping[str, Patients], *, seed: int, fold: int) -> Plan:
        """The plan of one fold."""
        features = next(iter(patients.values())).features.shape[1]
        return make_plan(
            run=f"{self.label} seed={seed} fold={fold}",
            design=self.design,
            epsilon=math.inf if self.epsilon is None else self.epsilon,
            model=Model(self.model, features, self.width if self.model == "mlp" else 0),
            setting=SETTINGS[self.regime, self.model],
            patients=patients,
            colluders=self.colluders,
            scheme=self.scheme,
            model_seed=seed * 1_000 + fold,
        )


@dataclass(frozen=True)
class Part:
    """What one fold of one seed gave.

    Attributes:
      seed: Of the cross-validation.
      fold: Its number.
      plan: What was run.
      scores: The test patients' log-odds, by hospital.
      test: The test patients, by hospital.
      intercepts: What each hospital fitted to its own training patients and kept.
      lineups: Every line-up of every attack.
      upload_bytes: What one hospital uploads in one round, on average.
      wrap_probability: Upper bound on the chance that an opened sum wrapped.
    """

    seed: int
    fold: int
    plan: Plan
    scores: Mapping[str, Float[np.ndarray, "patients"]]
    test: Mapping[str, Patients]
    intercepts: Mapping[str, float]
    lineups: tuple[LineUp, ...]
    upload_bytes: float
    wrap_probability: float


def measure(point: Point, seed: int, fold: int, data_dir: Path | None = None) -> Part:
    """Run one fold of one seed: one federation, its scores, its attacks."""
    cohort = load("heart", data_dir)
    split = folds(cohort, count=point.folds, seed=seed)[fold]
    plan = point.plan(split.train, seed=seed, fold=fold)
    federation = Federation.simulated(plan, split.train, seed=(seed, fold))
    outcome = federation.run()
    sent = outcome.transcript.select(kind="update", receiver=AGGREGATOR)
    return Part(
        seed=seed,
        fold=fold,
        plan=plan,
        scores={n: plan.model.scores(outcome.params, t.features) for n, t in split.test.items()},
        test=split.test,
        intercepts={
            name: fit_intercept(plan.model.scores(outcome.params, p.features), p.outcomes)
            for name, p in split.train.items()
        },
        lineups=attack_round(
            point.attacks,
            outcome,
            split,
            cohort.schema,
            adversary=point.adversary,
            seed=(seed, fold),
        ),
        upload_bytes=float(np.mean([m.size for m in sent])),
        wrap_probability=federation.wrap_probability(),
    )


def summarise(point: Point, parts: list[Part]) -> dict[str, Any]:
    """Turn the folds of a point into a record's metrics, whatever order they came in.

    ``risk`` is that of the worst attack, chosen on half of the batches and measured on the other
    half; each attack's own figure over all batches stands in ``risks``.
    """
    parts = sorted(parts, key=lambda part: (part.seed, part.fold))
    repeats = [_by_patient([p for p in parts if p.seed == seed]) for seed in point.seeds]
    lineups = [one for part in parts for one in part.lineups]
    risks = {name: risk(lineups, name) for name in point.attacks.attacks}
    plan = parts[0].plan
    return {
        "auc_within": _interval(bootstrap_auc(*repeats)),
        "auc_sites": {
            name: {
                **_interval(bootstrap_auc(*({name: r[name]} for r in repeats))),
                "negatives": site.negatives,
                "positives": site.positives,
            }
            for name, site in evaluate(repeats[0]).sites.items()
        },
        "brier": _brier(parts, local=False),
        "brier_local_intercept": _brier(parts, local=True),
        "risk": worst_risk(lineups),
        "risks": risks,
        "prior_success": 1 / LINEUP,
        "adversary": point.adversary,
        "bound": _bound(plan),
        "epsilon": _epsilon(plan),
        "noise_multiplier": plan.noise_multiplier,
        "radius": plan.radius,
        "dim": plan.model.dim,
        "upload_bytes": float(np.mean([p.upload_bytes for p in parts])),
        "wrap_probability": max(p.wrap_probability for p in parts),
    }


def _by_patient(parts: list[Part]) -> dict[str, Scored]:
    """One cross-validation's scores in the order of the patients' numbers.

    So the bootstrap draws the same patients in every cross-validation.
    """
    sites = {}
    for name in parts[0].test:
        ids = np.concatenate([p.test[name].ids for p in parts])
        models = np.concatenate([np.full(len(p.test[name]), p.fold) for p in parts])
        order = np.argsort(ids)
        sites[name] = Scored(
            np.concatenate([p.scores[name] for p in parts])[order],
            np.concatenate([p.test[name].outcomes for p in parts])[order],
            models[order],
        )
    return sites


def _brier(parts: list[Part], *, local: bool) -> float:
    """Mean squared error of the risks over all test patients."""
    errors = [
        Scored(p.scores[n] + local * p.intercepts[n], t.outcomes).risks - t.outcomes
        for p in parts
        for n, t in p.test.items()
    ]
    return float(np.mean(np.concatenate(errors) ** 2))


def _interval(estimate: Estimate) -> dict[str, Any]:
    return {"value": estimate.value, "lower": estimate.lower, "upper": estimate.upper}


def _most_drawn(plan: Plan) -> str:
    """The hospital whose patients are drawn most often: worst off under sampling."""
    return plan.hospitals[int(np.argmax(plan.sampling_probs))]


def _bound(plan: Plan) -> float | None:
    """Proven bound on naming a target of the first round, by whoever reads the whole run.

    That the target took part in the attacked round is given, so sampling does not hide it there; in
    all other rounds it does. None: unprotected, any success is possible.
    """
    every = round_event(plan, _most_drawn(plan))
    if isinstance(every, NonPrivateDpEvent):
        return None
    attacked = every.event if isinstance(every, PoissonSampledDpEvent) else every
    whole = ComposedDpEvent([attacked, SelfComposedDpEvent(every, plan.rounds - 1)])
    return float(success_bound(whole, prior_success=1 / LINEUP, relation=RELATION))


def _epsilon(plan: Plan) -> dict[str, Any] | None:
    """Certified interval of the whole run at the hospital that is worst off."""
    event = run_event(plan, _most_drawn(plan))
    if isinstance(event, NonPrivateDpEvent):
        return None
    spent = epsilon_of(event, delta=plan.delta, relation=RELATION)
    return {
        "lower": spent.lower,
        "estimate": spent.estimate,
        "upper": spent.upper,
        "method": spent.method,
    }
