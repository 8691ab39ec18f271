"""Correction rules side by side: what each does for every hospital, and what it leaves wrong.

Each rule is trained on the same folds and scored twice: as it is, and with the intercept that a
hospital fits on its own patients and keeps. One record a cohort and rule; a second run into the
same folder computes only what is missing.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from aggregation.federation import Federation
from aggregation.models import Logistic
from aggregation.patients import Patients
from aggregation.rules import RULES, Contract, fit_intercept, recalibrate
from experiments.cohorts import Cohort, Fold, called, folds, load
from experiments.cohorts.network import Network
from experiments.evaluation import (
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
from experiments.run.record import Record, completed
from experiments.studies.design import TRAINING, make_plan
from experiments.studies.fairness import clinical_figures, fairness_figures
from experiments.studies.problem import Problem, scores
from experiments.studies.trainers import TRAINERS, Steps, Trained

__all__ = [
    "COHORTS",
    "LEGEND",
    "RULES_COMPARED",
    "SEEDS",
    "Point",
    "grid",
    "measure",
    "run",
    "tables",
    "verdicts",
    "worst_ece",
]

COHORTS = ("heart", "network")
SEEDS = 20  # cross-validations of the heart cohort: one alone moves the Brier score by .001
SEALED = "sealed"
LEGEND = (
    "within: within-site AUC; then that of each hospital or tier; ECE: of the worst hospital or "
    "tier, * if right risks would show as much in one case of twenty or more; +b: Brier score, "
    "then ECE, with the intercept that each hospital fits on its own patients and keeps."
)
_STEPS = Steps()
RULES_COMPARED = (*TRAINERS, SEALED)

Sites = Mapping[str, Scored]


@dataclass(frozen=True)
class Point:
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
    code_version: int = 4

    @property
    def config(self) -> dict[str, Any]:
        """What names the point's record."""
        return {"experiment": "correction", **dataclasses.asdict(self)}

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
            problem = Problem(patients, self.ridge * len(patients))
            return TRAINERS[self.rule](problem, self.steps)
        features = next(iter(patients.values())).features.shape[1]
        plan = make_plan(
            run=f"correction-{seed}-{fold}",
            design="sealed",
            epsilon=self.epsilon,
            model=Logistic(features),
            setting=TRAINING["full", "logistic"],
            patients=patients,
            scheme="plain",  # opens to the same integers as the schemes that hide
        )
        outcome = Federation.simulated(plan, patients, seed=(seed, fold)).run()
        return dict.fromkeys(patients, outcome.params)


def grid(
    seed: int = 0,
    *,
    seeds: int = SEEDS,
    cohorts: Sequence[str] = COHORTS,
    rules: Sequence[str] = RULES_COMPARED,
) -> list[Point]:
    """Every rule on every cohort; the network is drawn once."""
    every = tuple(range(seed, seed + seeds))
    return [Point(c, r, (seed,) if c == "network" else every) for c in cohorts for r in rules]


def run(
    out: Path,
    points: Sequence[Point],
    *,
    data_dir: Path | None = None,
    console: Console | None = None,
) -> list[Record]:
    """Compute the points that have no record in ``out`` yet; return all of them, in order."""
    shown = console or Console()
    return completed(
        out,
        points,
        lambda point: measure(point, data_dir),
        status=lambda point: shown.status(f"{called(point.cohort)}: {point.rule}"),
    )


def scored(
    point: Point, data_dir: Path | None = None
) -> Iterator[tuple[tuple[Sites, Sites, Sites], int]]:
    """Yield for each seed the test patients scored plainly, with own intercepts, and recalibrated.

    The last item is the number of patients trained on in the first fold.
    """
    for seed in point.seeds:
        _, split = point.split(seed, data_dir)
        parts: list[tuple[Sites, Sites, Sites]] = []
        for k, fold in enumerate(split):
            trained = point.train(fold.train, seed=seed, fold=k)
            parts.append(_score(trained, fold))
        plain, own, whole = (by_patient(kind, split) for kind in zip(*parts, strict=True))
        yield (plain, own, whole), sum(len(p) for p in split[0].train.values())


def _score(trained: Trained, fold: Fold) -> tuple[Sites, Sites, Sites]:
    plain, own, whole = {}, {}, {}
    for name, test in fold.test.items():
        seen = fold.train[name]
        known = scores(trained[name], seen.features)
        given = scores(trained[name], test.features)
        shift, slope = recalibrate(known, seen.outcomes)
        plain[name] = Scored(given, test.outcomes)
        own[name] = plain[name].shifted(fit_intercept(known, seen.outcomes))
        whole[name] = Scored(shift + slope * given, test.outcomes)
    return plain, own, whole


def measure(point: Point, data_dir: Path | None = None) -> dict[str, Any]:
    """Return a point's metrics, plain JSON."""
    cohort, _ = point.split(point.seeds[0], data_dir)
    repeats = list(scored(point, data_dir))
    rule = RULES.get({SEALED: "fedsgd"}.get(point.rule, point.rule))
    contract = getattr(rule, "contract", None)
    kinds = ("as_trained", "local_intercept", "recalibrated")
    return {
        "patients_trained": repeats[0][1],
        "unit": contract.unit.value if isinstance(contract, Contract) else None,
        "acceptance": (
            _acceptance(point, repeats[0][0], cohort, data_dir) if point.rule == SEALED else None
        ),
        "release": "unprotected",  # counts of test patients, without noise
        "clinical": clinical_figures(repeats[0][0][1]),
        "fairness": (
            fairness_figures(repeats[0][0][1], point.split(point.seeds[0], data_dir), cohort)
            if tells_bands(cohort.schema)
            else {}
        ),
        **{kind: _figures([r[0][k] for r in repeats], cohort) for k, kind in enumerate(kinds)},
    }


def _figures(repeats: list[Sites], cohort: Cohort) -> dict[str, Any]:
    tiers = cohort.tiers or {name: name for name in cohort.hospitals}
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
    found = [calibration(whole) for whole in wholes]
    first = reliability(wholes[0])
    interval = delong(repeats[0])
    return {
        "hospitals": len(repeats[0]),
        "patients": len(wholes[0]),
        "negatives": wholes[0].negatives,
        "auc": float(np.mean([auc(r) for r in repeats])),
        "auc_half_width": interval.half_width,
        "ece": float(np.mean([c.ece for c in found])),
        "ece_by_chance": chance_ece(*wholes),
        "brier": float(np.mean([c.brier for c in found])),
        "in_the_large": _mean([c.in_the_large for c in found]),
        "slope": _mean([c.slope for c in found]),
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
    known = [e.value for e in estimates if e is not None]
    return float(np.mean(known)) if len(known) == len(estimates) else None


def _interval(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "lower": estimate.lower, "upper": estimate.upper}


def _acceptance(
    point: Point, sealed: tuple[Sites, Sites, Sites], cohort: Cohort, data_dir: Path | None
) -> list[dict[str, Any]]:
    """Hold the sealed model against the stated thresholds, on its first seed."""

    def plain(rule: str) -> Sites:
        once = dataclasses.replace(point, rule=rule, seeds=point.seeds[:1])
        return next(scored(once, data_dir))[0][0]

    pooled = plain("pooled")
    found = acceptance(
        sealed[0],
        local=plain("local"),
        pooled=pooled,
        recalibrated=sealed[2],
        unprotected=pooled,
        tiers=cohort.tiers or None,
        replicates=500,
    )
    return [dataclasses.asdict(check) for check in found]


def tables(records: Sequence[Record]) -> list[Table]:
    """One table a cohort, for the terminal."""
    shown = []
    for cohort in dict.fromkeys(r.config["cohort"] for r in records):
        own = [r for r in records if r.config["cohort"] == cohort]
        groups = list(own[0].metrics["as_trained"]["groups"])
        table = Table(title=called(cohort), title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
        table.add_column("rule", no_wrap=True)
        for heading in (
            "within",
            *(g[:4] for g in groups),
            "Brier",
            "ECE",
            "+b",
            "ECE",
        ):
            table.add_column(heading, justify="right", no_wrap=True)
        for record in own:
            plain, fitted = record.metrics["as_trained"], record.metrics["local_intercept"]
            table.add_row(
                record.config["rule"],
                f"{plain['auc_within']['value']:.3f}",
                *(f"{plain['groups'][g]['auc']:.3f}" for g in groups),
                f"{plain['brier']:.3f}",
                _starred(plain),
                f"{fitted['brier']:.3f}",
                _starred(fitted),
            )
        shown.append(table)
    return shown


def worst_ece(figures: Mapping[str, Any]) -> tuple[float, float]:
    """Return the largest calibration error of a hospital or tier, and what chance gives there."""
    worst = max(figures["groups"].values(), key=lambda group: float(group["ece"]))
    return float(worst["ece"]), float(worst["ece_by_chance"])


def _starred(figures: Mapping[str, Any]) -> str:
    ece, by_chance = worst_ece(figures)
    return f"{ece:.2f}" + ("*" if ece <= by_chance else "")


def verdicts(records: Sequence[Record]) -> list[Table]:
    """The thresholds of acceptance, one table a cohort; too small hospitals are counted."""
    shown = []
    for record in records:
        found = record.metrics["acceptance"]
        if found is None:
            continue
        judged = [c for c in found if c["verdict"] != "too few"]
        title = (
            f"{record.config['cohort']}: sealed at epsilon {record.config['epsilon']:g} "
            f"({len(found) - len(judged)} checks left out: fewer than 50 of a class)"
        )
        table = Table(title=title, title_justify="left")
        for heading in ("rule", "where", "value", "asked", "verdict"):
            table.add_column(heading, justify="right" if heading == "value" else "left")
        for c in judged:
            value = "" if c["value"] is None else f"{c['value']:.3f}"
            table.add_row(c["rule"], c["where"], value, c["bound"], c["verdict"])
        shown.append(table)
    return shown
