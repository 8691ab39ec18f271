from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aggregation.capture import Adam, Precision, Sgd, Weights, from_weights
from aggregation.models import Logistic, Perceptron, TorchModel
from aggregation.models.inputs import Inputs
from attacks.views import GradientView, observe, require
from privacy.errors import InvalidInputError, RefusedError
from tests.aggregation.capture.clients import (
    REACH,
    Step,
    capture,
    exact_sum,
    module,
    stored,
    trained,
)
from tests.attacks.runs import SCHEMA, cohort

MLP, LOGISTIC = Perceptron(len(SCHEMA), 20), Logistic(len(SCHEMA))
PATIENTS = cohort(5)["north"]
HALVES = (Precision.FLOAT16, Precision.BFLOAT16)
OPTIMIZERS: tuple[tuple[Step, Sgd | Adam], ...] = (
    (lambda p: torch.optim.SGD(p, lr=0.1), Sgd()),
    (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), Sgd(momentum=0.9)),
    (
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.05),
        Sgd(momentum=0.9, nesterov=True, weight_decay=0.05),
    ),
    (lambda p: torch.optim.Adam(p, lr=0.1), Adam()),
    (lambda p: torch.optim.Adam(p, lr=0.1, eps=1e-3, weight_decay=0.05), Adam(1e-3, 0.05)),
    (lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.05), Adam(weight_decay=0.05,
                                                                     decoupled=True)),
)  # fmt: skip


FORMATS = [p for p in Precision if p is not Precision.TF32]
TRAINED = [
    (precision, *how)
    for precision in FORMATS
    for how in OPTIMIZERS
    if not (precision is Precision.FLOAT16 and isinstance(how[1], Adam))
]


@pytest.mark.parametrize(("precision", "make", "optimizer"), TRAINED)
@pytest.mark.parametrize("model", [LOGISTIC, MLP], ids=["logistic", "mlp"])
def test_the_exact_sum_lies_within_the_error(
    model: Any, precision: Precision, make: Step, optimizer: Sgd | Adam
) -> None:
    for seed in range(3):
        batch = PATIENTS.take(np.random.default_rng(seed).choice(60, 8, replace=False))
        run, params = capture(
            model, batch, precision=precision, seed=seed, make=make, optimizer=optimizer
        )
        gap = np.abs(run.update * run.public.step - exact_sum(model, params, batch))
        assert (gap <= run.error * run.public.step).all()


@given(
    rate=st.floats(1e-4, 10.0),
    size=st.integers(1, 12),
    seed=st.integers(0, 99),
    precision=st.sampled_from([Precision.FLOAT16, Precision.BFLOAT16, Precision.FLOAT32]),
)
def test_at_any_learning_rate(rate: float, size: int, seed: int, precision: Precision) -> None:
    batch = PATIENTS.take(np.random.default_rng(seed).choice(60, size, replace=False))
    run, params = capture(MLP, batch, rate=rate, precision=precision, seed=seed)
    gap = np.abs(run.update * run.public.step - exact_sum(MLP, params, batch))
    assert (gap <= run.error * run.public.step).all()


def test_the_error_is_not_much_larger_than_what_rounding_does() -> None:
    """At small rates the weights' rounding rules, and the bound is met within a tenth."""
    batch = PATIENTS.take(np.arange(8))
    run, params = capture(MLP, batch, rate=1e-3)
    gap = np.abs(run.update * run.public.step - exact_sum(MLP, params, batch))
    assert 0.8 < (gap / (run.error * run.public.step)).max() <= 1


def test_adam_in_float32_tells_signs_and_in_float64_gradients() -> None:
    batch = PATIENTS.take(np.arange(8))
    make, optimizer = OPTIMIZERS[3]
    for precision, most in ((Precision.FLOAT64, 1e-6), (Precision.FLOAT32, np.inf)):
        run, params = capture(MLP, batch, precision=precision, make=make, optimizer=optimizer)
        exact = exact_sum(MLP, params, batch)
        loud = np.abs(exact) > 1e-2
        assert (np.sign(run.update[loud]) == np.sign(exact[loud])).all()
        assert (run.error[loud] * run.public.step).max() <= most * np.abs(exact[loud]).max()
    wide = run.error[loud] * run.public.step > np.abs(exact[loud]) / 2
    assert wide.mean() > 0.5


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_several_steps_give_the_sum_of_velocities(momentum: float) -> None:
    batches = [PATIENTS.take(np.arange(8 * s, 8 * s + 8)) for s in range(3)]
    params = MLP.initial(np.random.default_rng(1)).astype(np.float32).astype(np.float64)
    net = module(MLP, params, Precision.FLOAT32)
    before = stored(net, Precision.FLOAT32)
    trained(net, batches, lambda p: torch.optim.SGD(p, lr=0.05, momentum=momentum))
    run = from_weights(
        before, stored(net, Precision.FLOAT32), model=MLP, learning_rate=0.05, batch_size=8,
        steps=3, patients=24, optimizer=Sgd(momentum), reach=REACH,
    )  # fmt: skip
    here, velocity, total = params, np.zeros(MLP.dim), np.zeros(MLP.dim)
    for batch in batches:
        velocity = momentum * velocity + exact_sum(MLP, here, batch)
        total, here = total + velocity, here - 0.05 / 8 * velocity
    assert (np.abs(run.update * run.public.step - total) <= run.error * run.public.step).all()
    assert run.public.local_steps == 3 and run.public.batch_sizes == (8.0,)


def test_a_run_log_is_observed_with_its_error() -> None:
    run, params = capture(MLP, PATIENTS.take(np.arange(4)))
    view = require(observe(run, "server_plain"), GradientView, "test")
    (gradient,) = view.gradients
    np.testing.assert_array_equal(gradient.integers, run.update)
    np.testing.assert_array_equal(gradient.params, params)
    assert gradient.error is not None
    np.testing.assert_array_equal(gradient.error, run.error)
    assert list(run.events) == ["client"]


def test_tensors_are_told_apart_by_shape_and_a_vector_by_order() -> None:
    first = MLP.initial(np.random.default_rng(0)).astype(np.float32)
    second = (first - np.float32(0.001)).astype(np.float32)
    flat = from_weights(first, second, model=MLP, learning_rate=0.1, batch_size=2)

    def named(vector: np.ndarray) -> dict[str, np.ndarray]:
        cut = [MLP.width * MLP.features, MLP.width, MLP.width]
        w1, b1, w2, b2 = np.split(vector, np.cumsum(cut))
        return {"z": b2, "y": w2[None], "x": b1, "w": w1.reshape(MLP.width, MLP.features)}

    tensors = from_weights(named(first), named(second), model=MLP, learning_rate=0.1, batch_size=2)
    np.testing.assert_array_equal(flat.update, tensors.update)


def test_a_torch_module_s_tensors_are_told_by_name(tmp_path: Any) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import torch\n"
        "def make(inputs):\n"
        "    return torch.nn.Sequential(torch.nn.Linear(inputs.features, 1))\n"
    )
    model = TorchModel.of(f"{file}:make", Inputs(3))
    first = {"0.weight": np.zeros((1, 3), np.float32), "0.bias": np.zeros(1, np.float32)}
    second = {name: value + np.float32(0.5) for name, value in first.items()}
    run = from_weights(first, second, model=model, learning_rate=0.5, batch_size=1)
    np.testing.assert_allclose(run.update * run.public.step, -1, atol=1e-6)
    with pytest.raises(InvalidInputError, match="not the model's"):
        from_weights({"w": first["0.weight"]}, second, model=model, learning_rate=1.0, batch_size=1)


GOOD = np.zeros(LOGISTIC.dim, np.float32)


@pytest.mark.parametrize(
    ("before", "after", "fields", "why"),
    [
        (GOOD, GOOD[:-1], {}, "parameters"),
        (GOOD, GOOD.astype(np.float64), {}, "one format"),
        (GOOD, np.full_like(GOOD, np.nan), {}, "diverged"),
        (GOOD.astype(np.int64), GOOD, {}, "int64"),
        (GOOD, GOOD, {"learning_rate": 0.0}, "learning_rate"),
        (GOOD, GOOD, {"batch_size": 0}, "batch_size"),
        (GOOD, GOOD, {"steps": 2, "patients": 5}, "one pass"),
        (GOOD, np.full_like(GOOD, 1e30), {}, "which file is which"),
        ({"w": GOOD[None, :-1]}, GOOD, {}, "found 0"),
        (Weights({"w": GOOD[None, :-1], "b": GOOD[:1], "c": GOOD[:2]}, Precision.FLOAT32), GOOD, {},
         "3 tensors"),
    ],
)  # fmt: skip
def test_what_can_not_be_read_is_refused_in_words(
    before: Any, after: Any, fields: dict[str, Any], why: str
) -> None:
    told: dict[str, Any] = {"model": LOGISTIC, "learning_rate": 0.1, "batch_size": 2}
    with pytest.raises(InvalidInputError, match=why):
        from_weights(before, after, **(told | fields))


def test_adam_in_float16_is_refused() -> None:
    half = GOOD.astype(np.float16)
    with pytest.raises(RefusedError, match="float16"):
        from_weights(half, half, model=LOGISTIC, learning_rate=0.1, batch_size=1, optimizer=Adam())


@pytest.mark.parametrize("precision", FORMATS)
def test_half_a_spacing_is_what_rounding_moves_at_most(precision: Precision) -> None:
    rng = np.random.default_rng(0)
    exact = np.concatenate([rng.normal(size=500), rng.normal(size=200) * 1e-7, [0.0, 1.0, 2.0]])
    rounded = _rounded(exact, precision)
    assert (np.abs(exact - rounded) <= precision.half_spacing(rounded)).all()
    if precision is not Precision.FLOAT64:
        assert (np.abs(exact - rounded) / precision.half_spacing(rounded)).max() > 0.98


def _rounded(values: Iterable[float], precision: Precision) -> np.ndarray:
    dtype = getattr(torch, precision.value)
    return torch.tensor(values, dtype=torch.float64).to(dtype).double().numpy()
