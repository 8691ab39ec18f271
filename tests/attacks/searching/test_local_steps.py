import numpy as np
import pytest
import torch

from aggregation.models import Logistic
from attacks.knowledge.capabilities import needs_hidden
from attacks.scoring import score
from attacks.searching.local_steps import FedAvgInversion, LocalWalk
from privacy.errors import RefusedError
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
            needs_hidden(done.plan.model), torch.tensor(g.params), clip_norm,
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
        patients=SMALL, sampling_size=None, local_steps=3, noise="local", clip_norm=1.0,
        radius=4096, noise_multiplier=5.0,
    )  # fmt: skip
    view = done.view("server_plain").only(hospital="north")
    found = FedAvgInversion(restarts=2, iterations=20).reconstruct(view, PRIOR)
    np.testing.assert_array_equal(found.records, PRIOR.best_guesses(5))
