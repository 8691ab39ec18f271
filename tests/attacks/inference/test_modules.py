"""Members, attributes, properties and local steps, of torch modules: won and lost."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from aggregation.data.patients import Patients
from aggregation.models import Inputs, TorchModel
from aggregation.noise_kind import NoiseKind
from attacks.inference.attributes import AttributeInference, impute
from attacks.inference.membership import Lira, auc, train_shadows
from attacks.inference.over_rounds import Coins
from attacks.inference.property import property_share
from attacks.inference.strangers import OneRun
from attacks.scoring import score
from attacks.scoring.rates import cluster_bootstrap
from attacks.searching.local_steps import FedAvgInversion, LocalWalk
from attacks.views import observe
from tests.aggregation.models.made import PERCEPTRON, written
from tests.attacks.inference.test_over_rounds import halves, tossed
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
NOISE = {"noise": NoiseKind.LOCAL, "clip_norm": 1.0, "radius": 4096}


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


@pytest.mark.parametrize("name", ["normed", *SHIPPED])
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


@pytest.mark.parametrize("name", SHIPPED)
def test_sums_give_members_and_an_attribute_away_and_noise_hides_both(name: str) -> None:
    model = TorchModel.of(name, INPUTS)
    fields = {"model": model, "sampling_size": None, "rounds": 1, "clip_norm": 1.0, "radius": 4096}
    for noise in ({}, {"noise": NoiseKind.LOCAL, "noise_multiplier": 40.0}):
        done, people, coins = tossed(7, size=20, **fields, **noise)
        told = Coins().estimate(done.view("server_sealed"), people, None, halves(people))
        everybody = run(7, patients=people, **fields, **noise).view("server_sealed")
        men, women = (of_sex(people, level) for level in (1, 0))
        sex = Coins().estimate(everybody, men, women, halves(people))
        for hospital, own in people.items():
            truths = (coins[hospital], SEX.codes(own.features) == 1)
            for (mean, left), truth in zip((told[hospital], sex[hospital]), truths, strict=True):
                if noise:  # a fair coin has a variance of a quarter
                    assert left.mean() > 0.2 and np.abs(mean - 0.5).mean() < 0.2
                else:
                    assert left.max() < 0.05
                    np.testing.assert_array_equal(mean > 0.5, truth)


def of_sex(people: Mapping[str, Patients], level: int) -> dict[str, Patients]:
    changed = {}
    for hospital, own in people.items():
        rows = own.features.copy()
        SEX.write(rows, np.full(len(rows), level, dtype=np.int64))
        changed[hospital] = Patients(rows, own.outcomes)
    return changed


def test_an_overfitted_module_gives_an_attribute_and_members_away_and_noise_hides_both() -> None:
    """Of embeddings: the deep one and the transformer learn this few by heart in no 60 rounds."""
    model, attack = TorchModel.of("embedded", INPUTS), AttributeInference("sex", shadows=32)
    for noise in ({}, {**NOISE, "noise_multiplier": 20.0}):
        gains, ranked = [], []
        for seed in range(4):
            everybody = cohort(seed, size=90)["north"]
            members = np.random.default_rng(seed).permutation(90) < 20
            done = run(
                seed, patients={"north": everybody.take(members)}, model=model, sampling_size=None,
                rounds=10 if noise else 60, learning_rate=3.0, **noise,
            )  # fmt: skip
            seen = observe(done.transcript, "public")
            targets, public = everybody.take(members), everybody.take(~members)
            blank = targets.features.copy()
            blank[:, list(SEX.columns)] = np.pi  # the attack may not look
            asked = Patients(blank, targets.outcomes)
            truth = SEX.codes(targets.features)
            right = attack.infer(seen, asked, public, PRIOR) == truth
            blind = impute(SEX, asked, public).argmax(axis=1) == truth
            gains.append(right.astype(float) - blind)
            outside = np.flatnonzero(~members)
            people = everybody.take(np.concatenate([np.flatnonzero(members), outside[:20]]))
            scores = OneRun().scores(seen, people, everybody.take(outside[20:]))
            ranked.append(auc(scores, np.arange(40) < 20))
        gain = np.concatenate(gains)
        error = gain.std() / np.sqrt(len(gain))
        if noise:
            assert abs(gain.mean()) < 2.5 * error + 0.02
            assert abs(np.mean(ranked) - 0.5) < 0.15
        else:
            assert gain.mean() > 1.645 * error  # one-sided
            assert np.mean(ranked) > 0.55
