"""Clients as others write them: plain PyTorch, in few bits, on synthetic patients."""

import json
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aggregation.capture import Capture, Optimizer, Precision, Weights, from_weights
from aggregation.data.patients import Patients
from aggregation.models import Logistic, Perceptron
from tests.attacks.runs import SCHEMA

__all__ = ["REACH", "capture", "exact_sum", "module", "safetensors", "stored", "trained"]

REACH = [
    max(abs(c.low - c.mean), abs(c.high - c.mean)) / c.sd if not c.binary and not c.group else 1.0
    for c in SCHEMA.columns
]
_TORCH = {
    Precision.FLOAT16: torch.float16,
    Precision.BFLOAT16: torch.bfloat16,
    Precision.FLOAT32: torch.float32,
    Precision.FLOAT64: torch.float64,
}

Step = Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer]
Net = Logistic | Perceptron


def module(model: Net, params: NDArray[np.float64], precision: Precision) -> torch.nn.Sequential:
    """The model as a torch module with these parameters, rounded to its format."""
    layers: list[torch.nn.Module] = [torch.nn.Linear(model.features, model.width or 1)]
    if isinstance(model, Perceptron):
        layers += [torch.nn.ReLU(), torch.nn.Linear(model.width, 1)]
    net = torch.nn.Sequential(*layers).to(_TORCH[precision])
    torch.nn.utils.vector_to_parameters(
        torch.tensor(params, dtype=_TORCH[precision]), net.parameters()
    )
    return net


def stored(net: torch.nn.Module, precision: Precision) -> Weights:
    """What a client saves; in arrays of float64, which hold every format."""
    return Weights(
        {name: p.detach().double().numpy().copy() for name, p in net.named_parameters()}, precision
    )


def trained(
    net: torch.nn.Sequential, batches: Iterable[Patients], make: Step, *, reduction: str = "mean"
) -> None:
    """Train in place, one step a batch, on the mean or summed loss."""
    parameters = list(net.parameters())
    optimizer, dtype = make(parameters), parameters[0].dtype
    for batch in batches:
        optimizer.zero_grad()
        scores = net(torch.tensor(batch.features, dtype=dtype)).squeeze(-1)
        torch.nn.functional.binary_cross_entropy_with_logits(
            scores, torch.tensor(batch.outcomes, dtype=dtype), reduction=reduction
        ).backward()
        optimizer.step()


def capture(
    model: Net,
    batch: Patients,
    *,
    rate: float = 0.1,
    precision: Precision = Precision.FLOAT32,
    seed: int = 0,
    make: Step | None = None,
    optimizer: Optimizer | None = None,
    scale: float = 1.0,
    **fields: Any,
) -> tuple[Capture, NDArray[np.float64]]:
    """One step of a client, captured, and the weights that it began from."""
    first = (
        scale * Perceptron.initial(model, np.random.default_rng(seed))
        if isinstance(model, Perceptron)
        else np.random.default_rng(seed).normal(0, 0.3, model.dim)
    )
    net = module(model, first, precision)
    before = stored(net, precision)
    trained(net, [batch], make or (lambda p: torch.optim.SGD(p, lr=rate)))
    told: dict[str, Any] = {"batch_size": len(batch), "reach": REACH, "optimizer": optimizer}
    run = from_weights(
        before, stored(net, precision), model=model, learning_rate=rate, **(told | fields)
    )
    return run, np.concatenate([tensor.ravel() for tensor in before.tensors.values()])


def exact_sum(model: Net, params: NDArray[np.float64], batch: Patients) -> NDArray[np.float64]:
    """The sum of the batch's gradients, in float64."""
    return np.asarray(
        model.per_patient_gradients(params, batch.features, batch.outcomes).sum(axis=0)
    )


def safetensors(tensors: Mapping[str, NDArray[Any]], kind: str) -> bytes:
    """The bytes of a file, as the format's page has them; names sorted, as the library does."""
    header, data = {}, b""
    for name in sorted(tensors):
        raw = tensors[name].tobytes()
        place = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": kind, "shape": list(tensors[name].shape), "data_offsets": place}
        data += raw
    told = json.dumps(header).encode()
    return struct.pack("<Q", len(told)) + told + data
