"""An arm, measured on small simulated cohorts: what each end is, and what the command shows."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from aggregation.data.patients import Patients
from aggregation.models import Moments
from aggregation.noise_kind import NoiseKind
from aggregation.rules import Local, LocalForm, fit_locally
from experiments.cli import main
from experiments.cohorts import Cohort, folds
from experiments.run.record import read_records
from experiments.studies.design import Regime, TrainingSetting
from experiments.studies.final_model import final_model
from experiments.studies.joining import arm_point as joining
from experiments.studies.joining.arm_point import End, JoiningArm, JoiningPoint
from experiments.studies.joining.arms import FEW, PARTS, SETTING, grid
from experiments.studies.joining.drawn_gains import draw_joining
from experiments.studies.searched import best_trainings
from privacy.errors import InvalidInputError
from tests.aggregation.evaluation.test_round import SCHEMA

BRIEF = TrainingSetting(3, 1.0, 1.0, 1)
ROOT = Path(__file__).parents[3]


def cohort(hospitals: int = 6, size: int = 30) -> Cohort:
    made = {}
    for k in range(hospitals):
        rng = np.random.default_rng([3, k])
        features = rng.normal(size=(size + k, len(SCHEMA)))
        risk = 1 / (1 + np.exp(-features @ np.linspace(1, -1, len(SCHEMA))))
        made[str(k)] = Patients(features, (rng.random(size + k) < risk).astype(np.int64))
    return Cohort("few", made, replace(SCHEMA, score={"x0": 1.0, "x3": 2.0}))


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "load", lambda name, data_dir: cohort())


def of(arm: JoiningArm, epsilon: float | None = None, **more: object) -> JoiningPoint:
    return JoiningPoint(arm, epsilon, "few", BRIEF, seeds=(0, 1), folds=3, **more)  # type: ignore[arg-type]


def test_the_ends_of_a_federation_are_what_hospitals_fit_around_its_model() -> None:
    one = of(JoiningArm.SEALED, 1.0).measure((0, 1), None)
    assert set(one.scored) == {End.BARE, End.INTERCEPT, End.FIT} and one.plan is not None
    fold = folds(cohort(), count=3, seed=0)[1]
    for name, site in one.scored[End.BARE].items():
        test, train = fold.test[name], fold.train[name]
        # The bare scores are linear: solve for the model, then fit by hand.
        columns = np.concatenate([test.features, np.ones((len(test), 1))], axis=1)
        assert np.array_equal(site.outcomes, test.outcomes)
        whole = np.concatenate([one.scored[End.BARE][n].scores for n in fold.test])
        rows = np.concatenate(
            [np.concatenate([t.features, np.ones((len(t), 1))], axis=1) for t in fold.test.values()]
        )
        params = np.linalg.lstsq(rows, whole, rcond=None)[0]
        np.testing.assert_allclose(columns @ params, site.scores, atol=1e-9)
        scores = train.features @ params[:-1] + params[-1]
        for end, forms in ((End.INTERCEPT, (LocalForm.INTERCEPT,)), (End.FIT, tuple(LocalForm))):
            fit = fit_locally(scores, train.features, train.outcomes, forms=forms)[1]
            np.testing.assert_allclose(
                one.scored[end][name].scores, fit.scores(site.scores, test.features), atol=1e-6
            )


def test_own_models_know_their_own_hospital_alone_and_the_score_nobody() -> None:
    one = of(JoiningArm.OWN).measure((1, 0), None)
    fold = folds(cohort(), count=3, seed=1)[0]
    for name, site in one.scored[End.FIT].items():
        train, test = fold.train[name], fold.test[name]
        fit = fit_locally(np.zeros(len(train)), train.features, train.outcomes,
                          forms=(LocalForm.OWN,), sparing=False)[1]  # fmt: skip
        assert np.array_equal(site.scores, fit.scores(np.zeros(len(test)), test.features))
    score = of(JoiningArm.SCORE).measure((1, 0), None).scored[End.BARE]
    for name, site in score.items():
        assert np.array_equal(site.scores, cohort().schema.scores(fold.test[name].features))
    assert Local() == Local(0.0, 1.0, ())


def test_where_every_hospital_is_small_none_is_compared_and_the_command_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """As on the eICU demo: 186 hospitals, and none with five patients of either outcome."""
    whole = cohort()
    few = {name: patients.take(np.arange(6)) for name, patients in whole.hospitals.items()}
    small = Cohort("few", few, whole.schema)
    monkeypatch.setattr(joining, "load", lambda name, data_dir: small)
    with pytest.raises(InvalidInputError, match="none can be compared"):
        replace(of(JoiningArm.OWN), folds=5).measure((0, 0), None)
    monkeypatch.setattr("experiments.cohorts.load", lambda name, data_dir=None: small)
    monkeypatch.setattr("experiments.cohorts.resolve", lambda name, place: ("few", place))
    with pytest.raises(SystemExit) as ended:
        main(["joining", "--cohort", "few", "--out", str(tmp_path / "out")])
    assert ended.value.code == 2
    assert "none can be compared" in capsys.readouterr().err
    assert not (tmp_path / "out" / "records").exists()


def test_unseen_hospitals_fit_nothing_and_are_scored_whole() -> None:
    point = of(JoiningArm.POOLED, unseen=True)
    parts = [point.measure(unit, None) for unit in point.units]
    assert all(set(part.scored) == {End.BARE} for part in parts)
    found = point.summarise(parts)
    assert found["ends"][End.BARE]["patients"] == [[30, 31, 32, 33, 34, 35]] * 2
    with pytest.raises(InvalidInputError, match="no model of its own"):
        of(JoiningArm.OWN, unseen=True)


def test_more_hospitals_hold_the_fewer_ones() -> None:
    drawn = [
        set(of(JoiningArm.POOLED, hospitals=k)._taking_part(cohort(), 5).hospitals)
        for k in (1, 3, 6)
    ]
    assert [len(names) for names in drawn] == [1, 3, 6]
    assert drawn[0] < drawn[1] < drawn[2]
    others = {frozenset(of(JoiningArm.POOLED, hospitals=2)._taking_part(cohort(), s).hospitals)
              for s in range(20)}  # fmt: skip
    assert len(others) > 5
    with pytest.raises(InvalidInputError, match="7 were asked for"):
        of(JoiningArm.POOLED, hospitals=7)._taking_part(cohort(), 0)


def test_their_number_is_varied_among_hospitals_of_20_to_60_patients() -> None:
    for size, expected in ((58, {"0", "1", "2"}), (15, {"5"})):  # 58 to 63, 15 to 20 patients
        point = of(JoiningArm.POOLED, hospitals=len(expected))
        assert set(point._taking_part(cohort(size=size), 0).hospitals) == expected
        with pytest.raises(InvalidInputError, match="20 to 60 patients"):
            replace(point, hospitals=4)._taking_part(cohort(size=size), 0)


def test_the_published_setting_is_the_best_of_its_search() -> None:
    best = best_trainings(read_records(ROOT / "paper" / "tuning"), "ist-odd")
    assert best[Regime.FULL, "logistic"] == SETTING
    assert best[Regime.FULL, "moments"] == FEW[JoiningArm.MOMENTS]
    for arm, rounds in ((JoiningArm.GRADIENT, 1), (JoiningArm.GRADIENTS, 2)):
        own = best_trainings(read_records(ROOT / "paper" / "tuning"), "ist-odd", (rounds,))
        assert own[Regime.FULL, "logistic"] == FEW[arm] and FEW[arm].rounds == rounds


def test_sums_that_are_opened_once_serve_as_priors_too() -> None:
    """The moments' model is the Newton step of the very sum, read above its noise."""
    for arm, rounds in ((JoiningArm.GRADIENT, 1), (JoiningArm.MOMENTS, 1)):
        one = replace(of(arm, 1.0), setting=FEW[arm]).measure((0, 1), None)
        assert set(one.scored) == {End.BARE, End.INTERCEPT, End.FIT} and one.plan is not None
        assert one.plan.rounds == rounds and one.plan.noise == NoiseKind.SHARED
    plan = one.plan
    assert plan is not None and isinstance(plan.model, Moments)
    fold = folds(cohort(), count=3, seed=0)[1]
    params = final_model(plan, fold.train, seed=(0, 1))
    for name, test in fold.test.items():
        scores = plan.model.scores(params, test.features)
        np.testing.assert_allclose(one.scored[End.BARE][name].scores, scores, atol=1e-12)


def test_the_command_measures_shows_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = cohort(5)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(joining, "load", lambda name, data_dir: small)
    monkeypatch.setattr(
        joining,
        "fit_locally",
        partial(fit_locally, shift_strengths=(30.0,), strengths=(3.0,), inner=2),
    )
    monkeypatch.setattr("experiments.cohorts.load", lambda name, data_dir=None: small)
    monkeypatch.setattr("experiments.cohorts.resolve", lambda name, place: ("few", place))
    monkeypatch.setattr("experiments.studies.joining.arms.SETTING", BRIEF)
    monkeypatch.setattr("experiments.studies.joining.arms.GROWING", (3, 4))
    with pytest.raises(SystemExit) as ended:
        main(["joining", "--cohort", "few", "--seeds", "1", "--jobs", "1", "--out", str(tmp_path)])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    for word in ("within-site AUC, few", "Q1 joining pays", "hospitals scored", "sealed eps 1"):
        assert word in told
    records = read_records(tmp_path / "records")
    # All six of 20 to 60 patients stand behind the numbers that leave some out.
    asked = grid("few", BRIEF, growing=(3, 4, 6), parts=PARTS[:3])  # what is attacked is named
    assert len(records) == len(asked)
    whole = next(r for r in records if r.config["arm"] == "sealed" and r.config["hospitals"] is None
                 and not r.config["unseen"] and r.config["epsilon"] == 1.0)  # fmt: skip
    assert set(whole.metrics["calibration"]) == {"bare", "intercept", "fit"}
    assert (tmp_path / "figures" / "joining.png").stat().st_size > 10_000
    axes = draw_joining(records).axes
    assert len(axes) == 2 and axes[1].get_xticklabels()[0].get_text() == "3"
    with pytest.raises(SystemExit) as ended:
        main(["joining", "--cohort", "few", "--seeds", "1", "--json", "--out", str(tmp_path)])
    plain = json.loads(capsys.readouterr().out)
    assert ended.value.code == 0 and {r["config"]["experiment"] for r in plain} == {"joining"}
