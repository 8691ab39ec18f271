"""The model that a run hands out, its card, and the command that predicts with it."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregation.card import LANGUAGES, card
from aggregation.data.patients import Column, Patients, Schema
from aggregation.data.tables import read_table
from aggregation.federation import Federation
from aggregation.models import Inputs, Logistic, Model, Perceptron, TorchModel, torch_model
from aggregation.models.torch_source import SOURCES
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.rules import LocalIntercept
from aggregation.trained import FILE, SOURCE, Trained
from experiments.cli import main
from experiments.commands.predict import _check
from experiments.evaluation import Scored, auc
from privacy.errors import BudgetExceededError, CorruptMessageError, InvalidInputError, RefusedError
from tests.aggregation.models.made import NORMED, made, written

SCHEMA = """
outcome = "stroke within a year"
[columns]
age = {unit = "years", mean = 55, sd = 10, low = 18, high = 100}
smoker = {}
ward = {levels = ["a", "b", "c"]}
"""
TABLE = """
source = "ward.csv"
id = "patient"
outcome = {column = "event"}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A hospital's folder: schema, mapping and table."""
    rng = np.random.default_rng(0)
    rows = ["patient,age,smoker,ward,event"]
    for patient in range(60):
        age, smoker = int(rng.integers(40, 90)), int(rng.integers(0, 2))
        event = int(rng.random() < 1 / (1 + math.exp(-(age - 65) / 8 - smoker)))
        rows.append(f"{7 * patient + 1},{age},{smoker},{'abc'[patient % 3]},{event}")
    (tmp_path / "schema.toml").write_text(SCHEMA)
    (tmp_path / "table.toml").write_text(TABLE)
    (tmp_path / "ward.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def patients_of(folder: Path) -> tuple[Schema, Patients]:
    schema = Schema.from_toml(folder / "schema.toml")
    return schema, read_table(folder / "table.toml", schema)


def plan_of(model: Model, **changes: Any) -> Plan:
    made = Plan(
        run="stroke 1",
        model=model,
        hospitals=("north", "south"),
        declared_sizes=(60, 60),
        rounds=8,
        learning_rate=1.0,
        noise=NoiseKind.LOCAL,
        scheme="plain",
        clip_norm=1.0,
        radius=2**12,
        noise_multiplier=4.0,
    )
    return replace(made, **changes)


def trained(folder: Path, model: Model, **changes: Any) -> tuple[Trained, Any]:
    schema, patients = patients_of(folder)
    plan = plan_of(model, **changes)
    groups = {"north": patients, "south": patients}
    outcome = Federation.simulated(plan, groups, seed=0).run()
    return Trained.of(plan, outcome.params, schema), outcome


INPUTS = Inputs(4, ((2, 3),))


@pytest.mark.parametrize("kind", ["logistic", "mlp", "embedded", "own"])
def test_what_is_read_gives_the_scores_of_what_was_saved(kind: str, folder: Path) -> None:
    model = {
        "logistic": lambda: Logistic(4),
        "mlp": lambda: Perceptron(4, 6),
        "embedded": lambda: TorchModel.of("embedded", INPUTS),
        "own": lambda: made(folder, NORMED, INPUTS, width=5),
    }[kind]()
    before, _ = trained(folder, model)
    after = Trained.read(before.save(folder / "model"))
    _, patients = patients_of(folder)
    assert after.params.tobytes() == before.params.tobytes()
    assert after.risks(patients).tobytes() == before.risks(patients).tobytes()
    assert after.schema == before.schema and after.plan == before.plan
    assert after.model == model and after.run == "stroke 1"


def test_no_value_that_a_hospital_keeps_is_in_the_file(folder: Path) -> None:
    before, outcome = trained(folder, Logistic(4), rule=LocalIntercept())
    kept = [local.intercept for local in outcome.local.values()]
    assert all(value != 0 for value in kept)
    text = (before.save(folder / "model") / FILE).read_text()
    for value in kept:
        assert repr(value)[:12] not in text
    assert set(json.loads(text)) == {
        "version", "run", "plan", "model", "parameters", "schema", "schema_digest",
    }  # fmt: skip


def test_a_module_of_a_folder_is_not_run_until_it_is_approved(folder: Path) -> None:
    model = made(folder, NORMED, INPUTS, width=5)
    saved = trained(folder, model)[0].save(folder / "model")
    assert (saved / SOURCE).read_bytes() == (folder / "mine.py").read_bytes()
    torch_model.program_of.cache_clear()
    SOURCES.clear()
    found = Trained.read(saved)
    _, patients = patients_of(folder)
    with pytest.raises(RefusedError, match="this site has not approved"):
        found.risks(patients)


def changed(**changes: Any) -> Any:
    return lambda content: content | changes


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed(version=2), "no model of version 1"),
        (changed(extra=1), "no model of version 1"),
        (changed(run=5), "are texts"),
        (changed(plan="x" * 300), "are texts"),
        (changed(parameters="no"), "no list of numbers"),
        (changed(parameters=[True] * 5), "no list of numbers"),
        (changed(parameters=[0.0] * 4), "has 5 parameters"),
        (changed(model={"kind": "forest"}), "Unknown model 'forest'"),
        (changed(model={"kind": "logistic", "features": 3, "width": 0}, parameters=[0.0] * 4),
         "reads 3 columns, and the schema has 4"),
        (changed(schema={}), "its schema"),
        (changed(schema_digest="0" * 64), "not the one that its digest names"),
    ],
)  # fmt: skip
def test_a_strangers_file_is_checked(change: Any, said: str, folder: Path) -> None:
    saved = trained(folder, Logistic(4))[0].save(folder / "model")
    content = json.loads((saved / FILE).read_text())
    (saved / FILE).write_text(json.dumps(change(content)))
    with pytest.raises(CorruptMessageError, match=said):
        Trained.read(saved)


def test_a_folder_without_a_model_and_a_broken_one_are_told(folder: Path) -> None:
    with pytest.raises(InvalidInputError, match="name the folder 'model' that a run wrote"):
        Trained.read(folder)
    (folder / FILE).write_text("{")
    with pytest.raises(CorruptMessageError, match=FILE):
        Trained.read(folder)


def test_predict_writes_risks_for_the_owner_alone_and_checks_them_here(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, _ = trained(folder, made(folder, NORMED, INPUTS, width=5))
    saved = before.save(folder / "model")
    _, patients = patients_of(folder)
    risks = before.risks(patients)
    out = folder / "risks.csv"
    arguments = ["predict", str(saved), str(folder / "table.toml"), "--risks", str(out)]
    torch_model.program_of.cache_clear()
    SOURCES.clear()
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2 and not out.exists()
    assert "--model FILE:FACTORY" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--module", str(saved / SOURCE), "--json"])
    assert ended.value.code == 0
    told = json.loads(capsys.readouterr().out)
    head, *rows = out.read_text().splitlines()
    assert head == "id,risk" and out.stat().st_mode & 0o777 == 0o600
    assert [row.split(",")[0] for row in rows] == [str(i) for i in patients.ids]
    np.testing.assert_allclose([float(row.split(",")[1]) for row in rows], risks, atol=1e-15)
    site = Scored(np.log(risks / (1 - risks)), patients.outcomes)
    assert told["AUC"] == pytest.approx(auc({"here": site}), abs=1e-9)
    assert told["patients"] == 60 and told["with the outcome"] == int(patients.outcomes.sum())
    assert told["drift"]["age"] == pytest.approx(patients.features[:, 0].mean())
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--module", str(saved / SOURCE)])
    assert ended.value.code == 2
    assert "predictions are never overwritten" in capsys.readouterr().err


def test_the_three_numbers_that_drifted_most_are_named_and_yes_or_no_never() -> None:
    """By how far their mean stands from the public one; a column of 0 and 1 has no public mean."""
    columns = [Column(name, 0.0, 1.0, -9.0, 9.0, binary=False) for name in "abcde"]
    schema = Schema((Column("smoker"), *columns), "stroke")
    means = np.array([1.0, 0.1, -0.4, 0.0, 0.3, -0.2])
    features = np.concatenate([means + 0.5, means - 0.5, means, means])
    features = features.reshape(4, 6)
    features[:, 0] = 1
    patients = Patients(features, np.array([0, 1, 0, 1]))
    one = Trained("r", "ab" * 32, Logistic(6), np.zeros(7), schema)
    drift = _check(one, patients)["drift"]
    assert list(drift) == ["b", "d", "e"]
    assert drift == pytest.approx({"b": -0.4, "d": 0.3, "e": -0.2})
    still = Patients(np.zeros((4, 6)), np.array([0, 1, 0, 1]))
    assert _check(one, still)["drift"] == {}


def test_predict_tells_of_no_check_where_outcomes_are_alike(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = trained(folder, Logistic(4))[0].save(folder / "model")
    lines = (folder / "ward.csv").read_text().splitlines()
    alike = [lines[0], *(line[:-1] + "0" for line in lines[1:])]
    (folder / "ward.csv").write_text("\n".join(alike) + "\n")
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(saved), str(folder / "table.toml"), "--risks", str(folder / "r.csv")])
    assert ended.value.code == 0
    assert "all outcomes are alike" in capsys.readouterr().out


def test_the_card_says_the_same_in_both_languages(folder: Path) -> None:
    schema, _ = patients_of(folder)
    plan = plan_of(Logistic(4), declared_sizes=(60, 80))
    texts = [card(plan, schema, language) for language in LANGUAGES]
    numbers = [sorted(re.findall(r"\d+(?:\.\d+)?(?:e-\d+)?", text)) for text in texts]
    assert numbers[0] == numbers[1]
    assert [text.count("\n## ") for text in texts] == [4, 4]
    for text in texts:
        assert "stroke within a year" in text and plan.digest in text and "north" in text
        assert "{" not in text
    assert "AUC: not measured" in texts[0] and "AUC：未测量" in texts[1]


def test_the_cards_epsilon_is_the_least_budget_that_a_ledger_grants(folder: Path) -> None:
    schema, patients = patients_of(folder)
    plan = plan_of(Logistic(4))
    told = float(re.findall(r"\| north \| 60 \| ([\d.]+) \|", card(plan, schema, "en"))[0])
    groups = {"north": patients, "south": patients}
    Federation.simulated(plan, groups, seed=0, target_epsilon=told).run()
    with pytest.raises(BudgetExceededError):
        Federation.simulated(plan, groups, seed=0, target_epsilon=0.995 * told).run()
    bare = card(plan_of(Logistic(4), noise=NoiseKind.NONE, noise_multiplier=0.0), schema, "en")
    assert "infinite (no protection)" in bare and "Do not hand this model out" in bare
    assert "bounds what the run tells" not in bare


def test_parameters_of_another_length_are_refused(folder: Path) -> None:
    schema, _ = patients_of(folder)
    with pytest.raises(InvalidInputError, match="has 5 parameters"):
        Trained("r", "p", Logistic(4), np.zeros(4), schema)
    with pytest.raises(InvalidInputError, match="finite numbers"):
        Trained("r", "p", Logistic(4), np.full(5, np.nan), schema)
    assert written(folder, NORMED, width=3).endswith("mine.py:make")
