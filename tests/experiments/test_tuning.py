"""Searches of settings: simulated patients, every candidate in the record, the best first."""

import dataclasses
from pathlib import Path

import pytest

from aggregation.models import Model, make_model
from experiments.cohorts import Network
from experiments.commands.tune import Tune
from experiments.door import enter
from experiments.evaluation import Scored, auc
from experiments.run.record import Record, read_records
from experiments.run.sweep import sweep
from experiments.studies.asynchronous import (
    SEALED,
    SEALED_SETTINGS,
    ArrivalRule,
    AsynchronousRun,
)
from experiments.studies.design import Regime, TrainingSetting, make_plan
from experiments.studies.final_model import final_model
from experiments.studies.frontier.grid import OTHER_COHORTS, group
from experiments.studies.frontier.point import FrontierPoint
from experiments.studies.searched import best_trainings, lines, read_searches
from experiments.studies.simulated import shape_of, simulated_study
from experiments.studies.tuning import AsynchronousSearch, TrainingSearch
from privacy.errors import InvalidInputError


@pytest.mark.parametrize("cohort", ["heart", "network"])
def test_each_rule_gets_a_record_whose_best_comes_first(
    cohort: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def few(search: AsynchronousSearch) -> list[AsynchronousRun]:
        brief = AsynchronousRun(
            search.cohort, search.rule, horizon=20.0, uploads=4, buffer=3, hospitals=4
        )
        return [dataclasses.replace(brief, sealed_rate=rate) for rate in (0.01, 2.0)]

    monkeypatch.setattr(AsynchronousSearch, "candidates", property(few))
    assert Tune(out=tmp_path, paced=True, cohort=cohort, studies=2, jobs=1).run() == 0
    records = read_records(tmp_path / "records")
    assert {r.config["rule"] for r in records} == set(SEALED.values())
    for record in records:
        first, second = record.metrics["scores"]
        assert first["auc"] >= second["auc"] and first["standard_error"] >= 0
        assert record.config["studies"] == 2 and len(record.config["candidates"]) == 2
        (result,) = read_searches([record])
        assert result.point.label == f"{cohort} {record.config['rule']}"
        assert result.metrics.best.auc == first["auc"]


def test_a_search_of_settings_names_all_that_were_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [TrainingSetting(count, 1.0, 1.0, 1) for count in (1, 3)]
    monkeypatch.setattr(TrainingSearch, "candidates", settings)
    (record,) = sweep(tmp_path, [TrainingSearch(Regime.FULL, "logistic", studies=2)], jobs=1)
    assert [c["rounds"] for c in record.config["candidates"]] == [1, 3]
    assert {s["setting"]["rounds"] for s in record.metrics["scores"]} == {1, 3}
    assert lines([record])[0].startswith("heart full logistic: AUC 0.")


def test_the_published_settings_were_among_those_tried() -> None:
    for (cohort, rule), chosen in SEALED_SETTINGS.items():
        tried = AsynchronousSearch(rule, cohort).candidates
        assert any(all(getattr(p, k) == v for k, v in chosen.items()) for p in tried)


def test_sums_that_are_tried_follow_the_number_of_hospitals() -> None:
    def sums(rule: ArrivalRule, hospitals: int) -> set[int]:
        return {c.buffer for c in AsynchronousSearch(rule, "own", 3, hospitals).candidates}

    for hospitals, expected in ((1, {1}), (2, {1}), (4, {2, 3}), (9, {4, 6}), (10, {2, 5})):
        assert sums(ArrivalRule.SEALED_MEMORY, hospitals) == expected
        assert sums(ArrivalRule.SEALED_SYNCHRONOUS, hospitals) == {hospitals}


def test_all_that_is_sealed_is_searched() -> None:
    for cohort in ("heart", "network"):
        points, _ = Tune(paced=True, cohort=cohort).points()
        assert {p.config["rule"] for p in points} == {r for r in ArrivalRule if r.sealed}


def test_a_single_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="studies=1"):
        enter(Tune(out=tmp_path, studies=1))
    with pytest.raises(InvalidInputError, match="Unknown cohort 'framinham'"):
        enter(Tune(out=tmp_path, paced=True, cohort="framinham"))


def test_moments_are_searched_as_their_plan_reads_them_above_its_noise() -> None:
    """Read without the ridge, most of them would seem worse than they are."""
    search = TrainingSearch(Regime.FULL, "moments", studies=2)
    assert {(s.rounds, s.learning_rate) for s in search.candidates} == {(1, 1.0)}
    train, test = simulated_study(shape_of("heart"), 0)
    plan = make_plan(
        run="tuning 0", design="sealed", epsilon=1.0, model=make_model("moments", 18),
        setting=search.candidates[0], patients=train, scheme="plain",
    )  # fmt: skip
    params = final_model(plan, train, seed=0)

    def within(model: Model) -> float:
        return auc(
            {n: Scored(model.scores(params, t.features), t.outcomes) for n, t in test.items()}
        )

    assert search.measure(0)[0] == within(plan.model) > within(make_model("moments", 18))


def test_other_cohorts_are_trained_by_the_best_of_their_searches() -> None:
    tuned = read_records(Path(__file__).parents[2] / "paper" / "tuning")
    panels = {"framingham": "mlp", "network-4": "logistic", "network-40": "logistic"}
    for cohort, setting in OTHER_COHORTS.items():
        best = best_trainings(tuned, cohort, (setting.rounds,))
        assert best == {(Regime.SMALL, panels.pop(cohort)): setting}
    assert not panels
    for point in (*group("network"), *group("framingham")):
        assert isinstance(point, FrontierPoint) and point.setting == OTHER_COHORTS[point.cohort]


def test_numbers_of_rounds_are_searched_apart_and_found_apart(tmp_path: Path) -> None:
    few = TrainingSearch(Regime.FULL, "logistic", studies=2, rounds=(1,))
    usual = TrainingSearch(Regime.FULL, "logistic", studies=2)
    assert {s.rounds for s in few.candidates} == {1} and "rounds=1" in few.label
    assert len(few.candidates) == 15 and few.config != usual.config and "rounds" not in usual.config
    records = [
        Record({**one.config, "cohort": "heart"}, {"scores": [{**row, "auc": 0.7} for row in
               one.rows()]}, {})
        for one in (few, usual)
    ]  # fmt: skip
    found = best_trainings(records, "heart", (1,))
    assert found == {(Regime.FULL, "logistic"): few.candidates[0]}
    assert best_trainings(records, "heart") == {(Regime.FULL, "logistic"): usual.candidates[0]}
    for wrong in (Tune(rounds=(1,)), Tune(rounds=(1,), regimes=("full",), paced=True)):
        with pytest.raises(InvalidInputError, match="one of --regimes"):
            wrong.check()


def test_networks_are_searched_on_networks_that_nobody_is_told_of(tmp_path: Path) -> None:
    search = TrainingSearch(Regime.SMALL, "logistic", 2, "network-4", rounds=(3,))
    assert {(s.rounds, s.sampling_size) for s in search.candidates} == {(3, 8)}
    assert {s.clip_norm for s in search.candidates} == {0.5, 2.0, 8.0}
    schema, train, test = search._study(1, None)
    other = Network(4, 1.0, 1_001, tier3_fraction=0.25)
    assert {n: p.features.tobytes() for n, p in train.items()} == {
        n: p.features.tobytes() for n, p in other.fold().train.items()
    }
    assert {p.features.shape[1] for p in train.values()} == {len(schema)}
    assert len(search.measure(0)) == 9 and test.keys() == train.keys()
    (asked, place) = Tune(cohort="network-4", regimes=("small",), models=("logistic",)).points()
    assert [p.label for p in asked if isinstance(p, TrainingSearch)] == ["network-4 small logistic"]
    assert place is None
    command = Tune(
        cohort="network-4", regimes=("small",), models=("logistic",), rounds=(3,), studies=2,
        out=tmp_path, jobs=1,
    )  # fmt: skip
    enter(command)  # no table of such a name is looked for
    assert command.run() == 0
    (record,) = read_records(tmp_path / "records")
    assert record.config["cohort"] == "network-4"
    assert best_trainings([record], "network-4", (3,))[Regime.SMALL, "logistic"].rounds == 3
    for wrong in ("network-x", "network-0", "network-1000000"):
        with pytest.raises(InvalidInputError, match="network-N"):
            Tune(cohort=wrong).check()
    with pytest.raises(InvalidInputError, match="without --paced"):
        Tune(cohort="network-4", paced=True).check()
