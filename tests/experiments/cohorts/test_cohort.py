"""Promises of cohorts and folds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation.data.patients import Column, Patients, Schema
from experiments.cohorts import COHORTS, Cohort, folds, folds_by_hospital, load
from experiments.evaluation import POOLED, Scored, auc, pool
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


@pytest.mark.parametrize(("ill", "well"), [(12, 0), (0, 12), (12, 4), (1, 0)])
def test_a_small_hospital_trains_in_every_fold_and_is_scored_in_none(ill: int, well: int) -> None:
    made = cohort(a=(10, 10), b=(ill, well))
    alone = folds(cohort(a=(10, 10)), count=5, seed=0)
    for one, other in zip(folds(made, count=5, seed=0), alone, strict=True):
        assert np.array_equal(one.train["b"].ids, made.hospitals["b"].ids)
        assert list(one.test) == ["a"]
        assert np.array_equal(one.test["a"].ids, other.test["a"].ids)
        assert one.pooled == ()


@given(
    sizes=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), min_size=6, max_size=30),
    count=st.integers(2, 5),
    seed=st.integers(0, 99),
)
def test_where_every_hospital_is_small_their_patients_are_split_together(
    sizes: list[tuple[int, int]], count: int, seed: int
) -> None:
    sizes = [(ill, min(well, count - 1) if ill >= count else well) for ill, well in sizes]
    sizes = [(min(ill, count - 1), well) for ill, well in sizes if ill + well]
    made = cohort(
        **{f"h{k}": s for k, s in enumerate([*sizes, (1, 1), (1, 1), (1, 1), (1, 1), (1, 1)])}
    )
    split = folds(made, count=count, seed=seed)
    tested = np.concatenate([p.ids for fold in split for p in fold.test.values()])
    assert sorted(tested) == sorted(np.concatenate([p.ids for p in made.hospitals.values()]))
    ill = [sum(int(p.outcomes.sum()) for p in fold.test.values()) for fold in split]
    assert max(ill) - min(ill) <= 1
    for fold in split:
        assert fold.pooled == tuple(made.hospitals)
        assert all(len(p) for p in (*fold.train.values(), *fold.test.values()))
        train = {int(i) for p in fold.train.values() for i in p.ids}
        assert train.isdisjoint(int(i) for p in fold.test.values() for i in p.ids)
    with pytest.raises(InvalidInputError, match="No hospital of cohort"):
        folds(made, count=count, seed=seed, alone=True)


def test_too_few_of_an_outcome_in_all_is_an_error_that_says_so() -> None:
    with pytest.raises(InvalidInputError, match="together have 3 patients with and 20 without"):
        folds(cohort(a=(2, 10), b=(1, 10)), count=5, seed=0)


@given(
    sizes=st.lists(st.integers(1, 60), min_size=5, max_size=40),
    count=st.integers(2, 5),
    seed=st.integers(0, 99),
)
def test_folded_by_hospital_each_is_tested_whole_by_models_that_never_saw_it(
    sizes: list[int], count: int, seed: int
) -> None:
    made = cohort(**{f"h{k}": (n // 2, n - n // 2) for k, n in enumerate(sizes)})
    split = folds_by_hospital(made, count=count, seed=seed)
    assert sorted(n for fold in split for n in fold.test) == sorted(made.hospitals)
    for fold in split:
        assert fold.train.keys() | fold.test.keys() == made.hospitals.keys()
        assert fold.train.keys().isdisjoint(fold.test)
        small = {
            n for n, p in fold.test.items() if min(p.outcomes.sum(), (1 - p.outcomes).sum()) < 5
        }
        assert set(fold.pooled) == small
    counts = [len(fold.test) for fold in split]
    assert max(counts) - min(counts) <= 1
    largest = sorted(sizes)[-count:]  # one of the largest in each fold, but for equal sizes
    assert all(max(len(p) for p in fold.test.values()) >= min(largest) for fold in split)
    again = folds_by_hospital(made, count=count, seed=seed)
    assert [list(f.test) for f in again] == [list(f.test) for f in split]


def test_folds_by_hospital_need_hospitals() -> None:
    with pytest.raises(InvalidInputError, match="2 hospitals, too few for 5 folds"):
        folds_by_hospital(cohort(a=(9, 9), b=(9, 9)), count=5, seed=0)


def test_pooled_hospitals_are_ranked_together_and_others_apart() -> None:
    a, b, c = (Scored(np.array(s), np.array(y)) for s, y in (
        ([0.0, 1.0], [0, 1]), ([2.0], [0]), ([3.0, 1.0], [1, 1])))  # fmt: skip
    sites = pool({"a": a, "b": b, "c": c}, {"c", "b", "nowhere"})
    assert list(sites) == ["a", POOLED]
    assert sites[POOLED].scores.tolist() == [2.0, 3.0, 1.0]
    assert auc(sites) == (1 + 1) / (1 + 2)
    assert pool({"a": a}, ()) == {"a": a}


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
