"""The promises of ``aggregation.models``."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from opacus.grad_sample import GradSampleModule
from torch.func import grad, vmap

from aggregation.models import HiddenLayer, LinearInput, Logistic, Model, Perceptron, make_model
from aggregation.models.differentiable import differentiable
from privacy.errors import InvalidInputError

MODELS = [Logistic(5), Perceptron(5, 7)]


def opacus_gradients(
    model: Model, params: np.ndarray, x: np.ndarray, y: np.ndarray
) -> np.ndarray:  # [patients, dim]
    """Per-sample gradients by Opacus's hooks on the same network: the independent road."""
    if not isinstance(model, HiddenLayer):
        network = torch.nn.Sequential(torch.nn.Linear(model.features, 1))
    else:
        network = torch.nn.Sequential(
            torch.nn.Linear(model.features, model.width),
            torch.nn.ReLU(),
            torch.nn.Linear(model.width, 1),
        )
    network = network.double()
    with torch.no_grad():
        parts = differentiable(model).split(torch.tensor(params))
        for target, part in zip(network.parameters(), parts, strict=True):
            target.copy_(part)
    hooked = GradSampleModule(network, loss_reduction="sum")
    with warnings.catch_warnings():
        # Opacus registers full backward hooks on inputs that need no gradient; torch warns of it.
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            hooked(torch.tensor(x)).squeeze(-1),
            torch.tensor(y, dtype=torch.float64),
            reduction="sum",
        )
        loss.backward()
    rows = [p.grad_sample.reshape(len(y), -1) for p in hooked.parameters()]
    return torch.cat(rows, dim=1).numpy()


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.kind)
def test_per_patient_gradients_equal_opacus(model: Model) -> None:
    rng = np.random.default_rng(0)
    params = rng.normal(size=model.dim)
    x, y = rng.normal(size=(40, 5)), rng.integers(0, 2, 40)
    ours = model.per_patient_gradients(params, x, y)
    assert np.abs(ours).max() > 0.1
    np.testing.assert_allclose(ours, opacus_gradients(model, params, x, y), atol=1e-10, rtol=0)


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.kind)
def test_gradients_equal_finite_differences(model: Model) -> None:
    rng = np.random.default_rng(1)
    params, h, loss = rng.normal(size=model.dim), 1e-6, differentiable(model).loss
    x, y = torch.tensor(rng.normal(size=(1, 5))), torch.tensor([1.0], dtype=torch.float64)
    slopes = [
        float(loss(torch.tensor(params + h * e), x, y) - loss(torch.tensor(params - h * e), x, y))
        / (2 * h)
        for e in np.eye(model.dim)
    ]
    ours = model.per_patient_gradients(params, x.numpy(), np.array([1]))
    np.testing.assert_allclose(ours[0], slopes, atol=1e-7)


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.kind)
def test_per_patient_gradients_equal_automatic_differentiation(model: Model) -> None:
    rng = np.random.default_rng(2)
    params = rng.normal(size=model.dim)
    x, y = rng.normal(size=(40, 5)), rng.integers(0, 2, 40)
    rows = vmap(grad(differentiable(model).loss), in_dims=(None, 0, 0))(
        torch.tensor(params), torch.tensor(x), torch.tensor(y).double()
    )
    ours = model.per_patient_gradients(params, x, y)
    np.testing.assert_allclose(ours, rows.numpy(), atol=1e-10, rtol=0)


WIDE = [*MODELS, Perceptron(18, 64), Logistic(18)]


@given(st.integers(1, 300), st.integers(0, 2**32 - 1), st.sampled_from(WIDE))
def test_a_row_depends_on_its_patient_alone_to_the_last_bit(
    patients: int, seed: int, model: Model
) -> None:
    rng = np.random.default_rng(seed)
    params = rng.normal(size=model.dim)
    x, y = rng.normal(size=(patients, model.features)), rng.integers(0, 2, patients)
    together = model.per_patient_gradients(params, x, y)
    assert together.dtype == np.float64 and together.shape == (patients, model.dim)
    some = np.sort(rng.permutation(patients)[: rng.integers(1, patients + 1)])
    fewer = model.per_patient_gradients(params, x[some], y[some])
    assert fewer.tobytes() == together[some].tobytes()
    for found, fewer_of in (
        (model.scores(params, x), model.scores(params, x[some])),
        (model.losses(params, x, y), model.losses(params, x[some], y[some])),
    ):
        assert fewer_of.tobytes() == found[some].tobytes()
    strided = model.per_patient_gradients(params, np.asfortranarray(x), y)
    assert strided.tobytes() == together.tobytes()


def test_a_large_batch_is_cut_into_blocks_unnoticed(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rng = Perceptron(5, 7), np.random.default_rng(4)
    params, x, y = rng.normal(size=model.dim), rng.normal(size=(50, 5)), rng.integers(0, 2, 50)
    whole = model.per_patient_gradients(params, x, y)
    monkeypatch.setattr("aggregation.models.perceptron._BLOCK", 100)
    assert model.per_patient_gradients(params, x, y).tobytes() == whole.tobytes()


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.kind)
def test_no_patients_give_no_rows(model: Model) -> None:
    none = model.per_patient_gradients(
        np.zeros(model.dim), np.zeros((0, 5)), np.zeros(0, dtype=np.int64)
    )
    assert none.shape == (0, model.dim)


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.kind)
def test_scores_and_losses_are_those_in_torch(model: Model) -> None:
    rng = np.random.default_rng(5)
    params, x, y = rng.normal(size=model.dim), rng.normal(size=(40, 5)), rng.integers(0, 2, 40)
    view, w, rows = differentiable(model), torch.tensor(params), torch.tensor(x)
    np.testing.assert_allclose(model.scores(params, x), view.logits(w, rows), atol=1e-12)
    losses = view.loss(w, rows, torch.tensor(y).double())
    np.testing.assert_allclose(model.losses(params, x, y), losses, atol=1e-12)
    moved = model.scores(model.shifted(params, 0.7), x)
    np.testing.assert_allclose(moved, model.scores(params, x) + 0.7, atol=1e-12)


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.kind)
def test_a_model_is_rebuilt_from_what_it_says_and_plans_need_no_torch(model: Model) -> None:
    assert Model.from_spec(model.spec) == model
    assert isinstance(model, LinearInput)
    vector = np.arange(model.dim, dtype=np.int64)
    weights, biases = model.first_layer(vector)
    assert weights.shape == (len(biases), 5) and biases[0] == vector[weights.size]
    code = (
        "import sys, aggregation.plan, aggregation.federation, attacks.suite\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_seed_names_the_first_model() -> None:
    model = Perceptron(5, 7)
    first = model.initial(np.random.default_rng(3))
    assert np.array_equal(first, model.initial(np.random.default_rng(3)))
    assert not np.array_equal(first, model.initial(np.random.default_rng(4)))
    assert model.dim == len(first) == 5 * 7 + 7 + 7 + 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("forest", 5, 0), "Unknown model 'forest'"),
        (("logistic", 5, 3), "width=3 must be 0"),
        (("mlp", 5, 0), "width=0"),
        (("logistic", 0, 0), "features=0"),
    ],
)
def test_what_is_no_model_is_refused(arguments: tuple[str, int, int], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        make_model(*arguments)
