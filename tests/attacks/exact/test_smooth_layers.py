r"""Which records certify behind GELU, tanh or LayerNorm: those that stand alone at some unit.

A ReLU unit is off for about half of the patients, so that in a batch many are alone at some unit.
GELU and tanh are off nowhere but in their far ends, where a gradient rounds to no integer step; a
unit behind LayerNorm (whose mean takes part of every unit's gradient) is off nowhere. So behind
them a patient is certified where the batch is that patient alone, and else almost never. The proof
of a certificate is the replay of integers through the model itself, so it needs no ReLU: what is
tried here is that no certificate is false, also where two patients' mean is a valid record.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.func import grad, vmap

from aggregation.data.patients import Patients
from aggregation.models import Model
from attacks.exact import closed_form
from attacks.exact.closed_form import ClosedForm
from attacks.knowledge.replay import integer_rows
from attacks.scoring import score
from attacks.views import Gradient, GradientView, Knowledge, SumPart
from tests.attacks.runs import PRIOR, SCHEMA, cohort, run

PLAN = run().plan
WIDTH = 24
AGE = SCHEMA.names.index("age")

ACTIVATIONS: dict[str, Any] = {
    "relu": torch.relu,
    "gelu": torch.nn.functional.gelu,
    "tanh": torch.tanh,
    "normed relu": lambda h: torch.relu(torch.nn.functional.layer_norm(h, (WIDTH,))),
    "normed gelu": lambda h: torch.nn.functional.gelu(torch.nn.functional.layer_norm(h, (WIDTH,))),
}


@dataclass(frozen=True)
class Smooth(Model):
    """A linear first layer, an activation, and a linear output: what says of a first layer."""

    activation: str
    features: int = len(SCHEMA)
    width: int = WIDTH

    @property
    def dim(self) -> int:
        return self.width * (self.features + 2) + 1

    def initial(self, rng: np.random.Generator) -> NDArray[np.float64]:
        return np.asarray(rng.uniform(-0.3, 0.3, self.dim))

    def _score(self, params: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
        h, f = self.width, self.features
        w1, b1, w2, b2 = torch.split(params, [h * f, h, h, 1])
        found: torch.Tensor = ACTIVATIONS[self.activation](w1.reshape(h, f) @ row + b1) @ w2 + b2[0]
        return found

    def scores(
        self,
        params: NDArray[np.float64],
        features: NDArray[np.float64],
        *,
        slots: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float64]:
        found = vmap(self._score, in_dims=(None, 0))(torch.tensor(params), torch.tensor(features))
        return np.asarray(found.numpy())

    def per_patient_gradients(
        self,
        params: NDArray[np.float64],
        features: NDArray[np.float64],
        outcomes: NDArray[np.int64],
        *,
        slots: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float64]:
        def loss(p: torch.Tensor, row: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.binary_cross_entropy_with_logits(self._score(p, row), y)

        # In float64 a row's last bit may follow its neighbours; far below an integer step of 2^20.
        found = vmap(grad(loss), in_dims=(None, 0, 0))(
            torch.tensor(params), torch.tensor(features), torch.tensor(outcomes.astype(float))
        )
        return np.asarray(found.numpy())

    def first_layer(self, vector: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        cut = self.width * self.features
        flat = vector[: cut + self.width].astype(np.float64)
        return flat[:cut].reshape(self.width, self.features), flat[cut:]

    def outer_weights(self, params: NDArray[np.float64]) -> NDArray[np.float64]:
        return params[-self.width - 1 : -1]


def judged(activation: str, batch: Patients, *, radius: int, seed: int) -> tuple[int, int]:
    """How many records of a batch are certified, and how many of them are no patient of it."""
    plan = dataclasses.replace(PLAN, model=Smooth(activation), clip_norm=1.0, radius=radius)
    params = plan.model.initial(np.random.default_rng(seed))
    total = integer_rows(plan, params, batch.features, batch.outcomes).sum(axis=0)
    gradient = Gradient(0, (SumPart("north", params),), total, 0.0)
    view = GradientView(plan, "server_plain", Knowledge(), (gradient,))
    found = ClosedForm().reconstruct(view, PRIOR)
    scored = score(found, batch.features, PRIOR, np.random.default_rng(0), draws=1)
    return scored.certified, scored.false_certificates


def batches(count: int, size: int) -> list[Patients]:
    pool, rng = cohort(41, size=300)["north"], np.random.default_rng(size)
    return [pool.take(rng.choice(len(pool), size, replace=False)) for _ in range(count)]


def twins(count: int) -> list[Patients]:
    """Two patients alike but for two years of age: the one between them is a valid record."""
    made = []
    for one in batches(count, 1):
        pair = np.vstack([one.features, one.features])
        step = SCHEMA.columns[AGE].step / SCHEMA.columns[AGE].sd
        pair[:, AGE] = np.rint(pair[0, AGE] / step) * step + np.array([-step, step])
        made.append(Patients(pair, np.repeat(one.outcomes, 2)))
    return made


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_a_batch_of_one_is_certified_whatever_the_activation(activation: str) -> None:
    found = [judged(activation, one, radius=2**20, seed=k) for k, one in enumerate(batches(6, 1))]
    assert sum(certified for certified, _ in found) >= 5
    assert sum(false for _, false in found) == 0


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("radius", [2**8, 2**16])
def test_no_certificate_is_false_also_where_a_mean_is_a_valid_record(
    activation: str, radius: int
) -> None:
    cases = [*batches(3, 2), *batches(3, 4), *twins(8)]
    found = [judged(activation, one, radius=radius, seed=k) for k, one in enumerate(cases)]
    assert sum(false for _, false in found) == 0, found


def test_behind_smooth_units_nobody_stands_alone_in_a_batch_of_four() -> None:
    certified = {
        activation: sum(
            judged(activation, one, radius=2**16, seed=k)[0] for k, one in enumerate(batches(6, 4))
        )
        for activation in sorted(ACTIVATIONS)
    }
    assert certified["relu"] >= 12  # of 24
    assert {name: n for name, n in certified.items() if name != "relu"} == dict.fromkeys(
        ("gelu", "normed gelu", "normed relu", "tanh"), 0
    )


def test_these_tests_would_see_a_false_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a judge who certifies what merely looks like a patient, the twins' mean is certified."""
    monkeypatch.setattr(closed_form, "_bits", lambda *_: closed_form.BITS)
    found = [judged("gelu", one, radius=2**8, seed=k) for k, one in enumerate(twins(12))]
    assert sum(false for _, false in found) > 0
