from typing import Any

import numpy as np
import pytest

from aggregation.models import Perceptron
from attacks.inference.membership import Lira, auc, train_shadows
from attacks.scoring.rates import cluster_bootstrap
from attacks.views import observe
from privacy.errors import InvalidInputError, RefusedError
from tests.attacks.runs import SCHEMA, cohort, run

OVERFIT: dict[str, Any] = {
    "model": Perceptron(len(SCHEMA), 24),
    "sampling_size": None,
    "rounds": 60,
    "learning_rate": 3.0,
}
ATTACK = Lira(shadows=16)  # the same object undefended and defended


def judge(seed: int, **fields: Any) -> float:
    """Train on half of a hospital, and judge everybody."""
    rng = np.random.default_rng(seed)
    everybody = cohort(seed)["north"]
    members = rng.permutation(len(everybody)) < len(everybody) // 2
    done = run(seed, patients={"north": everybody.take(members)}, **fields)
    return auc(ATTACK.scores(observe(done.transcript, "public"), everybody), members)


def test_an_overfitted_model_tells_members_from_strangers() -> None:
    found = np.array([judge(seed, **OVERFIT) for seed in range(3)])
    low, _ = cluster_bootstrap(found, np.arange(3), np.random.default_rng(0))
    assert low > 0.55


def test_at_a_small_epsilon_it_tells_nothing() -> None:
    noised = OVERFIT | {
        "rounds": 20, "noise": "local", "clip_norm": 1.0, "radius": 4096, "noise_multiplier": 20.0,
    }  # fmt: skip
    found = np.array([judge(seed, **noised) for seed in range(6)])
    assert abs(found.mean() - 0.5) < 0.06


def test_shadows_follow_the_plan() -> None:
    """Everybody a member, no noise: the shadow is the federation's own model."""
    people = {"north": cohort(1)["north"].take(np.arange(10))}
    done = run(
        1, patients=people, model=Perceptron(len(SCHEMA), 8), sampling_size=None, rounds=5,
        average_last=2,
    )  # fmt: skip
    members = np.ones((1, 10), dtype=np.bool_)
    (shadow,) = train_shadows(done.plan, people["north"], members, np.random.default_rng(0))
    np.testing.assert_allclose(shadow, done.params, atol=1e-5)


def test_auc_counts_ties_half() -> None:
    scores, members = np.array([1.0, 0.0, 1.0, 0.0]), np.array([True, True, False, False])
    assert auc(scores, members) == 0.5
    assert auc(np.array([2.0, 1.0, 0.0, 0.0]), members) == 1.0


def test_what_shadows_cannot_repeat_is_refused() -> None:
    people = cohort(0)["north"]
    with pytest.raises(RefusedError, match="Shadow"):
        ATTACK.scores(observe(run().transcript, "public"), people)
    with pytest.raises(RefusedError, match="lira"):
        ATTACK.scores(observe(run().transcript, "server_plain"), people)
    with pytest.raises(InvalidInputError, match="two people"):
        ATTACK.scores(
            observe(run(sampling_size=None).transcript, "public"), people.take(np.arange(1))
        )
    with pytest.raises(InvalidInputError, match="shadows"):
        Lira(shadows=2)
