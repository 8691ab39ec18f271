"""Hierarchies: each level is a function of the one below, and the last says nothing."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation.data.patients import Field, Schema
from experiments.cohorts import load
from experiments.studies.deidentified.hierarchy import (
    encoded,
    fields_of,
    generalised,
    recorded,
    top,
)
from privacy.errors import InvalidInputError
from tests.experiments.deidentified.made_up import FIELDS, SCHEMA, values

SCHEMAS = [SCHEMA, load("heart").schema]


@pytest.mark.parametrize("schema", SCHEMAS, ids=["made up", "heart"])
def test_each_level_is_a_function_of_the_one_below_and_the_last_says_nothing(
    schema: Schema,
) -> None:
    rng = np.random.default_rng(0)
    for field in fields_of(schema):
        low, high = field.low or 0, field.high or max(1, len(field.levels) - 1)
        found = rng.integers(round(low), round(high) + 1, 400).astype(float)
        told = [generalised(field, found, level) for level in range(top(field) + 1)]
        for fine, coarse in pairwise(told):
            of = dict[float, float]()
            for a, b in zip(fine, coarse, strict=True):
                assert of.setdefault(a, b) == b
            assert len(set(coarse)) <= len(set(fine))
        assert len(set(told[0])) > 1 and len(set(told[-1])) == 1
        with pytest.raises(InvalidInputError, match="not " + str(top(field) + 1)):
            generalised(field, found, top(field) + 1)


@given(st.floats(18, 100), st.integers(1, 3))
def test_a_coarse_number_is_the_middle_of_its_bin_or_the_mean_of_its_half(
    value: float, level: int
) -> None:
    (said,) = generalised(FIELDS[0], np.array([value]), level)
    if level == 3:
        assert said == pytest.approx(55 + 10 * 0.7978845608 * (1 if value >= 55 else -1))
    else:
        width = 5 * level
        assert -width / 2 - 1e-9 <= value - said <= width / 2 + 1e-9
        assert (said - width / 2 - 55) / width == pytest.approx(
            round((said - width / 2 - 55) / width)
        )


def test_what_a_coarse_field_says_to_a_model() -> None:
    rows = np.array([[60.0, 1, 1, 0], [55.0, 0, 0, 1]])
    exact = encoded(FIELDS, rows)
    assert exact.tolist() == [[0.5, 1, 0, 1, 0], [0, 0, 0, 0, 1]]
    other = np.column_stack([generalised(f, v, 1) for f, v in zip(FIELDS, rows.T, strict=True)])
    assert encoded(FIELDS, other).tolist() == [[0.75, 0.5, 0.5, 0.5, 0.5], [0.25, 0, 0, 0.5, 0.5]]
    nothing = np.column_stack(
        [generalised(f, v, top(f)) for f, v in zip(FIELDS, rows.T, strict=True)]
    )
    assert np.allclose(encoded(FIELDS, nothing), [0, 1 / 3, 1 / 3, 0.5, 0.5])


@pytest.mark.parametrize("name", ["heart"])
def test_what_was_recorded_comes_back(name: str) -> None:
    cohort = load(name)
    for patients in cohort.hospitals.values():
        rows = recorded(cohort.schema, patients.features)
        assert np.abs(encoded(cohort.schema.fields, rows) - patients.features).max() < 1e-6
        assert not np.signbit(rows[rows == 0]).any()
    assert np.array_equal(recorded(SCHEMA, encoded(FIELDS, values(50, 0))), values(50, 0))


def test_a_schema_without_fields_or_with_indicators_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="0 of the schema's 5"):
        fields_of(Schema(SCHEMA.columns, "ill"))
    with pytest.raises(InvalidInputError, match="1 of the schema's 2"):
        fields_of(Schema.of_fields("ill", (Field("smokes", missing="indicator"),)))
