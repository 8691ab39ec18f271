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
from aggregation.data.patients import Column, Patients, Schema
from privacy._validate import natural
from privacy.errors import InvalidInputError

__all__ = ["Cohort", "Fold", "folds", "folds_by_hospital"]

_RANKED_ALONE = 5  # patients of either outcome, from which on a hospital is ranked by itself


@dataclass(frozen=True)
class Fold:
    """One split of a cohort's patients.

    Attributes:
      train: Patients to learn from, by hospital.
      test: Patients to score, by hospital; none of them is in ``train``. A hospital that only
        trains is not there.
      pooled: Tested hospitals that are too small to rank their patients apart: pairs are compared
        over all of them together.
    """

    train: Mapping[str, Patients]
    test: Mapping[str, Patients]
    pooled: tuple[str, ...] = ()


def folds(cohort: Cohort, *, count: int, seed: int, alone: bool = False) -> tuple[Fold, ...]:
    """Split each hospital's patients by outcome into ``count`` folds.

    A hospital with fewer than ``count`` patients of either outcome is small: not every fold could
    be scored there. Small hospitals train in all folds and are scored in none; where *every*
    hospital is small, their patients are split together, and their pairs are pooled.

    A patient with several records goes to one fold with all of them; where ids are shared, with
    those of all hospitals: all patients are then split together.

    Guarantees (each is a test in ``tests/experiments/cohorts/test_cohort.py``):
      - each patient of a scored hospital is in exactly one fold's ``test``, and in the ``train`` of
        all others;
      - no patient is in a fold's ``test`` and in its ``train``;
      - within a hospital, the patients of either outcome differ by at most one between folds, and
        so do the patients of both;
      - the same seed gives the same folds, and one scored hospital's split does not depend on the
        others (both but where ids are shared).

    Args:
      cohort: What to split.
      count: Number of folds, at least 2.
      seed: An experiment's seed; it protects nobody.
      alone: Whether some hospital has to be scored by itself, as what compares hospitals needs.

    Raises:
      InvalidInputError: Every hospital is small, and ``alone``; all together have fewer than
        ``count`` patients of one outcome.
    """
    natural(count=count, least=2)
    natural(seed=seed)
    scored = {n: p for n, p in cohort.hospitals.items() if not _small(p, count)}
    pooled = () if scored else tuple(cohort.hospitals)
    if pooled and alone:
        raise InvalidInputError(
            f"No hospital of cohort {cohort.name!r} has {count} patients of either outcome, so "
            f"none can be compared with others in {count} folds. Use `inpatient frontier`, which "
            "ranks small hospitals' patients together."
        )
    if cohort.repeats.shared_ids and cohort.repeats.hospitals > 1:
        places = _by_person(cohort, count, seed)
        scored = scored or dict(cohort.hospitals)
    elif pooled:
        together = np.concatenate([p.ever for p in cohort.hospitals.values()])
        ends = np.cumsum(cohort.sizes)[:-1]
        dealt = np.split(_places(f"all of {cohort.name}", together, count, seed), ends)
        places = dict(zip(cohort.hospitals, dealt, strict=True))
        scored = dict(cohort.hospitals)
    else:
        places = {n: _places(n, p.ever, count, seed) for n, p in scored.items()}
    rows = {n: place[cohort.hospitals[n].owners] for n, place in places.items()}
    return tuple(
        Fold(
            train=_some(
                {n: p.take(rows[n] != k) if n in rows else p for n, p in cohort.hospitals.items()}
            ),
            test=_some({n: p.take(rows[n] == k) for n, p in scored.items()}),
            pooled=pooled,
        )
        for k in range(count)
    )


def folds_by_hospital(cohort: Cohort, *, count: int, seed: int) -> tuple[Fold, ...]:
    """Split the hospitals into ``count`` folds: each is scored by models that never saw it.

    Guarantees (each is a test in ``tests/experiments/cohorts/test_cohort.py``):
      - each hospital is tested, whole, in exactly one fold and trains in all others;
      - the folds' numbers of hospitals differ by at most one, and none has all the large ones;
      - the same seed gives the same folds.

    Hospitals with fewer than five patients of either outcome are ranked together (``pooled``).

    Args:
      cohort: What to split.
      count: Number of folds, at least 2.
      seed: An experiment's seed; it protects nobody.

    Raises:
      InvalidInputError: There are fewer hospitals than folds.
    """
    natural(count=count, least=2)
    natural(seed=seed)
    names = list(cohort.hospitals)
    if len(names) < count:
        raise InvalidInputError(
            f"Cohort {cohort.name!r} has {len(names)} hospitals, too few for {count} folds by "
            "hospital. Use fewer folds, or fold by patient."
        )
    rng = np.random.default_rng([seed, *b"by hospital"])
    by_size = sorted(rng.permutation(len(names)), key=lambda k: -cohort.sizes[k])
    fold_of = {}
    for first in range(0, len(names), count):  # neighbours in size go to different folds
        group = by_size[first : first + count]
        for k, fold in zip(group, rng.permutation(count), strict=False):
            fold_of[names[k]] = int(fold)
    small = [n for n, p in cohort.hospitals.items() if _small(p, _RANKED_ALONE)]
    return tuple(
        Fold(
            train={n: p for n, p in cohort.hospitals.items() if fold_of[n] != k},
            test={n: p for n, p in cohort.hospitals.items() if fold_of[n] == k},
            pooled=tuple(n for n in small if fold_of[n] == k),
        )
        for k in range(count)
    )


def _small(patients: Patients, least: int) -> bool:
    ill = int(patients.ever.sum())
    return min(ill, patients.count - ill) < least


def _by_person(cohort: Cohort, count: int, seed: int) -> dict[str, Int[np.ndarray, "patients"]]:
    """Split all people together, by ids that are shared; what each hospital's patients got."""
    ids = np.concatenate([p.ids for p in cohort.hospitals.values()])
    people, owners = np.unique(ids, return_inverse=True)
    ever = np.zeros(len(people), dtype=np.int64)
    np.maximum.at(ever, owners, np.concatenate([p.outcomes for p in cohort.hospitals.values()]))
    dealt = _places(f"all of {cohort.name}", ever, count, seed)
    places = {}
    for name, patients in cohort.hospitals.items():
        first = np.unique(patients.owners, return_index=True)[1]
        places[name] = dealt[np.searchsorted(people, patients.ids[first])]
    return places


def _some(patients: Mapping[str, Patients]) -> dict[str, Patients]:
    """The hospitals that have anybody left."""
    return {name: group for name, group in patients.items() if len(group)}


def _places(
    hospital: str, outcomes: Int[np.ndarray, "patients"], count: int, seed: int
) -> Int[np.ndarray, "patients"]:
    """Return the number of the fold in which each patient is tested."""
    ill = int(outcomes.sum())
    well = len(outcomes) - ill
    if min(ill, well) < count:
        raise InvalidInputError(
            f"All hospitals together have {ill} patients with and {well} without the outcome; "
            f"{count} folds need at least {count} of each. Use fewer folds or more hospitals."
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
