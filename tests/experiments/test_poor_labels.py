"""Poor labels: what the records hold, and that the budget for scores is paid and matters."""

from pathlib import Path

import pytest

from experiments.studies import poor_labels
from experiments.studies.poor_labels import Point
from privacy.errors import InvalidInputError


def test_a_point_measures_its_defence_and_a_second_run_computes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.studies.poor_labels._ROUNDS", 40)
    points = [
        Point("all reversed at one", "norm bound"),
        Point("all reversed at one", "scores, eps .5"),
        Point("25 % hidden at one", "bounded influence"),
    ]
    first = poor_labels.run(tmp_path, points)
    monkeypatch.setattr("experiments.studies.poor_labels.measure", pytest.fail)
    assert [r.metrics for r in poor_labels.run(tmp_path, points)] == [r.metrics for r in first]
    plain, scored, hidden = (r.metrics for r in first)
    assert scored["auc_within"] > plain["auc_within"]
    assert scored["left_out"]["cleveland"] > 0 and scored["score_epsilon"] == 0.5
    assert hidden["auc_within"] > 0.85 and hidden["score_epsilon"] is None
    assert poor_labels.table(first).row_count == 2


def test_unknown_harms_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="Expected a harm"):
        Point("earthquake", "norm bound")
