"""The frontier: resumable, the same on any number of workers, won undefended and lost defended."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dp_accounting import ComposedDpEvent, GaussianDpEvent, PoissonSampledDpEvent
from scipy.special import ndtr, ndtri

from aggregation.correlation import Correlation
from aggregation.federation import Federation
from aggregation.releases import run_event
from attacks.scoring.rates import equivalence
from experiments.cohorts import folds, load
from experiments.evaluation import auc
from experiments.run.plots import save
from experiments.run.record import Record
from experiments.run.sweep import sweep
from experiments.studies.design import (
    FEDERATED,
    RELATION,
    TRAINING,
    Design,
    Regime,
    TrainingSetting,
)
from experiments.studies.frontier import grid
from experiments.studies.frontier.figures import draw_frontier
from experiments.studies.frontier.metrics import cross_validation, summarise
from experiments.studies.frontier.overview import _on_frontier, overview, tables
from experiments.studies.frontier.point import FoldResult, FrontierPoint, measure
from experiments.studies.frontier.risks import (
    ADVERSARIES,
    NOT_TRIED,
    FrontierResult,
    frontier_point,
    read_frontier,
    risk_of,
    told,
)
from experiments.studies.lineups import AttackSuite, Trial, attack_round, risk
from experiments.studies.people import LINEUP, traits_of
from privacy.accounting import epsilon as epsilon_of
from privacy.errors import InvalidInputError
from privacy.reconstruction import success_bound
from tests.experiments.made_up import frontier_metrics

BANDED = Correlation(bands=4)
CHEAP = AttackSuite(("closed_form",))
SHORT = TrainingSetting(rounds=3, learning_rate=1.0, clip_norm=1.0, average_last=2)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rounds instead of a training: for what doesn't depend on their number."""
    sampled = dataclasses.replace(SHORT, sampling_size=8)
    brief = {(r, m): SHORT if r == "full" else sampled for r, m in TRAINING}
    monkeypatch.setattr("experiments.studies.design.TRAINING", brief)


def first_rounds(design: Design, epsilon: float | None, seeds: range) -> list[Trial]:
    """Line-ups on first rounds of the small regime: the noise is that of the whole plan."""
    point = FrontierPoint(design, epsilon, Regime.SMALL, "mlp", CHEAP)
    shown: list[Trial] = []
    for seed in seeds:
        for k in range(5):
            cohort, split = point.split(seed, k)
            plan = point.plan(split.train, seed=seed, fold=k)
            once = dataclasses.replace(plan, rounds=1, average_last=1)
            patients, lineups = point.seated(once, split, seed, k)
            outcome = Federation.simulated(once, patients, seed=(seed, k)).run()
            shown += attack_round(
                CHEAP,
                outcome,
                lineups,
                cohort.schema,
                adversary=point.adversary,
                seed=(seed, k),
            )
    return shown


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"pass_rounds": 1}, "pass_rounds=1"),
        ({"designs": ("none", "sealed"), "correlated": BANDED}, "designs=none, sealed whose hosp"),
        ({"designs": ("sealed",), "correlated": BANDED}, r"finite epsilons=1, inf for noise that"),
        (
            {"designs": ("local",), "correlated": BANDED, "epsilons": (1.0,), "regime": "small"},
            "regime=small full, or pass_rounds, for noise that is correlated=banded 4",
        ),
    ],
)
def test_rounds_that_belong_together_are_refused_where_nothing_is_proved(
    fields: dict[str, Any], said: str
) -> None:
    given = {"designs": FEDERATED, "epsilons": (1.0, math.inf), "regime": "full"} | fields
    with pytest.raises(InvalidInputError, match=said):
        grid.chosen_grid(model="logistic", **given)


@pytest.mark.parametrize(
    "fields",
    [{"pass_rounds": 3}, {"correlated": BANDED}, {"pass_rounds": 3, "correlated": BANDED}],
    ids=["passes", "correlated", "both"],
)
def test_a_point_of_rounds_that_belong_together_is_attacked_and_bounded(
    fields: dict[str, Any],
) -> None:
    (point,) = grid.chosen_grid(("sealed",), (8.0,), "small" if "pass_rounds" in fields else "full",
                                "logistic", **fields)  # fmt: skip
    assert point.training.sampling_size is None
    assert set(fields) == set(point.config) & {"pass_rounds", "correlated"}
    short = dataclasses.replace(point, setting=SHORT, folds=3)
    assert short.training.rounds == 3
    metrics = short.summarise([short.measure(unit) for unit in short.units])
    assert set(metrics["risks"]) == {"closed_form", "likelihood_ratio", "informed"}
    # As all Gaussians of epsilon 8; what is amplified has another curve, and a lower bound.
    known = 0.65 if "correlated" in fields else 0.55
    assert metrics["bound"] == pytest.approx(known, abs=0.01)
    assert metrics["risks"]["informed"]["lower"] <= metrics["bound"]
    record = Record(short.config, metrics, {"commit": "x"})
    assert frontier_point(record).config == short.config
    (shown,) = tables([record])
    title = str(shown.title)
    assert ("Each patient in one of 3 rounds" in title) is ("pass_rounds" in fields)
    assert ("noise banded 4" in title) is ("correlated" in fields)
    overview([record])  # row by row: it is none of the frontier's lines
    assert not _on_frontier(short, "heart")
    plain = dataclasses.replace(short, pass_rounds=None, correlated=None)
    assert not {"pass_rounds", "correlated"} & set(plain.config)
    assert plain.label != short.label
    assert _on_frontier(plain, "heart")


def test_undefended_the_attack_wins() -> None:
    found = risk(first_rounds(Design.NONE, None, range(1)), "closed_form")
    assert found["targets"] >= 60
    assert found["lower"] > 0.5  # guessing: 0.1
    assert found["exact"] > 0.5


def test_sealed_at_epsilon_1_the_same_attack_is_equivalent_to_guessing() -> None:
    """Two one-sided tests at 5 %; the margin is half of what guessing gives."""
    shown = first_rounds(Design.SEALED, 1.0, range(5))
    gaps = np.array([one.named - 1 / LINEUP for one in shown])
    batches = np.unique([one.batch for one in shown], return_inverse=True)[1].astype(np.int64)
    found = equivalence(gaps, batches, np.random.default_rng(0), margin=0.05)
    assert found.equivalent, found
    assert not any(one.exact for one in shown)


def test_who_has_seen_nothing_names_one_in_ten() -> None:
    """The line-up itself: an attack that returns the prior's guesses succeeds at 1 in 10."""
    shown = first_rounds(Design.LOCAL, 0.1, range(5))
    gaps = np.array([one.named - 1 / LINEUP for one in shown])
    batches = np.unique([one.batch for one in shown], return_inverse=True)[1].astype(np.int64)
    assert equivalence(gaps, batches, np.random.default_rng(0), margin=0.05).equivalent


def parts(point: FrontierPoint) -> list[FoldResult]:
    return [measure(point, seed, k) for seed in point.seeds for k in range(point.folds)]


def test_the_federation_learns_and_privacy_costs_little() -> None:
    """Within-site AUC .875 to .885 undefended; at most .015 less at epsilon 1, sealed.

    The means over three cross-validations; one alone errs by about .004 from the noise.
    """
    values = {}
    for design, epsilon in ((Design.NONE, None), (Design.SEALED, 1.0)):
        point = FrontierPoint(
            design, epsilon, Regime.FULL, "logistic", CHEAP, (0, 1, 2), scheme="plain"
        )
        done = parts(point)
        repeats = [cross_validation([p for p in done if p.seed == seed]) for seed in point.seeds]
        values[design] = np.mean([auc(sites) for sites in repeats])
    assert 0.875 <= values[Design.NONE] <= 0.885
    assert values[Design.NONE] - values[Design.SEALED] <= 0.015


@pytest.mark.usefixtures("short")
def test_a_second_run_computes_nothing_and_workers_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = [
        FrontierPoint(Design.NONE, None, Regime.SMALL, "logistic", CHEAP, folds=2),
        FrontierPoint(Design.SEALED, 1.0, Regime.FULL, "logistic", CHEAP, folds=2),
    ]
    first = sweep(tmp_path, points, jobs=1)
    written = {p.name: p.read_bytes() for p in (tmp_path / "records").iterdir()}
    assert len(written) == 2
    shuffled = [summarise(p, parts(p)[::-1]) for p in points]
    assert [r.metrics for r in first] == shuffled
    monkeypatch.setattr("experiments.studies.frontier.point.measure", pytest.fail)
    again = sweep(tmp_path, points, jobs=1)
    assert [r.name for r in again] == [r.name for r in first]
    assert {p.name: p.read_bytes() for p in (tmp_path / "records").iterdir()} == written
    timings = json.loads((tmp_path / "timings.json").read_text())
    assert set(timings) == {Path(name).stem for name in written}
    assert not any("second" in json.dumps(r.metrics) for r in first)


@pytest.mark.usefixtures("short")
def test_sealed_and_plain_give_the_same_metrics() -> None:
    """A sample of the published grid, with a short training, added in clear and sealed for real."""
    whole = [p for p in grid.full_grid() if isinstance(p, FrontierPoint)]
    published = [p for p in whole if p.design == "sealed" and p.epsilon == 1.0]
    sample = [p for p in published if (p.regime, p.model, p.cohort) == ("small", "mlp", "heart")]
    for point in (sample[0], next(p for p in sample if p.ablation == "colluders")):
        brief = dataclasses.replace(point, seeds=(0,), folds=3, width=8, attacks=CHEAP)
        assert brief.scheme == "plain"
        sealed = dataclasses.replace(brief, scheme="shares")
        assert summarise(brief, parts(brief)) == summarise(sealed, parts(sealed))


@pytest.mark.usefixtures("short")
def test_floor_and_ceiling_are_attacked_by_nobody() -> None:
    alone = FrontierPoint(Design.LOCAL_ONLY, None, Regime.SMALL, "mlp", CHEAP, folds=2, width=8)
    pooled = FrontierPoint(Design.POOLED, 1.0, Regime.SMALL, "mlp", CHEAP, folds=2, width=8)
    floor, ceiling = (summarise(p, parts(p)) for p in (alone, pooled))
    assert (floor["risk"]["value"], floor["bound"], floor["upload_bytes"]) == (0.1, 0.1, 0.0)
    assert (ceiling["risk"]["value"], ceiling["bound"]) == (1.0, None)
    assert ceiling["epsilon"]["upper"] <= 1.0
    plan = pooled.plan({"all": load("heart").hospitals["va"]}, seed=0, fold=0, hospitals=4)
    assert plan.sampling_size == 4 * 8  # as many patients a round as the four together


@pytest.mark.usefixtures("short")
def test_who_opens_single_updates_meets_one_share_of_the_noise() -> None:
    curious = FrontierPoint(
        Design.SEALED, 1.0, Regime.SMALL, "mlp", CHEAP, folds=2, width=8, scheme="plain"
    )
    holder = dataclasses.replace(curious, sees="key_holder")
    seen, opened = (summarise(p, parts(p)) for p in (curious, holder))
    assert (seen["adversary"], opened["adversary"]) == ("server_sealed", "key_holder")
    assert opened["bound"] > seen["bound"]
    assert opened["auc_within"] == seen["auc_within"]


@pytest.mark.usefixtures("short")
def test_bound_and_epsilon_are_those_of_whoever_is_worst_off() -> None:
    """A target who took part is not hidden by sampling, and some hospital draws most often."""
    point = FrontierPoint(
        Design.SEALED, 1.0, Regime.SMALL, "mlp", CHEAP, folds=2, width=8, scheme="plain"
    )
    run = parts(point)
    plan, metrics = run[0].plan, summarise(point, run)
    one_round = float(ndtr(ndtri(1 / LINEUP) + 1 / plan.noise_multiplier))  # of a Gaussian
    both = ComposedDpEvent([
        GaussianDpEvent(plan.noise_multiplier),
        *[PoissonSampledDpEvent(max(plan.sampling_probs), GaussianDpEvent(plan.noise_multiplier))]
        * (plan.rounds - 1),
    ])  # fmt: skip
    whole = success_bound(both, prior_success=1 / LINEUP, relation=RELATION)
    assert one_round < whole == pytest.approx(metrics["bound"], rel=1e-3)
    spent = [
        epsilon_of(run_event(plan, name), delta=plan.delta, relation=RELATION).upper
        for name in plan.hospitals
    ]
    assert metrics["epsilon"]["upper"] == max(spent) > min(spent)


def test_walks_of_several_steps_take_as_many_steps_in_all() -> None:
    one = FrontierPoint(Design.LOCAL, 1.0, Regime.SMALL, "mlp", CHEAP)
    five = dataclasses.replace(one, local_steps=5)
    assert five.training.rounds * 5 == one.training.rounds
    patients = folds(load("heart"), count=5, seed=0)[0].train
    sealed = dataclasses.replace(five, design=Design.SEALED).plan(patients, seed=0, fold=0)
    assert (sealed.noise, sealed.scheme, sealed.local_steps) == ("local", "shares", 5)


def test_traits_are_what_they_say() -> None:
    split = folds(load("heart"), count=5, seed=0)[0]
    sizes = {name: len(p) for name, p in split.train.items()}
    for name, patients in split.train.items():
        traits = traits_of(patients.features, name, split)
        outlying = np.mean(["outlying" in t for t in traits])
        assert abs(outlying - 0.2) < 0.02
        assert all(
            ("small hospital" in t) == (name == min(sizes, key=lambda n: sizes[n])) for t in traits
        )
        assert 0 < np.mean(["rare" in t for t in traits]) < 0.7


def test_grids_hold_what_they_promise() -> None:
    quick, full = grid.quick_grid(), grid.full_grid()
    assert {p.design for p in quick} == {"none", "article", "local", "sealed"}
    assert {p.epsilon for p in quick} == {None, 1.0}
    assert sum("tableak" in p.attacks.attacks for p in quick) in (2, 3)
    core = grid.group("small")
    for design in ("local", "sealed", "pooled"):
        assert {p.epsilon for p in core if p.design == design} == set(grid.EPSILONS)
    assert {p.design for p in core} == {
        "none",
        "article",
        "local",
        "sealed",
        "pooled",
        "local only",
    }
    names = [Record(p.config, {}, {}).name for p in full]
    assert len(set(names)) == len(full) <= 160
    assert grid.cells(names[3:5]) == full[3:5]
    with pytest.raises(InvalidInputError, match="No cell"):
        grid.cells(["0" * 12])
    with pytest.raises(InvalidInputError, match="Unknown group"):
        grid.group("magic")


def test_the_demo_and_chosen_designs_meet_both_adversaries() -> None:
    """Who knows all other patients is always tried: what a server can't do alone is no proof."""
    chosen = [
        point
        for regime, model in (("small", "mlp"), ("full", "logistic"), ("small", "logistic"))
        for point in grid.chosen_grid(FEDERATED, (1.0, math.inf), regime, model)
    ]
    for point in [*grid.quick_grid(), *chosen]:
        assert {"closed_form", "likelihood_ratio", "informed"} <= set(point.attacks.attacks), point


@pytest.mark.usefixtures("short")
def test_the_informed_adversary_names_everybody_where_nothing_protects() -> None:
    """With all patients in a round a server alone does little: the demo must not stop there."""
    bare = next(p for p in grid.quick_grid() if (p.design, p.regime) == ("none", "full"))
    point = dataclasses.replace(bare, seeds=(0,), folds=3)
    result = result_of(point, summarise(point, parts(point)))
    curious, informed = (risk_of(result, adversary) for adversary in ADVERSARIES)
    assert curious and informed
    assert curious.value < 0.3 < 0.95 < informed.value


def result_of(point: FrontierPoint, metrics: dict[str, Any]) -> FrontierResult:
    (result,) = read_frontier([Record(point.config, metrics, {})])
    return result


def test_an_attack_that_only_guesses_is_not_a_low_risk() -> None:
    """No attack here reads a sum of several hospitals' steps: nobody tried, and it is said."""
    whole = [p for p in grid.group("fedavg") if isinstance(p, FrontierPoint)]
    point = next(p for p in whole if p.design == "sealed")
    assert risk_of(result_of(point, frontier_metrics()), "curious") is None
    assert told(result_of(point, frontier_metrics()), "curious") == (NOT_TRIED, "")
    one = dataclasses.replace(point, local_steps=1)
    assert risk_of(result_of(one, frontier_metrics()), "curious") is not None


def test_an_unknown_attack_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="Unknown attack"):
        AttackSuite(("magic",)).make(seed=0)


def test_figures_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    results = [
        result_of(
            FrontierPoint(d, e, Regime.SMALL, "mlp", CHEAP),
            frontier_metrics(bound=0.3 if e else None),
        )
        for d, e in ((Design.NONE, None), (Design.SEALED, 1.0), (Design.SEALED, None))
    ]
    one = [p.read_bytes() for p in save(draw_frontier(results), tmp_path / "one")]
    two = [p.read_bytes() for p in save(draw_frontier(results), tmp_path / "two")]
    assert one == two
    assert b"about 8 patients" in one[0]
