"""Who is held out and which bin a score falls in follows from public rules, patient by patient."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation.data.patients import Column, Patients, Schema
from aggregation.evaluation import binned, held_out, part, score_edges
from aggregation.models import Counts, Logistic, Perceptron
from privacy.errors import InvalidInputError

SCHEMA = Schema(
    (
        Column("age", 55.0, 10.0, 18.0, 100.0, binary=False),
        Column("smoker"),
        Column("ward=b", group="ward"),
        Column("ward=c", group="ward"),
    ),
    "stroke",
)


def group(ids: list[int]) -> Patients:
    n = len(ids)
    return Patients(np.zeros((n, 1)), np.zeros(n, dtype=np.int64), np.array(ids, dtype=np.int64))


@given(st.sets(st.integers(0, 10**6), min_size=1, max_size=40), st.integers(0, 10**6))
def test_a_patients_coming_moves_nobody_else_to_the_other_part(ids: set[int], new: int) -> None:
    before = part(group(sorted(ids)), 0.4, run="r", hospital="h")
    after = part(group([*sorted(ids - {new}), new]), 0.4, run="r", hospital="h")
    for one, other in zip(before, after, strict=True):
        assert set(one.ids) - {new} == set(other.ids) - {new}
    assert {*before[0].ids} | {*before[1].ids} == ids
    assert not {*before[0].ids} & {*before[1].ids}


def test_the_fraction_is_kept_and_runs_and_hospitals_are_dealt_apart() -> None:
    everybody = group(list(range(20_000)))
    held = [
        part(everybody, 0.3, run=run, hospital=hospital)[1]
        for run, hospital in (("r", "h"), ("r", "i"), ("s", "h"))
    ]
    for one in held:
        assert abs(len(one) / 20_000 - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 20_000)
    assert abs(len({*held[0].ids} & {*held[1].ids}) / 20_000 - 0.09) < 0.01
    assert abs(len({*held[0].ids} & {*held[2].ids}) / 20_000 - 0.09) < 0.01
    # run "ab" of hospital "c" is not run "a" of hospital "bc"
    one, other = (part(everybody, 0.5, run=r, hospital=h)[1] for r, h in (("ab", "c"), ("a", "bc")))
    assert {*one.ids} != {*other.ids}
    for wrong in (0.0, 1.0, float("nan")):
        with pytest.raises(InvalidInputError, match="between 0 and 1"):
            part(everybody, wrong, run="r", hospital="h")


def test_edges_are_the_scores_quantiles_of_the_publics_constants_and_increase() -> None:
    params = np.array([1.0, 0.5, -0.5, 0.25, -0.3])
    edges = score_edges(Logistic(4), params, SCHEMA, 8)
    assert edges.shape == (7,) and (np.diff(edges) > 0).all()
    assert edges.tobytes() == score_edges(Logistic(4), params, SCHEMA, 8).tobytes()
    # Of a number alone: those of a standard normal, cut by its plausible range.
    alone = score_edges(Logistic(4), np.array([1.0, 0, 0, 0, 0]), SCHEMA, 4)
    np.testing.assert_allclose(alone, [-0.6745, 0.0, 0.6745], atol=0.06)
    # Of yes or no, and of levels: each as often as the others.
    yes = score_edges(Logistic(4), np.array([0, 1.0, 0, 0, 0]), SCHEMA, 5)
    np.testing.assert_allclose(yes, [0, 0, 1, 1], atol=1e-4)
    ward = score_edges(Logistic(4), np.array([0, 0, 1.0, 3.0, 0]), SCHEMA, 6)
    assert ward.round(3).tolist() in ([0, 0, 1, 3, 3], [0, 1, 1, 3, 3], [0, 0, 1, 1, 3])
    flat = score_edges(Perceptron(4, 3), np.zeros(Perceptron(4, 3).dim), SCHEMA, 8)
    assert (np.diff(flat) > 0).all()
    assert len(score_edges(Logistic(4), params, SCHEMA, 2)) == 1


def test_scores_go_to_bins_and_what_is_no_number_counts_nowhere() -> None:
    counts = Counts(3, "ab" * 32, (("all", ("h",)), ("rest", ("i",))))
    patients = Patients(
        np.zeros((5, 1)), np.array([0, 1, 0, 1, 1]), np.array([9, 8, 7, 6, 5], dtype=np.int64)
    )
    scores = np.array([-5.0, 0.0, np.nan, np.inf, 0.5])
    found = binned(patients, scores, np.array([0.0, 1.0]), counts, "i")
    assert found.features.tolist() == [[0, 1], [1, 1], [-1, 1], [2, 1], [1, 1]]
    assert found.ids.tolist() == [9, 8, 7, 6, 5] and found.outcomes.tolist() == [0, 1, 0, 1, 1]
    rows = counts.per_patient_gradients(np.zeros(12), found.features, found.outcomes)
    assert rows.sum(axis=1).tolist() == [1, 1, 0, 1, 1]
    with pytest.raises(InvalidInputError, match="Expected 2 edges, got 1"):
        binned(patients, scores, np.array([0.0]), counts, "i")


def test_no_two_patients_share_a_place_by_how_names_run_together() -> None:
    """``x1``, ``y`` and ``x``, ``y1234567890`` would be one text without their lengths."""
    assert held_out._place("x1", "y", 12345678905) != held_out._place("x", "y1234567890", 5)
    assert held_out._place("x", "y1", 23) != held_out._place("x", "y", 123)
