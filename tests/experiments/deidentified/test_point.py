"""A point: as recorded it is pooled training and names all; made coarse it is neither."""

import json

import numpy as np
import pytest

from experiments.run.record import Record
from experiments.studies.deidentified import published
from experiments.studies.deidentified import published_point as module
from experiments.studies.deidentified.naming import CLASSES, DENSITY
from experiments.studies.deidentified.published_point import DeidentifiedPoint
from experiments.studies.deidentified.table_metrics import DeidentifiedMetrics, read_tables
from experiments.studies.design import Regime, TrainingSetting
from experiments.studies.lineups import INFORMED
from experiments.studies.people import with_line_ups
from privacy.errors import InvalidInputError
from tests.experiments.deidentified.made_up import cohort
from tests.experiments.deidentified.twin import answered
from tests.experiments.measured import measured

KS = (1, 4, 90)


@pytest.fixture(autouse=True)
def _twin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "_answers", answered)
    monkeypatch.setattr(module, "load", lambda *_: cohort())
    brief = {(Regime.FULL, "logistic"): TrainingSetting(6, 4.0, 1.0, 2)}
    monkeypatch.setattr(module, "TRAINING", brief)


def told(point: DeidentifiedPoint) -> DeidentifiedMetrics:
    metrics = json.loads(json.dumps(measured(point)))
    (one,) = read_tables([Record(point.config, metrics, {})])
    assert one.point == point
    return one.metrics


@pytest.mark.parametrize("curator", [False, True])
def test_a_point_from_as_recorded_to_nothing(curator: bool) -> None:
    point = DeidentifiedPoint((), curator, "made-up", KS, seeds=(0,))
    metrics = told(point)
    assert {*metrics.beside} == {"pooled", "sealed", "own"}
    raw, coarse, nothing = metrics.tables
    assert [t.k for t in metrics.tables] == list(KS)
    assert abs(raw.less_pooled.value) < 1e-6 and raw.left_out == 0 and raw.said == 1
    assert raw.auc.value == pytest.approx(metrics.beside["pooled"].value)
    assert raw.risks[INFORMED].value > 0.9 and raw.risk.value > 0.6
    assert raw.linked.value > 0.5 and raw.linked_most == 1 and raw.alone.value > 0.3
    assert raw.linked.value > coarse.linked.value > nothing.linked.value
    assert coarse.linked_most <= 1 / 4 and coarse.alone.value == 0
    assert nothing.linked_most <= 1 / 90 and nothing.said <= 1 / 4
    assert nothing.less_pooled.value < -0.1 and abs(nothing.auc.value - 0.5) < 0.2
    for table in metrics.tables:
        assert {*table.risks} == {CLASSES, DENSITY, INFORMED}
        gaps = (table.less_pooled, table.less_sealed, table.less_own)
        for gap, name in zip(gaps, ("pooled", "sealed", "own"), strict=True):
            assert gap.value == pytest.approx(table.auc.value - metrics.beside[name].value)
            assert gap.lower <= gap.value <= gap.upper
    assert nothing.risk.lower <= 0.1 <= nothing.risk.upper


def test_where_age_alone_is_made_coarse_the_rest_names() -> None:
    named, found = {}, {}
    for quasi in ((), ("age",)):
        point = DeidentifiedPoint(quasi, True, "made-up", (20,), seeds=(0,))
        parts = [point.measure((0, fold), None).tables[0] for fold in (0, 1)]
        trials = [t for part in parts for t in part.trials if t.attack == INFORMED]
        named[quasi] = np.mean([trial.named for trial in trials])
        found[quasi] = np.concatenate([part.found for part in parts])
    assert named["age",] > named[()] + 0.1
    assert found["age",].max() <= 1 / 20 and found["age",].mean() < 1 / 20


def test_the_tables_hold_no_patient_who_is_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    publish = published.publish

    def noted(*args):  # type: ignore[no-untyped-def]
        asked.extend(args[2])
        return publish(*args)

    monkeypatch.setattr(module, "publish", noted)
    point = DeidentifiedPoint((), False, "made-up", (1,), seeds=(0,))
    part = point.measure((0, 2), None)
    fold = with_line_ups(cohort(), count=5, seed=0)[2]
    assert [len(rows) for rows, _ in asked] == [len(p) for p in fold.train.values()]
    assert len(part.tables[0].found) == sum(len(p) for p in fold.train.values())
    assert len(part.tables[0].strangers) == sum(len(p) for p in fold.test.values())
    assert len(part.tables[0].trials) == 3 * len(fold.lineups)


def test_a_pool_of_two_tables_learns_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    one = DeidentifiedPoint((), False, "made-up", (1,), seeds=(0,)).measure((0, 0), None)
    two = DeidentifiedPoint((), True, "made-up", (1,), seeds=(0,)).measure((0, 0), None)
    for name, site in one.tables[0].sites.items():
        assert np.allclose(site.scores, two.tables[0].sites[name].scores, atol=1e-5)


def test_fields_that_are_none_are_named() -> None:
    with pytest.raises(InvalidInputError, match=r"Quasi-identifiers sex are no fields.*smokes"):
        DeidentifiedPoint(("age", "sex"), False, "made-up").measure((0, 0), None)
    assert DeidentifiedPoint(("age",)).label == "de-identified heart by each hospital: age"
