"""Files that tell what was spent elsewhere: phases, events, and a checkpoint of Opacus."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from dp_accounting import NeighboringRelation
from hypothesis import given
from hypothesis import strategies as st

from privacy.accounting import epsilon
from privacy.accounting.events import from_json
from privacy.errors import CorruptMessageError, InpatientError, InvalidInputError
from privacy.ledger import Budget, Ledger, Planned, SigningKey
from privacy.ledger.__main__ import main
from privacy.ledger.accountant import Certified, composed
from privacy.ledger.audit.deployment import deployment
from privacy.ledger.spending import Spending, read_spending

ADD = NeighboringRelation.ADD_OR_REMOVE_ONE
PHASES = """
[[phase]]
noise_multiplier = 1.1
sampling_prob = 0.01
steps = 1000

[[phase]]
noise_multiplier = 4.0
steps = 3

[[claim]]
epsilon = 0.25
delta = 1e-7
"""


def read(folder: Path, name: str, content: str | bytes) -> Spending:
    raw = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(raw)
    return read_spending(folder / name)


def events(found: Spending) -> dict[str, Any]:
    return composed([(step.to_json()["event"], step.count) for step in found.schedule])


def test_phases_are_events_and_their_cost(tmp_path: Path) -> None:
    found = read(tmp_path, "past.toml", PHASES)
    assert [step.count for step in found.schedule] == [1000, 3]
    assert (found.claims[0].epsilon, found.claims[0].delta) == (0.25, 1e-7)
    upper = epsilon(from_json(events(found)), delta=1e-5, relation=ADD).upper
    alone = epsilon(from_json(found.schedule[0].to_json()["event"]), delta=1e-5, relation=ADD).upper
    assert upper > alone > 0


@given(st.floats(0.3, 5.0), st.integers(2, 50), st.integers(1, 500))
def test_shuffled_batches_are_passes_and_never_cheaper_than_they_are(
    noise: float, batches: int, steps: int
) -> None:
    from privacy.ledger.spending import Phase

    planned = Phase(noise, steps, 1 / batches, "shuffled").planned
    event = planned.to_json()["event"]
    assert event["batches"] == batches
    assert planned.count * batches >= steps > (planned.count - 1) * batches


def test_an_entry_of_a_file_names_it(tmp_path: Path) -> None:
    found = read(tmp_path, "past.toml", PHASES)
    ledger = Ledger.in_memory(budget=Budget(20.0), accountant=Certified())
    entry = ledger.enter(found.imported("a training of 2024", "Dr. Lin", same_patients=True))
    assert entry.content["evidence"] == found.evidence
    assert ledger.state().committed > 0.25


def test_an_operator_enters_a_file_by_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = SigningKey.create(tmp_path / "key.pem")
    path = tmp_path / "north.jsonl"
    Ledger.create(path, hospital="north", key=key, budget=Budget(1.0))
    (tmp_path / "past.toml").write_text("[[phase]]\nnoise_multiplier = 20.0\nsteps = 2\n")
    told = [str(path), str(tmp_path / "past.toml"), "--key", str(tmp_path / "key.pem")]
    told += ["--operator", "Dr. Lin", "--source", "a model of 2024", "--same-patients"]
    for expected in (0, 1):
        with pytest.raises(SystemExit) as done:
            main(["enter", *told])
        assert done.value.code == expected
        (tmp_path / "past.toml").write_text("[[phase]]\nnoise_multiplier = 0.5\nsteps = 1\n")
    printed = capsys.readouterr().out
    assert "spent elsewhere (a model of 2024)" in printed and "is passed" in printed
    assert "an odometer's running total" in printed
    entered = [e for e in Ledger.open(path, key=key).entries() if e.kind == "imported"]
    assert len(entered) == 2


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"spent": "nowhere.toml"}, "can't be read"),
        ({"operator": ""}, "operator=''"),
        ({"source": ""}, "source=''"),
        ({"corrects": "-1"}, "corrects=-1"),
        ({"corrects": "7"}, "Entry 7"),
        ({"others": "yes"}, "--same-patients"),
    ],
    ids=str,
)
def test_what_can_not_be_entered_is_said_and_leaves_the_ledger_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: dict[str, str], why: str
) -> None:
    path = tmp_path / "north.jsonl"
    key = SigningKey.create(tmp_path / "key.pem")
    Ledger.create(path, hospital="north", key=key, budget=Budget(1.0))
    before = path.read_bytes()
    (tmp_path / "past.toml").write_text("[[phase]]\nnoise_multiplier = 20.0\nsteps = 2\n")
    named = {"operator": "Dr. Lin", "source": "a model of 2024", **wrong}
    said = [] if named.pop("others", "") else ["--same-patients"]
    spent = tmp_path / named.pop("spent", "past.toml")
    options = [f"--{name}={value}" for name, value in named.items()] + said
    with pytest.raises(SystemExit) as done:
        main(["enter", str(path), str(spent), "--key", str(tmp_path / "key.pem"), *options])
    assert done.value.code == 2
    assert why in capsys.readouterr().err
    assert path.read_bytes() == before


def test_a_price_is_asked_of_a_file_that_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    from experiments.cli import main as inpatient

    with pytest.raises(SystemExit) as done:
        inpatient(["account", "nowhere.toml"])
    assert done.value.code == 2
    assert "can't be read" in capsys.readouterr().err


def test_events_as_json(tmp_path: Path) -> None:
    one = {"type": "GaussianDpEvent", "noise_multiplier": 3.0}
    assert read(tmp_path, "one.json", json.dumps(one)).schedule[0].count == 1
    many = [{"event": one, "count": 7}, {"event": one}]
    found = read(tmp_path, "many.json", json.dumps(many))
    assert [step.count for step in found.schedule] == [7, 1]


@pytest.mark.parametrize("mechanism", ["rdp", "prv"])
def test_a_checkpoint_of_opacus(tmp_path: Path, mechanism: str) -> None:
    from opacus.accountants import create_accountant

    accountant = create_accountant(mechanism)
    for _ in range(5):
        accountant.step(noise_multiplier=1.5, sample_rate=0.25)
    state = {"privacy_accountant_state_dict": accountant.state_dict(), "module_state_dict": {}}
    torch.save(state, tmp_path / "run.pt")
    (step,) = read_spending(tmp_path / "run.pt").schedule
    event = step.to_json()["event"]
    assert step.count == 5 and event["sampling_probability"] == 0.25
    assert event["event"] == {"type": "GaussianDpEvent", "noise_multiplier": 1.5}


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.txt", "", "expected phases"),
        ("a.toml", "", "nothing that was spent"),
        ("a.toml", "[[phase]]\nnoise_multiplier = 1.0", "steps"),
        ("a.toml", "[[phase]]\nnoise_multiplier = -1.0\nsteps = 1", "noise_multiplier"),
        ("a.toml", "[[phase]]\nnoise_multiplier = 1.0\nsteps = 1\nsampler = 'random'", "sampler"),
        ("a.toml", "[[phase]]\nnoise_multiplier = 1.0\nsteps = 1\nq = 0.1", "unknown"),
        ("a.toml", "phase = 3", "phase=3 to be a list"),
        ("a.toml", "epsilon = 1.0", "unknown"),
        ("a.toml", "[[claim]]\nepsilon = 1.0\ndelta = 2.0", "delta"),
        ("a.json", '{"noise": 1}', "type"),
        ("a.json", '[{"event": {"type": "GaussianDpEvent"}}]', "noise_multiplier"),
        ("a.json", '[{"count": 1}]', "expected an event"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, name: str, content: str, why: str) -> None:
    with pytest.raises(InpatientError, match=why):
        read(tmp_path, name, content)


REGISTERED = """
deployment:
  privacy_loss:
    privacy_unit: patient-level
    privacy_unit_details: "Neighbouring tables: add or remove one (patient)."
    privacy_parameters: {epsilon: 0.5, delta: 1.0e-06}
"""


def test_an_entry_of_the_deployments_registry_is_a_bare_guarantee(tmp_path: Path) -> None:
    found = read(tmp_path, "a.yaml", REGISTERED)
    assert found.schedule == () and found.relation == "ADD_OR_REMOVE_ONE"
    (claim,) = found.claims
    assert (claim.epsilon, claim.delta) == (0.5, 1e-6)
    replaced = REGISTERED.replace("add or remove one", "Replace one").replace(
        ", delta: 1.0e-06", ""
    )
    found = read(tmp_path, "a.yml", replaced)
    assert found.relation == "REPLACE_ONE" and found.claims[0].delta == 0.0


def test_what_the_project_registers_it_reads(tmp_path: Path) -> None:
    path = tmp_path / "north.jsonl"
    ledger = Ledger.create(path, hospital="north", key=SigningKey.generate(), budget=Budget(1.0))
    ledger.declare([Planned("update", {"type": "GaussianDpEvent", "noise_multiplier": 9.0})])
    found = read(tmp_path, "own.yaml", deployment(path))
    assert found.claims[0].epsilon == ledger.state().committed
    assert found.relation == "ADD_OR_REMOVE_ONE"


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("patient-level", "household", "budget counts patients"),
        ("add or remove one", "some", "name no relation"),
        ("add or remove one", "add or remove one, or replace one,", "name no relation"),
        ("epsilon", "rho", "no epsilon and delta"),
        ("0.5", "-0.5", "epsilon"),
        ("privacy_loss", "loss", "no entry of the deployments registry"),
        ("deployment:", "deployment: [", "no entry of the deployments registry"),
        ("deployment:", "deployment: !!python/object/apply:os.system [ls]", "no entry of"),
    ],
)
def test_what_an_entry_does_not_say_is_not_guessed(
    tmp_path: Path, old: str, new: str, why: str
) -> None:
    with pytest.raises(InpatientError, match=why):
        read(tmp_path, "a.yaml", REGISTERED.replace(old, new))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n" + REGISTERED, "alias"),
        (REGISTERED.replace("patient-level", "&u [p, *u]"), "alias"),
        ("# " + "x" * 2**16 + REGISTERED, "at most 65536 bytes"),
    ],
)
def test_an_entry_that_grows_is_refused_before_it_does(
    tmp_path: Path, content: str, why: str
) -> None:
    with pytest.raises(CorruptMessageError, match=why):
        read(tmp_path, "a.yaml", content)


def test_a_checkpoint_that_runs_is_refused(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> Any:
            return (print, ("ran",))

    content = io.BytesIO()
    torch.save({"history": Runs()}, content)
    with pytest.raises(CorruptMessageError, match="without running it"):
        read(tmp_path, "bad.pt", content.getvalue())
    content = io.BytesIO()
    torch.save({"history": [(1.0, 0.1)]}, content)
    with pytest.raises(CorruptMessageError, match="no history"):
        read(tmp_path, "bad.pt", content.getvalue())


def test_no_noise_is_no_protection(tmp_path: Path) -> None:
    found = read(tmp_path, "a.toml", "[[phase]]\nnoise_multiplier = 0.0\nsteps = 2")
    assert events(found)["event"] == {"type": "NonPrivateDpEvent"}
    with pytest.raises(InvalidInputError):
        Ledger.in_memory(budget=Budget(1.0)).enter(
            found.imported("a training", "Dr. Lin", same_patients=True, corrects=7)
        )
