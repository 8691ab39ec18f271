"""Walks of several local steps: the hospital's own to the last integer, and bent to an end."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from aggregation.models import Perceptron
from aggregation.noise_kind import NoiseKind
from attacks.informed.likelihood_ratio import LikelihoodRatio
from attacks.informed.seen_sums import Openings
from attacks.informed.walks import (
    bridged,
    bridged_together,
    drawn_batches,
    walk_ratios,
    walked,
)
from attacks.knowledge.replay import integer_rows
from tests.attacks.runs import PRIOR, SCHEMA, cohort, run

MODEL = Perceptron(len(SCHEMA), 16)


@pytest.mark.parametrize("sampling", [None, 6])
@pytest.mark.parametrize("norm", [None, 1.0])
def test_a_walk_is_what_the_hospital_sends(sampling: int | None, norm: float | None) -> None:
    done = run(3, local_steps=4, sampling_size=sampling, clip_norm=norm, model=MODEL)
    params = done.plan.first_model()
    for name, rounds in done.drawn.items():
        walk = walked(done.plan, name, params, rounds[0])
        np.testing.assert_array_equal(walk.sent, done.sent[name][0])
        np.testing.assert_array_equal(walk.sums.sum(axis=0), walk.sent)


def test_a_bridge_leads_where_it_is_told_and_keeps_the_first_step() -> None:
    done = run(4, local_steps=4, model=MODEL)
    plan, params, rng = done.plan, done.plan.first_model(), np.random.default_rng(0)
    batches = drawn_batches(plan, "north", cohort(5)["north"], rng)
    walk = walked(plan, "north", params, batches)
    same = bridged(plan, "north", walk, batches, walk.sent)
    np.testing.assert_array_equal(same.sums, walk.sums)
    seen = done.sent["north"][0].astype(float)
    bent = bridged(plan, "north", walk, batches, seen)
    np.testing.assert_array_equal(bent.models[0], params)
    size = plan.batch_sizes[0]
    moved = (bent.models - walk.models) / (-plan.learning_rate * plan.step / size)
    np.testing.assert_allclose(moved, np.arange(4)[:, None] / 4 * (seen - walk.sent), atol=1e-3)


def test_drawn_batches_are_as_many_as_the_plan_expects() -> None:
    people, rng = cohort(5)["north"], np.random.default_rng(1)
    plan = run(4, local_steps=3, model=MODEL).plan
    sizes = np.array(
        [[len(b) for b in drawn_batches(plan, "north", people, rng, less=0.5)] for _ in range(900)]
    )
    np.testing.assert_allclose(sizes.mean(axis=0), [7.5, 8, 8], atol=0.4)
    whole = dataclasses.replace(plan, sampling_size=None)
    batches = drawn_batches(whole, "north", people, rng, less=1.0)
    assert [len(b) for b in batches] == [59] * 3
    assert all(b is batches[0] for b in batches)


def test_steps_that_hardly_move_the_model_are_one_step_over_and_over() -> None:
    """By hand, where all others are alike: sums of both hospitals, the target in every step."""
    done = run(
        11, patients=cohort(11, size=5), local_steps=3, model=MODEL, sampling_size=None,
        learning_rate=1e-9, clip_norm=1.0, radius=64, noise=NoiseKind.LOCAL, noise_multiplier=0.5,
    )  # fmt: skip
    plan, params = done.plan, done.plan.first_model()
    openings = Openings.of(done.view("server_sealed"))
    one, pool = cohort(12, size=1)["north"], cohort(13, size=6)["north"]
    found = walk_ratios(
        openings, "north", pool, one.take(np.zeros(20, dtype=int)), np.random.default_rng(0)
    )
    (beside,) = integer_rows(plan, params, one.features, one.outcomes)
    added = 3 * integer_rows(plan, params, pool.features, pool.outcomes)
    others = 3 * beside * sum(len(p) for p in cohort(11, size=5).values()) - 3 * beside
    parties = len(plan.hospitals)
    std = math.sqrt(3 * parties * plan.share_std**2 + 3 * 5 * parties / 12)
    expected = [
        norm.logpdf(openings.seen[0], others + row, std).sum()
        - norm.logpdf(openings.seen[0], others, std).sum()
        for row in added
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_bridges_of_all_hospitals_lead_to_the_sum_together() -> None:
    done = run(14, local_steps=4, model=MODEL)
    plan, params, rng = done.plan, done.plan.first_model(), np.random.default_rng(0)
    batches = {n: drawn_batches(plan, n, cohort(5)[n], rng) for n in plan.hospitals}
    walks = {n: walked(plan, n, params, batches[n]) for n in plan.hospitals}
    seen = np.sum([done.sent[n][0] for n in plan.hospitals], axis=0).astype(float)
    bent = bridged_together(plan, walks, batches, seen)
    np.testing.assert_allclose(np.sum([w.sent for w in bent.values()], axis=0), seen)


def test_several_steps_are_read_undefended_and_not_through_noise() -> None:
    """Sums of 3 steps of about 8; the target's step is the first. One in ten is guessing."""
    named = {0.0: 0, 50.0: 0}
    asked = 0
    for seed in (21, 22):
        for multiplier in named:
            noise: dict[str, Any] = (
                {"noise": NoiseKind.LOCAL, "noise_multiplier": multiplier} if multiplier else {}
            )
            done = run(
                seed, local_steps=3, model=MODEL, clip_norm=1.0, radius=2**16, **noise
            )  # fmt: skip
            batch = done.drawn["north"][0][0]
            strangers = cohort(seed + 50, size=300)["north"]
            people, ends = [], []
            for x, y in zip(batch.features, batch.outcomes, strict=True):
                alike = strangers.take(strangers.outcomes == y)
                people.append(np.vstack([alike.features[:9], x]))
                ends.append(np.full(10, y))
            logs = LikelihoodRatio(draws=500).log_likelihoods(
                done.view("server_plain"), PRIOR, "north", np.stack(people), np.stack(ends)
            )
            named[multiplier] += int((logs.argmax(axis=1) == 9).sum())
            asked += len(batch) * (multiplier == 0)
    assert named[0.0] > 0.3 * asked
    assert named[50.0] < 0.3 * asked


def test_sums_of_several_hospitals_steps_are_read_too() -> None:
    done = run(31, local_steps=2, model=MODEL, scheme="plain")
    batch = done.drawn["east"][0][0].take(np.arange(2))
    shown = np.stack([np.vstack([PRIOR.draw(9, np.random.default_rng(k)), x])
                      for k, x in enumerate(batch.features)])  # fmt: skip
    logs = LikelihoodRatio(draws=300).log_likelihoods(
        done.view("server_sealed"), PRIOR, "east", shown,
        np.repeat(batch.outcomes[:, None], 10, axis=1),
    )  # fmt: skip
    assert np.isfinite(logs).all() and logs.std() > 0
