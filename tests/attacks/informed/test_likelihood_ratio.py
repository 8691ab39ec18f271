"""The likelihood ratio of who knows nobody: calibrated where its law is the patients' own."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm, poisson

from aggregation.data.patients import Patients
from aggregation.models import Logistic, Model, Perceptron
from aggregation.noise_kind import NoiseKind
from attacks.informed.candidates import log_ratios, posterior
from attacks.informed.likelihood_ratio import Asked, LikelihoodRatio
from attacks.informed.others import NormalOthers, article_ratios
from attacks.informed.seen_sums import Openings
from attacks.knowledge.priors import Prior
from attacks.knowledge.replay import integer_rows
from attacks.views import Adversary, GradientView, Knowledge, observe, require
from privacy.errors import InvalidInputError, RefusedError
from privacy.unit import Unit
from tests.attacks.runs import PRIOR, SCHEMA, Run, cohort, run

PEOPLE = 10
NOISE = {"noise": NoiseKind.LOCAL, "clip_norm": 1.0, "radius": 1024, "noise_multiplier": 0.3}


def simulated(rng: np.random.Generator, count: int) -> Patients:
    """People of the prior's own law."""
    ill = (rng.random(count) < PRIOR.outcome_rate).astype(np.int64)
    return Patients(PRIOR.draw(count, rng), ill)


def lineups(
    done: Run, hospital: str, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Each patient of the first batch among nine of its law and outcome, and where it stands."""
    batch = done.drawn[hospital][0][0]
    people = np.stack([PRIOR.draw(PEOPLE, rng) for _ in range(len(batch))])
    places = rng.integers(PEOPLE, size=len(batch))
    people[np.arange(len(batch)), places] = batch.features
    return people, np.repeat(batch.outcomes[:, None], PEOPLE, axis=1), places


def judged(attack: LikelihoodRatio, runs: Iterator[Run], view: Any) -> tuple[float, float, float]:
    """Share of line-ups named, what was said of it, and the two's distance in deviations."""
    said, hit = [], []
    for k, done in enumerate(runs):
        people, outcomes, places = lineups(done, "north", np.random.default_rng([31, k]))
        logs = attack.log_likelihoods(done.view(view), PRIOR, "north", people, outcomes)
        likely = posterior(logs)
        said.append(likely.max(axis=1))
        hit.append(likely.argmax(axis=1) == places)
    p, h = np.concatenate(said), np.concatenate(hit)
    return float(h.mean()), float(p.mean()), float((h - p).sum() / np.sqrt((p * (1 - p)).sum()))


def runs(count: int, size: int, **fields: Any) -> Iterator[Run]:
    for seed in range(count):
        rng = np.random.default_rng([29, seed])
        patients = {name: simulated(rng, size) for name in ("north", "east")}
        yield run(600 + seed, patients=patients, **fields)


LOGISTIC = {"model": Logistic(len(SCHEMA)), "sampling_size": None}


@pytest.mark.parametrize(
    ("view", "fields", "least"),
    [
        ("server_plain", {**LOGISTIC, "rounds": 4, "radius": 2**10}, 0.2),
        ("server_plain", {**LOGISTIC, "rounds": 4, **NOISE}, 0.15),
        ("server_sealed", {**LOGISTIC, "rounds": 3, "clip_norm": 1.0, "radius": 256}, 0.12),
        ("server_plain", {**LOGISTIC, "sampling_size": 6, "rounds": 5, **NOISE}, 0.15),
        ("server_plain", {**LOGISTIC, "noise": NoiseKind.ARTICLE, "epsilon": 4.0}, 0.1),
    ],
    ids=["all rounds", "noise", "sealed, clipped", "sampled", "the article's noise"],
)
def test_it_is_calibrated_and_above_guessing(
    view: Any, fields: dict[str, Any], least: float
) -> None:
    """What it says of its best guess happens as often: five deviations off is a broken law.

    The sum of twelve is not quite normal; hence five, where chance alone would need four.
    """
    sampled = fields["sampling_size"] is not None  # few of many, as sums share almost nobody
    named, said, apart = judged(LikelihoodRatio(), runs(60, 90 if sampled else 12, **fields), view)
    assert abs(apart) < 5, (named, said, apart)
    assert named > least


def test_rounds_read_apart_would_be_far_too_sure() -> None:
    """The same others are in every round: their covariance between rounds is not to be left out."""

    class Apart(LikelihoodRatio):
        def of_openings(self, openings: Openings, prior: Prior) -> Asked:
            parts = [openings.some([t]) for t in range(len(openings.seen))]
            each = [super(Apart, self).of_openings(part, prior) for part in parts]
            return lambda *asked: np.sum([one(*asked) for one in each], axis=0)

    fields = {**LOGISTIC, "rounds": 6, "radius": 2**10, "learning_rate": 0.01}
    assert abs(judged(LikelihoodRatio(), runs(40, 12, **fields), "server_plain")[2]) < 5
    assert judged(Apart(), runs(40, 12, **fields), "server_plain")[2] < -8


@pytest.mark.parametrize("model", [Logistic(len(SCHEMA)), Perceptron(len(SCHEMA), 16)])
def test_with_nobody_else_it_is_the_informed_likelihood(model: Model) -> None:
    people = {"north": cohort(3, size=1)["north"]}
    fields = {"model": model, "sampling_size": None, "rounds": 1, "declared_sizes": (1,), **NOISE}
    done = run(5, patients=people, hospitals=("north",), **fields)
    view = done.view("server_plain")
    pool = simulated(np.random.default_rng(1), PEOPLE)
    ours = LikelihoodRatio().log_likelihoods(
        view, PRIOR, None, pool.features[None], pool.outcomes[None]
    )
    seen = view.gradients[0]
    rows = integer_rows(done.plan, seen.params, pool.features, pool.outcomes)
    std = (done.plan.share_std**2 + 1 / 12) ** 0.5  # it counts the target's rounding as noise
    theirs = log_ratios(seen.integers, rows, std=std, prob=1.0)
    np.testing.assert_allclose(ours[0], theirs, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("size", [6, 27])
def test_the_others_of_a_sampled_round_have_a_poisson_samples_moments(size: int) -> None:
    """By hand: n q - q others, whose sum has covariance N q (Sigma + (1 - q) mu mu'), and noise."""
    rng = np.random.default_rng(size)
    people = {"north": simulated(rng, 30)}
    done = run(
        6, patients=people, **LOGISTIC | NOISE | {"sampling_size": size, "noise_multiplier": 0.01}
    )
    openings = Openings.of(done.view("server_plain"))
    pool = simulated(rng, PEOPLE)
    drawn = Patients(PRIOR.draw(3000, rng), (rng.random(3000) < 0.8).astype(np.int64))  # mu far off
    found = NormalOthers(openings, drawn).ratios("north", pool)

    rows = integer_rows(done.plan, openings.uploads[0].params, drawn.features, drawn.outcomes)
    q, count = size / 30, size - size / 30
    mu, sigma = rows.mean(axis=0), np.cov(rows.T, bias=True)
    noise = (done.plan.share_std**2 + size / 12) * np.eye(len(mu))
    law = multivariate_normal(count * mu, count * (sigma + (1 - q) * np.outer(mu, mu)) + noise)
    own = integer_rows(done.plan, openings.uploads[0].params, pool.features, pool.outcomes)
    expected = law.logpdf(openings.seen[0] - own) - law.logpdf(openings.seen[0])
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_rounding_is_of_everybody_whom_an_upload_holds() -> None:
    """A twelfth a patient and coordinate: what is left of a noiseless sum that is known."""
    people = {"north": cohort(0)["north"], "east": cohort(0)["east"].take(np.arange(7))}
    done = run(6, patients=people, **LOGISTIC | {"rounds": 2})
    openings = Openings.of(done.view("server_plain"))
    held = [len(people[u.hospital]) for u in openings.uploads]
    assert sorted(set(held)) == [7, 60]
    np.testing.assert_allclose(openings.lower @ openings.lower.T, np.diag(held) / 12)


def test_who_is_weighed_adds_so_much_of_a_gradient_and_may_be_as_far_off() -> None:
    """Half of what the same person adds unweighed, each coordinate rounded."""
    fields: dict[str, Any] = LOGISTIC | NOISE
    done = run(6, **fields)
    openings = Openings.of(done.view("server_plain"))
    half = dataclasses.replace(
        openings, uploads=tuple(dataclasses.replace(u, weight=0.5) for u in openings.uploads)
    )
    pool = simulated(np.random.default_rng(1), PEOPLE)
    whole, weighed = (o.rows("north", pool.features, pool.outcomes) for o in (openings, half))
    np.testing.assert_allclose(weighed, whole / 2, atol=1.0)
    assert np.abs(whole).max() > 100
    assert (weighed**2).sum(axis=-1).max() <= (done.plan.radius / 2) ** 2
    odd = dataclasses.replace(done.plan, radius=23)  # 13 / 23 of 23 steps, in floats, is below 13
    signed = dataclasses.replace(openings.uploads[0], weight=odd.applied_weight(0.57))
    steps = dataclasses.replace(openings, plan=odd, uploads=(signed, *openings.uploads[1:]))
    own = integer_rows(odd, signed.params, pool.features, pool.outcomes, radius=13)
    np.testing.assert_array_equal(steps.rows("north", pool.features, pool.outcomes)[:, 0], own)


@pytest.mark.parametrize("size", [None, 12])
def test_the_articles_noise_has_the_scale_of_whoever_is_in_the_sum(size: int | None) -> None:
    """By hand, where all others are alike: normal laws, over the sizes that a sample may have."""
    rng = np.random.default_rng(9)
    fields = {"noise": NoiseKind.ARTICLE, "epsilon": 3.0, "sampling_size": size}
    done = run(8, patients={"north": simulated(rng, 20)}, **LOGISTIC | fields)
    openings = Openings.of(done.view("server_plain"))
    one, pool = simulated(rng, 1), simulated(rng, PEOPLE)
    draws = [
        article_ratios(openings, "north", pool, one, np.random.default_rng(k)) for k in range(60)
    ]
    found = np.mean(draws, axis=0)  # each averages over 512 sizes

    params, c = openings.uploads[0].params, math.sqrt(2 * math.log(1.25 / done.plan.delta)) / 3
    (beside,) = integer_rows(done.plan, params, one.features, one.outcomes)
    rows = integer_rows(done.plan, params, pool.features, pool.outcomes)
    sizes = np.arange(40)
    chances = poisson.logpmf(sizes, 12 - 12 / 20) if size else np.where(sizes == 19, 0.0, -np.inf)

    def law(added: NDArray[Any]) -> float:
        """Of what was seen, with this beside the others."""
        sums = [k * beside + added for k in sizes]
        seen = [
            norm.logpdf(openings.seen[0], s, math.hypot(c * np.linalg.norm(s), 12**-0.5)).sum()
            for s in sums
        ]
        return float(logsumexp(chances + seen))

    expected = [law(row) - law(np.zeros(len(row))) for row in rows]
    np.testing.assert_allclose(found, expected, atol=0.05 if size else 1e-6)


def told(candidates: Patients | None, **knowledge: Any) -> GradientView:
    done = run(7, model=Perceptron(len(SCHEMA), 24))
    known = Knowledge(candidates=candidates, **knowledge)
    seen = observe(done.transcript, Adversary("server_sealed", known))
    return require(seen, GradientView, "test")


def test_people_alike_are_equally_likely_and_order_says_nothing() -> None:
    pool = simulated(np.random.default_rng(2), PEOPLE)
    view = told(pool, hospital="north")
    shown = (pool.features[None], pool.outcomes[None])
    one = LikelihoodRatio().log_likelihoods(view, PRIOR, "north", *shown)[0]
    order = np.random.default_rng(3).permutation(PEOPLE)
    turned = (pool.features[order][None], pool.outcomes[order][None])
    np.testing.assert_allclose(
        LikelihoodRatio().log_likelihoods(view, PRIOR, "north", *turned)[0], one[order], rtol=1e-9
    )
    same = np.repeat(pool.features[:1], PEOPLE, axis=0)
    alike = Patients(same, np.repeat(pool.outcomes[:1], PEOPLE))
    found = LikelihoodRatio().reconstruct(told(alike, hospital="north"), PRIOR)
    assert len(found) == PEOPLE and np.allclose(found.confidence, 1 / PEOPLE)
    assert not found.certified.any()


def test_an_outcome_that_is_not_known_is_averaged_over() -> None:
    pool = simulated(np.random.default_rng(4), PEOPLE)
    view = told(pool, hospital="north")
    shown = pool.features[None]
    rare = dataclasses.replace(PRIOR, outcome_rate=0.2)  # one in five is ill
    blind = LikelihoodRatio(outcomes_known=False)
    either = blind.log_likelihoods(view, rare, "north", shown, np.zeros((1, PEOPLE), int))
    well, ill = (
        LikelihoodRatio().log_likelihoods(view, rare, "north", shown, np.full((1, PEOPLE), y))
        for y in (0, 1)
    )
    np.testing.assert_allclose(either, np.logaddexp(well + np.log(0.8), ill + np.log(0.2)))


def test_declared_outcomes_and_a_public_table_sharpen_the_law() -> None:
    """Patients of a law that the schema does not know: a table of theirs tells it."""
    named = {"schema": 0, "table": 0}
    public = Patients(
        np.concatenate([p.features for p in cohort(900, size=400).values()]),
        np.concatenate([p.outcomes for p in cohort(900, size=400).values()]),
    )
    asked = 0
    for seed in range(30):
        people = {n: p.take(np.arange(12)) for n, p in cohort(seed + 700).items()}
        done = run(seed, patients=people, rounds=3, **LOGISTIC)
        strangers = cohort(seed + 800, size=200)["north"]
        for target in range(4):
            north = people["north"]
            alike = strangers.take(strangers.outcomes == north.outcomes[target]).features[:9]
            shown = np.vstack([alike, north.features[target]])[None]
            ends = np.full((1, PEOPLE), north.outcomes[target])
            for name, attack in (
                ("schema", LikelihoodRatio()),
                ("table", LikelihoodRatio(public=public)),
            ):
                logs = attack.log_likelihoods(
                    done.view("server_plain"), PRIOR, "north", shown, ends
                )
                named[name] += int(logs.argmax() == PEOPLE - 1)
            asked += 1
    assert named["table"] > 0.25 * asked
    assert named["table"] > named["schema"]


def test_what_it_lacks_is_said() -> None:
    with pytest.raises(RefusedError, match=r"Knowledge\.candidates"):
        LikelihoodRatio().reconstruct(told(None), PRIOR)
    pool = simulated(np.random.default_rng(5), PEOPLE)
    with pytest.raises(RefusedError, match=r"Knowledge\.hospital"):
        LikelihoodRatio().reconstruct(told(pool), PRIOR)
    with pytest.raises(RefusedError, match="No sum of this view"):
        LikelihoodRatio().reconstruct(told(pool, hospital="nowhere"), PRIOR)
    with pytest.raises(RefusedError, match="unit is the hospital"):
        view = told(pool, hospital="north")
        LikelihoodRatio().reconstruct(
            dataclasses.replace(view, plan=dataclasses.replace(view.plan, unit=Unit.HOSPITAL)),
            PRIOR,
        )
    narrow = Patients(np.zeros((3, 2)), np.zeros(3, dtype=np.int64))
    with pytest.raises(InvalidInputError, match="columns"):
        LikelihoodRatio(public=narrow).reconstruct(told(pool, hospital="north"), PRIOR)
