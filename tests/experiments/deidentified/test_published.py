"""Published tables: k-anonymous, few left out, outcomes and other fields as they were."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.studies.deidentified import published
from experiments.studies.deidentified.hierarchy import generalised
from experiments.studies.deidentified.published import LIMIT, publish
from privacy.errors import InvalidInputError
from tests.experiments.deidentified.made_up import FIELDS, values
from tests.experiments.deidentified.twin import answered

ANJANA = json.loads(Path(__file__).with_name("anjana.json").read_text())
"""What anjana 1.2.3 gave for tables of nobody; its ``made`` says by which command."""
ALL = np.ones(4, dtype=np.bool_)


@pytest.fixture(autouse=True)
def _twin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "_answers", answered)


def test_the_twin_answers_as_anjana_did() -> None:
    assert answered(ANJANA["jobs"]) == ANJANA["answers"]
    assert sum(len(answer["rows"]) == 0 for own in ANJANA["answers"] for answer in own) == 1


@pytest.mark.anonymity
@pytest.mark.parametrize("seed", range(4))
def test_anjana_answers_as_the_twin_does(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.undo()
    rows = values(40 + 60 * seed, seed)
    job = published._job(FIELDS, ALL if seed % 2 else np.arange(4) < 2, rows, [2, 3, 5, 20, 45])
    assert published._answers([job, *ANJANA["jobs"]]) == answered([job, *ANJANA["jobs"]])


@settings(max_examples=30)
@given(st.integers(1, 80), st.integers(0, 10**6), st.lists(st.booleans(), min_size=4, max_size=4))
def test_every_row_is_like_k_minus_1_others_and_few_are_left_out(
    count: int, seed: int, which: list[bool]
) -> None:
    quasi = np.array(which)
    quasi[seed % 4] = True
    rows, outcomes = values(count, seed), np.random.default_rng(seed).integers(0, 2, count)
    (tables,) = publish(FIELDS, quasi, [(rows, outcomes)], (1, 2, 7))
    for k, table in zip((1, 2, 7), tables, strict=True):
        assert table.k == k and len(table.values) == count - table.left_out
        sizes = Counter(map(tuple, table.values[:, quasi]))
        assert min(sizes.values(), default=k) >= k
        if count >= k:
            assert 100 * table.left_out <= LIMIT * count
        assert np.array_equal(table.outcomes, outcomes[table.kept])
        assert np.array_equal(table.values[:, ~quasi], rows[table.kept][:, ~quasi])
        assert np.array_equal(table.values, table.as_published(rows[table.kept]))
        own = table.class_sizes(rows[table.kept])
        assert own.tolist() == [sizes[tuple(row)] for row in table.values[:, quasi]]
        for field, column, level in zip(FIELDS, table.values.T, table.levels, strict=True):
            (j,) = [j for j, f in enumerate(FIELDS) if f is field]
            assert np.array_equal(column, generalised(field, rows[table.kept, j], level))
    assert tables[0].levels == (0, 0, 0, 0) and tables[0].left_out == 0
    assert all(a <= b for a, b in zip(tables[1].levels, tables[2].levels, strict=True))


def test_what_is_no_k_anonymous_table_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def lying(jobs: Any) -> Any:
        return [[{"rows": list(range(30)), "levels": {}}] for _ in jobs]

    monkeypatch.setattr(published, "_answers", lying)
    with pytest.raises(InvalidInputError, match="A class of 1 rows was published, where 3"):
        publish(FIELDS, ALL, [(values(30, 0), np.zeros(30, dtype=np.int64))], (3,))


@pytest.mark.parametrize("ks", [(), (0, 2), (5, 2), (2, 2)])
def test_ks_go_up_from_one(ks: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInputError, match="ks that go up"):
        publish(FIELDS, ALL, [(values(30, 0), np.zeros(30, dtype=np.int64))], ks)


def test_without_anjana_one_is_told_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(published, "PYTHON", tmp_path / "python")
    with pytest.raises(InvalidInputError, match="make anonymity"):
        publish(FIELDS, ALL, [(values(30, 0), np.zeros(30, dtype=np.int64))], (2,))
    (tmp_path / "python").write_text("#!/bin/sh\necho it broke >&2\nexit 3\n")
    (tmp_path / "python").chmod(0o755)
    with pytest.raises(InvalidInputError, match=r"it broke.*make anonymity"):
        publish(FIELDS, ALL, [(values(30, 0), np.zeros(30, dtype=np.int64))], (2,))
    as_they_are = publish(FIELDS, ALL, [(values(30, 0), np.zeros(30, dtype=np.int64))], (1,))
    assert len(as_they_are[0][0].values) == 30
