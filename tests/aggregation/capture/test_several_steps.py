"""Several local steps of every optimiser: what the weights at both ends say, and a walk of them."""

from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from aggregation.capture import Adam, Capture, Precision, Sgd, from_weights
from aggregation.data.patients import Patients
from attacks.searching.local_steps import LocalWalk
from tests.aggregation.capture.clients import REACH, Step, exact_sum, module, stored, trained
from tests.aggregation.capture.test_from_weights import MLP, OPTIMIZERS, PATIENTS

STEPS, BATCH = 4, 6
SAME = [PATIENTS.take(np.arange(BATCH))] * STEPS
PASS = [PATIENTS.take(np.arange(BATCH * s, BATCH * s + BATCH)) for s in range(STEPS)]


def descent(*, rate: float, **told: Any) -> Step:
    """PyTorch's own."""
    return lambda p: torch.optim.SGD(p, lr=rate, **told)


def walked(
    batches: list[Patients],
    make: Step,
    optimizer: Sgd | Adam,
    *,
    rate: float,
    precision: Precision = Precision.FLOAT64,
    reduction: Literal["mean", "sum"] = "mean",
    arithmetic: Precision | None = None,
) -> tuple[Capture, NDArray[np.float64]]:
    """A client of PyTorch, captured, and the weights that it began from."""
    first = MLP.initial(np.random.default_rng(4)).astype(np.float32).astype(np.float64)
    net = module(MLP, first, precision)
    before = stored(net, precision)
    trained(net, batches, make, reduction=reduction)
    run = from_weights(
        before, stored(net, precision), model=MLP, learning_rate=rate, batch_size=BATCH,
        steps=len(batches), patients=BATCH if batches[0] is batches[-1] else BATCH * len(batches),
        optimizer=optimizer, reach=REACH, reduction=reduction, arithmetic=arithmetic,
    )  # fmt: skip
    return run, first


def replayed(run: Capture, params: NDArray[np.float64], batches: list[Patients]) -> Any:
    """What the attack's walk sends with the true patients, in units of the parameters."""
    plan, shared = run.public, run.public.sampling_size is None
    people = batches[:1] if shared else batches
    walk = LocalWalk(
        plan.model, torch.tensor(params), None, plan.learning_rate / BATCH, plan.local_steps,
        shared, run.optimizer, float(BATCH),
    )  # fmt: skip
    x = torch.tensor(np.concatenate([p.features for p in people]))[None]
    y = torch.tensor(np.concatenate([p.outcomes for p in people])).double()[None]
    return walk(x, y, torch.ones_like(y))[0].numpy()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("batches", [SAME, PASS], ids=["same", "pass"])
@pytest.mark.parametrize(("make", "optimizer"), OPTIMIZERS)
def test_the_walk_of_an_attack_is_the_client_s(
    make: Step, optimizer: Sgd | Adam, batches: list[Patients], reduction: Literal["mean", "sum"]
) -> None:
    """All that an attack knows (the run, not the client's arguments) gives the same weights."""
    run, first = walked(batches, make, optimizer, rate=0.1, reduction=reduction)
    seen, found = run.update * run.public.step, replayed(run, first, batches)
    assert run.public.local_steps == STEPS
    adam = isinstance(optimizer, Adam)
    # Near 0 an Adam's direction is what rounding makes it, by as much as epsilon is larger.
    allowed = 1e-5 * BATCH if adam else run.error * run.public.step
    assert (np.abs(seen - found) <= allowed).all()
    assert np.abs(seen).max() > 1e3 * np.max(allowed)


@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.BFLOAT16])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_velocities_in_few_bits_lie_within_the_error(
    precision: Precision, nesterov: bool, decay: float
) -> None:
    """Momentum passes a gradient's rounding on, step after step; the error allows for it."""
    optimizer = Sgd(0.9, nesterov=nesterov, weight_decay=decay)
    for rate in (0.1, 0.01, 1e-5):  # at the last the weights' own rounding rules
        make = descent(rate=rate, momentum=0.9, nesterov=nesterov, weight_decay=decay)
        run, first = walked(SAME, make, optimizer, rate=rate, precision=precision)
        net = module(MLP, first, precision)
        params = torch.nn.utils.parameters_to_vector(net.parameters()).detach().double().numpy()
        off = np.abs(run.update * run.public.step - replayed(run, params, SAME))
        assert (off <= run.error * run.public.step).all()


def test_momentum_multiplies_the_arithmetic_s_part_of_the_error() -> None:
    """Where nothing moved, no other part of it is left but the plan's own grid."""
    runs = [
        walked(
            SAME, descent(rate=1e-5, momentum=momentum), Sgd(momentum), rate=1e-5,
            arithmetic=Precision.FLOAT32,
        )[0]
        for momentum in (0.0, 0.5, 0.9)
    ]  # fmt: skip
    still = (runs[0].update == 0) & (runs[1].update == 0) & (runs[2].update == 0)
    assert still.sum() > 10
    plain, half, most = (run.error[still] for run in runs)
    np.testing.assert_allclose(half / plain, 2, rtol=1e-2)
    np.testing.assert_allclose(most / plain, 10, rtol=1e-2)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_at_tiny_rates_descent_tells_the_first_gradient(momentum: float, nesterov: bool) -> None:
    optimizer = Sgd(momentum, nesterov=nesterov)
    gaps = []
    for rate in (1e-4, 1e-6):
        make = descent(rate=rate, momentum=momentum, nesterov=nesterov)
        run, first = walked(SAME, make, optimizer, rate=rate)
        gradient = exact_sum(MLP, first, SAME[0])
        read = run.update * run.public.step / optimizer.gain(STEPS)
        gaps.append(np.abs(read - gradient).max() / np.abs(gradient).max())
    assert gaps[0] < 1e-2 and gaps[1] < 1e-4
    assert gaps[1] == pytest.approx(gaps[0] / 100, rel=0.1)  # it falls as the rate does


def test_the_gain_is_the_sum_of_the_article() -> None:
    """Sums over s of (1 - mu^s) / (1 - mu)."""
    assert Sgd(0.9).gain(1) == 1.0
    assert Sgd(0.9).gain(5) == pytest.approx(sum((1 - 0.9**s) / 0.1 for s in range(1, 6)))
    assert Sgd(0.9, nesterov=True).gain(1) == pytest.approx(1.9)
    assert Sgd().gain(7) == 7.0


def test_at_tiny_rates_adam_tells_the_first_gradient_s_sign() -> None:
    run, first = walked(SAME, lambda p: torch.optim.Adam(p, lr=1e-7), Adam(), rate=1e-7)
    gradient = exact_sum(MLP, first, SAME[0])
    along = run.update * run.public.step / BATCH / STEPS
    loud = np.abs(gradient) > 1e-3
    assert loud.mean() > 0.5
    np.testing.assert_allclose(along[loud], np.sign(gradient[loud]), atol=1e-3)
    assert (np.abs(along[gradient == 0]) < 1e-6).all() and (gradient == 0).any()


def test_one_step_is_undone_and_is_nobody_s_walk() -> None:
    make, optimizer = OPTIMIZERS[4]
    run, first = walked(SAME[:1], make, optimizer, rate=0.1)
    assert run.optimizer == Sgd()
    gap = np.abs(run.update * run.public.step - exact_sum(MLP, first, SAME[0]))
    assert (gap <= run.error * run.public.step).all()
