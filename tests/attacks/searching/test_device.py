"""Searches on another device than the processor, held to what a machine without one can show.

``meta`` is torch's device of tensors without content: that everything which a step of a search
touches stands on the device that was asked for shows there, as on an accelerator.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from aggregation.data.patients import Patients
from aggregation.models import Inputs, Perceptron, TorchModel
from attacks import make_attack
from attacks.informed import known_others
from attacks.scoring import score
from attacks.searching import classical, search
from attacks.searching.device import checked_device, found_device
from attacks.searching.search import likeliest
from attacks.searching.search_settings import SearchSettings
from attacks.searching.tableak import TabLeak
from attacks.suite import ATTACKS, Effort
from attacks.views import Adversary, GradientView, Knowledge
from privacy.errors import InvalidInputError
from tests.attacks.runs import PRIOR, SCHEMA, cohort, run
from tests.attacks.searching.test_stale import seen, stale

EMBEDDED = TorchModel.of("embedded", Inputs.of(SCHEMA))
FEW = {n: p.take(np.arange(3)) for n, p in cohort(0, size=8).items()}
ALL = {"sampling_size": None, "clip_norm": 1.0, "radius": 4096}


class SteppedError(Exception):
    """A step was taken, all of it on the device."""


def one_step(free: Sequence[Tensor], losses: Callable[[], Tensor], **_: object) -> Tensor:
    assert {tensor.device.type for tensor in free} == {"meta"}
    for tensor in free:
        tensor.requires_grad_(True)
    with FakeTensorMode(allow_non_fake_inputs=True):  # refuses what stands on two devices
        loss = losses()
        slopes = torch.autograd.grad(loss.sum(), list(free))
    assert {tensor.device.type for tensor in (loss, *slopes)} == {"meta"}
    raise SteppedError


def clear(**fields: object) -> GradientView:
    done = run(0, patients=FEW, **(ALL | fields))
    labels = {(0, n): p.outcomes for n, p in FEW.items()}
    return done.view(Adversary("server_plain", Knowledge(labels=labels))).only(hospital="north")


def informed(**fields: object) -> GradientView:
    done = run(0, patients=FEW, **(ALL | fields))
    rest = {"north": FEW["north"].take(np.arange(3) > 0)}
    return done.view(Adversary("informed", Knowledge(patients=rest))).only(hospital="north")


@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("tableak", clear),
        ("tableak", lambda: clear(model=EMBEDDED)),
        ("cascade", lambda: clear(model=EMBEDDED)),
        ("dlg", clear),
        ("ig", lambda: clear(model=EMBEDDED)),
        ("fedavg", lambda: clear(local_steps=3, clip_norm=None, radius=2**24)),
        ("fedavg", lambda: clear(local_steps=2, model=EMBEDDED, clip_norm=None, radius=2**24)),
        ("stale", lambda: stale(seen())),
        ("informed_search", informed),
        ("informed_search", lambda: informed(model=EMBEDDED)),
    ],
)
def test_a_step_of_every_search_stays_on_its_device(
    name: str, view: Callable[[], GradientView], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (search, classical, known_others):
        monkeypatch.setattr(module, "descend", one_step)
    attack = ATTACKS.find(name).make(Effort(2, 3, 0, "meta"))
    with pytest.raises(SteppedError):
        attack.reconstruct(view(), PRIOR)


def test_what_is_made_valid_again_goes_back_to_the_device() -> None:
    asked: list[str] = []

    def forward(x: Tensor, y: Tensor, present: Tensor) -> Tensor:
        asked.extend(t.device.type for t in (x, y, present))
        raise SteppedError

    labels = torch.zeros((2, 3), device="meta")
    with pytest.raises(SteppedError):
        likeliest(
            forward, torch.zeros(5, device="meta"), np.zeros((2, 3, len(SCHEMA))), labels, PRIOR,
            variance=0.0,
        )  # fmt: skip
    assert asked == ["meta"] * 3


def test_both_precisions_find_the_same_people() -> None:
    """float32 is what an accelerator is fastest at."""
    people = {n: p.take(np.arange(4)) for n, p in cohort(3, size=8).items()}
    done = run(3, patients=people, model=Perceptron(len(SCHEMA), 100), sampling_size=None)
    labels = {(0, n): p.outcomes for n, p in people.items()}
    view = done.view(Adversary("server_plain", Knowledge(labels=labels))).only(hospital="north")
    truth: Patients = people["north"]
    single, double = (
        TabLeak(restarts=8, iterations=400, double=precise).reconstruct(view, PRIOR)
        for precise in (False, True)
    )
    rng = np.random.default_rng(0)
    right = [score(found, truth.features, PRIOR, rng).accuracy for found in (single, double)]
    assert min(r.mean() for r in right) > 0.9
    assert abs(right[0].mean() - right[1].mean()) < 0.05


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert (found_device(), checked_device("auto"), checked_device("cpu")) == ("cpu",) * 3
    for name in ("cuda", "cuda:0", "mps", "meta", ""):
        with pytest.raises(InvalidInputError, match="finds here and that has float64: cpu"):
            checked_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert (found_device(), checked_device("auto")) == ("cuda",) * 2
    assert checked_device("cuda:1") == "cuda:1"
    with pytest.raises(InvalidInputError, match="cpu, cuda, cuda:0, cuda:1"):
        checked_device("cuda:2")


def test_every_search_of_the_registry_takes_a_device() -> None:
    for name in ("tableak", "dlg", "idlg", "ig", "fedavg", "stale", "informed_search"):
        made = make_attack(name, restarts=2, iterations=3, seed=5, device="cuda:1")
        assert isinstance(made, SearchSettings)
        assert (made.restarts, made.iterations, made.seed, made.device) == (2, 3, 5, "cuda:1")
        assert getattr(make_attack(name), "device", None) == "cpu"


@pytest.mark.parametrize("wrong", [{"restarts": 0}, {"iterations": 0}, {"rate": 0.0}])
def test_an_effort_that_is_none_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        TabLeak(**wrong)  # type: ignore[arg-type]
