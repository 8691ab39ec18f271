"""``inpatient attack --update`` on files that a client of somebody else's wrote."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from aggregation.data.patients import Patients
from experiments.cli import main
from experiments.cohorts import load
from privacy.errors import InvalidInputError
from tests.aggregation.capture.clients import safetensors, trained

HEART = load("heart")
MINE = """
import torch

def make(inputs):
    return torch.nn.Sequential(
        torch.nn.Linear(inputs.features, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1)
    )
"""


def client(
    folder: Path, size: int = 8, *, rate: float = 0.1, dtype: torch.dtype = torch.float32
) -> Patients:
    """A Flower client's training step: weights before and after, and who was in the batch."""
    people = next(iter(HEART.hospitals.values()))
    batch = people.take(np.random.default_rng(3).choice(len(people), size, replace=False))
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(len(HEART.schema), 64), torch.nn.ReLU(), torch.nn.Linear(64, 1)
    ).to(dtype)
    write(net, folder / "before")
    optimizer = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9)
    scores = net(torch.tensor(batch.features, dtype=dtype)).squeeze(-1)
    torch.nn.functional.binary_cross_entropy_with_logits(
        scores, torch.tensor(batch.outcomes, dtype=dtype)
    ).backward()
    optimizer.step()
    write(net, folder / "after")
    return batch


def write(net: torch.nn.Module, path: Path) -> None:
    tensors: dict[str, Any] = {
        name: p.detach().numpy().copy() for name, p in net.named_parameters()
    }
    kind = {np.dtype("f4"): "F32", np.dtype("f2"): "F16"}[tensors["0.bias"].dtype]
    path.with_suffix(".safetensors").write_bytes(safetensors(tensors, kind))
    np.savez(path.with_suffix(".npz"), **tensors)


def attack(
    capsys: pytest.CaptureFixture[str], folder: Path, *options: str, suffix: str = ".safetensors"
) -> dict[str, Any]:
    files = [str(folder / f"{name}{suffix}") for name in ("before", "after")]
    told = ["attack", "--update", *files, "--out", str(folder / "out"), "--json", *options]
    with pytest.raises(SystemExit) as done:
        main(told)
    assert done.value.code == 0
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    return printed


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_a_client_s_patients_are_read_and_certified(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, suffix: str
) -> None:
    batch = client(tmp_path)
    told = ("--model", "mlp:64", "--learning-rate", ".1", "--batch-size", "8")
    found = attack(capsys, tmp_path, *told, suffix=suffix)
    assert found["certified"] >= 7 and found["prior"] == "schema"
    ages = sorted(HEART.schema.to_clinical(batch.features)[:, HEART.schema.names.index("age")])
    read = [float(r["values"]["age"]) for r in found["records"] if r["certified"]]
    assert set(read) <= {round(float(age)) for age in ages}
    assert 0 < found["largest_error"] < found["largest_entry"] / 100
    assert Path(found["picture"]).read_bytes()[:4] == b"\x89PNG"
    record = json.loads(Path(found["record"]).read_text())
    assert record["certified"] == found["certified"] and record["batch_size_told"]


def test_the_batch_size_is_found_where_nobody_tells_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    client(tmp_path, 6)
    found = attack(capsys, tmp_path, "--model", "mlp:64", "--learning-rate", ".1")
    assert found["batch_size"] == 6 and not found["batch_size_told"]
    assert any("not told; 6 of 1 to 64" in sentence for sentence in found["said"])


def test_a_module_of_one_s_own_is_recognised(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    client(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    told = ("--model", f"{tmp_path}/mine.py:make", "--learning-rate", ".1", "--batch-size", "8")
    found = attack(capsys, tmp_path, *told)
    assert found["model"] == {"kind": "mlp", "features": len(HEART.schema), "width": 64}
    assert found["certified"] >= 7


@pytest.mark.parametrize("named", [True, False])
def test_a_classifier_of_two_classes_is_read_as_one_logit(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, named: bool
) -> None:
    people = next(iter(HEART.hospitals.values()))
    batch = people.take(np.arange(8))
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(len(HEART.schema), 64), torch.nn.ReLU(), torch.nn.Linear(64, 2)
    )
    write(net, tmp_path / "before")
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    scores = net(torch.tensor(batch.features).float())
    torch.nn.functional.cross_entropy(scores, torch.tensor(batch.outcomes)).backward()
    optimizer.step()
    write(net, tmp_path / "after")
    (tmp_path / "mine.py").write_text(MINE.replace("Linear(64, 1)", "Linear(64, 2)"))
    model = f"{tmp_path}/mine.py:make" if named else "mlp:64"
    found = attack(capsys, tmp_path, "--model", model, "--learning-rate", ".1")
    assert found["certified"] >= 7 and found["batch_size"] == 8
    assert found["model"]["kind"] == "mlp"
    told = ("--learning-rate", ".1", "--batch-size", "8", "--steps", "2", "--restarts", "1")
    decay = ("--iterations", "2", "--weight-decay", ".1")
    if named:  # what two logits are no longer one for is walked as it is
        found = attack(capsys, tmp_path, "--model", model, *told, *decay)
        assert found["model"]["kind"] == "torch" and len(found["records"]) == 8


def test_half_precision_hides_and_that_is_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    client(tmp_path, dtype=torch.float16)
    told = ("--model", "mlp:64", "--learning-rate", ".1", "--batch-size", "8")
    found = attack(capsys, tmp_path, "closed_form", *told)
    assert found["certified"] == 0
    assert any(sentence.startswith("Rounding hides") for sentence in found["said"])
    assert any(sentence.startswith("One step of sgd was read") for sentence in found["said"])


def several(folder: Path, *, optimizer: str) -> None:
    """A client's five steps on three patients, or one pass over 15."""
    people = next(iter(HEART.hospitals.values()))
    batch = people.take(np.arange(3))
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(len(HEART.schema), 64), torch.nn.ReLU(), torch.nn.Linear(64, 1)
    )
    write(net, folder / "before")
    make: Any = {
        "adam": lambda p: torch.optim.Adam(p, lr=0.01),
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
        "sgd": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    }[optimizer]
    trained(net, [batch] * 5, make)
    write(net, folder / "after")


@pytest.mark.parametrize(
    ("optimizer", "more"), [("sgd", ("--momentum", ".9")), ("adam", ()), ("adamw", ())]
)
def test_several_steps_are_walked_and_what_is_not_known_is_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, optimizer: str, more: tuple[str, ...]
) -> None:
    several(tmp_path, optimizer=optimizer)
    told = ("--model", "mlp:64", "--learning-rate", ".01", "--batch-size", "3", "--steps", "5")
    effort = ("--restarts", "4", "--iterations", "30", "--optimizer", optimizer, *more)
    found = attack(capsys, tmp_path, *told, *effort)
    assert found["attack"] == "fedavg" and found["certified"] == 0 and len(found["records"]) == 3
    assert found["momentum"] == (0.9 if more else 0.0)
    assert found["weight_decay"] == (0.01 if optimizer == "adamw" else 0.0)
    said = " ".join(found["said"])
    assert "5 steps tell no step's gradient" in said and "Outcomes were not told" in said
    assert ("numbers were tried" in said) == optimizer.startswith("adam")
    one_pass = attack(capsys, tmp_path, *told, *effort, "--patients", "15")
    assert one_pass["patients"] == 15 and len(one_pass["records"]) == 15


def test_a_table_is_printed_for_people(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    client(tmp_path)
    files = [str(tmp_path / f"{name}.npz") for name in ("before", "after")]
    told = ["--model", "mlp:64", "--learning-rate", ".1", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as done:
        main(["attack", "--update", *files, *told])
    printed = capsys.readouterr().out
    assert done.value.code == 0 and "certified" in printed and "Picture:" in printed


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ((), "learning-rate"),
        (("--learning-rate", ".1", "--momentum", "1"), "momentum"),
        (("--learning-rate", ".1", "--momentum", ".9", "--optimizer", "adam"), "is of sgd"),
        (("--learning-rate", ".1", "--weight-decay", "-1"), "weight_decay"),
        (("--learning-rate", ".1", "--patients", "-1"), "patients"),
        (("--learning-rate", ".1", "--batch-size", "2", "--patients", "3"), "one pass"),
        (("--learning-rate", "-1"), "learning_rate=-1.0 > 0"),
        (("--learning-rate", ".1", "--steps", "0"), "steps=0"),
        (("--learning-rate", ".1", "--batch-size", "-1"), "=-1"),
        (("--learning-rate", ".1", "--optimizer", "mars"), "--optimizer"),
        (("--learning-rate", ".1", "--update", "none.npz", "none.npz"), "none.npz"),
        (("--learning-rate", ".1", "--labels", "01"), "one label for each"),
        (("--learning-rate", ".1", "--labels", "0x"), "0 and 1"),
        (("--learning-rate", ".1", "--model", "cnn"), "Unknown model"),
        (("--learning-rate", ".1", "--steps", "2", "--model", "mlp:64"), "Give --batch-size"),
        (("--learning-rate", ".1", "--model", "mlp:32"), "shape"),
    ],
)
def test_what_is_missing_is_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, options: tuple[str, ...], why: str
) -> None:
    client(tmp_path)
    files = [str(tmp_path / f"{name}.npz") for name in ("before", "after")]
    with pytest.raises(SystemExit) as done:
        main(["attack", "--update", *files, "--out", str(tmp_path / "out"), *options])
    assert done.value.code != 0
    assert why in " ".join(capsys.readouterr().err.split())


def test_an_attack_on_a_run_needs_its_name() -> None:
    from experiments.commands.attack import AttackCommand

    with pytest.raises(InvalidInputError, match="Which attack"):
        AttackCommand().check()
