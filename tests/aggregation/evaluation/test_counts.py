"""Counts as a model: one patient, one cell, one."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation.data.patients import Patients
from aggregation.models import MODELS, Counts, Logistic, Model, check_name, sized_kinds
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.update import draw_batches, noised_update
from privacy.errors import InvalidInputError
from privacy.mechanisms import Seeded

DIGEST = "ab" * 32
SITES = (("large", ("a", "c")), ("small", ("b",)))

patients = st.lists(
    st.tuples(st.integers(-1, 5), st.integers(-1, 2), st.integers(0, 1)), min_size=1, max_size=12
)


def table(rows: list[tuple[int, int, int]]) -> Patients:
    array = np.array(rows, dtype=np.int64).reshape(-1, 3)
    return Patients(array[:, :2].astype(np.float64), array[:, 2].copy())


@given(patients)
def test_a_row_is_one_in_the_patients_own_cell_or_nothing(rows: list[tuple[int, int, int]]) -> None:
    counts = Counts(4, DIGEST, SITES)
    those = table(rows)
    found = counts.per_patient_gradients(np.zeros(counts.dim), those.features, those.outcomes)
    for row, (place, site, outcome) in zip(found, rows, strict=True):
        expected = np.zeros((2, 2, 4))
        if 0 <= place < 4 and 0 <= site < 2:
            expected[site, outcome, place] = 1.0
        assert row.tolist() == expected.reshape(-1).tolist()
    halves = those.features.copy() + 0.5
    assert not counts.per_patient_gradients(np.zeros(16), halves, those.outcomes).any()


def plan(**changes: Any) -> Plan:
    made = Plan(
        run="r", model=Counts(4, DIGEST), hospitals=("a",), declared_sizes=(20,), rounds=1,
        learning_rate=1.0, noise=NoiseKind.NONE, scheme="plain", clip_norm=1.0, radius=64,
    )  # fmt: skip
    return replace(made, **changes)


@given(patients)
def test_a_patient_who_comes_moves_one_cell_by_the_radius(rows: list[tuple[int, int, int]]) -> None:
    source, one = Seeded(0), plan()

    def total(group: Patients) -> Any:
        batches = draw_batches(one, "a", group, source)
        return noised_update(one, "a", batches, np.zeros(one.dim), source)

    whole = table([(place % 4, 0, outcome) for place, _, outcome in rows])
    moved = total(whole) - total(whole.take(np.arange(len(whole)) != 0))
    assert sorted(moved.tolist()) == [0] * 7 + [64]


def test_counts_stand_in_plans_and_are_no_choice_of_a_model() -> None:
    counts = Counts(4, DIGEST, SITES)
    written = plan(model=counts)
    assert Plan.from_bytes(written.to_bytes()).model == counts
    assert Model.from_spec(counts.spec) == counts and "counts" in MODELS
    assert "counts" not in sized_kinds() and sized_kinds() == ("logistic", "moments", "mlp")
    with pytest.raises(InvalidInputError, match="Unknown model 'counts'"):
        check_name("counts")
    assert counts.initial(np.random.default_rng(0)).tolist() == [0.0] * 16
    assert counts.scores(np.zeros(16), np.zeros((3, 2))).tolist() == [0.0] * 3
    assert Counts.released == "evaluation" and Logistic.released == "update"


def test_classes_of_sites_hold_each_hospital_once() -> None:
    counts = Counts(4, DIGEST, SITES)
    assert counts.classes == ("large", "small") and counts.dim == 16
    assert [counts.class_of(name) for name in "abc"] == [0, 1, 0]
    assert Counts(4, DIGEST).class_of("anybody") == 0 and Counts(4, DIGEST).dim == 8
    with pytest.raises(InvalidInputError, match="in no class of sites"):
        counts.class_of("d")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"bins": 1}, "bins=1"),
        ({"evaluated": "no"}, "64 hex digits"),
        ({"features": 3}, "features=2"),
        ({"bins": 1 << 20}, "fewer bins"),
        ({"sites": (("x", ("a",)), ("y", ("a",)))}, "a"),
        ({"sites": (("x", ("a",)), ("X", ("b",)))}, "x"),
    ],
)
def test_what_can_not_be_counted_is_refused(wrong: dict[str, Any], said: str) -> None:
    good: dict[str, Any] = {"bins": 4, "evaluated": DIGEST}
    Counts(**good)
    with pytest.raises(InvalidInputError, match=said):
        Counts(**good | wrong)
