from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from aggregation.data.patients import Patients
from aggregation.federation import Federation
from aggregation.models import Perceptron
from aggregation.noise_kind import NoiseKind
from attacks.inference.membership import _LEAST_SPREAD, Lira, Rmia, auc, train_shadows
from attacks.scoring.rates import cluster_bootstrap
from attacks.views import Adversary, AnswersView, Knowledge, Name, PublicView, observe, require
from privacy.errors import InvalidInputError, RefusedError
from tests.attacks.runs import SCHEMA, cohort, run

OVERFIT: dict[str, Any] = {
    "model": Perceptron(len(SCHEMA), 24),
    "sampling_size": None,
    "rounds": 60,
    "learning_rate": 3.0,
}
BUYER = Adversary("buyer", Knowledge(digits=2))
ATTACK = Lira(shadows=16)  # the same object undefended and defended
RATIOS = Rmia(shadows=16)
EITHER = pytest.mark.parametrize("attack", [ATTACK, RATIOS], ids=["lira", "rmia"])


def judge(seed: int, attack: Lira | Rmia, adversary: Adversary | Name, **fields: Any) -> float:
    """Train on half of a hospital, and judge everybody."""
    rng = np.random.default_rng(seed)
    everybody = cohort(seed)["north"]
    members = rng.permutation(len(everybody)) < len(everybody) // 2
    done = run(seed, patients={"north": everybody.take(members)}, **fields)
    return auc(attack.scores(observe(done.transcript, adversary), everybody), members)


@EITHER
@pytest.mark.parametrize("adversary", ["public", BUYER], ids=["public", "buyer"])
def test_an_overfitted_model_tells_members_from_strangers(
    attack: Lira | Rmia, adversary: Adversary | Name
) -> None:
    found = np.array([judge(seed, attack, adversary, **OVERFIT) for seed in range(3)])
    low, _ = cluster_bootstrap(found, np.arange(3), np.random.default_rng(0))
    assert low > 0.55


@EITHER
def test_at_a_small_epsilon_it_tells_nothing(attack: Lira | Rmia) -> None:
    noised = OVERFIT | {
        "rounds": 20,
        "noise": NoiseKind.LOCAL,
        "clip_norm": 1.0,
        "radius": 4096,
        "noise_multiplier": 20.0,
    }
    found = np.array([judge(seed, attack, "public", **noised) for seed in range(6)])
    assert abs(found.mean() - 0.5) < 0.06


@EITHER
def test_who_buys_answers_of_all_digits_knows_as_much_of_members_as_who_has_the_model(
    attack: Lira | Rmia,
) -> None:
    people = cohort(2)["north"]
    done = run(2, patients={"north": people.take(np.arange(30))}, **(OVERFIT | {"rounds": 5}))
    public, buyer = (attack.scores(observe(done.transcript, name), people)
                     for name in ("public", "buyer"))  # fmt: skip
    np.testing.assert_allclose(buyer, public, atol=1e-6)
    rounded = attack.scores(observe(done.transcript, BUYER), people)
    assert not np.allclose(rounded, public, atol=1e-3)


def test_shares_of_others_are_what_rmia_says() -> None:
    """By definition: of the others, how many a person's ratio passes, gamma times."""
    people = cohort(3)["north"].take(np.arange(20))
    done = run(3, patients={"north": people.take(np.arange(10))}, **(OVERFIT | {"rounds": 5}))
    view = require(observe(done.transcript, "public"), PublicView, "test")
    for gamma in (1.0, 1.3):
        attack = Rmia(shadows=16, gamma=gamma, seed=4)
        rng = np.random.default_rng(4)
        inside = rng.random((16, 20)) < 0.5
        models = train_shadows(view.plan, people, inside, rng)

        def chance(params: NDArray[np.float64]) -> NDArray[np.float64]:
            signs = 2 * people.outcomes - 1
            return np.asarray(
                1 / (1 + np.exp(-signs * view.plan.model.scores(params, people.features)))
            )

        ratio = chance(view.params) / np.mean([chance(m) for m in models], axis=0)
        want = [np.mean(np.delete(ratio, i) * gamma <= ratio[i]) for i in range(20)]
        np.testing.assert_allclose(attack.scores(view, people), want)


@pytest.mark.parametrize("adversary", ["public", BUYER], ids=["public", "buyer"])
def test_ratios_of_two_laws_are_what_lira_says(adversary: Adversary | Name) -> None:
    """By definition: normal laws of shadows with a person and without, as the answers are told."""
    people = cohort(3)["north"].take(np.arange(12))
    done = run(3, patients={"north": people.take(np.arange(6))}, **(OVERFIT | {"rounds": 5}))
    view = require(observe(done.transcript, adversary), AnswersView, "test")
    rng = np.random.default_rng(4)
    inside = rng.random((16, 12)) < 0.5
    models, signs = train_shadows(view.plan, people, inside, rng), 2 * people.outcomes - 1

    def told(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
        if adversary == "public":
            return np.asarray(log_odds * signs)
        chance = np.clip(np.round(1 / (1 + np.exp(-log_odds)), 2), 0.005, 0.995)
        return np.asarray(np.log(chance / (1 - chance)) * signs)

    shadows = np.stack([told(view.plan.model.scores(m, people.features)) for m in models])
    seen = told(view.plan.model.scores(done.params, people.features))
    want = []
    for i in range(12):
        logs = [
            norm.logpdf(seen[i], own.mean(), np.hypot(own.std(), _LEAST_SPREAD))
            for own in (shadows[inside[:, i], i], shadows[~inside[:, i], i])
        ]
        want.append(logs[0] - logs[1])
    np.testing.assert_allclose(Lira(shadows=16, seed=4).scores(view, people), want, atol=1e-8)


@pytest.mark.parametrize("noise", ["article", "local"])
def test_shadows_have_the_federations_noise(noise: str) -> None:
    """The article's has a scale that follows the upload; that of several hospitals adds up."""
    people = {name: p.take(np.arange(12)) for name, p in cohort(1).items()}
    everybody = Patients.together(people.values())
    fields: dict[str, Any] = {"model": Perceptron(len(SCHEMA), 8), "sampling_size": None}
    fields |= {
        "article": {"noise": NoiseKind.ARTICLE, "epsilon": 5.0},
        "local": {
            "noise": NoiseKind.LOCAL, "clip_norm": 1.0, "radius": 4096, "noise_multiplier": 3.0,
        },
    }[noise]  # fmt: skip
    plan = run(1, patients=people, rounds=1, model_seed=1, **fields).plan
    outcomes = [Federation.simulated(plan, people, seed=seed).run().params for seed in range(40)]
    shadows = train_shadows(
        plan, everybody, np.ones((40, 48), dtype=np.bool_), np.random.default_rng(0)
    )
    spread, theirs = np.std(shadows, axis=0).mean(), np.std(outcomes, axis=0).mean()
    assert spread == pytest.approx(theirs, rel=0.2)


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
    for attack in (Lira, Rmia):
        with pytest.raises(InvalidInputError, match="shadows"):
            attack(shadows=2)
