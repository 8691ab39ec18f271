"""Classifiers of two classes, as Flower's and torch's quickstarts write them, as one logit."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from aggregation.capture import Adam, Capture, Precision, Sgd, Weights, flat, from_weights
from aggregation.capture.recognition import recognised
from aggregation.capture.two_logits import shapes_of
from aggregation.data.patients import Patients
from aggregation.models import Logistic, Perceptron, TorchModel
from aggregation.models.inputs import Inputs
from attacks.exact.closed_form import ClosedForm
from attacks.searching.cascade import Cascade
from attacks.searching.local_steps import LocalWalk
from attacks.searching.tableak import TabLeak
from attacks.views import GradientView, observe, require
from privacy.errors import InvalidInputError, RefusedError
from tests.aggregation.capture.clients import REACH, Net, exact_sum, stored
from tests.aggregation.capture.test_from_weights import TRAINED
from tests.attacks.runs import PRIOR, SCHEMA, cohort

MLP, LOGISTIC = Perceptron(len(SCHEMA), 64), Logistic(len(SCHEMA))
MINE = """
import torch

def make(inputs):
    return torch.nn.Sequential(
        torch.nn.Linear(inputs.features, {width}), torch.nn.{between}(), torch.nn.Linear({width}, 2)
    )
"""


def net_of(model: Net, seed: int, precision: Precision) -> torch.nn.Sequential:
    torch.manual_seed(seed)
    sizes = [model.features, *([model.width] if isinstance(model, Perceptron) else []), 2]
    layers: list[torch.nn.Module] = []
    for several, few in pairwise(sizes):
        layers += [torch.nn.Linear(several, few), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1]).to(getattr(torch, precision.value))


def stepped(net: torch.nn.Sequential, batches: list[Patients], make: Any) -> None:
    """Each batch once, under torch's own cross-entropy."""
    optimizer, dtype = make(net.parameters()), next(net.parameters()).dtype
    for batch in batches:
        optimizer.zero_grad()
        scores = net(torch.tensor(batch.features, dtype=dtype))
        torch.nn.functional.cross_entropy(scores, torch.tensor(batch.outcomes)).backward()
        optimizer.step()


def capture(
    model: Any,
    batches: list[Patients],
    *,
    make: Any = None,
    optimizer: Any = None,
    rate: float = 0.1,
    seed: int = 0,
    precision: Precision = Precision.FLOAT32,
    **told: Any,
) -> tuple[Capture, NDArray[np.float64]]:
    """A client's steps, and the one-logit model that it began from."""
    shape = told.pop("net", model)
    net = net_of(shape, seed, precision)
    before = stored(net, precision)
    stepped(net, batches, make or (lambda p: torch.optim.SGD(p, lr=rate)))
    size = len(batches[0])
    same = batches[0] is batches[-1]
    run = from_weights(
        before, stored(net, precision), model=model, learning_rate=rate, batch_size=size,
        steps=len(batches), patients=size if same else size * len(batches), optimizer=optimizer,
        reach=REACH, **told,
    )  # fmt: skip
    (*head, weights, biases) = before.tensors.values()
    last = [weights[1] - weights[0], biases[1:] - biases[:1]]
    return run, np.concatenate([part.ravel() for part in (*head, *last)])


def drawn(seed: int, size: int = 8) -> Patients:
    people = cohort(seed)["north"]
    return people.take(np.random.default_rng(seed).choice(len(people), size, replace=False))


@pytest.mark.parametrize(("precision", "make", "optimizer"), TRAINED)
@pytest.mark.parametrize("model", [LOGISTIC, MLP], ids=["logistic", "mlp"])
def test_the_one_logit_models_exact_sum_lies_within_the_error(
    model: Any, precision: Precision, make: Any, optimizer: Any
) -> None:
    for seed in range(3):
        run, params = capture(
            model, [drawn(seed)], seed=seed, precision=precision, make=make, optimizer=optimizer
        )
        gap = np.abs(run.update * run.public.step - exact_sum(model, params, drawn(seed)))
        assert (gap <= run.error * run.public.step).all()
        (sent,) = run.messages.select(kind="model")
        np.testing.assert_allclose(np.frombuffer(sent.payload, "<f8"), params, atol=1e-15)


@pytest.mark.parametrize("model", [LOGISTIC, MLP], ids=["logistic", "mlp"])
@pytest.mark.parametrize(("far", "loud"), [(30.0, 1.0), (1e5, 1.0), (1e3, 1e-6)])
def test_rows_that_are_large_and_alike_round_by_their_size(
    model: Any, far: float, loud: float
) -> None:
    """Their difference is an ordinary model; each by itself has few bits left for it."""
    people = drawn(4)
    net = net_of(model, 4, Precision.FLOAT32)
    last = net[-1]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        for parameter in net[0].parameters():
            parameter.mul_(loud)  # hidden units that hardly give anything round no score
        last.weight += far
    before = stored(net, Precision.FLOAT32)
    stepped(net, [people], lambda p: torch.optim.SGD(p, lr=0.1))
    run = from_weights(before, stored(net, Precision.FLOAT32), model=model, learning_rate=0.1,
                       batch_size=8, reach=REACH)  # fmt: skip
    (sent,) = run.messages.select(kind="model")
    params = np.frombuffer(sent.payload, "<f8")
    gap = np.abs(run.update * run.public.step - exact_sum(model, params, people))
    assert (gap <= run.error * run.public.step).all()
    worst = (gap / (run.error * run.public.step)).max()
    assert worst > 1e-3  # and not by miles


@pytest.mark.parametrize("large", [0, 1])
def test_the_row_that_tells_more_is_read(large: int) -> None:
    """A row of large weights is stored coarsely; the other one says the same, finely."""
    net = net_of(MLP, 5, Precision.FLOAT32)
    last = net[-1]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.weight[large] += 2.0**20
    before = stored(net, Precision.FLOAT32)
    *hidden, weights, biases = (tensor.copy() for tensor in before.tensors.values())
    moved = np.float32(2.0**-10)  # what the large row can't show
    weights[1 - large] -= moved
    names = list(before.tensors)
    after = Weights(dict(zip(names, [*hidden, weights, biases], strict=True)), Precision.FLOAT32)
    run = from_weights(before, after, model=MLP, learning_rate=1.0, batch_size=1, reach=0.0)
    last_layer = slice(-65, -1)
    read = run.update[last_layer] * run.public.step
    np.testing.assert_allclose(read, moved if large == 0 else -moved, rtol=1e-3)


@pytest.mark.parametrize("logits", [1, 2])
def test_of_several_steps_the_weights_at_both_ends_count_alike(logits: int) -> None:
    """Nobody captured those in between: the error follows whichever end is larger."""
    rng = np.random.default_rng(8)
    shapes = shapes_of(MLP, logits)
    first = {str(n): rng.normal(size=shape).astype(np.float32) for n, shape in enumerate(shapes)}
    moved = {str(n): rng.normal(size=shape).astype(np.float32) for n, shape in enumerate(shapes)}
    if logits == 2:
        for name in ("2", "3"):
            moved[name][0] = -moved[name][1]
    second = {name: first[name] + moved[name] for name in first}
    told: Any = {"model": MLP, "learning_rate": 1.0, "batch_size": 4, "steps": 3}
    forth, back = from_weights(first, second, **told), from_weights(second, first, **told)
    np.testing.assert_array_equal(forth.update, -back.update)
    np.testing.assert_allclose(forth.error, back.error, rtol=1e-9)


@pytest.mark.parametrize("attack", [ClosedForm(), Cascade(TabLeak(1, 1))])
@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.FLOAT64])
def test_patients_are_read_as_from_one_logit(precision: Precision, attack: Any) -> None:
    read = 0
    for seed in range(5):
        people = drawn(seed)
        run, _ = capture(MLP, [people], seed=seed, precision=precision)
        view = require(observe(run, "server_plain"), GradientView, "test")
        found = attack.reconstruct(view, PRIOR)
        records = found.records[found.certified]
        gaps = np.abs(records[:, None] - people.features[None]).max(axis=2)
        assert (gaps < 1e-9).any(axis=1).all()
        read += int((gaps < 1e-9).any(axis=0).sum())
    assert read >= 35  # of 40


def test_no_certificate_is_false() -> None:
    pool, certified = cohort(31, size=300)["north"], 0
    for seed in range(60):
        rng = np.random.default_rng([19, seed])
        people = pool.take(rng.choice(300, int(rng.integers(1, 10)), replace=False))
        width = int(rng.choice([0, 4, 20, 64]))
        model: Any = Perceptron(len(SCHEMA), width) if width else LOGISTIC
        precision = Precision(rng.choice(["bfloat16", "float32", "float32", "float64"]))
        run, _ = capture(model, [people], rate=10 ** rng.uniform(-3, 0), seed=seed,
                         precision=precision)  # fmt: skip
        if not any(part.any() for part in model.first_layer(run.update)):
            continue
        found = ClosedForm().reconstruct(observe(run, "server_plain"), PRIOR)
        proved = found.records[found.certified]
        gaps = np.abs(proved[:, None] - people.features[None]).max(axis=2)
        assert (gaps < 1e-9).any(axis=1).all(), (seed, precision, width)
        certified += len(proved)
    assert certified > 60


@pytest.mark.parametrize(
    ("make", "optimizer"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1), Sgd()),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True), Sgd(0.9, True)),
        (lambda p: torch.optim.Adam(p, lr=0.1), Adam()),
    ],
)
def test_several_steps_are_walked_with_the_last_layer_twice_as_fast(
    make: Any, optimizer: Any
) -> None:
    people = drawn(2, 5)
    run, params = capture(
        MLP, [people] * 4, precision=Precision.FLOAT64, make=make, optimizer=optimizer
    )
    plan = run.public
    walk = LocalWalk(
        plan.model, torch.tensor(params), None, plan.learning_rate / 5, 4, True, run.optimizer, 5.0
    )
    x, y = torch.tensor(people.features)[None], torch.tensor(people.outcomes).double()[None]
    off = np.abs(walk(x, y, torch.ones_like(y))[0].numpy() - run.update * plan.step)
    allowed = 5e-5 if isinstance(optimizer, Adam) else run.error * plan.step
    assert (off <= allowed).all()


def test_what_is_no_cross_entropy_of_two_logits_is_refused() -> None:
    """Two outputs of binary cross-entropy each: one for the outcome and one for another."""
    net = net_of(MLP, 0, Precision.FLOAT32)
    before = stored(net, Precision.FLOAT32)
    people = drawn(0)
    labels = torch.tensor(np.stack([people.outcomes, people.outcomes], axis=1)).float()
    scores = net(torch.tensor(people.features).float())
    torch.nn.functional.binary_cross_entropy_with_logits(scores, labels).backward()
    torch.optim.SGD(net.parameters(), lr=0.1).step()
    with pytest.raises(InvalidInputError, match="two rows that did not move against each other"):
        from_weights(before, stored(net, Precision.FLOAT32), model=MLP, learning_rate=0.1,
                     batch_size=8, reach=REACH)  # fmt: skip
    with pytest.raises(InvalidInputError, match="numbers of logits"):
        from_weights(before, np.zeros(MLP.dim), model=MLP, learning_rate=0.1, batch_size=8)


def test_weight_decay_over_several_steps_is_refused() -> None:
    decay = Sgd(weight_decay=0.1)
    with pytest.raises(RefusedError, match="weight decay pulls"):
        capture(MLP, [drawn(0)] * 2, optimizer=decay)
    capture(MLP, [drawn(0)], make=lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.1),
            optimizer=decay)  # fmt: skip


def test_a_hidden_layer_of_two_units_is_not_taken_for_two_logits() -> None:
    narrow = Perceptron(len(SCHEMA), 2)
    tensors = {
        "a": np.zeros((2, len(SCHEMA)), np.float32), "b": np.zeros(2, np.float32),
        "c": np.zeros((1, 2), np.float32), "d": np.zeros(1, np.float32),
    }  # fmt: skip
    assert len(flat(narrow, tensors)) == narrow.dim
    wide = {"a": np.zeros((2, len(SCHEMA)), np.float32), "b": np.zeros(2, np.float32)}
    assert len(flat(LOGISTIC, wide)) == 2 * LOGISTIC.dim


@pytest.mark.parametrize("between", ["ReLU", "Tanh"])
def test_a_module_of_two_logits_is_a_model_and_recognised_where_it_is_one(
    tmp_path: Any, between: str
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(MINE.format(width=6, between=between))
    model = TorchModel.of(f"{file}:make", Inputs(len(SCHEMA)))
    people, params = drawn(1), model.initial(np.random.default_rng(0))
    net = torch.nn.Sequential(
        torch.nn.Linear(len(SCHEMA), 6), getattr(torch.nn, between)(), torch.nn.Linear(6, 2)
    ).double()
    torch.nn.utils.vector_to_parameters(torch.tensor(params), net.parameters())
    x, y = torch.tensor(people.features), torch.tensor(people.outcomes)
    scores = net(x)
    losses = torch.nn.functional.cross_entropy(scores, y, reduction="none")
    np.testing.assert_allclose(model.losses(params, people.features, people.outcomes),
                               losses.detach(), atol=1e-12)  # fmt: skip
    np.testing.assert_allclose(model.scores(params, people.features),
                               (scores[:, 1] - scores[:, 0]).detach(), atol=1e-12)  # fmt: skip
    losses.sum().backward()
    whole = np.concatenate([p.grad.numpy().ravel() for p in net.parameters() if p.grad is not None])
    rows = model.per_patient_gradients(params, people.features, people.outcomes)
    np.testing.assert_allclose(rows.sum(axis=0), whole, atol=1e-12)
    assert recognised(model, params) == (Perceptron(len(SCHEMA), 6) if between == "ReLU" else model)


def test_a_row_that_nothing_moves_is_no_logit(tmp_path: Any) -> None:
    """The other row's gradient is one logit's; the module is not, and is not taken for it."""
    file = tmp_path / "mine.py"
    file.write_text(
        "import torch\n"
        "class Half(torch.nn.Module):\n"
        "    def __init__(self, n):\n"
        "        super().__init__()\n"
        "        self.out = torch.nn.Linear(n, 2)\n"
        "    def forward(self, x):\n"
        "        z = self.out(x)\n"
        "        return torch.stack([z[:, 0].detach(), z[:, 1]], dim=1)\n"
        "def make(inputs):\n"
        "    return Half(inputs.features)\n"
    )
    model = TorchModel.of(f"{file}:make", Inputs(len(SCHEMA)))
    assert recognised(model, model.initial(np.random.default_rng(0))) is model


def test_weights_by_name_are_those_of_the_module(tmp_path: Any) -> None:
    """A module that is not recognised is read whole, both rows, and without a certificate."""
    file = tmp_path / "mine.py"
    file.write_text(MINE.format(width=6, between="ReLU"))
    model = TorchModel.of(f"{file}:make", Inputs(len(SCHEMA)))
    net = Perceptron(len(SCHEMA), 6)
    run, _ = capture(model, [drawn(3)] * 2, net=net, optimizer=Sgd(weight_decay=0.1))
    assert len(run.update) == model.dim == net.dim + 7
