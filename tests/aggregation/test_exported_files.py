"""Exported files, read by the programs that they are for: safetensors and ONNX Runtime."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import erf, expit

from aggregation.data.patients import Patients
from aggregation.exported import save_onnx, save_safetensors
from aggregation.models import Inputs, Moments, named_model
from experiments.cli import main
from privacy.errors import InvalidInputError
from tests.aggregation.models.made import made, written
from tests.aggregation.test_exported import INPUTS, KINDS, SCHEMA, rows, trained

GELU = """
import torch
from torch import nn
class Own(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.first, self.last = nn.Linear(inputs.features, 7), nn.Linear(7, 1)
    def forward(self, x):
        first = self.first(x)
        return self.last(torch.erf(first) + nn.functional.gelu(first, approximate="tanh"))
def make(inputs):
    return Own(inputs)
"""
ERF = """
import torch
from torch import nn
class Own(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.last = nn.Linear(inputs.features, 1)
    def forward(self, x):
        return torch.erf(self.last(x))
def make(inputs):
    return Own(inputs)
"""
COUNTED = """
from torch import nn
class Own(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.first = nn.Linear(inputs.features, 1)
    def forward(self, x):
        return self.first(x).expand(len(x), 1)
def make(inputs):
    return Own(inputs)
"""


def run(path: Path, x: np.ndarray) -> list[np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found: list[np.ndarray] = session.run(["log_odds", "risk"], {"features": x})
    return found


@pytest.mark.parametrize("kind", [*KINDS, "own"])
def test_onnx_agrees_with_the_runs_scores_and_with_predict(kind: str, tmp_path: Path) -> None:
    model = made(tmp_path, GELU, INPUTS) if kind == "own" else named_model(kind, INPUTS, width=8)
    one = trained(model)
    path = save_onnx(one, tmp_path / "model.onnx")
    near = 1e-6 if kind == "own" else 1e-9  # the exporter rounds the constants of GELU's tanh form
    for patients in (1, 5, 130):
        x = rows(patients, seed=patients)
        x[0] *= 20  # far outside: erf is 1 there
        log_odds, risks = run(path, x)
        scores = model.scores(one.params, x)
        np.testing.assert_allclose(log_odds, scores, rtol=0, atol=near)
        group = Patients(x, np.zeros(patients, dtype=np.int64))
        np.testing.assert_allclose(risks, one.risks(group), rtol=0, atol=near)
        np.testing.assert_allclose(risks, expit(scores), rtol=0, atol=near)
        assert log_odds.dtype == np.float64 and log_odds.shape == (patients,)


def test_two_logits_are_exported_as_the_one_that_they_are(tmp_path: Path) -> None:
    source = COUNTED.replace("features, 1)", "features, 2)").replace(".expand(len(x), 1)", "")
    model = made(tmp_path, source, INPUTS)
    one, x = trained(model), rows(9)
    log_odds, risks = run(save_onnx(one, tmp_path / "model.onnx"), x)
    np.testing.assert_allclose(log_odds, model.scores(one.params, x), rtol=0, atol=1e-9)
    both = x @ one.params[:12].reshape(2, 6).T + one.params[12:]
    np.testing.assert_allclose(log_odds, both[:, 1] - both[:, 0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(risks, expit(both[:, 1] - both[:, 0]), rtol=0, atol=1e-9)


def test_erf_is_written_out_to_the_last_digits(tmp_path: Path) -> None:
    """Runtimes have it in single precision alone; scipy's is the second road."""
    model = made(tmp_path, ERF, INPUTS)
    one = replace(trained(model), params=np.array([1.0, *[0.0] * 6]))
    x = np.zeros((2001, 6))
    x[:, 0] = np.concatenate([np.linspace(-7, 7, 1999), [-1e6, 1e6]])
    log_odds, _ = run(save_onnx(one, tmp_path / "model.onnx"), x)
    np.testing.assert_allclose(log_odds, erf(x[:, 0]), rtol=0, atol=5e-15)


def test_the_graph_says_what_it_is(tmp_path: Path) -> None:
    import onnx

    one = trained(named_model("logistic", INPUTS))
    proto = onnx.load(save_onnx(one, tmp_path / "model.onnx"))
    told = {entry.key: entry.value for entry in proto.metadata_props}
    assert told["run"] == "run 1" and told["plan"] == "ab" * 32
    assert json.loads(told["model"])["kind"] == "logistic"
    assert json.loads(told["schema"])["outcome"] == "stroke"
    assert told["schema_digest"] == SCHEMA.digest


def test_a_module_that_fixes_the_number_of_patients_is_refused(tmp_path: Path) -> None:
    one = trained(made(tmp_path, COUNTED, INPUTS))
    with pytest.raises(InvalidInputError, match=r"x\.shape\[0\] instead of len\(x\)"):
        save_onnx(one, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_safetensors_hold_each_parameter_by_name(kind: str, tmp_path: Path) -> None:
    from safetensors import safe_open

    model = named_model(kind, INPUTS, width=8)
    one = trained(model)
    with safe_open(save_safetensors(one, tmp_path / "m.safetensors"), framework="numpy") as file:
        told = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert json.loads(told["model"]) == json.loads(json.dumps(model.spec))
    assert told["plan"] == "ab" * 32 and told["schema_digest"] == SCHEMA.digest
    names = [name for name, _ in getattr(model, "parameters", ())] or list(tensors)
    assert sorted(names) == sorted(tensors)
    whole = {"logistic": ["weight", "bias"], "moments": ["weight", "bias"]}
    whole["mlp"] = ["0.weight", "0.bias", "2.weight", "2.bias"]
    order = whole.get(kind, names)
    flat = np.concatenate([tensors[name].reshape(-1) for name in order])
    held = model.linear(one.params) if isinstance(model, Moments) else one.params
    assert flat.tobytes() == held.tobytes()


def test_the_command_writes_both_and_never_a_pickle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = written(tmp_path, GELU)
    model = named_model(mine, Inputs(6, ((3, 4, 5),)))
    saved = trained(model).save(tmp_path / "model")
    files = [tmp_path / "m.safetensors", tmp_path / "m.onnx"]
    with pytest.raises(SystemExit) as ended:
        main(
            ["export", str(saved), "--safetensors", str(files[0]), "--onnx", str(files[1]),
             "--module", str(saved / "module.py")]
        )  # fmt: skip
    assert ended.value.code == 0
    assert capsys.readouterr().out.count("Written: ") == 2
    for file in files:
        content = file.read_bytes()
        assert b"pickle" not in content and content[:2] not in (b"PK", b"\x80\x02")
