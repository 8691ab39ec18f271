"""Rounds that belong together, passes and correlated noise: the likelihood is the exact one."""

import dataclasses
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from aggregation.correlation import Correlation
from aggregation.data.patients import Patients
from aggregation.federation import Federation
from aggregation.models import Logistic, Perceptron
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.transcript import Transcript
from attacks.exact.differencing import Differencing
from attacks.exact.disaggregation import Disaggregation
from attacks.exact.row_space import RowSpace
from attacks.inference.membership import train_shadows
from attacks.inference.over_rounds import Coins
from attacks.informed.candidates import (
    allocated_log_ratios,
    correlated_log_ratios,
    log_ratios,
    passes_log_ratios,
    posterior,
)
from attacks.informed.known_others import InformedPool
from attacks.informed.likelihood_ratio import LikelihoodRatio
from attacks.informed.seen_sums import Openings
from attacks.knowledge.batches import infer_batches
from attacks.knowledge.replay import integer_rows
from attacks.suite import ATTACKS, Arena, make_attack
from attacks.views import (
    Gradient,
    GradientView,
    InformedView,
    Knowledge,
    Name,
    SumPart,
    observe,
    require,
)
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError
from tests.attacks.informed.test_likelihood_ratio import simulated
from tests.attacks.informed.whole_patient import WholePatient
from tests.attacks.runs import PRIOR, SCHEMA, Run, cohort, run

BANDED = Correlation(bands=3)
BUFFERED = Correlation(scales=(0.4,), decays=(0.5,))
NOISE: dict[str, Any] = {"noise": NoiseKind.LOCAL, "clip_norm": 1.0, "radius": 1024}
KINDS = [
    ({"pass_rounds": 3}, "passes"),
    ({"correlated": BANDED}, "banded"),
    ({"correlated": BUFFERED}, "buffered"),
    ({"correlated": BANDED, "pass_rounds": 3}, "banded, in passes"),
]
EVERY = pytest.mark.parametrize("kind", [k for k, _ in KINDS], ids=[name for _, name in KINDS])


def seen(done: Run, adversary: Name) -> GradientView:
    return require(observe(done.transcript, adversary), GradientView, "test", together=True)


def plan(multiplier: float = 0.5, rounds: int = 6, **changes: Any) -> Plan:
    return Plan(
        run="together",
        model=Logistic(2),
        hospitals=("north", "south"),
        declared_sizes=(9, 9),
        rounds=rounds,
        learning_rate=1.0,
        noise=NoiseKind.LOCAL,
        scheme="plain",
        clip_norm=1.0,
        radius=64,
        noise_multiplier=multiplier,
        **changes,
    )


def covariance(made: Plan, who: list[tuple[str, ...]]) -> NDArray[np.float64]:
    """By the definition: the rounds' noise of one hospital is C's inverse of independent draws."""
    found = np.zeros((made.rounds, made.rounds))
    mixed: NDArray[np.float64] = np.eye(made.rounds)
    if made.correlated is not None:
        c = made.correlated.coefficients(made.rounds)
        matrix = sum(value * np.eye(made.rounds, k=-j) for j, value in enumerate(c))
        mixed = np.linalg.inv(np.asarray(matrix, dtype=np.float64))
    for name in made.hospitals:
        there = np.diag([float(name in some) for some in who])
        found += there @ mixed @ mixed.T @ there
    return np.asarray(made.share_std**2 * found)


@EVERY
def test_the_informed_posterior_is_the_density_of_all_rounds_by_hand(kind: dict[str, Any]) -> None:
    """Everywhere one patient could have been, weighed alike; a hospital missed a round."""
    made = plan(**kind)
    rng = np.random.default_rng(4)
    who: list[tuple[str, ...]] = [("north", "south")] * made.rounds
    who[2] = ("north",)
    pool = Patients(rng.normal(size=(3, 2)), np.array([0, 1, 1]))
    attack, steps = InformedPool(pool, log_prior=np.log([0.2, 0.5, 0.3])), made.pass_rounds
    gradients = tuple(
        Gradient(
            t,
            tuple(SumPart(name, np.full(3, 0.1 * t)) for name in who[t]),
            rng.integers(-60, 60, 3),
            made.share_std * len(who[t]) ** 0.5,
        )
        for t in range(made.rounds)
    )
    batches = {(t, name): pool.take(np.zeros(3, bool)) for t in range(6) for name in who[t]}
    view = InformedView(made, "informed", Knowledge(batches=batches), gradients)
    moves = [attack._rows(view, g) for g in gradients]
    law = multivariate_normal(cov=covariance(made, who))
    times: list[set[int]] = [set(range(made.rounds))]
    if steps is not None and made.correlated is not None:
        times = [{s, s + steps} for s in range(steps)]
    elif steps is not None:
        times = [{a, steps + b} for a, b in product(range(steps), repeat=2)]
    logs = np.log([0.2, 0.5, 0.3])
    for candidate in range(3):
        each = []
        for present in times:
            left = np.stack(
                [g.integers - moves[t][candidate] * (t in present) for t, g in enumerate(gradients)]
            )
            each.append(sum(law.logpdf(left[:, k]) for k in range(3)))
        logs[candidate] += logsumexp(each)
    np.testing.assert_allclose(attack.posterior(view), posterior(logs), rtol=1e-8)
    if kind == {"correlated": BANDED}:
        plain = dataclasses.replace(made, correlated=None)
        other = attack.posterior(dataclasses.replace(view, plan=plain))
        assert not np.allclose(other, posterior(logs), atol=0.02)


def test_one_band_is_independent_noise() -> None:
    made, rng = plan(correlated=Correlation(bands=1)), np.random.default_rng(1)
    left, moves = rng.normal(0, 30, (6, 4)), rng.normal(0, 30, (5, 6, 4))
    found = correlated_log_ratios(made, left, moves, rounds=range(6), contributors=[("north",)] * 6)
    by_hand = [((left**2).sum() - ((left - m) ** 2).sum()) / (2 * made.share_std**2) for m in moves]
    np.testing.assert_allclose(found, by_hand, rtol=1e-9)
    with pytest.raises(InvalidInputError, match="'together' is not correlated"):
        correlated_log_ratios(plan(), left, moves, rounds=range(6), contributors=[("north",)] * 6)


def test_a_step_that_was_not_seen_is_one_where_nothing_was_left() -> None:
    ratios = np.log(np.array([[2.0, 1.0], [4.0, 1.0]]))
    np.testing.assert_allclose(
        allocated_log_ratios(ratios, steps=4), np.log([(2 + 4 + 1 + 1) / 4, 1.0])
    )
    found = passes_log_ratios(np.concatenate([ratios, ratios]), (0, 1, 4, 6), steps=4)
    np.testing.assert_allclose(found, 2 * np.log([2.0, 1.0]))


@pytest.mark.parametrize("kind", [KINDS[0][0], KINDS[3][0]], ids=["passes", "banded, in passes"])
def test_the_informed_posterior_is_right_as_often_as_it_says(kind: dict[str, Any]) -> None:
    """Integers and noise as they are sent; ten candidates, one of whom is in the table."""
    said, hit = [], []
    for seed in range(15):
        rng = np.random.default_rng([8, seed])
        people = {"north": simulated(rng, 6), "south": simulated(rng, 6)}
        multiplier = 1.2 if kind.get("correlated") else 0.5
        done = run(
            seed, patients=people, model=Logistic(len(SCHEMA)), noise_multiplier=multiplier,
            **NOISE, **{"sampling_size": None, "rounds": 6} | kind,
        )  # fmt: skip
        place = int(rng.integers(10))
        pool = PRIOR.draw(10, rng)
        pool[place] = people["north"].features[0]
        hidden = people["north"].ids[0]
        batches = {
            (t, name): b.take(b.ids != hidden) if name == "north" else b
            for name, rounds in done.drawn.items()
            for t, (b,) in rounds.items()
        }
        whole = {**people, "north": people["north"].take(people["north"].ids != hidden)}
        sums = seen(done, "server_sealed").gradients
        view = InformedView(done.plan, "informed", Knowledge(batches=batches, patients=whole), sums)
        ends = np.full(10, people["north"].outcomes[0])
        likely = InformedPool(Patients(pool, ends)).posterior(view)
        said.append(likely.max())
        hit.append(likely.argmax() == place)
    p, h = np.array(said), np.array(hit)
    apart = (h - p).sum() / np.sqrt((p * (1 - p)).sum())
    assert abs(apart) < 4, (h.mean(), p.mean(), apart)
    assert h.mean() > 0.2


@EVERY
def test_who_knows_nobody_is_calibrated_over_rounds_that_belong_together(
    kind: dict[str, Any],
) -> None:
    said, hit = [], []
    size = 40 if "pass_rounds" in kind else 12
    for seed in range(12):
        rng = np.random.default_rng([9, seed])
        people = {name: simulated(rng, size) for name in ("north", "east")}
        done = run(
            seed, patients=people, model=Logistic(len(SCHEMA)), learning_rate=0.1,
            noise_multiplier=0.3, **NOISE, **{"sampling_size": None, "rounds": 6} | kind,
        )  # fmt: skip
        shown = np.stack([PRIOR.draw(10, rng) for _ in range(size)])
        places = rng.integers(10, size=size)
        shown[np.arange(size), places] = people["north"].features
        ends = np.repeat(people["north"].outcomes[:, None], 10, axis=1)
        logs = LikelihoodRatio(draws=600).log_likelihoods(
            seen(done, "server_plain"), PRIOR, "north", shown, ends
        )
        likely = posterior(logs)
        said.append(likely.max(axis=1))
        hit.append(likely.argmax(axis=1) == places)
    p, h = np.concatenate(said), np.concatenate(hit)
    apart = float((h - p).sum() / np.sqrt((p * (1 - p)).sum()))
    assert abs(apart) < 5, (h.mean(), p.mean(), apart)
    assert h.mean() > (0.12 if "pass_rounds" in kind else 0.15)


@pytest.mark.parametrize("kind", [KINDS[0][0], KINDS[3][0]], ids=["passes", "banded, in passes"])
def test_with_nobody_else_it_is_the_informed_likelihood(kind: dict[str, Any]) -> None:
    """Of the first pass; of all, where a patient's step is the same in them."""
    people = {"north": cohort(3, size=1)["north"]}
    fields = {**NOISE, "noise_multiplier": 0.5, "sampling_size": None, "rounds": 6, **kind}
    done = run(5, patients=people, model=Logistic(len(SCHEMA)), **fields)
    view, pool = seen(done, "server_plain"), simulated(np.random.default_rng(1), 10)
    ours = LikelihoodRatio().log_likelihoods(
        view, PRIOR, None, pool.features[None], pool.outcomes[None]
    )[0]
    gradients = view.gradients
    rows = np.stack(
        [integer_rows(done.plan, g.params, pool.features, pool.outcomes) for g in gradients], axis=1
    )
    left = np.stack([g.integers for g in gradients])
    if "correlated" in kind:  # of each step's own sums, the others as if not seen
        apart = dataclasses.replace(done.plan, pass_rounds=None)
        each = [
            correlated_log_ratios(
                apart, left[s::3], rows[:, s::3], rounds=(s, s + 3), contributors=[("north",)] * 2
            )
            for s in range(3)
        ]
    else:
        each = [
            log_ratios(left[t], rows[:, t], std=done.plan.share_std, prob=1.0) for t in range(3)
        ]
    theirs = allocated_log_ratios(np.stack(each), steps=3)
    assert np.ptp(theirs) > 0.1
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("one", [BANDED, BUFFERED], ids=["banded", "buffered"])
def test_the_noise_of_a_sum_is_as_wide_and_as_correlated_as_the_view_says(
    one: Correlation,
) -> None:
    wide = {**NOISE, "noise_multiplier": 500.0}
    done = run(sampling_size=None, rounds=4, correlated=one, **wide)
    view = seen(done, "server_sealed")
    sums = np.stack([g.integers for g in view.gradients]).astype(np.float64)
    stated = np.array([g.noise_std for g in view.gradients])
    assert len(set(stated)) > 1
    np.testing.assert_allclose(sums.std(axis=1), stated, rtol=0.1)
    noise = Openings.of(view).noise
    np.testing.assert_allclose(np.sqrt(np.diag(noise)), stated, rtol=1e-12)
    np.testing.assert_allclose(np.cov(sums), noise, atol=0.1 * noise.max())
    assert abs(noise[0, 1]) > 0.3 * noise[0, 0]
    alone = Openings.of(view).some([2, 0])
    assert alone.rounds == (2, 0)
    np.testing.assert_array_equal(alone.noise, noise[np.ix_([2, 0], [2, 0])])


def test_what_only_one_sum_shares_with_nobody_is_not_correlated() -> None:
    made = plan(correlated=BANDED)
    gradients = tuple(
        Gradient(t, (SumPart(name, np.zeros(3)),), np.ones(3, dtype=np.int64), 1.0)
        for t, name in enumerate(("north", "south", "north"))
    )
    noise = Openings.of(GradientView(made, "server_plain", Knowledge(), gradients)).noise
    assert noise[0, 1] == noise[1, 2] == 0.0
    assert noise[0, 2] != 0.0


@EVERY
def test_one_round_by_itself_may_be_read_by_every_attack_and_more_by_those_that_know(
    kind: dict[str, Any],
) -> None:
    """Never silently: an attack runs, or says what it can't do."""
    fields = {**NOISE, "noise_multiplier": 0.5, "sampling_size": None, "rounds": 6, **kind}
    fields["model"] = Perceptron(len(SCHEMA), 4)
    done = run(patients=cohort(0, size=12), **fields)
    known = Knowledge(
        candidates=cohort(0, size=12)["north"].take(np.arange(3)), hospital="north",
        batches={(t, n): b for n, rounds in done.drawn.items() for t, (b,) in rounds.items()},
        patients=cohort(0, size=12),
    )  # fmt: skip
    ran = []
    for name, registered in ATTACKS.items():
        attack = make_attack(name, restarts=1, iterations=1)
        cls = InformedView if attack.needs is InformedView else GradientView
        whole = cls(done.plan, "x", known, seen(done, "server_plain").gradients)
        whole = whole.only(hospital="north")
        assert len(whole.gradients) == 6
        if name in ("likelihood_ratio", "informed_exact"):
            attack.reconstruct(whole, PRIOR)
        else:
            with pytest.raises(RefusedError, match=f"The attack '{name}' takes rounds for indep"):
                attack.reconstruct(whole, PRIOR)
        if registered.arena in (Arena.SINGLE, Arena.LINE_UP, Arena.ALL_BUT_ONE):
            attack.reconstruct(whole.only(round_=0), PRIOR)
            ran.append(name)
    assert {"closed_form", "tableak", "informed_search"} <= set(ran)


def test_a_round_of_a_pass_is_a_sample_to_whoever_needs_all_patients() -> None:
    model = Logistic(len(SCHEMA))
    done = run(model=model, sampling_size=None, rounds=2, pass_rounds=2, radius=2**24)
    view = seen(done, "server_plain").only(round_=0)
    with pytest.raises(RefusedError, match=r"same patients in every round.*draws_patients=True"):
        RowSpace().reconstruct(view, PRIOR)
    for reads in (Differencing().isolate, Disaggregation().disaggregate):
        with pytest.raises(RefusedError, match="Attack the rounds one by one"):
            reads(view)
    with pytest.raises(RefusedError, match="Only sums of one step over all patients"):
        Coins().estimate(view, cohort(0), None, {n: np.full(60, 0.5) for n in cohort(0)})
    records = WholePatient(({"north": cohort(0)["north"]},))
    with pytest.raises(RefusedError, match="draws_patients=True"):
        records.posterior(InformedView(done.plan, "informed", Knowledge(), view.gradients))
    (first,) = view.only(hospital="north").gradients
    rng = np.random.default_rng(0)
    assert len({batch.size for batch in infer_batches(done.plan, first, PRIOR, rng)}) > 1


@pytest.mark.parametrize("kind", [{"pass_rounds": 2}, {"correlated": BANDED}], ids=str)
def test_shadow_models_are_not_trained_as_if_rounds_were_independent(kind: dict[str, Any]) -> None:
    fields = {**NOISE, "noise_multiplier": 0.5, "sampling_size": None, "rounds": 2, **kind}
    made, people = run(**fields).plan, cohort(0)["north"]
    with pytest.raises(RefusedError, match="Shadow models repeat full-batch training"):
        train_shadows(made, people, np.ones((8, len(people)), bool), np.random.default_rng(0))


def test_a_round_that_the_plan_does_not_have_is_refused() -> None:
    made = plan(correlated=BANDED, rounds=2)
    people = {name: Patients(np.ones((3, 2)), np.array([0, 1, 1])) for name in made.hospitals}
    done = Federation.simulated(made, people, seed=0).run()
    late = Transcript()
    for m in done.transcript:
        late.carry(dataclasses.replace(m, round=m.round + 2 * (m.kind == "update")))
    with pytest.raises(CorruptMessageError, match="An update of round 2 in a run of 2 rounds"):
        require(observe(late, "server_plain"), GradientView, "test", together=True)
