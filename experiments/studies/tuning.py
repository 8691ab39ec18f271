r"""Where ``studies.design`` comes from: a search on simulated patients, never on real ones.

Simulated studies have what is public of the heart study (four hospitals of its sizes, its schema)
and nothing else: features are drawn independently from the schema's public constants, a study's
coefficients with deviation .8, each hospital's prevalence by a shift of the logit with deviation 1.
A setting is judged by the within-site AUC on fresh simulated patients, at epsilon 1 with shared
noise and one colluder, averaged over studies. The search reads no heart
patient; ``studies.design`` says what was known of them when it was designed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import product
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from scipy.special import expit

from aggregation.federation import Federation
from aggregation.models import make_model
from aggregation.patients import Patients, Schema
from attacks.priors import Prior
from experiments.cohorts import load
from experiments.evaluation import Scored, auc
from experiments.run.record import Record, stamp
from experiments.studies.design import WIDTH, TrainingSetting, make_plan

__all__ = ["candidates", "score", "search", "simulated_study"]

SIZES = {"cleveland": 303, "hungary": 294, "switzerland": 123, "va": 200}
_TRAIN = 0.8  # of a hospital's patients, as in a fold


def candidates(regime: str, model: str) -> list[TrainingSetting]:
    """The settings that are tried; the second half of the models is averaged."""
    rounds = (20, 40, 80) if regime == "full" else (50, 100, 200)
    sampling_size = None if regime == "full" else 8
    scale = 1.0 if regime == "full" else 0.125
    steps = ((1, 1.0), (2, 1.0), (4, 1.0), (2, 0.5), (4, 0.5), (8, 0.5))  # rate and clip norm
    return [
        TrainingSetting(count, scale * rate, clip_norm, count // 2, sampling_size)
        for count, (rate, clip_norm) in product(rounds, steps)
    ]


def simulated_study(
    schema: Schema, seed: int
) -> tuple[Mapping[str, Patients], Mapping[str, Patients]]:
    """Draw the training and the test patients of one simulated study."""
    rng = np.random.default_rng([77, seed])
    prior = Prior.from_schema(schema)
    coefficients = 0.8 * rng.normal(size=len(schema))
    train, test = {}, {}
    for name, size in SIZES.items():
        features = prior.draw(2 * size, rng)
        logits = features @ coefficients
        risk = expit(logits - logits.mean() + rng.normal())
        group = Patients(features, (rng.random(2 * size) < risk).astype(np.int64))
        train[name] = group.take(np.arange(round(_TRAIN * size)))
        test[name] = group.take(np.arange(size, 2 * size))
    return train, test


def search(panels: Sequence[tuple[str, str]], *, studies: int = 8, jobs: int = -1) -> list[Record]:
    """Score every candidate of some regimes and models; the best comes first in each record."""
    schema = load("heart").schema
    tried = [(panel, setting) for panel in panels for setting in candidates(*panel)]
    scores = Parallel(jobs)(
        delayed(score)(setting, model, schema, studies=studies) for (_, model), setting in tried
    )
    stamped = stamp()
    records = []
    for regime, model in panels:
        ours = [s for s, (panel, _) in zip(scores, tried, strict=True) if panel == (regime, model)]
        ours.sort(key=lambda found: -found["auc"])
        config = {
            "experiment": "tuning",
            "regime": regime,
            "model": model,
            "studies": studies,
            "candidates": [asdict(setting) for setting in candidates(regime, model)],
            "code_version": 1,
        }
        records.append(Record(config, {"scores": ours}, stamped))
    return records


def score(
    setting: TrainingSetting, model: str, schema: Schema, *, studies: int, design: str = "sealed"
) -> dict[str, Any]:
    """Return a setting's AUC over simulated studies: mean and standard error."""
    import torch

    torch.set_num_threads(1)  # one worker a core
    values = []
    for seed in range(studies):
        train, test = simulated_study(schema, seed)
        plan = make_plan(
            run=f"tuning {seed}",
            design=design,
            epsilon=1.0,
            model=make_model(model, len(schema), WIDTH if model == "mlp" else 0),
            setting=setting,
            patients=train,
            scheme="plain",
            model_seed=seed,
        )
        params = Federation.simulated(plan, train, seed=seed).run().params
        sites = {
            name: Scored(plan.model.scores(params, t.features), t.outcomes)
            for name, t in test.items()
        }
        values.append(auc(sites))
    error = float(np.std(values, ddof=1) / np.sqrt(studies))
    return {"setting": asdict(setting), "auc": float(np.mean(values)), "standard_error": error}
