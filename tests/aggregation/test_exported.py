"""Trained models in other programs' formats: as torch modules, and what is refused without them."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from aggregation.data.patients import Column, Schema
from aggregation.exported import module_of, save_onnx, save_safetensors
from aggregation.models import Counts, Inputs, Model, Moments, named_model, torch_model
from aggregation.models.torch_source import SOURCES
from aggregation.trained import Trained
from experiments.cli import main
from privacy.errors import InvalidInputError, RefusedError
from tests.aggregation.models.made import NORMED, made

INPUTS = Inputs(6, ((3, 4, 5),))
SCHEMA = Schema(
    (
        *(Column(name, 10.0, 2.0, 0.0, 40.0, binary=False) for name in ("a", "b", "c")),
        *(Column(f"ward={level}", group="ward") for level in ("x", "y", "z")),
    ),
    "stroke",
)
KINDS = ("logistic", "moments", "mlp", "deep", "embedded", "transformer")


def trained(model: Model, seed: int = 0) -> Trained:
    rng = np.random.default_rng(seed)
    params = model.initial(rng) + 0.3 * rng.normal(size=model.dim)
    return Trained("run 1", "ab" * 32, model, params, SCHEMA)


def rows(patients: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = 2 * rng.normal(size=(patients, 6))
    found[:, 3:] = np.eye(4)[rng.integers(4, size=patients)][:, :3]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_module_gives_the_scores_of_the_model(kind: str) -> None:
    one = trained(named_model(kind, INPUTS, width=8))
    module, x = module_of(one).eval(), rows(70)
    with torch.no_grad():
        scores = module(torch.from_numpy(x)).reshape(-1).numpy()
    np.testing.assert_allclose(scores, one.model.scores(one.params, x), atol=1e-12)
    assert {p.dtype for p in module.parameters()} == {torch.float64}
    flat = torch.nn.utils.parameters_to_vector(module.parameters()).detach().numpy()
    held = one.model.linear(one.params) if isinstance(one.model, Moments) else one.params
    assert flat.tobytes() == held.tobytes()
    again = module_of(one)  # one's own, to change
    assert all(a is not b for a, b in zip(again.parameters(), module.parameters(), strict=True))


def test_a_module_that_is_not_approved_here_is_not_run(tmp_path: Path) -> None:
    one = trained(made(tmp_path, NORMED, INPUTS, width=5))
    torch_model.program_of.cache_clear()
    SOURCES.clear()
    with pytest.raises(RefusedError, match="this site has not approved"):
        module_of(one)
    counts = Trained("r", "p", Counts(4, "ab" * 32), np.zeros(8), Schema(SCHEMA.columns[:2], "x"))
    with pytest.raises(RefusedError, match="'counts' has no other form"):
        module_of(counts)


@pytest.mark.parametrize(
    ("form", "package"),
    [("--safetensors", "safetensors.numpy"), ("--onnx", "onnx"), ("--onnx", "onnxscript")],
)
def test_without_the_extra_it_is_said_which_package_lacks_and_nothing_is_written(
    form: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    saved = trained(named_model("logistic", INPUTS)).save(tmp_path / "model")
    for name in ("onnx", "onnxscript", "safetensors", "safetensors.numpy"):
        here = name in (package, package.partition(".")[0])
        monkeypatch.setitem(sys.modules, name, None if here else type(sys)(name))
    with pytest.raises(SystemExit) as ended:
        main(["export", str(saved), form, str(tmp_path / "out")])
    assert ended.value.code == 2 and not (tmp_path / "out").exists()
    said = " ".join(capsys.readouterr().err.split())
    assert f"takes the package {package.partition('.')[0]!r}" in said
    assert 'pip install "inpatient[export]"' in said


def test_a_file_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    there = tmp_path / "mine"
    there.write_bytes(b"mine")
    one = trained(named_model("logistic", INPUTS))
    for save in (save_safetensors, save_onnx):
        with pytest.raises(InvalidInputError, match="never overwritten"):
            save(one, there)
    assert there.read_bytes() == b"mine"


def test_an_export_of_nothing_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = trained(named_model("logistic", INPUTS)).save(tmp_path / "model")
    with pytest.raises(SystemExit) as ended:
        main(["export", str(saved)])
    assert ended.value.code == 2 and "Say what to write" in capsys.readouterr().err
