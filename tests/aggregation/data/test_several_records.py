"""A patient with several records: in tables, cohort files, folds, and as one of many patients."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation.data import Cohort, Patients, read_table
from aggregation.data.cohort import Repeats
from aggregation.data.folds import folds
from aggregation.data.patients import Column, Schema
from aggregation.data.survey import survey_cohort
from privacy.errors import InvalidInputError
from tests.aggregation.data.parts import MAPPING, SCHEMA, Row, csv_table, rows, same, write_csv

ONE = Schema((Column("x", binary=False),), outcome="disease")


def ward(seed: int, patients: int = 30, most: int = 5, first: int = 0) -> Patients:
    """Patients of 1 to ``most`` records each, in no order."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation(
        np.repeat(np.arange(first, first + patients), rng.integers(1, most + 1, patients))
    )
    outcomes = rng.integers(0, 2, len(ids))
    return Patients(rng.normal(size=(len(ids), 1)), outcomes, ids, several_records=True)


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.sampled_from([1.0, 1e300]))
def test_a_patients_row_is_the_mean_of_their_own_and_of_nothing_else(
    seed: int, count: int, scale: float
) -> None:
    group = ward(seed, count)
    values = scale * np.random.default_rng(seed).normal(size=(len(group), 3))
    found = group.per_patient(values)
    order = list(dict.fromkeys(group.ids.tolist()))
    assert found.shape == (count, 3) == (group.count, 3)
    assert np.isfinite(found).all()
    for k, patient in enumerate(order):
        own = values[group.ids == patient]
        exact = [math.fsum(column / len(own)) for column in own.T]
        np.testing.assert_allclose(found[k], exact, rtol=1e-14, atol=1e-15 * scale)
        alone = group.take(group.ids == patient)
        assert np.array_equal(alone.per_patient(own)[0], found[k])
        if len(own) == 1:
            assert np.array_equal(found[k], own[0])
        assert group.ever[k] == group.outcomes[group.ids == patient].max()


def test_rows_are_patients_of_their_own_unless_it_is_said() -> None:
    twice = Patients(np.ones((3, 1)), np.array([0, 1, 1]), np.array([7, 7, 8]))
    assert twice.count == len(twice) == 3
    assert twice.per_patient(twice.features) is twice.features
    assert twice.take_patients(np.array([0, 0, 2])).ids.tolist() == [7, 7, 8]
    assert twice.ever.tolist() == [0, 1, 1]


@given(st.integers(0, 2**32 - 1), st.integers(1, 20))
def test_all_records_of_a_patient_are_taken_or_none(seed: int, count: int) -> None:
    group = ward(seed, count)
    chosen = np.random.default_rng(seed).random(count) < 0.5
    taken = group.take_patients(chosen)
    assert taken.several_records
    assert taken.count == chosen.sum()
    assert len(taken) == sum((group.ids == i).sum() for i in np.unique(taken.ids))
    assert same(taken, group.take_patients(np.flatnonzero(chosen)))


def test_pooled_groups_keep_each_hospitals_patients_together() -> None:
    one, two = ward(1, 4), ward(2, 5)
    both = Patients.together([one, two])
    assert both.several_records
    assert both.count == 9
    assert np.array_equal(both.owners, np.concatenate([one.owners, two.owners + 4]))


def repeated(most: int) -> list[Row]:
    """60 rows, numbered so that each patient has up to ``most`` of them."""
    return [((row[0] + most - 1) // most, *row[1:]) for row in rows()]


def test_a_table_with_several_records_is_read_where_the_cohort_says_so(tmp_path: Path) -> None:
    table, schema = csv_table(tmp_path, repeated(4))
    with pytest.raises(InvalidInputError, match=r"45 ids .* more than one row .*\[patients\]"):
        read_table(table, schema)
    with pytest.raises(InvalidInputError, match=r"15 ids .* more than 3 rows of a hospital"):
        read_table(table, schema, most_records=3)
    read = read_table(table, schema, most_records=4)
    assert read.several_records
    assert (len(read), read.count) == (60, 15)
    assert np.array_equal(read.ids, np.sort(read.ids))
    other = csv_table(tmp_path / "other", repeated(4)[::-1])
    assert same(read, read_table(*other, most_records=4))


def files(folder: Path, patients: str) -> Path:
    for name, first in (("north", 1), ("south", 8)):
        content = [(row[0] + first, *row[1:]) for row in repeated(4)]
        write_csv(folder / f"{name}.csv", content)
        (folder / f"{name}.toml").write_text(f'source = "{name}.csv"\n{MAPPING}')
    (folder / "schema.toml").write_text(SCHEMA)
    listed = folder / "stroke.toml"
    sites = '[sites]\nnorth = "north.toml"\nsouth = "south.toml"\n'
    listed.write_text(f'schema = "schema.toml"\n{sites}[patients]\n{patients}\n')
    return listed


def test_a_cohort_file_says_how_often_one_patient_may_stand_in_it(tmp_path: Path) -> None:
    cohort = Cohort.from_file(files(tmp_path, "records = 4\nhospitals = 2\nshared_ids = true"))
    assert cohort.repeats == Repeats(4, 2, True)
    assert cohort.sizes == (15, 15)
    report = survey_cohort(tmp_path / "stroke.toml")
    assert not report["problems"]
    assert report["sites"][0]["patients"] == "15"
    assert any("4 records at a hospital and stand in 2 hospitals" in h for h in report["hints"])
    files(tmp_path, "records = 4\nshared_ids = true")
    with pytest.raises(InvalidInputError, match="8 patients stand in more than one hospital"):
        Cohort.from_file(tmp_path / "stroke.toml")
    assert "8 patients" in survey_cohort(tmp_path / "stroke.toml")["problems"][0]
    assert Cohort.from_file(files(tmp_path, "records = 4")).repeats.any
    for wrong in ("records = 0", "hospitals = 0", "records = 1.5", "twice = 1"):
        with pytest.raises(InvalidInputError, match=r"stroke\.toml"):
            Cohort.from_file(files(tmp_path, wrong))


def test_what_is_said_of_repeats_changes_the_cohorts_key() -> None:
    hospitals = {"a": ward(0), "b": ward(1, first=100)}
    keys = {
        Cohort("x", hospitals, ONE, repeats=said).key()
        for said in (Repeats(), Repeats(5), Repeats(5, 2), Repeats(5, 2, shared_ids=True))
    }
    assert len(keys) == 4


@pytest.mark.parametrize("shared", [False, True])
def test_no_patient_is_tested_by_a_model_that_had_any_of_their_records(shared: bool) -> None:
    hospitals = {"a": ward(0, 60), "b": ward(1, 60, first=30), "c": ward(2, 4, first=20)}
    cohort = Cohort("x", hospitals, ONE, repeats=Repeats(5, 3, shared))
    split = folds(cohort, count=3, seed=4)
    assert all(set(fold.test) == {"a", "b"} for fold in split)
    for fold in split:
        trains = {name: set(p.ids.tolist()) for name, p in fold.train.items()}
        anywhere = set().union(*trains.values())
        for name, tested in fold.test.items():
            assert not set(tested.ids.tolist()) & (anywhere if shared else trains[name])
    for name in ("a", "b"):
        found = np.sort(np.concatenate([fold.test[name].ids for fold in split]))
        assert np.array_equal(found, np.sort(hospitals[name].ids))
