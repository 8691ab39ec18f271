"""A row of a torch model: its gradient is right, and a function of its record and slot alone."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from opacus.grad_sample import GradSampleModule
from torch.func import functional_call, grad

from aggregation.data.patients import SLOTS, Patients
from aggregation.models import Inputs, Perceptron, TorchModel
from aggregation.models.torch_model import program_of
from aggregation.models.torch_program import Program, packed
from tests.aggregation.models.made import ATTENTION, INPUTS, NORMED, PERCEPTRON, made, written

SHIPPED = ["deep", "embedded", "transformer"]
WIDTHS = [17, 33, 64, 257]


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def patients(rng: np.random.Generator, count: int, features: int = INPUTS.features) -> Patients:
    """Patients whose ids, and so slots, are any."""
    ids = np.sort(rng.permutation(50 * count)[:count]).astype(np.int64)
    return Patients(rng.normal(size=(count, features)), rng.integers(0, 2, count), ids)


def drawn(model: TorchModel, rng: np.random.Generator) -> np.ndarray:
    return model.initial(rng) + 0.1 * rng.normal(size=model.dim)


def by_name(model: TorchModel, params: np.ndarray) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(part) for name, part in model.named(params).items()}


@pytest.mark.parametrize("name", SHIPPED)
def test_gradients_equal_those_of_torch_func_one_record_at_a_time(name: str) -> None:
    model, rng = TorchModel.of(name, INPUTS), np.random.default_rng(0)
    params, group = drawn(model, rng), patients(rng, 40)
    ours = model.per_patient_gradients(params, group.features, group.outcomes, slots=group.slots)
    module = program_of(model).module

    def loss(named: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        score = functional_call(module, named, (x[None],)).squeeze()
        found: torch.Tensor = torch.nn.functional.softplus(score) - y * score  # no loss of ours
        return found

    assert np.abs(ours).max() > 0.1
    for row, x, y in zip(ours, group.features, group.outcomes, strict=True):
        found = grad(loss)(by_name(model, params), torch.tensor(x), torch.tensor(float(y)))
        flat = torch.cat([part.reshape(-1) for part in found.values()]).numpy()
        np.testing.assert_allclose(row, flat, atol=1e-10, rtol=0)


def opacus(model: TorchModel, params: np.ndarray, group: Patients) -> np.ndarray:
    module = program_of(model).module
    with torch.no_grad():
        for target, part in zip(module.parameters(), model.named(params).values(), strict=True):
            target.copy_(torch.tensor(part))
    hooked = GradSampleModule(module, loss_reduction="sum")
    with warnings.catch_warnings():
        # Opacus registers full backward hooks on inputs that need no gradient; torch warns of it.
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        scores = hooked(torch.tensor(group.features)).squeeze(-1)
        torch.nn.functional.binary_cross_entropy_with_logits(
            scores, torch.tensor(group.outcomes, dtype=torch.float64), reduction="sum"
        ).backward()
    rows = [p.grad_sample.reshape(len(group), -1) for p in hooked.parameters()]
    hooked.to_standard_module()
    return torch.cat(rows, dim=1).numpy()


@pytest.mark.parametrize("name", ["deep", "embedded"])
def test_gradients_equal_those_of_opacus(name: str) -> None:
    model, rng = TorchModel.of(name, INPUTS, seed=5), np.random.default_rng(1)
    params, group = drawn(model, rng), patients(rng, 40)
    ours = model.per_patient_gradients(params, group.features, group.outcomes, slots=group.slots)
    np.testing.assert_allclose(ours, opacus(model, params, group), atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", SHIPPED)
def test_scores_losses_and_residuals_are_those_of_the_module(name: str) -> None:
    model, rng = TorchModel.of(name, INPUTS), np.random.default_rng(2)
    params, group = drawn(model, rng), patients(rng, 80)
    x, y, slots = group.features, group.outcomes, group.slots
    module = program_of(model).module
    scores = functional_call(module, by_name(model, params), (torch.tensor(x),)).reshape(-1)
    scores = scores.detach().numpy()
    np.testing.assert_allclose(model.scores(params, x, slots=slots), scores, atol=1e-12)
    losses = np.logaddexp(0, scores) - y * scores
    np.testing.assert_allclose(model.losses(params, x, y, slots=slots), losses, atol=1e-12)
    rows, residuals = model.gradients_and_residuals(params, x, y, slots=slots, offset=0.7)
    np.testing.assert_allclose(residuals, 1 / (1 + np.exp(-scores - 0.7)) - y, atol=1e-12)
    plain = model.per_patient_gradients(params, x, y, slots=slots)
    before = 1 / (1 + np.exp(-scores)) - y
    np.testing.assert_allclose(rows, plain * (residuals / before)[:, None], atol=1e-10)


def check_rows_alone(model: TorchModel, seed: int) -> None:
    """Others added, removed, reordered, replaced by anything: no bit of a row moves."""
    rng = np.random.default_rng(seed)
    params, group = drawn(model, rng), patients(rng, 150)

    def rows(who: Patients) -> np.ndarray:
        gradients = model.per_patient_gradients(params, who.features, who.outcomes, slots=who.slots)
        scores = model.scores(params, who.features, slots=who.slots)
        losses = model.losses(params, who.features, who.outcomes, slots=who.slots)
        return np.column_stack([gradients, scores, losses])

    whole = rows(group)
    assert np.isfinite(whole).all() and np.abs(whole).max() > 0
    for kept in (
        np.arange(1, 150),
        np.sort(rng.permutation(150)[:37]),
        rng.permutation(150),
        [149],
    ):
        assert rows(group.take(np.array(kept))).tobytes() == whole[kept].tobytes()
    for value in (0.0, 1e30, -1e200, np.nan, np.inf):
        own = rng.random(150) < 0.5
        x = np.where(own[:, None], group.features, value)
        beside = model.per_patient_gradients(params, x, group.outcomes, slots=group.slots)
        assert beside[own].tobytes() == whole[own, :-2].tobytes()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_row_of_a_shipped_model_is_its_own_to_the_last_bit(name: str, threads: int) -> None:
    check_rows_alone(TorchModel.of(name, INPUTS), threads)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("body", [PERCEPTRON, NORMED], ids=["relu", "normed"])
def test_a_row_at_odd_widths_is_its_own_to_the_last_bit(
    body: str, width: int, threads: int, tmp_path: Path
) -> None:
    check_rows_alone(made(tmp_path, body, width=width), threads)


@pytest.mark.parametrize("width", [7, 17])
def test_a_row_of_attention_is_its_own_to_the_last_bit(
    width: int, threads: int, tmp_path: Path
) -> None:
    check_rows_alone(made(tmp_path, ATTENTION, width=width), threads)


def test_a_patients_slot_follows_from_the_id_alone_and_blocks_are_new_and_aligned() -> None:
    seen: list[torch.Tensor] = []

    class Spy(Program):
        def _by_block(self, params, x, y, slots, compute, width):  # type: ignore[no-untyped-def]
            def told(_: object, bx: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
                assert bx.data_ptr() % 64 == 0 and by.data_ptr() % 64 == 0
                assert bx.shape == (SLOTS, 2) and bx.is_contiguous()
                seen.append(bx)
                places = torch.arange(float(SLOTS)).double()
                return torch.stack([places, bx[:, 0], by], dim=1)

            return super()._by_block(params, x, y, slots, told, 3)

    program, rng = (
        Spy(torch.nn.Linear(1, 2, bias=False).double(), np.zeros(2)),
        np.random.default_rng(0),
    )
    group = patients(rng, 90, 2)
    for who in (group, group.take(np.arange(1, 90)), group.take(rng.permutation(90)[:11])):
        seen.clear()
        rows, last = program.gradients(np.zeros(2), who.features, who.outcomes, who.slots)
        assert rows[:, 0].tolist() == (who.ids % 64).tolist()
        assert (rows[:, 1] == who.features[:, 0]).all() and (last == who.outcomes).all()
        assert len({block.data_ptr() for block in seen}) == len(seen)
        filled = sum(int((block != 0).any(1).sum()) for block in seen)
        assert filled == len(who)  # empty and undrawn slots are zero


@given(st.lists(st.integers(0, SLOTS - 1), max_size=300))
def test_blocks_are_as_few_as_slots_allow_and_hold_everybody_once(slots: list[int]) -> None:
    blocks = list(packed(np.array(slots, dtype=np.int64)))
    assert sorted(int(i) for block in blocks for i in block) == list(range(len(slots)))
    for block in blocks:
        assert len({slots[i] for i in block}) == len(block) > 0
    assert len(blocks) == max((slots.count(s) for s in slots), default=0)


LOGS = """
class Log(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.out = nn.Linear(inputs.features, 1)

    def forward(self, x):
        return self.out(torch.log(x.abs()))


def make(inputs):
    return Log(inputs)
"""


def test_a_row_that_is_not_finite_is_zero_and_its_neighbours_are_not(tmp_path: Path) -> None:
    model = made(tmp_path, LOGS)
    rng = np.random.default_rng(0)
    params, group = model.initial(rng), patients(rng, 70)
    x = group.features.copy()
    x[5, 2] = 0.0  # log 0
    rows = model.per_patient_gradients(params, x, group.outcomes, slots=group.slots)
    assert (rows[5] == 0).all() and (np.abs(np.delete(rows, 5, axis=0)).max(axis=1) > 0).all()
    assert model.scores(params, x)[5] == 0 and model.losses(params, x, group.outcomes)[5] == 0


def test_no_patients_give_no_rows() -> None:
    model = TorchModel.of("embedded", INPUTS)
    none, y = np.zeros((0, INPUTS.features)), np.zeros(0, dtype=np.int64)
    assert model.per_patient_gradients(np.zeros(model.dim), none, y).shape == (0, model.dim)
    assert model.scores(np.zeros(model.dim), none).shape == (0,)


SQUARED = """
class Squared(nn.Linear):
    def loss(self, scores, outcomes):
        return (torch.sigmoid(scores) - outcomes) ** 2


def make(inputs):
    return Squared(inputs.features, 1)
"""


def test_a_loss_of_ones_own_is_taken_a_record_at_a_time(tmp_path: Path) -> None:
    model = made(tmp_path, SQUARED)
    rng = np.random.default_rng(0)
    params, group = drawn(model, rng), patients(rng, 30)
    x, y = group.features, group.outcomes
    p = 1 / (1 + np.exp(-(x @ params[:-1] + params[-1])))
    np.testing.assert_allclose(model.losses(params, x, y), (p - y) ** 2, atol=1e-12)
    slope = 2 * (p - y) * p * (1 - p)
    expected = slope[:, None] * np.column_stack([x, np.ones(30)])
    np.testing.assert_allclose(model.per_patient_gradients(params, x, y), expected, atol=1e-12)


def test_the_perceptrons_architecture_gives_the_perceptrons_gradients(tmp_path: Path) -> None:
    inputs = Inputs(18)
    model, ours = made(tmp_path, PERCEPTRON, inputs, width=64), Perceptron(18, 64)
    rng = np.random.default_rng(3)
    params, group = drawn(model, rng), patients(rng, 200, 18)
    assert model.dim == ours.dim
    np.testing.assert_allclose(
        model.per_patient_gradients(params, group.features, group.outcomes, slots=group.slots),
        ours.per_patient_gradients(params, group.features, group.outcomes),
        atol=1e-12,
    )


TOLD = """
def make(inputs):
    told = inputs.groups == ((3, 4), (5, 6, 7)) and inputs.single == (0, 1, 2, 8)
    return nn.Linear(inputs.features, 1 if told else 2)
"""


def test_a_factory_is_told_its_columns(tmp_path: Path) -> None:
    assert TorchModel.of(written(tmp_path, TOLD), INPUTS).dim == 10
