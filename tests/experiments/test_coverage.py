"""The frontier's intervals cover the truth, where the truth is known: 92 to 98 of 100 times."""

import math

import numpy as np
import pytest

from aggregation.models import Model
from aggregation.patients import Column, Patients, Schema
from aggregation.plan import Plan
from experiments.cohorts import Cohort, Fold, folds
from experiments.design import make_plan
from experiments.evaluation import Scored, auc, bootstrap_auc
from experiments.lineups import LineUp, worst_risk
from experiments.logistic import Problem, scores
from experiments.point_metrics import by_patient
from experiments.points import Part
from experiments.settings import Setting

SCHEMA = Schema(tuple(Column(f"x{k}", binary=False) for k in range(3)), outcome="disease")
SIZES = {"a": 90, "b": 60, "c": 40}


def drawn(name: str, size: int, rng: np.random.Generator) -> Patients:
    """Hospitals differ in who is ill and in how well that can be told."""
    place = list(SIZES).index(name)
    x = rng.normal(size=(size, len(SCHEMA)))
    logits = (0.6 + 0.3 * place) * x @ np.array([1.0, -0.7, 0.4]) - 0.4 * place
    return Patients(x, (rng.random(size) < 1 / (1 + np.exp(-logits))).astype(np.int64))


def plan_of(fold: Fold) -> Plan:
    """A part names its plan; nothing here looks into it."""
    model, setting = Model("logistic", len(SCHEMA)), Setting(1, 1.0, 1.0, 1)
    return make_plan(
        run="study", design="none", epsilon=math.inf, model=model, setting=setting,
        patients=fold.train,
    )  # fmt: skip


def covered(seed: int) -> bool:
    """Cross-validate one study; is the AUC of its very models on endless patients covered?"""
    rng = np.random.default_rng([11, seed])
    hospitals = {name: drawn(name, size, rng) for name, size in SIZES.items()}
    endless = {name: drawn(name, 25 * size, rng) for name, size in SIZES.items()}
    parts, truths = [], []
    for k, fold in enumerate(folds(Cohort("study", hospitals, SCHEMA), count=5, seed=seed)):
        params = Problem(fold.train).optimum
        given = {name: scores(params, test.features) for name, test in fold.test.items()}
        parts.append(Part(0, k, plan_of(fold), given, fold.test, {}, ()))
        truths.append(
            auc({n: Scored(scores(params, p.features), p.outcomes) for n, p in endless.items()})
        )
    found = bootstrap_auc(by_patient(parts), replicates=300)
    return found.lower <= float(np.mean(truths)) <= found.upper


def test_the_interval_of_the_auc_covers() -> None:
    assert 0.92 <= np.mean([covered(seed) for seed in range(200)]) <= 0.98


@pytest.mark.nightly
def test_the_interval_of_the_auc_covers_in_many_studies() -> None:
    assert 0.92 <= np.mean([covered(1_000 + seed) for seed in range(2_000)]) <= 0.98


def risk_covered(seed: int) -> bool:
    """Three attacks on 40 batches of 8, each batch with a luck of its own; two of them guess."""
    rng = np.random.default_rng([12, seed])
    rates = {"guess": 0.1, "also guess": 0.1, "good": 0.3}
    shown = []
    for batch in range(40):
        for name, rate in rates.items():
            luck = rng.beta(6 * rate, 6 * (1 - rate))
            shown += [
                LineUp(name, str(batch), bool(hit), exact=False) for hit in rng.random(8) < luck
            ]
    found = worst_risk(shown, seed=seed)
    return bool(found["lower"] <= rates[found["attack"]] <= found["upper"])


def test_the_interval_of_the_worst_risk_covers() -> None:
    assert 0.92 <= np.mean([risk_covered(seed) for seed in range(200)]) <= 0.98
