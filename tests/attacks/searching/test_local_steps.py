from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from aggregation.capture import Adam, Precision, Sgd, from_weights
from aggregation.models import Logistic, Perceptron
from aggregation.noise_kind import NoiseKind
from attacks.scoring import score
from attacks.searching.local_steps import FedAvgInversion, LocalWalk
from attacks.views import Adversary, Knowledge, observe
from privacy.errors import RefusedError
from tests.aggregation.capture.clients import REACH, module, stored, trained
from tests.attacks.runs import PRIOR, SCHEMA, cohort, run

SMALL = {name: p.take(np.arange(5)) for name, p in cohort(2).items()}


@pytest.mark.parametrize("clip_norm", [None, 0.5])
@pytest.mark.parametrize("sampled", [False, True])
def test_the_walk_is_what_the_hospital_sends(clip_norm: float | None, sampled: bool) -> None:
    done = run(
        patients=SMALL, sampling_size=3 if sampled else None, local_steps=3, clip_norm=clip_norm,
        radius=2**24,
    )  # fmt: skip
    for i, g in enumerate(done.view("server_plain").gradients):
        batches = done.drawn[g.hospitals[0]][0]
        if sampled:  # pad every step's batch to the largest
            most = max(1, *(len(b) for b in batches))
            x = np.zeros((3 * most, len(SCHEMA)))
            y, present = np.zeros(3 * most), np.zeros(3 * most)
            for s, b in enumerate(batches):
                rows = slice(s * most, s * most + len(b))
                x[rows], y[rows], present[rows] = b.features, b.outcomes, 1
        else:
            x, y, present = batches[0].features, batches[0].outcomes, np.ones(5)
        walk = LocalWalk(
            done.plan.model, torch.tensor(g.params), clip_norm,
            done.plan.learning_rate / done.plan.batch_sizes[i], 3, not sampled,
        )  # fmt: skip
        update = walk(
            torch.tensor(x)[None], torch.tensor(y)[None].double(), torch.tensor(present)[None]
        )
        off = update[0].numpy() / done.plan.step - g.integers
        assert np.abs(off).max() < 3 * 5 + 1


def test_small_hospitals_are_recovered_above_guessing() -> None:
    done = run(patients=SMALL, sampling_size=None, local_steps=3)
    attack = FedAvgInversion(restarts=4, iterations=200)
    advantage = []
    for name, people in SMALL.items():
        found = attack.reconstruct(done.view("server_plain").only(hospital=name), PRIOR)
        assert not found.certified.any()
        scored = score(found, people.features, PRIOR, np.random.default_rng(0))
        advantage.append(scored.advantage.mean())
    assert np.mean(advantage) > 0.1


def test_where_steps_draw_patients_anew_as_many_are_looked_for_as_all_steps_hold() -> None:
    quick = FedAvgInversion(restarts=1, iterations=2)
    for size, expected in ((None, 5), (2, 2 * 3)):
        done = run(patients=SMALL, sampling_size=size, local_steps=3)
        view = done.view("server_plain").only(hospital=next(iter(SMALL)))
        assert len(quick.reconstruct(view, PRIOR)) == expected


MOMENTUM = (lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9), Sgd(0.9))
ADAM = (lambda p: torch.optim.Adam(p, lr=0.01), Adam())


def client(seed: int, make: Any, optimizer: Any, *, size: int, told: bool = False) -> Any:
    """What a server sees of a client's five steps in float32 on a batch, and the batch."""
    people = cohort(seed)["north"].take(np.arange(size))
    model = Perceptron(len(SCHEMA), 20)
    net = module(model, model.initial(np.random.default_rng(seed)), Precision.FLOAT32)
    before = stored(net, Precision.FLOAT32)
    trained(net, [people] * 5, make)
    seen = from_weights(
        before, stored(net, Precision.FLOAT32), model=model, learning_rate=0.01,
        batch_size=size, steps=5, optimizer=optimizer, reach=REACH,
    )  # fmt: skip
    knowledge = Knowledge(labels={(0, "client"): people.outcomes} if told else {})
    return observe(seen, Adversary("server_plain", knowledge)), people


@pytest.mark.parametrize(("step", "size", "least"), [(MOMENTUM, 5, 0.15), (ADAM, 2, 0.2)])
def test_a_client_s_optimizer_is_walked_and_its_patients_recovered(
    step: Any, size: int, least: float
) -> None:
    """Five steps in float32, outcomes not told; the same walked as plain descent finds less."""
    won: list[float] = []
    astray: list[float] = []
    for seed in range(4):
        view, people = client(seed, *step, size=size)
        wrong = replace(view, gradients=tuple(replace(g, optimizer=Sgd()) for g in view.gradients))
        for seen, kept in ((view, won), (wrong, astray)):
            found = FedAvgInversion(restarts=6, iterations=150).reconstruct(seen, PRIOR)
            assert not found.certified.any() and len(found) == size
            kept.append(
                score(found, people.features, PRIOR, np.random.default_rng(0)).advantage.mean()
            )
            assert any("5 steps tell no step's gradient" in note for note in found.notes)
    assert np.mean(won) > least and np.mean(won) > np.mean(astray)


def test_outcomes_that_adam_hides_are_tried_and_that_is_said() -> None:
    attack = FedAvgInversion(restarts=6, iterations=2)
    view, people = client(1, *ADAM, size=4)
    notes = attack.reconstruct(view, PRIOR).notes
    assert any("numbers were tried" in note for note in notes)
    told, _ = client(1, *ADAM, size=4, told=True)
    assert not any("tried" in note for note in attack.reconstruct(told, PRIOR).notes)
    momentum, _ = client(1, *MOMENTUM, size=4)
    assert not any("tried" in note for note in attack.reconstruct(momentum, PRIOR).notes)
    for seed in range(6):  # momentum's steps give the number, adding up as they do
        seen, batch = client(seed, *MOMENTUM, size=4)
        (gradient,) = seen.gradients
        counts = attack._ill(seen.plan, gradient, PRIOR, 4, np.random.default_rng(0))
        assert counts == [int(batch.outcomes.sum())]
    for seen in (view, momentum):
        (gradient,) = seen.gradients
        counts = attack._ill(seen.plan, gradient, PRIOR, 4, np.random.default_rng(0))
        assert int(people.outcomes.sum()) in counts


def test_what_has_no_walk_is_refused() -> None:
    attack = FedAvgInversion(restarts=1, iterations=1)
    sealed = run(scheme="bfv", clip_norm=1.0, radius=4096, local_steps=2)
    with pytest.raises(RefusedError, match="no one walk"):
        attack.reconstruct(sealed.view("server_sealed"), PRIOR)
    logistic = run(model=Logistic(len(SCHEMA)), local_steps=2)
    with pytest.raises(RefusedError, match="hidden layer"):
        attack.reconstruct(logistic.view("server_plain"), PRIOR)


def test_drowned_in_noise_the_answer_is_the_priors() -> None:
    done = run(
        patients=SMALL, sampling_size=None, local_steps=3, noise=NoiseKind.LOCAL, clip_norm=1.0,
        radius=4096, noise_multiplier=5.0,
    )  # fmt: skip
    view = done.view("server_plain").only(hospital="north")
    found = FedAvgInversion(restarts=2, iterations=20).reconstruct(view, PRIOR)
    np.testing.assert_array_equal(found.records, PRIOR.best_guesses(5))
