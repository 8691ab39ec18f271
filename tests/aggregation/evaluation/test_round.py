"""The evaluation round: a federation's own release, and how near its AUC comes to the truth."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dp_accounting import ComposedDpEvent, NeighboringRelation

from aggregation.data.patients import Column, Patients, Schema
from aggregation.evaluation import (
    Evaluated,
    binned,
    evaluation_plan,
    opened_counts,
    part,
    score_edges,
)
from aggregation.evaluation.round import FILE
from aggregation.federation import Federation
from aggregation.models import Counts, Logistic
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.releases import run_event
from aggregation.rules.bounded_influence import BoundedInfluence
from aggregation.sealing.slots import SlotGroup
from aggregation.update import noised_update
from experiments.benchmarks.sealed_run import stroke_like
from privacy.accounting import epsilon
from privacy.accounting.events import DistributedDiscreteGaussianDpEvent
from privacy.errors import BudgetExceededError, InvalidInputError, RefusedError
from privacy.mechanisms import Seeded
from privacy.unit import Unit
from tests.aggregation.evaluation.test_figures import auc

ADD = NeighboringRelation.ADD_OR_REMOVE_ONE
SCHEMA = Schema(
    tuple(Column(f"x{i}", high=6.0, low=-6.0, binary=False) for i in range(22)), "stroke"
)
PARAMS = np.array([1.7, *[0.1, -0.1] * 10, 0.1, 0.05])
MODEL = Logistic(22)


def training(hospitals: Mapping[str, Any], **changes: Any) -> Plan:
    made = Plan(
        run="t", model=MODEL, hospitals=tuple(hospitals),
        declared_sizes=tuple(max(1, len(p)) for p in hospitals.values()), rounds=3,
        learning_rate=1.0, noise=NoiseKind.SHARED, scheme="shares", clip_norm=1.0, radius=2**10,
        noise_multiplier=8.0, colluders=1,
    )  # fmt: skip
    return replace(made, **changes)


def counting(plan: Plan, held: Mapping[str, Patients], level: float = 0.1, **more: Any) -> Plan:
    return evaluation_plan(
        plan, tuple(max(1, len(p)) for p in held.values()), epsilon=level, **more
    )


def scored(held: Mapping[str, Patients]) -> dict[str, np.ndarray]:
    return {name: MODEL.scores(PARAMS, patients.features) for name, patients in held.items()}


def cells(held: Mapping[str, Patients], plan: Plan, edges: np.ndarray) -> dict[str, Patients]:
    counts = plan.model
    assert isinstance(counts, Counts)
    return {n: binned(held[n], s, edges, counts, n) for n, s in scored(held).items()}


def few(seed: int = 0, hospitals: int = 4) -> dict[str, Patients]:
    return stroke_like(hospitals, seed=seed)


def test_the_counts_are_one_release_whose_event_is_the_plans() -> None:
    held = few()
    plan = counting(training(held), held)
    event = run_event(plan, "h0000").event
    assert isinstance(event, DistributedDiscreteGaussianDpEvent)
    assert (event.radius, event.dim, event.contributors) == (64, 16, 3)
    whole = run_event(plan, "h0000")
    assert epsilon(whole, delta=1e-5, relation=ADD).upper <= 0.1
    less = replace(plan, noise_multiplier=0.99 * plan.noise_multiplier)
    assert epsilon(run_event(less, "h0000"), delta=1e-5, relation=ADD).upper > 0.1
    assert plan.rounds == 1 and plan.run == "t-evaluation"
    assert (plan.delta, plan.scheme, plan.colluders) == (1e-5, "shares", 1)
    sampled = counting(training(held, sampling_size=1, local_steps=1), held)
    assert sampled.sampling_probs == (1.0,) * 4  # nobody is drawn: all held-out patients count


def test_whatever_trains_an_evaluation_is_one_plain_sum_of_counts() -> None:
    """Local steps, batches, the training's rule and its scalars, keys and averages stay there."""
    held = few()
    trained = training(
        held, noise=NoiseKind.LOCAL, scheme="plain", colluders=0, clip_norm=2.0,
        learning_rate=0.5, local_steps=3,
        sampling_size=1, average_last=2, sealing="ab" * 32, roster="cd" * 32,
        scalars=(SlotGroup("count", 1, 1.0, 2**8, 30.0),), rule=BoundedInfluence(),
    )  # fmt: skip
    assert type(trained.rule) is BoundedInfluence
    counts = counting(trained, held).model
    expected = training(held, noise=NoiseKind.LOCAL, scheme="plain", colluders=0)
    made = counting(trained, held)
    assert made == replace(
        counting(expected, held), model=counts, noise_multiplier=made.noise_multiplier
    )
    assert made.dim == counts.dim and made.local_steps == 1 and made.scalars == ()
    assert made.rule is None and made.sealing is None and made.roster is None
    # As wide as when the training was the simplest one: nothing of it is in the event.
    assert made.noise_multiplier == counting(expected, held).noise_multiplier


@pytest.mark.parametrize("scheme", ["shares", "plain"])
def test_without_noise_the_opened_sum_is_the_table_of_counts(scheme: str) -> None:
    held = few()
    sites = (("one", ("h0000", "h0002")), ("two", ("h0001", "h0003")))
    bare = training(held, noise=NoiseKind.NONE, noise_multiplier=0.0, colluders=0, scheme="plain")
    plan = replace(counting(bare, held, bins=5, sites=sites), scheme=scheme)
    edges = score_edges(MODEL, PARAMS, SCHEMA, 5)
    outcome = Federation.simulated(plan, cells(held, plan, edges), seed=0).run()
    found = opened_counts(plan, outcome.opened[0], edges)
    for name, group in sites:
        expected = np.zeros((2, 5))
        for one in group:
            place = np.searchsorted(edges, scored(held)[one], side="right")
            np.add.at(expected, (held[one].outcomes, place), 1)
        assert (found.of(name).counts[0] == expected).all()
    assert found.noise_std == 0.0 and found.sites == ("one", "two")
    assert math.isinf(Evaluated(plan, found).epsilon)


@pytest.mark.parametrize("noise", [NoiseKind.SHARED, NoiseKind.LOCAL])
def test_the_noise_of_a_cell_is_as_wide_as_is_said(noise: NoiseKind) -> None:
    held = few(hospitals=6)
    scheme = "shares" if noise == NoiseKind.SHARED else "plain"
    colluders = 2 if noise == NoiseKind.SHARED else 0
    plan = counting(training(held, noise=noise, scheme=scheme, colluders=colluders), held, bins=64)
    nobody = Patients(np.zeros((0, 2)), np.zeros(0, dtype=np.int64))
    source = Seeded(1)
    total = sum(
        noised_update(plan, n, [nobody], np.zeros(plan.dim), source) for n in plan.hospitals
        for _ in range(1)
    )  # fmt: skip
    edges = np.arange(63.0)
    found = opened_counts(plan, np.asarray(total), edges)
    # 128 cells: the sample's deviation is within 25 % but once in 10,000.
    assert found.counts.std() == pytest.approx(found.noise_std, rel=0.25)
    one = plan.noise_multiplier  # of the patients that a cell counts
    assert found.noise_std == pytest.approx(
        one * math.sqrt(6 / 4 if noise == NoiseKind.SHARED else 6)
    )


def test_the_ledgers_hold_an_evaluation_beside_the_training_within_one_budget(
    tmp_path: Path,
) -> None:
    whole = few(seed=2)
    parts = {n: part(p, 0.5, run="t", hospital=n) for n, p in whole.items()}
    train, held = ({n: both[k] for n, both in parts.items()} for k in (0, 1))
    nobody = Patients(np.zeros((0, 2)), np.zeros(0, dtype=np.int64))
    plan = training(train, declared_sizes=(600,) * 4)
    level = epsilon(
        ComposedDpEvent([run_event(plan, "h0000"), run_event(counting(plan, held), "h0000")]),
        delta=1e-5,
        relation=ADD,
    ).upper

    def made(out: Path, budget: float) -> tuple[Federation, Federation]:
        first = Federation.real(plan, train, out=out, target_epsilon=budget)
        agreed = counting(first.plan, held)
        second = Federation.real(
            agreed, dict.fromkeys(train, nobody), out=out / "evaluation", ledgers=out,
            target_epsilon=budget,
        )  # fmt: skip
        first.join()
        second.join()
        return first, second

    first, second = made(tmp_path / "enough", level + 1e-6)
    params = first.run().params
    edges = score_edges(MODEL, params, SCHEMA, 8)
    second.admit(cells(held, second.plan, edges))
    outcome = second.run()
    for name in train:
        entries = [e for e in second.ledger(name).entries() if e.kind == "release"]
        assert [e.content["kind"] for e in entries] == ["update"] * 3 + ["evaluation"]
        assert {e.content["filter"] for e in entries} == {"planned"}
    found = opened_counts(second.plan, outcome.opened[0], edges)
    assert found.counts.sum() == pytest.approx(
        sum(map(len, held.values())), abs=5 * 4 * found.noise_std
    )
    with pytest.raises(BudgetExceededError):
        made(tmp_path / "too little", 0.999 * level)


def test_what_was_found_is_written_with_its_noise_and_its_price(tmp_path: Path) -> None:
    held = few()
    plan = counting(training(held), held)
    edges = score_edges(MODEL, PARAMS, SCHEMA, 8)
    outcome = Federation.simulated(plan, cells(held, plan, edges), seed=0).run()
    found = Evaluated(plan, opened_counts(plan, outcome.opened[0], edges), disjoint=False)
    content = json.loads(found.save(tmp_path).read_text())
    assert found.save(tmp_path) == tmp_path / FILE
    assert content["plan"] == plan.digest and content["disjoint"] is False
    assert 0.0999 < content["epsilon"] <= 0.1 and content["delta"] == 1e-5
    assert content["counts"] == found.held_out.counts.tolist()
    assert content["noise_std"] == found.held_out.noise_std > 30
    assert content["figures"]["AUC"]["upper"] == found.figures["AUC"].upper
    assert set(content["figures"]) == set(found.figures)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"unit": Unit.HOSPITAL}, RefusedError, "unit='hospital'"),
        ({"noise": NoiseKind.ARTICLE, "scheme": "plain", "clip_norm": None, "epsilon": 1.0,
          "noise_multiplier": 0.0, "colluders": 0}, RefusedError, "noise='article'"),
    ],
)  # fmt: skip
def test_what_can_not_be_evaluated_is_refused(
    changes: dict[str, Any], error: type[Exception], said: str
) -> None:
    held = few()
    with pytest.raises(error, match=said):
        counting(training(held, **changes), held)
    with pytest.raises(InvalidInputError, match="in no class of sites"):
        counting(training(held), held, sites=(("one", ("h0000",)),))
    with pytest.raises(RefusedError, match="evaluates nothing"):
        opened_counts(training(held), np.zeros(23, dtype=np.int64), np.zeros(7))


def near(draws: int, noises: int, seed: int) -> list[float]:
    """By how much the round's AUC misses that of the very patients, in seeded runs.

    464 hospitals of the trial's shape; patients drawn ``draws`` times, and counted ``noises`` times
    each. Every hospital's integers and noise are those that it seals. More runs, and of fewer
    patients: ``inpatient bench evaluation``.
    """
    missed = []
    edges = score_edges(MODEL, PARAMS, SCHEMA, 8)
    for draw in range(draws):
        held = stroke_like(464, seed=1000 * seed + draw)
        if draw == 0:
            plan = counting(training(held), held)
        scores = np.concatenate(list(scored(held).values()))
        truth = auc(scores, np.concatenate([p.outcomes for p in held.values()]))
        counted = cells(held, plan, edges)
        for noise in range(noises):
            source, total = Seeded((seed, draw, noise)), np.zeros(plan.dim, dtype=np.int64)
            for name, own in counted.items():
                total += noised_update(plan, name, [own], np.zeros(plan.dim), source)
            found = Evaluated(plan, opened_counts(plan, total, edges)).figures["AUC"].value
            assert found is not None
            missed.append(abs(found - truth))
    return missed


def test_the_auc_of_464_hospitals_at_a_tenth_of_the_budget_is_within_a_hundredth() -> None:
    """At 95 % or more: with what was measured (99 %), 3 of 40 miss once in 1,000."""
    missed = near(4, 10, seed=1)
    assert sum(one <= 0.01 for one in missed) >= 38, sorted(missed)[-4:]
