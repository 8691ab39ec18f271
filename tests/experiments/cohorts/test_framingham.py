"""Framingham: complete, in range, referred as stated, and as predictable as known."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from experiments.cohorts import folds, load
from experiments.evaluation import Scored, auc, join
from privacy.errors import InvalidInputError


def test_everybody_is_in_one_hospital() -> None:
    cohort = load("framingham")
    ids = np.concatenate([p.ids for p in cohort.hospitals.values()])
    assert sorted(ids) == list(range(4240))
    assert cohort.sizes == (1272, 636, 636, *[212] * 8)
    assert sum(int(p.outcomes.sum()) for p in cohort.hospitals.values()) == 644
    assert list(cohort.tiers.values()) == ["tier3", "tier2", "tier2", *["clinic"] * 8]


def test_the_first_person_is_as_the_table_says() -> None:
    cohort = load("framingham")
    for patients in cohort.hospitals.values():
        if 0 in patients.ids:
            row = cohort.schema.to_clinical(patients.features[patients.ids == 0])[0]
    expected = [1, 39, 0, 0, 0, 0, 0, 0, 195, 106, 70, 26.97, 80, 77]
    np.testing.assert_allclose(row, expected, atol=1e-12)


def test_higher_tiers_see_the_older_and_the_sicker() -> None:
    cohort = load("framingham")
    ill: dict[str, list[float]] = {}
    for name, patients in cohort.hospitals.items():
        ill.setdefault(cohort.tiers[name], []).append(float(patients.outcomes.mean()))
    means = {tier: np.mean(values) for tier, values in ill.items()}
    assert means["tier3"] > means["tier2"] > means["clinic"]


def test_every_value_lies_in_the_plausible_range_and_missing_is_the_constant() -> None:
    cohort = load("framingham")
    glucose = cohort.schema.names.index("glucose")
    at_constant = 0
    for patients in cohort.hospitals.values():
        assert (patients.features >= cohort.schema.low).all()
        assert (patients.features <= cohort.schema.high).all()
        at_constant += int((patients.features[:, glucose] == 0).sum())
    assert at_constant >= 388  # so many were never measured


def test_pooled_logistic_regression_ranks_as_known() -> None:
    cohort = load("framingham")
    scored = []
    for fold in folds(cohort, count=5, seed=0):
        x = np.concatenate([p.features for p in fold.train.values()])
        y = np.concatenate([p.outcomes for p in fold.train.values()])
        model = LogisticRegression(max_iter=2_000).fit(x, y)
        test = [np.concatenate([getattr(p, part) for p in fold.test.values()])
                for part in ("features", "outcomes")]  # fmt: skip
        scored.append({"town": Scored(model.decision_function(test[0]), test[1])})
    assert auc(join(*scored)) == pytest.approx(0.722, abs=0.006)  # an independent prototype's


def test_a_copy_in_a_folder_gives_the_same_and_a_wrong_one_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"framingham_heart_study\.csv"):
        load("framingham", tmp_path)
    (tmp_path / "framingham_heart_study.csv").write_text("male,age\r1,39\r")
    with pytest.raises(InvalidInputError, match="not the file that was expected"):
        load("framingham", tmp_path)
