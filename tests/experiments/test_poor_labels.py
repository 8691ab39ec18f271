"""Poor labels: what the records hold, and that the budget for scores is paid and matters."""

from pathlib import Path

import pytest

from experiments.run.sweep import sweep
from experiments.studies import poor_labels
from experiments.studies.poor_labels import Defence, Harm, LabelPoint


def test_a_point_measures_its_defence_and_a_second_run_computes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.studies.poor_labels._ROUNDS", 40)
    points = [
        LabelPoint(Harm.REVERSED, Defence.NORM_BOUND),
        LabelPoint(Harm.REVERSED, Defence.SCORES_DEAR),
        LabelPoint(Harm.HIDDEN, Defence.BOUNDED_INFLUENCE),
    ]
    first = sweep(tmp_path, points, jobs=1)
    monkeypatch.setattr(LabelPoint, "measure", pytest.fail)
    again = sweep(tmp_path, points, jobs=1)
    assert [r.metrics for r in again] == [r.metrics for r in first]
    plain, scored, hidden = (r.metrics for r in first)
    assert scored["auc_within"] > plain["auc_within"]
    assert scored["left_out"]["cleveland"] > 0 and scored["score_epsilon"] == 0.5
    assert hidden["auc_within"] > 0.85 and hidden["score_epsilon"] is None
    assert poor_labels.table(first).row_count == 2


def test_every_defence_that_scores_pays_what_its_name_says() -> None:
    paid = {defence: defence.score_epsilon for defence in Defence if "eps" in defence}
    assert paid == {d: float(d.rpartition(" ")[2]) for d in paid} and len(paid) == 2
    assert [d for d in Defence if d.score_epsilon is not None] == list(paid)
    assert all(harm.rates for harm in Harm if harm is not Harm.NONE)
