"""A cohort from a file: named by exactly its patients, in the parent and in every worker."""

import dataclasses
import json
from pathlib import Path

import pytest
from joblib.externals.loky import get_reusable_executor

from experiments import cohorts
from experiments.cli import main
from experiments.cohorts import Cohort, called, load, resolve
from experiments.run.record import Record, config_hash, read_records
from experiments.studies import asynchrony_study, correction_study
from experiments.studies.asynchronous import ArrivalRule
from experiments.studies.design import Design, Regime
from experiments.studies.frontier.point import FrontierPoint
from experiments.studies.frontier.risks import read_frontier, told
from experiments.studies.lineups import AttackSuite
from privacy.errors import InvalidInputError
from tests.aggregation.data.parts import MAPPING, SCHEMA, rows, same, write_csv
from tests.experiments.measured import measured


@pytest.fixture
def stroke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three hospitals of a stranger's: a schema, a mapping each, and the list of them."""
    get_reusable_executor().shutdown(wait=True)  # workers of earlier tests have another home
    monkeypatch.setenv("INPATIENT_HOME", str(tmp_path / "home"))
    folder = tmp_path / "stroke"
    folder.mkdir()
    for seed, name in enumerate(("north", "south", "west")):
        write_csv(folder / f"{name}.csv", rows(80, seed))
        (folder / f"{name}.toml").write_text(f'source = "{name}.csv"\n{MAPPING}')
    (folder / "schema.toml").write_text(SCHEMA)
    (folder / "cohort.toml").write_text(
        'name = "stroke"\nschema = "schema.toml"\n[sites]\n'
        + "".join(f'{n} = "{n}.toml"\n' for n in ("north", "south", "west"))
    )
    return folder / "cohort.toml"


def quiet(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(words)
    code = left.value.code
    assert isinstance(code, int)
    return code


def test_a_key_finds_the_same_patients_and_no_others(stroke: Path) -> None:
    name, place = resolve(str(stroke))
    assert called(name) == "stroke"
    assert place == stroke
    one, two = load(name, place), load(stroke)
    assert all(same(p, two.hospitals[n]) for n, p in one.hospitals.items())
    text = (stroke.parent / "west.csv").read_text()
    (stroke.parent / "west.csv").write_text(text.replace("yes", "no", 1))
    cohorts._of_key.cache_clear()  # as another process begins
    with pytest.raises(InvalidInputError, match="no longer holds the patients"):
        load(name, place)
    assert resolve(str(stroke))[0] != name


def test_resolving_refuses_what_makes_no_sense(stroke: Path) -> None:
    with pytest.raises(InvalidInputError, match="says itself where its tables lie"):
        resolve(str(stroke), stroke.parent)
    with pytest.raises(InvalidInputError, match="Unknown cohort 'hart'"):
        resolve("hart")
    with pytest.raises(InvalidInputError, match="comes from a file"):
        load("stroke@0123")
    assert resolve("heart", stroke) == ("heart", stroke)


def test_the_published_points_keep_their_keys_and_an_own_cohort_has_its_own(stroke: Path) -> None:
    point = FrontierPoint(Design.NONE, None, Regime.FULL, "logistic", AttackSuite(()))
    assert "unseen" not in point.config
    assert set(
        FrontierPoint(
            Design.NONE, None, Regime.FULL, "logistic", AttackSuite(()), unseen=True
        ).config
    ) == {
        *point.config,
        "unseen",
    }
    name, _ = resolve(str(stroke))
    own = FrontierPoint(Design.NONE, None, Regime.FULL, "logistic", AttackSuite(()), cohort=name)
    assert config_hash(own.config) != config_hash(point.config)
    assert len(own.config["cohort"].split("@")[1]) == 64
    assert "@" not in own.label


def test_a_frontier_of_an_own_cohort_goes_through_workers_and_is_found_again(
    stroke: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("frontier", "--cohort", str(stroke), "--designs", "none", "pooled",
             "--epsilons", "inf", "--regime", "full", "--model", "logistic", "--jobs", "2",
             "--out", str(tmp_path / "out"))  # fmt: skip
    assert quiet(*words, "--json") == 0
    first = json.loads(capsys.readouterr().out)
    assert len(first) == 2
    assert {called(r["config"]["cohort"]) for r in first} == {"stroke"}
    assert all(0 < r["metrics"]["auc_within_published_score"]["value"] < 1 for r in first)
    assert (tmp_path / "out" / "figures" / "frontier.svg").stat().st_size > 5_000
    assert quiet(*words) == 0
    assert "2 of 2 points are there already" in capsys.readouterr().out
    west = stroke.parent / "west.csv"
    west.write_text(west.read_text().replace(",yes,", ",no,", 1))
    assert quiet(*words) == 0  # changed patients never meet old numbers
    assert len(read_records(tmp_path / "out" / "records")) == 4


def test_an_attack_takes_an_own_cohort(
    stroke: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    assert quiet("attack", "closed_form", "--cohort", str(stroke), "--out", out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["patients"] > 0
    assert quiet("attack", "closed_form", "--cohort", str(stroke), "--hospital", "va") == 2
    assert "choose one of north, south, west" in capsys.readouterr().err


def test_correction_and_asynchrony_take_an_own_cohort(stroke: Path) -> None:
    name, place = resolve(str(stroke))
    (point,) = correction_study.grid(cohorts=(name,), rules=("pooled",), seeds=1)
    metrics = measured(point, place)
    assert list(metrics["as_trained"]["groups"]) == ["north", "south", "west"]
    assert metrics["fairness"] == {}  # this schema tells no sex
    (point_of_run,) = asynchrony_study.grid(cohorts=(name,), rules=(ArrivalRule.FEDBUFF,))
    paced = point_of_run.run
    cohort, split = paced.split(place)
    assert list(paced.paces(cohort)) == ["north", "south", "west"]
    assert len(split) == 5
    tired = Cohort("x", cohort.hospitals, cohort.schema, dict.fromkeys(cohort.hospitals, "ward"))
    assert {pace.duration for pace in paced.paces(tired).values()} == {6.0}
    rules = (ArrivalRule.SEALED_MEMORY,)
    own, heart = (asynchrony_study.grid(cohorts=(c,), rules=rules)[0].run for c in (name, "heart"))
    assert own.sealed_rate == heart.sealed_rate


def test_a_cohort_goes_with_points_that_can_be_chosen(
    stroke: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quiet("frontier", "--cohort", str(stroke), "--groups", "full") == 2
    assert "chooses points of published cohorts" in capsys.readouterr().err
    assert quiet("frontier", "--cohort", str(stroke.parent / "nowhere.toml")) == 2
    assert "Can't read" in capsys.readouterr().err


def test_hospitals_never_seen_are_tested_by_the_others_models(stroke: Path) -> None:
    name, place = resolve(str(stroke))
    point = FrontierPoint(
        Design.NONE,
        None,
        Regime.FULL,
        "logistic",
        AttackSuite(()),
        cohort=name,
        folds=3,
        unseen=True,
    )
    parts = [point.measure(unit, place) for unit in point.units]
    assert sorted(n for p in parts for n in p.test) == ["north", "south", "west"]
    for part in parts:
        assert set(part.plan.hospitals).isdisjoint(part.test)
    assert 0 < point.summarise(parts)["auc_within"]["value"] < 1
    alone = dataclasses.replace(point, design=Design.LOCAL_ONLY)
    with pytest.raises(InvalidInputError, match="no model for a hospital that it never saw"):
        alone.measure((0, 0), place)


def test_hospitals_too_small_to_rank_are_trained_ranked_together_and_not_measurable(
    stroke: Path,
) -> None:
    for seed, name in enumerate(("north", "south", "west")):
        few = [(r[0], int(r[0] <= 4), *r[2:]) for r in rows(80, seed) if r[0] <= 60]
        write_csv(stroke.parent / f"{name}.csv", few)
    name, place = resolve(str(stroke))
    point = FrontierPoint(
        Design.NONE, None, Regime.FULL, "logistic", AttackSuite(("closed_form",)), cohort=name
    )
    parts = [point.measure(unit, place) for unit in point.units]
    metrics = point.summarise(parts)
    assert list(metrics["auc_sites"]) == ["hospitals too small to rank alone"]
    assert metrics["auc_sites"]["hospitals too small to rank alone"]["positives"] == 12
    assert metrics["risk"] is None and metrics["risks"] == {}
    assert len(metrics["not_measurable"]) == 6
    (result,) = read_frontier([Record(point.config, metrics, {})])
    assert told(result, "curious") == ("not measurable", "")
