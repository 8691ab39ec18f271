"""Poor labels: what the records hold, and that the budget for scores is paid and matters."""

from pathlib import Path

import numpy as np
import pytest

from experiments.cohorts import folds, load
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


@pytest.mark.parametrize("harm", [Harm.UNITS, Harm.CODES, Harm.MISSING])
def test_columns_are_spoilt_at_the_largest_hospital_alone_and_labels_are_not(harm: Harm) -> None:
    cohort = load("heart")
    columns, fold = cohort.schema.columns, folds(cohort, count=5, seed=0)[0]
    rates = dict(zip(["cleveland", "hungary"], harm.rates, strict=False))
    sites = poor_labels._spoilt(harm, rates, fold, cohort.schema, np.random.default_rng(0))
    for name, p in fold.train.items():
        assert np.array_equal(sites[name].outcomes, p.outcomes)
        assert np.array_equal(sites[name].features, p.features) == (name != "cleveland")
    before, after = fold.train["cleveland"].features, sites["cleveland"].features
    changed = {columns[k].name for k in np.flatnonzero((before != after).any(axis=0))}
    if harm is Harm.UNITS:
        (name,) = changed
        k = next(k for k, column in enumerate(columns) if column.name == name)
        assert name == "chol" and columns[k].mean == max(c.mean for c in columns)
        told = after[:, k] * columns[k].sd + columns[k].mean
        np.testing.assert_allclose(10 * told, before[:, k] * columns[k].sd + columns[k].mean)
    elif harm is Harm.CODES:
        assert changed == {c.name for c in columns if c.binary and not c.group}
        assert set(np.unique((before + after)[before != after])) == {1.0}
    else:
        missing = (after == 0) & (before != 0)
        assert np.array_equal(after[~missing], before[~missing])
        assert missing[before != 0].mean() == pytest.approx(0.5, abs=0.03)
