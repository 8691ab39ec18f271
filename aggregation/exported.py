"""A trained model in formats that other programs read: safetensors and ONNX; never pickle.

Both are extras (``pip install "inpatient[export]"``): nothing else in the project needs them.
"""

import json
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aggregation.models import Logistic, Moments, Perceptron, TorchModel
from aggregation.trained import Trained
from privacy.errors import InvalidInputError, RefusedError
from privacy.files import create_durably

if TYPE_CHECKING:
    from torch import nn

__all__ = ["module_of", "save_onnx", "save_safetensors"]


def save_safetensors(trained: Trained, path: Path) -> Path:
    """Write the parameters by name, float64, with run, plan, model and schema as metadata.

    Raises:
      InvalidInputError: The file is there already, or the extra is not installed.
      RefusedError: The model is a file's, and that file is not approved here.
    """
    library = _extra("safetensors.numpy", path)
    tensors = {
        name: np.ascontiguousarray(value.detach().numpy())
        for name, value in module_of(trained).named_parameters()
    }
    return _write(path, library.save(tensors, metadata=_metadata(trained)))


def save_onnx(trained: Trained, path: Path) -> Path:
    """Write an ONNX graph in float64: ``features [patients, columns]`` to log-odds and risks.

    Its outputs are ``log_odds`` and ``risk``, one a patient, within 1e-6 of ``Trained.risks``; it
    reads the columns as the schema standardises them, which its metadata holds.

    Raises:
      InvalidInputError: The file is there already, the extra is not installed, or the module holds
        what ONNX does not have.
      RefusedError: The model is a file's, and that file is not approved here.
    """
    _extra("onnx", path)
    _extra("onnxscript", path)
    import torch

    from aggregation.models.torch_program import in_float64, log_odds

    class Scored(torch.nn.Module):
        def __init__(self, module: torch.nn.Module) -> None:
            super().__init__()
            self.module = module

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            scores = log_odds(self.module(x), -1)  # why: len(x) would fix how many there may be
            return scores, torch.sigmoid(scores)

    rows = torch.zeros(2, trained.model.features, dtype=torch.float64)
    patients = torch.export.Dim("patients", min=1)
    with in_float64(), _without_a_word():
        try:
            program = torch.onnx.export(
                Scored(module_of(trained)).eval(),
                (rows,),
                dynamo=True,
                dynamic_shapes=({0: patients},),
                input_names=["features"],
                output_names=["log_odds", "risk"],
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise InvalidInputError(
                f"This module can't be written as ONNX: {str(error)[:500]} Use --safetensors, or "
                "another module."
            ) from error
    if program is None:
        raise InvalidInputError("torch made no ONNX graph of this module. Use --safetensors.")
    proto = program.model_proto
    if not proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise InvalidInputError(
            "The graph of this module takes one number of patients alone: its forward makes a "
            "plain number of it. Write x.shape[0] instead of len(x), or use --safetensors."
        )
    _in_doubles(proto)
    for key, value in _metadata(trained).items():
        proto.metadata_props.add(key=key, value=value)
    return _write(path, proto.SerializeToString())


_EXPORTER = "torch.onnx._internal.exporter"
_NODES = 24  # of Gauss and Legendre: erf to 2e-15
_FAR = 6.0  # beyond it erf is 1 in doubles


def _in_doubles(proto: Any) -> None:
    r"""Write out what runtimes have in single precision alone: erf, in GELU too.

    :math:`\mathrm{erf}(x) = \frac{2x}{\sqrt\pi} \int_0^1 e^{-x^2 t^2} dt`, by quadrature.
    """
    onnx = import_module("onnx")
    helper, numpy_helper = import_module("onnx.helper"), import_module("onnx.numpy_helper")
    graph, nodes = proto.graph, list[Any]()
    points, weights = np.polynomial.legendre.leggauss(_NODES)
    constants = {
        "erf_far": np.array(_FAR),
        "erf_near": np.array(-_FAR),
        "erf_points": (points + 1) / 2,
        "erf_weights": weights[:, None] / math.sqrt(math.pi),
        "erf_last": np.array([-1], dtype=np.int64),
        "gelu_scale": np.array(math.sqrt(0.5)),
        "gelu_half": np.array(0.5),
        "gelu_one": np.array(1.0),
    }

    def erf(x: str, y: str) -> None:
        steps = (
            ("Clip", (x, "erf_near", "erf_far"), "near"),
            ("Unsqueeze", ("near", "erf_last"), "column"),
            ("Mul", ("column", "erf_points"), "scaled"),
            ("Mul", ("scaled", "scaled"), "squared"),
            ("Neg", ("squared",), "negated"),
            ("Exp", ("negated",), "bell"),
            ("MatMul", ("bell", "erf_weights"), "summed"),
            ("Squeeze", ("summed", "erf_last"), "area"),
            ("Mul", ("near", "area"), ""),
        )
        inner = {result for _, _, result in steps}
        for kind, given, result in steps:
            names = [f"{y}.{name}" if name in inner else name for name in given]
            nodes.append(helper.make_node(kind, names, [f"{y}.{result}" if result else y]))

    for node in graph.node:
        exact = all(a.name != "approximate" or a.s == b"none" for a in node.attribute)
        if node.op_type == "Erf":
            erf(node.input[0], node.output[0])
        elif node.op_type == "Gelu" and exact:
            x, y = node.input[0], node.output[0]
            nodes.append(helper.make_node("Mul", [x, "gelu_scale"], [f"{y}.x"]))
            erf(f"{y}.x", f"{y}.erf")
            nodes.append(helper.make_node("Add", [f"{y}.erf", "gelu_one"], [f"{y}.up"]))
            nodes.append(helper.make_node("Mul", [f"{y}.up", x], [f"{y}.twice"]))
            nodes.append(helper.make_node("Mul", [f"{y}.twice", "gelu_half"], [y]))
        else:
            nodes.append(node)
    if len(nodes) == len(graph.node):
        return
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in constants.items())
    onnx.checker.check_model(proto)


@contextmanager
def _without_a_word() -> Iterator[None]:
    """Silence torch's exporter, which warns of its insides and logs what it might have used."""
    log = logging.getLogger(_EXPORTER)
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)


def module_of(trained: Trained) -> "nn.Module":
    """Return a torch module of a trained model, in float64; parameters in the flat order.

    Raises:
      RefusedError: The model is a file's, and that file is not approved here; or of another kind.
    """
    import copy

    import torch
    from torch import nn

    model = trained.model
    if isinstance(model, TorchModel):
        from aggregation.models.torch_model import program_of

        module = copy.deepcopy(program_of(model).module)
    elif isinstance(model, Perceptron):
        width = model.width
        module = nn.Sequential(nn.Linear(model.features, width), nn.ReLU(), nn.Linear(width, 1))
    elif isinstance(model, Logistic | Moments):
        module = nn.Linear(model.features, 1)
    else:
        raise RefusedError(f"A model of the kind {model.kind!r} has no other form.")
    params = trained.params.astype(np.float64)
    flat = torch.from_numpy(model.linear(params) if isinstance(model, Moments) else params)
    nn.utils.vector_to_parameters(flat, module.double().parameters())
    return module


def _metadata(trained: Trained) -> dict[str, str]:
    return {
        "run": trained.run,
        "plan": trained.plan,
        "model": json.dumps(trained.model.spec, sort_keys=True),
        "schema": json.dumps(asdict(trained.schema), sort_keys=True),
        "schema_digest": trained.schema.digest,
    }


def _extra(name: str, path: Path) -> Any:
    """Return a module of the extra; refuse in words before anything is made."""
    if path.exists():
        raise InvalidInputError(
            f"{path} is there already, and models are never overwritten. Choose another file."
        )
    try:
        return import_module(name)
    except ImportError as error:
        raise InvalidInputError(
            f"Writing {path.name} takes the package {name.partition('.')[0]!r}, which is not "
            'installed: pip install "inpatient[export]".'
        ) from error


def _write(path: Path, content: bytes) -> Path:
    try:
        create_durably(path, content)
    except OSError as error:
        raise InvalidInputError(
            f"{path} can't be written: {error.strerror}. Choose another file."
        ) from error
    return path
