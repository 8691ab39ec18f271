"""Patients with 1 to 5 records over two hospitals: from their files to ledgers that verify."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dp_accounting import SelfComposedDpEvent

from aggregation.data import Cohort
from aggregation.plan import Plan
from aggregation.releases import run_event
from aggregation.roles.messages import MessageKind
from aggregation.transcript import Transcript
from experiments import federate
from experiments.cli import main
from experiments.studies.design import RELATION, TRAINING, Regime
from privacy.accounting import epsilon
from privacy.accounting.events import DistributedDiscreteGaussianDpEvent
from privacy.ledger import load_trust, verify

SCHEMA = """
outcome = "stroke"
[columns]
age = {unit = "years", mean = 55, sd = 10, low = 18, high = 100}
smoker = {}
"""
TABLE = """
source = "NAME.csv"
id = "patient"
outcome = {column = "event"}
"""
COHORT = """
name = "visits"
schema = "schema.toml"
[sites]
north = "north.toml"
east = "east.toml"
south = "south.toml"
"""
REPEATS = "[patients]\nrecords = 5\nhospitals = 2\nshared_ids = true\n"


def status(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(str(ended.value.code))


def write(folder: Path) -> Path:
    """Sixty people; each has 1 to 5 visits, spread over one or two of three hospitals."""
    rng = np.random.default_rng(0)
    visits: dict[str, list[tuple[Any, ...]]] = {"north": [], "east": [], "south": []}
    for person in range(1, 61):
        homes = rng.choice(list(visits), size=rng.integers(1, 3), replace=False)
        age, smoker = int(rng.integers(40, 90)), int(rng.integers(2))
        for _ in range(rng.integers(1, 6)):
            event = int(rng.random() < age / 120)
            visits[str(rng.choice(homes))].append((person, age, smoker, event))
    (folder / "schema.toml").write_text(SCHEMA)
    for name, rows in visits.items():
        (folder / f"{name}.toml").write_text(TABLE.replace("NAME", name))
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("patient", "age", "smoker", "event"), *rows])
    listed = folder / "cohort.toml"
    listed.write_text(COHORT + REPEATS)
    return listed


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("visits"))


@pytest.fixture(scope="module")
def trained(listed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    brief = replace(TRAINING[Regime.FULL, "logistic"], rounds=3, average_last=2)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(federate, "training_of", lambda *_: brief)
        patched.setenv("INPATIENT_HOME", str(out / "home"))
        words = ["train", "--cohort", str(listed), "--out", str(out / "run")]
        assert status(*words, "--evaluate", "0.4", "--held-out", "0.3") == 0
    return out / "run"


def test_the_ledgers_are_verified_and_hold_what_a_patient_does_in_both_hospitals(
    trained: Path, listed: Path
) -> None:
    verdict = verify([trained], load_trust(trained / "trust.json"))
    assert verdict.status == 0
    cohort = Cohort.from_file(listed)
    for reading in verdict.readings:
        (spent,) = reading.spent
        assert spent.interval is not None
        assert 0.99 < spent.interval.upper <= 1.0
    text = (trained / "ledgers" / "north.jsonl").read_text()
    assert '"a patient\'s hospitals":"at most 2"' in text
    assert '"a patient\'s records":"at most 5"' in text
    sizes = [int(n) for n in [len(np.unique(p.ids)) for p in cohort.hospitals.values()]]
    assert f"north {sizes[0]}, east {sizes[1]}, south {sizes[2]}" in text
    assert max(len(p) for p in cohort.hospitals.values()) > max(sizes)


def test_the_plan_that_ran_costs_its_epsilon_for_two_hospitals_and_half_for_one(
    trained: Path,
) -> None:
    sent = Transcript.load(trained / "transcript").select(kind=MessageKind.PLAN)
    plan = Plan.from_bytes(sent[0].payload)
    assert plan.patient_hospitals == 2
    event = run_event(plan, "north")
    assert isinstance(event, SelfComposedDpEvent)
    assert isinstance(event.event, DistributedDiscreteGaussianDpEvent)
    assert event.event.radius == 2 * plan.radius
    two, one = (
        epsilon(run_event(p, "north"), delta=1e-5, relation=RELATION).upper
        for p in (plan, replace(plan, patient_hospitals=1))
    )
    assert 0.45 < one / two < 0.55


def test_an_evaluation_does_not_claim_that_nobody_of_it_was_trained_on(trained: Path) -> None:
    told = json.loads((trained / "model" / "evaluation.json").read_text())
    assert told["disjoint"] is False


def test_check_counts_patients_and_says_what_the_noise_is_for(
    listed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status("cohort", "check", str(listed), "--json") == 0
    report = json.loads(capsys.readouterr().out)
    cohort = Cohort.from_file(listed)
    assert [s["patients"] for s in report["sites"]] == [str(n) for n in cohort.sizes]
    assert "2 times as large" in report["hints"][-1]


def test_studies_that_take_a_row_for_a_person_refuse_such_a_cohort(
    listed: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for command in (["frontier", "--quick"], ["attack", "closed_form"], ["demo"]):
        words = [*command, "--cohort", str(listed), "--out", str(tmp_path / command[0])]
        assert status(*words) == 2
        assert "takes one row for one person" in " ".join(capsys.readouterr().err.split())
