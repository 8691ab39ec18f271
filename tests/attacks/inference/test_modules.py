"""Members, properties and walks of local steps, of torch modules: won and lost."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from aggregation.models import Inputs, TorchModel
from attacks.inference.membership import Lira, auc, train_shadows
from attacks.inference.property import property_share
from attacks.scoring import score
from attacks.scoring.rates import cluster_bootstrap
from attacks.searching.local_steps import FedAvgInversion, LocalWalk
from attacks.views import observe
from tests.aggregation.models.made import PERCEPTRON, written
from tests.attacks.inference.test_property import PUBLIC, SEX, SHARES, uneven
from tests.attacks.runs import PRIOR, SCHEMA, cohort, run

SHIPPED = ("deep", "embedded", "transformer")
INPUTS = Inputs.of(SCHEMA)
NORMED = """
def make(inputs):
    return nn.Sequential(
        nn.Linear(inputs.features, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 1)
    )
"""
NOISE = {"noise": "local", "clip_norm": 1.0, "radius": 4096}


@pytest.fixture(scope="module")
def normed(tmp_path_factory: pytest.TempPathFactory) -> TorchModel:
    """A small module of a file: LayerNorm and GELU."""
    return TorchModel.of(written(tmp_path_factory.mktemp("own"), NORMED), INPUTS)


def model_of(name: str, normed: TorchModel) -> TorchModel:
    return normed if name == "normed" else TorchModel.of(name, INPUTS)


@pytest.mark.parametrize(("name", "clip_norm"), [("normed", None), ("transformer", 0.5)])
def test_the_walk_is_what_the_hospital_sends(
    name: str, clip_norm: float | None, normed: TorchModel
) -> None:
    people = {n: p.take(np.arange(4)) for n, p in cohort(3).items()}
    fields: dict[str, Any] = {"clip_norm": clip_norm, "radius": 2**20 if clip_norm else 2**24}
    done = run(
        3, patients=people, model=model_of(name, normed), sampling_size=None, local_steps=3,
        **fields,
    )  # fmt: skip
    for g in done.view("server_plain").gradients:
        own = people[g.hospitals[0]]
        walk = LocalWalk(
            done.plan.model, torch.tensor(g.params), clip_norm, done.plan.learning_rate / 4, 3, True
        )
        x = torch.tensor(own.features)[None].requires_grad_(True)
        y = torch.tensor(own.outcomes, dtype=torch.float64)[None]
        update = walk(x, y, torch.ones_like(y))
        off = update[0].detach().numpy() / done.plan.step - g.integers
        assert np.abs(off).max() < 3 * 5 + 1
        (moved,) = torch.autograd.grad(update.square().sum(), x)  # through all three steps
        small = torch.zeros_like(x)
        small[0, 0, 0] = 1e-5
        with torch.no_grad():
            ends = [walk(x + s * small, y, torch.ones_like(y)).square().sum() for s in (1, -1)]
        assert float(moved[0, 0, 0]) == pytest.approx(float(ends[0] - ends[1]) / 2e-5, rel=1e-4)


def test_walks_of_small_hospitals_are_unrolled_and_noise_hides_them(normed: TorchModel) -> None:
    people = {n: p.take(np.arange(2)) for n, p in cohort(5).items()}
    advantage = {}
    for label, noise in (("clear", {}), ("noised", {**NOISE, "noise_multiplier": 20.0})):
        done = run(
            5, patients=people, model=normed, sampling_size=None, local_steps=2, **noise
        )  # fmt: skip
        found = []
        for name, own in people.items():
            view = done.view("server_plain").only(hospital=name)
            made = FedAvgInversion(restarts=4, iterations=150).reconstruct(view, PRIOR)
            assert not made.certified.any()
            scored = score(made, own.features, PRIOR, np.random.default_rng(0))
            found.append(scored.advantage.mean())
        advantage[label] = float(np.mean(found))
    assert advantage["clear"] > 0.1 > abs(advantage["noised"])


def judge(seed: int, model: TorchModel, **fields: Any) -> float:
    rng = np.random.default_rng(seed)
    everybody = cohort(seed)["north"]
    members = rng.permutation(len(everybody)) < len(everybody) // 2
    settings: dict[str, Any] = {"sampling_size": None, "rounds": 60, "learning_rate": 3.0}
    done = run(seed, patients={"north": everybody.take(members)}, model=model, **settings | fields)
    return auc(Lira(shadows=16).scores(observe(done.transcript, "public"), everybody), members)


def test_members_of_an_overfitted_module_are_told_and_noise_hides_them(tmp_path: Path) -> None:
    """Of the perceptron's architecture; behind LayerNorm as many rounds don't overfit."""
    model = TorchModel.of(written(tmp_path, PERCEPTRON, width=24), INPUTS)
    clear = np.array([judge(seed, model) for seed in range(3)])
    low, _ = cluster_bootstrap(clear, np.arange(3), np.random.default_rng(0))
    noised = [judge(seed, model, **NOISE, noise_multiplier=20.0, rounds=10) for seed in range(3)]
    assert low > 0.55
    assert abs(np.mean(noised) - 0.5) < 0.15


@pytest.mark.parametrize("name", SHIPPED)
def test_shadows_of_shipped_modules_follow_the_plan(name: str) -> None:
    people = {"north": cohort(1)["north"].take(np.arange(6))}
    done = run(
        1, patients=people, model=TorchModel.of(name, INPUTS), sampling_size=None, rounds=3,
        average_last=2,
    )  # fmt: skip
    members = np.ones((1, 6), dtype=np.bool_)
    (shadow,) = train_shadows(done.plan, people["north"], members, np.random.default_rng(0))
    np.testing.assert_allclose(shadow, done.params, atol=1e-5)


@pytest.mark.parametrize("name", ["normed", "transformer"])
def test_a_sum_gives_the_share_of_men_away_and_noise_drowns_it(
    name: str, normed: TorchModel
) -> None:
    model, found = model_of(name, normed), {}
    for label, noise in (("clear", {}), ("noised", {**NOISE, "noise_multiplier": 200.0})):
        answers = []
        for seed in (601, 602):
            done = run(seed, patients=uneven(seed), sampling_size=None, model=model, **noise)
            shares = property_share(
                done.view("server_plain"), SEX, 1, PUBLIC, np.random.default_rng(seed), shadows=200
            )
            answers += [(s.estimate, s.std, SHARES[s.hospital]) for s in shares]
        found[label] = np.array(answers).T
    estimate, std, truth = found["clear"]
    # Eight answers in the order of the truth: a blind one's correlation passes .7 once in 40.
    assert np.corrcoef(estimate, truth)[0, 1] > 0.7
    assert (np.abs(estimate - truth) < 4 * std).all()
    assert found["noised"][1].mean() > std.mean()
    assert np.abs(found["noised"][0] - 0.5).mean() < 0.15
