"""Simulated patients of a cohort's public shape: what settings are searched on.

A simulated study has what is public of a cohort (its hospitals' sizes, its schema) and nothing
else: features are drawn independently from the schema's public constants, a study's coefficients
with deviation .8, each hospital's prevalence by a shift of the logit with deviation 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import expit

from aggregation.data.patients import Patients, Schema
from attacks.knowledge.priors import Prior
from experiments.cohorts import load

__all__ = ["PublicShape", "shape_of", "simulated_study"]

_TRAIN = 0.8  # of a hospital's patients, as in a fold


@dataclass(frozen=True)
class PublicShape:
    """What simulated studies know of a cohort.

    Attributes:
      schema: Of the patients.
      sizes: How many each hospital has.
    """

    schema: Schema
    sizes: Mapping[str, int]


def shape_of(cohort: str, data_dir: Path | None = None) -> PublicShape:
    """Return what is public of a cohort, named as ``experiments.cohorts.load`` names it."""
    loaded = load(cohort, data_dir)
    return PublicShape(loaded.schema, {name: len(p) for name, p in loaded.hospitals.items()})


def simulated_study(
    shape: PublicShape, seed: int
) -> tuple[Mapping[str, Patients], Mapping[str, Patients]]:
    """Draw the training and the test patients of one simulated study, at every hospital."""
    rng = np.random.default_rng([77, seed])
    prior = Prior.from_schema(shape.schema)
    coefficients = 0.8 * rng.normal(size=len(shape.schema))
    train, test = {}, {}
    for name, size in shape.sizes.items():
        features = prior.draw(2 * size, rng)
        logits = features @ coefficients
        risk = expit(logits - logits.mean() + rng.normal())
        group = Patients(features, (rng.random(2 * size) < risk).astype(np.int64))
        train[name] = group.take(np.arange(max(1, round(_TRAIN * size))))
        test[name] = group.take(np.arange(size, 2 * size))
    return train, test
