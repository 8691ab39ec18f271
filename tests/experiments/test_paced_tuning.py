"""The search for settings of sealed runs at hospitals' own pace: simulated patients, best first."""

import dataclasses
from pathlib import Path

import pytest

from experiments.commands.tune import Tune
from experiments.door import enter
from experiments.run.record import read_records
from experiments.studies import paced_tuning
from experiments.studies.asynchronous import OWN_BUDGET, Point
from privacy.errors import InvalidInputError


@pytest.mark.parametrize("cohort", ["heart", "network"])
def test_each_rule_gets_a_record_whose_best_comes_first(
    cohort: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def few(rule: str, cohort: str) -> list[Point]:
        brief = Point(cohort, rule, horizon=20.0, uploads=4, buffer=3, hospitals=4)
        return [dataclasses.replace(brief, sealed_rate=rate) for rate in (0.01, 2.0)]

    monkeypatch.setattr(paced_tuning, "candidates", few)
    assert Tune(out=tmp_path, paced=True, cohort=cohort, studies=2, jobs=1).run() == 0
    records = read_records(tmp_path)
    assert {r.config["rule"] for r in records} == set(OWN_BUDGET)
    for record in records:
        first, second = record.metrics["scores"]
        assert first["auc"] >= second["auc"] and first["standard_error"] >= 0
        assert record.config["studies"] == 2 and len(record.config["candidates"]) == 2


def test_the_published_settings_were_among_those_tried() -> None:
    from experiments.studies.asynchronous import SEALED_SETTINGS

    for (cohort, rule), chosen in SEALED_SETTINGS.items():
        tried = paced_tuning.candidates(rule, cohort)
        assert any(all(getattr(p, k) == v for k, v in chosen.items()) for p in tried)


def test_a_single_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="studies=1"):
        enter(Tune(out=tmp_path, studies=1))
    with pytest.raises(InvalidInputError, match="Unknown cohort 'framingham'"):
        enter(Tune(out=tmp_path, paced=True, cohort="framingham"))
