"""Promises of cohorts and folds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation.patients import Column, Patients, Schema
from experiments.cohorts import COHORTS, Cohort, folds, load
from privacy.errors import InvalidInputError

SCHEMA = Schema((Column("x", binary=False),), outcome="disease")


def hospital(ill: int, well: int, first: int = 0) -> Patients:
    n = ill + well
    outcomes = np.array([1] * ill + [0] * well, dtype=np.int64)
    return Patients(np.linspace(0, 1, n)[:, None], outcomes, np.arange(first, first + n))


def cohort(**sizes: tuple[int, int]) -> Cohort:
    first = 0
    hospitals = {}
    for name, (ill, well) in sizes.items():
        hospitals[name] = hospital(ill, well, first)
        first += ill + well
    return Cohort("test", hospitals, SCHEMA)


@given(
    ill=st.integers(5, 40),
    well=st.integers(5, 40),
    count=st.integers(2, 5),
    seed=st.integers(0, 99),
)
def test_each_patient_is_tested_once_and_trains_all_other_folds(
    ill: int, well: int, count: int, seed: int
) -> None:
    made = cohort(a=(ill, well), b=(well, ill))
    split = folds(made, count=count, seed=seed)
    assert len(split) == count
    for name, patients in made.hospitals.items():
        tested = np.concatenate([fold.test[name].ids for fold in split])
        assert sorted(tested) == sorted(patients.ids)
        for fold in split:
            both = np.concatenate([fold.test[name].ids, fold.train[name].ids])
            assert sorted(both) == sorted(patients.ids)


@given(
    ill=st.integers(5, 40),
    well=st.integers(5, 40),
    count=st.integers(2, 5),
    seed=st.integers(0, 99),
)
def test_outcomes_and_sizes_differ_by_at_most_one_between_folds(
    ill: int, well: int, count: int, seed: int
) -> None:
    split = folds(cohort(a=(ill, well)), count=count, seed=seed)
    diseased = [int(fold.test["a"].outcomes.sum()) for fold in split]
    sizes = [len(fold.test["a"]) for fold in split]
    healthy = [n - k for n, k in zip(sizes, diseased, strict=True)]
    for counts in (diseased, healthy, sizes):
        assert max(counts) - min(counts) <= 1


def test_a_seed_fixes_the_folds_and_another_changes_them() -> None:
    made = cohort(a=(20, 20))
    once, twice, other = (folds(made, count=5, seed=s)[0].test["a"].ids for s in (1, 1, 2))
    assert np.array_equal(once, twice)
    assert not np.array_equal(once, other)


def test_a_hospitals_split_does_not_depend_on_the_others() -> None:
    alone = folds(cohort(a=(20, 20)), count=5, seed=3)
    among = folds(cohort(a=(20, 20), b=(9, 8), c=(30, 7)), count=5, seed=3)
    for one, two in zip(alone, among, strict=True):
        assert np.array_equal(one.test["a"].ids, two.test["a"].ids)


@pytest.mark.parametrize(("ill", "well"), [(12, 0), (0, 12), (12, 4), (0, 0)])
def test_one_class_or_too_few_patients_is_an_error_that_says_so(ill: int, well: int) -> None:
    message = f"Hospital 'b' has {ill} patients with and {well} without.*at least 5 of each"
    with pytest.raises(InvalidInputError, match=message):
        folds(cohort(a=(10, 10), b=(ill, well)), count=5, seed=0)


def test_one_fold_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="count=1"):
        folds(cohort(a=(10, 10)), count=1, seed=0)


def test_a_cohort_needs_hospitals_of_its_schema() -> None:
    with pytest.raises(InvalidInputError, match="no hospital"):
        Cohort("empty", {}, SCHEMA)
    with pytest.raises(InvalidInputError, match=r"'a'.*2 columns, the schema 1"):
        Cohort("wide", {"a": Patients(np.zeros((1, 2)), np.array([0]))}, SCHEMA)


def test_an_unknown_cohort_lists_the_known_ones() -> None:
    with pytest.raises(InvalidInputError, match="'hart'; choose one of heart, "):
        load("hart")
    assert "heart" in COHORTS
