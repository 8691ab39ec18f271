"""Every attack wins undefended, and loses to epsilon 1 with the same object: only the run differs.

Each target stands in a line-up of ten whose nine others are drawn from its own law of features and
took no part. Whoever saw nothing names it with probability 1/10 exactly, independently for every
target given the records, so that the number of hits has an exact binomial law. Undefended it has to
be refuted, from above; at epsilon 1 it may not be refuted from below (a risk below guessing is a
fault as well), and the hits may not refute the proven bound. Level and cases were set before any
attack was run on these seeds.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from aggregation.data.patients import Patients
from aggregation.models import Logistic, Perceptron
from aggregation.noise_kind import NoiseKind
from aggregation.update import noised_update
from attacks.exact.disaggregation import Disaggregation
from attacks.informed.likelihood_ratio import LikelihoodRatio
from attacks.malicious.active import suppressing_model
from attacks.reconstructed import Reconstruction
from attacks.scoring import lineup
from attacks.suite import ATTACKS, Arena, Attack, make_attack
from attacks.views import Adversary, Gradient, GradientView, Knowledge, SumPart
from privacy.calibration import noise_multiplier
from privacy.mechanisms import Seeded
from privacy.reconstruction import success_bound
from tests.attacks.exact.test_disaggregation import COUNTS
from tests.attacks.informed.test_known_others import RELATION, event_at, lone_target
from tests.attacks.malicious.test_active import imprinted, opened_sum
from tests.attacks.malicious.test_fishing import fished
from tests.attacks.runs import PRIOR, SCHEMA, cohort, run

LEVEL, PEOPLE = 1e-3, 10
MULTIPLIER = noise_multiplier(event_at, target_epsilon=1.0, delta=1e-5, relation=RELATION)
BOUND = success_bound(event_at(MULTIPLIER), prior_success=1 / PEOPLE, relation=RELATION)

Floats = NDArray[np.float64]
Cases = list[tuple[GradientView, Floats]]  # views, each with those who stand behind it


def noise(kind: NoiseKind, releases: int = 1) -> dict[str, Any]:
    """Epsilon 1 over so many releases of one patient."""
    return {
        "noise": kind, "clip_norm": 1.0, "radius": 1024, "colluders": int(kind == NoiseKind.SHARED),
        "noise_multiplier": MULTIPLIER * releases**0.5,
    }  # fmt: skip


def single(*, defended: bool) -> Cases:
    """One hospital's batch of about eight, in clear."""
    cases: Cases = []
    done = run(500, **(noise(NoiseKind.LOCAL) if defended else {}))
    for name in ("north", "east", "south"):
        view = done.view("server_plain").only(hospital=name)
        cases.append((view, done.drawn[name][0][0].features))
    return cases


def few(seed: int, size: int) -> dict[str, Patients]:
    return {name: p.take(np.arange(size)) for name, p in cohort(seed).items()}


def walks(*, defended: bool) -> Cases:
    """Three local steps of small hospitals."""
    people = few(502, 5)
    fields = noise(NoiseKind.LOCAL, releases=3) if defended else {}
    done = run(
        502, patients=people, model=Perceptron(len(SCHEMA), 40), sampling_size=None,
        local_steps=3, **fields,
    )  # fmt: skip
    view = done.view("server_plain")
    return [(view.only(hospital=n), p.features) for n, p in people.items()]


def stale(*, defended: bool) -> Cases:
    """Pairs of hospitals, one of which answers an older model at a lower weight."""
    fields = noise(NoiseKind.SHARED) if defended else {"clip_norm": 1.0, "radius": 2**20}
    plan = dataclasses.replace(
        run().plan, sampling_size=None, scheme="bfv", model=Perceptron(len(SCHEMA), 64), **fields
    )
    cases: Cases = []
    for seed in (503, 504, 505, 506):
        total, parts, truth = np.zeros(plan.model.dim, dtype=np.int64), [], []
        for k, (name, weight) in enumerate((("north", 1.0), ("east", 0.70710678))):
            people = cohort(seed)[name].take(np.arange(2))
            params = plan.model.initial(np.random.default_rng([seed, k]))
            total += noised_update(plan, name, (people,), params, Seeded(seed), weight=weight)
            parts.append(SumPart(name, params, people.outcomes, weight))
            truth.append(people.features)
        gradient = Gradient(0, tuple(parts), total, plan.share_std * 2**0.5)
        view = GradientView(plan, "buffered", Knowledge(), (gradient,))
        cases.append((view, np.concatenate(truth)))
    return cases


def imprint(*, defended: bool) -> Cases:
    return [imprinted(507, 10, **(noise(NoiseKind.SHARED) if defended else {}))]


def fishing(*, defended: bool) -> Cases:
    if not defended:
        return [fished(508)]
    return [fished(508, **noise(NoiseKind.SHARED, releases=len(fished(508)[0].gradients)))]


def full_batches(*, defended: bool) -> Cases:
    """Small hospitals' logistic gradients over twelve rounds."""
    people = few(509, 4)
    fields = noise(NoiseKind.LOCAL, releases=12) if defended else {"radius": 2**30}
    done = run(
        509, patients=people, model=Logistic(len(SCHEMA)), sampling_size=None, rounds=12,
        learning_rate=4.0, **fields,
    )  # fmt: skip
    view = done.view("server_plain")
    return [(view.only(hospital=n), p.features) for n, p in people.items()]


def local_sums(*, defended: bool) -> Cases:
    """Sealed sums of four local steps, eight rounds."""
    people = few(510, 12)
    fields = noise(NoiseKind.LOCAL, releases=32) if defended else {}
    done = run(
        510, patients=people, model=Perceptron(len(SCHEMA), 400), sampling_size=2,
        local_steps=4, rounds=8, learning_rate=2.0, **fields,
    )  # fmt: skip
    truth = np.concatenate([p.features for p in people.values()])
    return [(done.view("server_sealed"), truth)]


def changing_members(*, defended: bool) -> Cases:
    """Sums of the same gradients over nine rounds, from which each hospital is missing at times."""
    fields = noise(NoiseKind.SHARED, releases=max(COUNTS.values())) if defended else {}
    plan = dataclasses.replace(run().plan, scheme="bfv", sampling_size=None, **fields)
    people, params = few(511, 7), plan.model.initial(np.random.default_rng(511))
    part = np.ones((9, 4), dtype=np.bool_)
    for k, count in enumerate(COUNTS.values()):  # the last rounds without it, turn by turn
        part[(np.arange(9 - count) * 2 + k) % 9, k] = False
    sums = []
    for t, row in enumerate(part):
        total = np.zeros(plan.model.dim, dtype=np.int64)
        parts: list[SumPart] = []
        for name, there in zip(people, row, strict=True):
            if there:
                total += noised_update(
                    plan, name, (people[name],), params, Seeded(100 * t + len(parts))
                )
                parts.append(SumPart(name, params))
        sums.append(Gradient(t, tuple(parts), total, plan.share_std * len(parts) ** 0.5))
    view = GradientView(plan, "longitudinal", Knowledge(), tuple(sums))
    return [(view, np.concatenate([p.features for p in people.values()]))]


def all_but_one(*, defended: bool) -> Cases:
    fields = noise(NoiseKind.LOCAL) if defended else {"clip_norm": 1.0, "radius": 2**16}
    cases: Cases = []
    for row in range(30, 38):
        view, target = lone_target(row, **fields)
        cases.append((view, target.features))
    return cases


def line_ups(*, defended: bool) -> Cases:
    """Sealed sums of four hospitals' samples, of which the north's patients are looked for."""
    fields = noise(NoiseKind.SHARED) if defended else {"clip_norm": 1.0, "radius": 2**20}
    cases: Cases = []
    for seed in (517, 518, 519):
        done = run(seed, scheme="bfv", model=Perceptron(len(SCHEMA), 24), **fields)
        view = done.view(Adversary("server_sealed", Knowledge(hospital="north")))
        cases.append((view, done.drawn["north"][0][0].features))
    return cases


def suppressed(*, defended: bool) -> Cases:
    """All but one hospital were sent a model whose units never fire."""
    cases: Cases = []
    for seed in (512, 513, 514):
        people, plan = few(seed, 6), run().plan
        params = plan.model.initial(np.random.default_rng(seed))
        dead = suppressing_model(plan.model, params)
        sent = {n: (p, params if n == "south" else dead) for n, p in people.items()}
        view = opened_sum(sent, **(noise(NoiseKind.SHARED) if defended else {}))
        cases.append((view, people["south"].features))
    return cases


ARENAS: dict[Arena, Callable[..., Cases]] = {
    Arena.SINGLE: single,
    Arena.LOCAL_STEPS: walks,
    Arena.STALE: stale,
    Arena.ALL_ROUNDS: full_batches,
    Arena.LOCAL_SUMS: local_sums,
    Arena.CHANGING_MEMBERS: changing_members,
    Arena.ALL_BUT_ONE: all_but_one,
    Arena.LINE_UP: line_ups,
    Arena.IMPRINTED: imprint,
    Arena.FISHED: fishing,
    Arena.SUPPRESSED: suppressed,
}
EFFORT = {Arena.SINGLE: (4, 100), Arena.STALE: (6, 100)}  # restarts, iterations; (3, 80) elsewhere


def case(name: str) -> tuple[Attack, Callable[..., Cases]]:
    """An attack of the registry where it is made for: whatever was added has its case."""
    arena = ATTACKS.find(name).arena
    restarts, iterations = EFFORT.get(arena, (3, 80))
    return make_attack(name, restarts=restarts, iterations=iterations), ARENAS[arena]


CASES: dict[str, tuple[Attack, Callable[..., Cases]]] = {
    **{name: case(name) for name in ATTACKS},
    "disaggregation": (Disaggregation(COUNTS), changing_members),  # it is told who came how often
    "likelihood_ratio": (LikelihoodRatio(outcomes_known=False), line_ups),  # of strangers none is
}


def told(attack: Attack, view: GradientView, people: Floats) -> Reconstruction:
    """Attack once more, told the people of whom one took part."""
    candidates = Patients(people.copy(), np.zeros(len(people), dtype=np.int64))
    knowledge = dataclasses.replace(view.knowledge, candidates=candidates)
    return attack.reconstruct(dataclasses.replace(view, knowledge=knowledge), PRIOR)


def hits(attack: Attack, cases: Cases, seed: int) -> tuple[int, int]:
    rng = np.random.default_rng([515, seed])
    strangers = np.concatenate([p.features for p in cohort(516, size=500).values()])
    named = asked = 0
    for view, truth in cases:
        found = None if attack.name == "likelihood_ratio" else attack.reconstruct(view, PRIOR)
        for target in truth:
            others = strangers[rng.choice(len(strangers), PEOPLE - 1, replace=False)]
            people = np.vstack([target, others])
            named += lineup(found or told(attack, view, people), people, rng) == 0
            asked += 1
    return named, asked


def test_every_arena_has_its_cases() -> None:
    assert set(ARENAS) == set(Arena)


def judge(attack: Attack, cases: Callable[..., Cases]) -> None:
    """Fail unless the attack wins undefended, and is no better than its bound at epsilon 1."""
    won, asked = hits(attack, cases(defended=False), 0)
    assert binomtest(won, asked, 1 / PEOPLE, alternative="greater").pvalue < LEVEL, (won, asked)
    lost, asked = hits(attack, cases(defended=True), 1)
    assert binomtest(lost, asked, 1 / PEOPLE, alternative="less").pvalue > LEVEL, (lost, asked)
    assert binomtest(lost, asked, BOUND, alternative="greater").pvalue > LEVEL, (lost, asked)


@pytest.mark.parametrize("name", sorted(CASES))
def test_it_wins_undefended_and_loses_at_epsilon_one(name: str) -> None:
    judge(*CASES[name])
