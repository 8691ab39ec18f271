import numpy as np
import pytest
import torch

from aggregation.models import Inputs, Logistic, Model, Perceptron, TorchModel
from attacks.searching.surrogate import BatchGradient
from privacy.mechanisms import clip

INPUTS = Inputs(5, ((2, 3),))
MODELS = [
    Logistic(5),
    Perceptron(5, 12),
    *(TorchModel.of(name, INPUTS) for name in ("deep", "embedded", "transformer")),
]


@pytest.mark.parametrize("clip_norm", [None, 0.4])
@pytest.mark.parametrize(
    "model", MODELS, ids=["logistic", "mlp", "deep", "embedded", "transformer"]
)
def test_it_equals_the_models_clipped_gradients(model: Model, clip_norm: float | None) -> None:
    rng = np.random.default_rng(0)
    params = rng.normal(size=model.dim)
    x, y = rng.normal(size=(3, 4, 5)), rng.integers(0, 2, (3, 4))
    present = np.ones((3, 4))
    present[1, 2] = 0
    forward = BatchGradient.at(model, params, clip_norm, torch.float64)
    got = forward(torch.tensor(x), torch.tensor(y).double(), torch.tensor(present))
    for batch in range(3):
        rows = model.per_patient_gradients(params, x[batch], y[batch])
        if clip_norm is not None:
            rows = clip(rows, clip_norm=clip_norm).values
        expected = (rows * present[batch, :, None]).sum(axis=0)
        np.testing.assert_allclose(got[batch].numpy(), expected, atol=1e-10)


@pytest.mark.parametrize("model", [MODELS[1], MODELS[4]], ids=["mlp", "transformer"])
def test_clipping_is_differentiated_through(model: Model) -> None:
    rng = np.random.default_rng(1)
    params, y = rng.normal(size=model.dim), torch.tensor([[1.0]], dtype=torch.float64)
    forward = BatchGradient.at(model, params, 0.1, torch.float64)
    x = torch.tensor(rng.normal(size=(1, 1, 5)), requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: forward(v, y, torch.ones_like(y)), (x,), atol=1e-6)
