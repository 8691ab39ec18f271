"""A cohort: hospitals by name, each with its patients, and one public schema; and its folds.

>>> cohort = Cohort("two", {"a": _example(0), "b": _example(1)}, _EXAMPLE_SCHEMA)
>>> [len(fold.test["a"]) for fold in folds(cohort, count=2, seed=0)]
[4, 4]
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from aggregation.data.cohort import Cohort
from aggregation.patients import Column, Patients, Schema
from privacy._validate import natural
from privacy.errors import InvalidInputError

__all__ = ["Cohort", "Fold", "folds"]


@dataclass(frozen=True)
class Fold:
    """One split of every hospital's patients.

    Attributes:
      train: Patients to learn from, by hospital.
      test: Patients to score, by hospital; none of them is in ``train``.
    """

    train: Mapping[str, Patients]
    test: Mapping[str, Patients]


def folds(cohort: Cohort, *, count: int, seed: int) -> tuple[Fold, ...]:
    """Split each hospital's patients by outcome into ``count`` folds.

    Guarantees (each is a test in ``tests/experiments/cohorts/test_cohort.py``):
      - each patient is in exactly one fold's ``test``, and in the ``train`` of all others;
      - within a hospital, the patients of either outcome differ by at most one between folds, and
        so do the patients of both;
      - the same seed gives the same folds, and one hospital's split does not depend on the others.

    Args:
      cohort: What to split.
      count: Number of folds, at least 2.
      seed: An experiment's seed; it protects nobody.

    Raises:
      InvalidInputError: A hospital has fewer than ``count`` patients of one outcome, so that some
        fold could not be scored there.
    """
    natural(count=count, least=2)
    natural(seed=seed)
    places = {
        name: _places(name, patients.outcomes, count, seed)
        for name, patients in cohort.hospitals.items()
    }
    return tuple(
        Fold(
            train={n: p.take(places[n] != k) for n, p in cohort.hospitals.items()},
            test={n: p.take(places[n] == k) for n, p in cohort.hospitals.items()},
        )
        for k in range(count)
    )


def _places(
    hospital: str, outcomes: Int[np.ndarray, "patients"], count: int, seed: int
) -> Int[np.ndarray, "patients"]:
    """Return the number of the fold in which each patient is tested."""
    ill = int(outcomes.sum())
    well = len(outcomes) - ill
    if min(ill, well) < count:
        raise InvalidInputError(
            f"Hospital {hospital!r} has {ill} patients with and {well} without the outcome; "
            f"{count} folds need at least {count} of each. Use fewer folds or leave the hospital "
            "out."
        )
    rng = np.random.default_rng([seed, *hospital.encode()])
    places = np.empty(len(outcomes), dtype=np.int64)
    first = int(rng.integers(count))
    for outcome in (0, 1):
        rows = rng.permutation(np.flatnonzero(outcomes == outcome))
        places[rows] = (first + np.arange(len(rows))) % count
        first += len(rows)  # the second outcome fills up where the first stopped
    return places


_EXAMPLE_SCHEMA = Schema((Column("x", binary=False),), outcome="disease")


def _example(seed: int) -> Patients:
    rng = np.random.default_rng(seed)
    return Patients(rng.normal(size=(8, 1)), np.array([0, 1] * 4))
