"""Who is named from a table: all where it is as recorded, one in ten where it says nothing."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.studies import likelihoods
from experiments.studies.deidentified import published
from experiments.studies.deidentified.naming import (
    CLASSES,
    DENSITY,
    of_known_others,
    of_public,
)
from experiments.studies.deidentified.published import Published, publish
from experiments.studies.people import LineUp
from tests.experiments.deidentified.made_up import FIELDS, values
from tests.experiments.deidentified.twin import answered

ALL = np.ones(4, dtype=np.bool_)


@pytest.fixture(autouse=True)
def _twin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "_answers", answered)


def case(count: int, seed: int, shown: int, quasi: np.ndarray, ks: tuple[int, ...]):  # type: ignore[no-untyped-def]
    """Line-ups whose targets are a table's first rows, and the table at every k."""
    rng = np.random.default_rng([seed, 77])
    rows, outcomes = values(count, seed), rng.integers(0, 2, count)
    strangers = values(9 * shown, seed + 10**6)
    lineups, people = [], []
    for i in range(shown):
        ten = np.vstack([rows[i], strangers[9 * i : 9 * i + 9]])
        order = rng.permutation(10)
        people.append(ten[order])
        target = int(np.flatnonzero(order == 0)[0])
        lineups.append(LineUp("north", people[-1], int(outcomes[i]), target, i))
    (tables,) = publish(FIELDS, quasi, [(rows, outcomes)], ks)
    others = [(np.delete(rows, i, axis=0), np.delete(outcomes, i)) for i in range(shown)]
    return tables, np.stack(people), lineups, others


def rate(logs: np.ndarray, lineups: list[LineUp], seed: int = 0) -> float:
    named = likelihoods.name_targets(logs, np.random.default_rng(seed))
    return float(np.mean([one.target == n for one, n in zip(lineups, named, strict=True)]))


def test_as_recorded_nearly_everybody_is_named_and_of_nothing_one_in_ten() -> None:
    (raw, all_alike), people, lineups, others = case(300, 0, 60, ALL, (1, 300))
    assert set(all_alike.levels) == {4, 2, 1} and all_alike.left_out == 0
    for logs in of_public(raw, people, lineups).values():
        assert rate(logs, lineups) > 0.85  # the nine may be alike
    assert rate(of_known_others(raw, people, lineups, others), lineups) > 0.85
    told = [*of_public(all_alike, people, lineups).values()]
    for logs in (*told, of_known_others(all_alike, people, lineups, others)):
        assert np.ptp(logs) == 0 or np.ptp(logs, axis=1).max() == 0
        rates = [rate(logs, lineups, seed) for seed in range(60)]
        assert np.mean(rates) == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / 3600))


@settings(max_examples=25)
@given(st.integers(0, 10**5), st.sampled_from([2, 3, 6]), st.sampled_from([4, 2]))
def test_who_knows_all_others_keeps_whom_the_table_does_not_contradict(
    seed: int, k: int, fields: int
) -> None:
    (table,), people, lineups, others = case(40, seed, 3, np.arange(4) < fields, (k,))
    logs = of_known_others(table, people, lineups, others)
    seen = Counter(zip(map(tuple, table.values), table.outcomes, strict=True))
    for i, (one, (known, outcomes)) in enumerate(zip(lineups, others, strict=True)):
        for place, person in enumerate(people[i]):
            rows = table.as_published(np.vstack([known, person]))
            both = [*outcomes, one.outcome]
            sizes = Counter(map(tuple, rows[:, table.quasi]))
            told = Counter(
                (tuple(row), y)
                for row, y in zip(rows, both, strict=True)
                if sizes[tuple(row[table.quasi])] >= k
            )
            assert (logs[i, place] == 0.0) == (told == seen)
        assert logs[i, one.target] == 0.0


def by_hand() -> tuple[Published, np.ndarray, list[LineUp]]:
    """Ten rows of which two were left out: 3 old with the outcome, 2 old without, 3 young with."""
    ages = [70.0] * 5 + [40.0] * 5
    rows = np.column_stack([ages, np.zeros((10, 3))])
    kept = np.array([True] * 8 + [False] * 2)
    outcomes = np.array([1, 1, 1, 0, 0, 1, 1, 1])
    table = Published(FIELDS, ALL, (0, 0, 0, 0), rows[kept], outcomes, kept, 3)
    ten = [70.0] * 6 + [40.0] * 2 + [99.0] * 2
    people = np.column_stack([ten, np.zeros((10, 3))])[None]
    return table, people, [LineUp("north", people[0], 1, 0, 0)]


def test_the_two_roads_are_what_they_are_said_to_be() -> None:
    table, people, lineups = by_hand()
    found = of_public(table, people, lineups)
    assert np.allclose(np.exp(found[CLASSES][0]), [3] * 8 + [0.2] * 2)
    assert np.allclose(np.exp(found[DENSITY][0]), [3 / 6] * 6 + [3 / 2] * 2 + [0.2 / 2] * 2)
    without = [LineUp("north", people[0], 0, 0, 0)]
    assert np.allclose(np.exp(of_public(table, people, without)[CLASSES][0]), [2] * 6 + [0.2] * 4)


def test_the_density_ratio_sees_what_the_class_alone_does_not() -> None:
    """Where a sort of people is common, many of its kind in a table say little."""
    (table,), people, lineups, _ = case(400, 3, 300, np.arange(4) < 1, (40,))
    table = Published(FIELDS, ALL, table.levels, table.values, table.outcomes, table.kept, 1)
    found = of_public(table, people, lineups)
    assert not np.array_equal(found[CLASSES].argmax(axis=1), found[DENSITY].argmax(axis=1))
