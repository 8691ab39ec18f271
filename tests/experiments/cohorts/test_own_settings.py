"""Settings searched for an own cohort, and the article's claims tested on it."""

import dataclasses
import json
from pathlib import Path

import pytest

from experiments.cohorts import load, resolve
from experiments.commands.asynchrony import Asynchrony
from experiments.commands.claims import Claims
from experiments.commands.correction import Correction
from experiments.commands.frontier import FrontierCommand
from experiments.commands.tune import Tune
from experiments.door import enter
from experiments.run.record import read_records
from experiments.run.sweep import sweep
from experiments.studies import simulated
from experiments.studies.asynchronous import AsynchronousRun
from experiments.studies.design import TRAINING, Regime, TrainingSetting
from experiments.studies.poor_labels import Defence, Harm, LabelPoint
from experiments.studies.tuning import AsynchronousSearch, TrainingSearch
from privacy.errors import InvalidInputError
from tests.aggregation.data.parts import rows, write_csv
from tests.experiments.cohorts.test_own import quiet, stroke

__all__ = ["stroke"]

ONE_STEP, THREE_STEPS = (TrainingSetting(count, 1.0, 1.0, 1) for count in (1, 3))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two candidates a search instead of dozens."""
    monkeypatch.setattr(TrainingSearch, "candidates", [ONE_STEP, THREE_STEPS])

    def runs(search: AsynchronousSearch) -> list[AsynchronousRun]:
        brief = AsynchronousRun(search.cohort, search.rule, horizon=20.0, buffer=search.hospitals)
        return [dataclasses.replace(brief, uploads=4, sealed_rate=rate) for rate in (0.01, 2.0)]

    monkeypatch.setattr(AsynchronousSearch, "candidates", property(runs))


@pytest.mark.usefixtures("few")
def test_a_frontier_trains_with_what_was_searched_for_its_cohort(
    stroke: Path, tmp_path: Path
) -> None:
    found = tmp_path / "tuned"
    assert Tune(
        out=found, cohort=str(stroke), regimes=("full",), models=("logistic",), studies=2, jobs=1
    ).run() == 0  # fmt: skip
    name, _ = resolve(str(stroke))
    (record,) = read_records(found / "records")
    assert record.config["cohort"] == name
    best = TrainingSetting(**record.metrics["scores"][0]["setting"])
    points, _ = FrontierCommand(cohort=str(stroke), tuned=found, designs=("none",)).points()
    assert {p.config["setting"]["rounds"] for p in points} == {
        TRAINING[Regime.SMALL, "mlp"].rounds  # nothing was searched for this panel
    }
    points, _ = FrontierCommand(
        cohort=str(stroke), tuned=found, designs=("none",), regime="full", model="logistic"
    ).points()
    assert {p.config["setting"]["rounds"] for p in points} == {best.rounds}
    with pytest.raises(InvalidInputError, match="No search of settings for heart"):
        FrontierCommand(tuned=found, quick=True).points()
    west = stroke.parent / "west.csv"
    west.write_text(west.read_text().replace(",yes,", ",no,", 1))
    with pytest.raises(InvalidInputError, match="stroke as it is now"):
        FrontierCommand(cohort=str(stroke), tuned=found).points()


@pytest.mark.usefixtures("few")
def test_runs_at_their_own_pace_take_what_was_searched_for_their_cohort(
    stroke: Path, tmp_path: Path
) -> None:
    found = tmp_path / "tuned"
    searches, place = Tune(out=found, paced=True, cohort=str(stroke), studies=2).points()
    assert {p.hospitals for p in searches if isinstance(p, AsynchronousSearch)} == {3}
    (record,) = sweep(found, searches[:1], jobs=1, data_dir=place)
    best = record.metrics["scores"][0]["setting"]["sealed_rate"]
    points, _ = Asynchrony(cohort=str(stroke), tuned=found, seeds=1).points()
    heart, _ = Asynchrony(cohorts=("heart",), seeds=1).points()
    own, of_heart = (
        {p.config["rule"]: p.config["sealed_rate"] for p in some} for some in (points, heart)
    )
    assert own == {**of_heart, record.config["rule"]: best} != of_heart
    with pytest.raises(InvalidInputError, match="No search at hospitals' own pace for heart"):
        Asynchrony(tuned=found, seeds=1).points()


def test_a_search_reads_sizes_and_schema_and_no_patient(
    stroke: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainingSearch, "candidates", [ONE_STEP])
    before = simulated.shape_of(str(stroke))
    aucs = TrainingSearch(Regime.FULL, "logistic", 2, str(stroke)).measure(0)
    for seed, site in enumerate(("north", "south", "west")):
        write_csv(stroke.parent / f"{site}.csv", rows(80, 10 + seed))
    assert simulated.shape_of(str(stroke)).sizes == before.sizes
    assert TrainingSearch(Regime.FULL, "logistic", 2, str(stroke)).measure(0) == aucs
    monkeypatch.setattr(simulated, "_TRAIN", 0.4)  # of one patient: none, without the least of one
    tiny = dataclasses.replace(before, sizes={"a": 1, "b": 40})
    train, test = simulated.simulated_study(tiny, 0)
    assert {n: (len(p), len(test[n])) for n, p in train.items()} == {"a": (1, 1), "b": (16, 40)}


def test_what_would_change_nothing_is_refused(tmp_path: Path) -> None:
    for tune, match in (
        (Tune(out=tmp_path, cohort="network"), "goes with --paced"),
        (Tune(out=tmp_path, scaling=True, cohort="ist"), "leave out --paced"),
        (Tune(out=tmp_path, scaling=True, paced=True), "leave out --paced"),
    ):
        with pytest.raises(InvalidInputError, match=match):
            enter(tune)
    for command in (
        FrontierCommand(tuned=tmp_path),
        FrontierCommand(tuned=tmp_path, groups=("full",)),
    ):
        with pytest.raises(InvalidInputError, match="chooses points of published"):
            command.check()


def test_every_claim_is_tested_on_the_cohort_that_was_named(stroke: Path) -> None:
    name, place = resolve(str(stroke))
    points, data_dir = Claims(cohort=str(stroke)).points()
    assert data_dir == place
    heart, _ = Claims().points()
    assert len(points) == len(heart)
    for point, of_heart in zip(points, heart, strict=True):
        told = {p.config.get("cohort", "simulated") for p in (point, of_heart)}
        assert told in ({"simulated"}, {"network"}, {name, "heart"}), point.label


def test_a_claim_is_judged_on_an_own_cohort(
    stroke: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("claims", "--cohort", str(stroke), "--only", "poor labels", "--jobs", "1")
    assert quiet(*words, "--out", str(tmp_path / "out"), "--json") == 0
    (finding,) = json.loads(capsys.readouterr().out)
    assert "among 3 hospitals" in finding["condition"]["en"]
    assert len(finding["records"]) == 40


def test_labels_are_spoilt_at_the_largest_hospitals(
    stroke: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_csv(stroke.parent / "south.csv", rows(200, 1))
    write_csv(stroke.parent / "west.csv", rows(100, 2))
    hit: dict[str, float] = {}

    def seen(harm: Harm, rates: dict[str, float], *rest: object) -> None:
        hit.update(rates)
        raise KeyboardInterrupt

    monkeypatch.setattr("experiments.studies.poor_labels._spoilt", seen)
    for harm, expected in (
        (Harm.WRONG, {"south": 0.25}),
        (Harm.WRONG_AT_TWO, {"south": 0.4, "west": 0.4}),
        (Harm.NONE, {}),
    ):
        hit.clear()
        with pytest.raises(KeyboardInterrupt):
            LabelPoint(harm, Defence.NO_BOUND, cohort=str(stroke)).measure(0)
        assert hit == expected
    monkeypatch.undo()
    points, _ = Correction(cohort=str(stroke), seeds=1).points()
    of_labels = [p for p in points if isinstance(p, LabelPoint)]
    assert len(of_labels) == 200 and {p.cohort for p in of_labels} == {resolve(str(stroke))[0]}
    assert {p.cohort for p in Correction(seeds=1).points()[0] if isinstance(p, LabelPoint)} == {
        "heart"
    }
    assert list(load("heart").hospitals)[:2] == ["cleveland", "hungary"]
