from typing import Any

import numpy as np
import pytest

from aggregation.noise_kind import NoiseKind
from attacks.knowledge.batches import Batch
from attacks.scoring import Score, score
from attacks.scoring.rates import equivalence
from attacks.searching.search import best_half
from attacks.searching.tableak import TabLeak, _combine, _misfit
from attacks.views import Adversary, Knowledge, Name, observe
from privacy.errors import InvalidInputError, RefusedError
from tests.attacks.runs import PRIOR, Run, run

ATTACK = TabLeak(restarts=4, iterations=250)  # the same object undefended and defended
NOISE: dict[str, Any] = {
    "scheme": "bfv",
    "noise": NoiseKind.SHARED,
    "clip_norm": 1.0,
    "radius": 4096,
    "colluders": 1,
}


def scores(done: Run, adversary: Adversary | Name, attack: TabLeak = ATTACK) -> list[Score]:
    view = done.view(adversary)
    rng = np.random.default_rng(0)
    found = []
    for g in view.gradients:
        part = view.only(hospital=g.hospitals[0]) if len(g.hospitals) == 1 else view
        truth = done.truth(round_=g.round, hospitals=g.hospitals).features
        found.append(score(attack.reconstruct(part, PRIOR), truth, PRIOR, rng))
    return found


def test_undefended_batches_of_eight_are_recovered_far_above_guessing() -> None:
    found = scores(run(0), "server_plain")
    advantage = np.array([s.advantage.mean() for s in found])
    assert advantage.mean() > 0.15
    assert (advantage > 0).all()


def test_clipping_alone_protects_nobody() -> None:
    found = scores(run(1, clip_norm=1.0, radius=4096), "server_plain")
    assert np.mean([s.advantage.mean() for s in found]) > 0.12


def test_noise_for_a_small_epsilon_leaves_the_priors_guess() -> None:
    differences, batches = [], []
    for seed in range(6):
        done = run(seed, noise_multiplier=5.0, **NOISE)
        (scored,) = scores(done, "server_sealed", TabLeak(restarts=2, iterations=60))
        differences.append(scored.advantage)
        batches.append(np.full(len(scored.advantage), seed))
        assert scored.certified == 0
    values, clusters = np.concatenate(differences), np.concatenate(batches)
    assert equivalence(values, clusters, np.random.default_rng(0), margin=0.05).equivalent


def test_declared_labels_help_or_at_least_do_not_hurt() -> None:
    done = run(2)
    labels = {
        (0, name): done.truth(round_=0, hospitals=(name,)).outcomes for name in done.plan.hospitals
    }
    knowing = scores(done, Adversary("server_plain", Knowledge(labels=labels)))
    assert np.mean([s.advantage.mean() for s in knowing]) > 0.15


def test_the_same_seed_gives_the_same_records() -> None:
    view = run().view("server_plain").only(hospital="north")
    quick = TabLeak(restarts=2, iterations=10)
    first, second = quick.reconstruct(view, PRIOR), quick.reconstruct(view, PRIOR)
    np.testing.assert_array_equal(first.records, second.records)
    np.testing.assert_array_equal(first.confidence, second.confidence)


def test_exact_replay_certifies_and_nothing_else_does() -> None:
    done = run(3, sampling_size=1)
    for name in done.plan.hospitals:
        truth = done.truth(round_=0, hospitals=(name,)).features
        if len(truth) == 0:
            continue
        found = TabLeak(restarts=6, iterations=400).reconstruct(
            done.view("server_plain").only(hospital=name), PRIOR
        )
        scored = score(found, truth, PRIOR, np.random.default_rng(0))
        assert scored.false_certificates == 0


def test_even_noise_that_leaves_the_integers_alone_certifies_nothing() -> None:
    """A replay of every integer proves nothing where noise may have been zero by chance."""
    quiet = run(
        3, sampling_size=1, noise=NoiseKind.LOCAL, clip_norm=1.0, radius=2**16,
        noise_multiplier=0.05 / 2**16,
    )  # fmt: skip
    exact = 0
    for name in quiet.plan.hospitals:
        truth = quiet.truth(round_=0, hospitals=(name,)).features
        view = quiet.view("server_plain").only(hospital=name)
        if len(truth):
            found = TabLeak(restarts=6, iterations=400).reconstruct(view, PRIOR)
            exact += np.isclose(found.records[:, None], truth).all(axis=2).any()
            assert not found.certified.any()
    assert exact


def test_bad_settings_and_blind_adversaries_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="restarts"):
        TabLeak(restarts=0)
    with pytest.raises(RefusedError, match="tableak"):
        ATTACK.reconstruct(observe(run().transcript, "public"), PRIOR)


def test_a_batch_that_replays_better_does_not_outvote_the_others_unless_it_is_exact() -> None:
    """Replaying better is not being nearer: large batches have many near-solutions."""
    done = run(2)
    view = done.view("server_plain").only(hospital="north")
    (gradient,), truth = view.gradients, done.drawn["north"][0][0]
    order = np.argsort(truth.outcomes, kind="stable")
    right = truth.features[order]
    makeup = Batch(int((truth.outcomes == 0).sum()), int(truth.outcomes.sum()), 1.0)
    near, voted = right.copy(), right.copy()
    near[0, 0] += 0.1  # a year of age
    voted[:, 1] = 1 - voted[:, 1]
    assert _misfit(view.plan, gradient, near, makeup, PRIOR) < _misfit(
        view.plan, gradient, voted, makeup, PRIOR
    )
    others = [voted] * 4
    found = _combine(view.plan, gradient, makeup, np.stack([near, *others]), PRIOR)
    assert sorted(map(tuple, found.records)) == sorted(map(tuple, voted))
    assert not found.certified.any()
    exact = _combine(view.plan, gradient, makeup, np.stack([right, *others]), PRIOR)
    assert sorted(map(tuple, exact.records)) == sorted(map(tuple, right))
    assert exact.certified.all()


def test_who_votes_is_the_better_half_with_the_best_in_front() -> None:
    rng = np.random.default_rng(0)
    batches = [PRIOR.draw(3, rng) for _ in range(5)]
    labels = np.array([0, 1, 1])
    voters = best_half(batches, np.array([4.0, 1.0, 3.0, 0.5, 2.0]), labels, PRIOR.features)
    assert len(voters) == 3 and np.array_equal(voters[0], batches[3])
    for found, index in zip(voters[1:], (1, 4), strict=True):
        assert sorted(map(tuple, found)) == sorted(map(tuple, batches[index]))
    assert len(best_half(batches[:1], np.zeros(1), labels, PRIOR.features)) == 1
