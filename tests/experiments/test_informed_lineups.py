"""Line-ups before the informed adversary: the same as one by one, and never above the bound."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from aggregation.correlation import Correlation
from aggregation.data.patients import Patients
from aggregation.federation import Federation
from attacks.informed.candidates import posterior
from attacks.informed.known_others import InformedPool
from attacks.scoring.selection import choosing_half
from attacks.views import Adversary, GradientView, InformedView, Knowledge, observe, require
from attacks.views.adversary import Place
from experiments.studies.design import Design, Regime
from experiments.studies.frontier.point import FrontierPoint
from experiments.studies.likelihoods import of_rounds
from experiments.studies.lineups import AttackSuite, Trial, attack_round, risk, worst_risk
from experiments.studies.people import LINEUP
from privacy.errors import InvalidInputError

INFORMED = AttackSuite(("informed",))
BOTH = AttackSuite(("closed_form", "informed"))


@pytest.mark.parametrize("design", [Design.ARTICLE, Design.LOCAL, Design.SEALED])
def test_all_targets_at_once_are_judged_as_one_by_one(design: Design) -> None:
    """Two roads: shared subtraction here, each target's own knowledge and view there."""
    point = FrontierPoint(design, 3.0, Regime.SMALL, "mlp", INFORMED, width=8)
    _, split = point.split(0, 0)
    plan = dataclasses.replace(point.plan(split.train, seed=0, fold=0), rounds=3, average_last=1)
    patients, shown = point.seated(plan, split, 0, 0)
    outcome = Federation.simulated(plan, patients, seed=(0, 0)).run()
    view = require(observe(outcome.transcript, point.adversary), GradientView, "test")
    groups = [one for one in shown if one.hospital == "hungary"][:3]
    assert len({one.target for one in groups}) > 1
    ours = posterior(of_rounds(view, outcome, groups))
    for group, all_at_once in zip(groups, ours, strict=True):
        hidden = group.patient
        batches: dict[Place, Patients] = {
            (t, name): b.take(b.ids != hidden) if name == "hungary" else b
            for name, rounds in outcome.drawn.items()
            for t, (b,) in rounds.items()
        }
        sent = {(t, "cleveland"): v for t, v in outcome.sent["cleveland"].items()}
        knowledge = Knowledge(batches=batches, updates=sent if design is Design.SEALED else {})
        seen = observe(outcome.transcript, Adversary("informed", knowledge))
        own = require(seen, InformedView, "test").only(hospital="hungary")
        prob = plan.sampling_probs[plan.hospitals.index("hungary")]
        pool = Patients(group.people, np.full(LINEUP, group.outcome))
        alone = InformedPool(pool, presence=np.array([1.0, prob, prob])).posterior(own)
        np.testing.assert_allclose(alone, all_at_once, atol=1e-9)


@pytest.mark.parametrize(
    "fields",
    [
        {"pass_rounds": 2},
        {"correlated": Correlation(bands=3)},
        {"pass_rounds": 2, "correlated": Correlation(scales=(0.3,), decays=(0.5,))},
    ],
    ids=["passes", "correlated", "both"],
)
@pytest.mark.parametrize("design", [Design.LOCAL, Design.SEALED])
def test_over_rounds_that_belong_together_too(design: Design, fields: dict[str, Any]) -> None:
    point = FrontierPoint(design, 30.0, Regime.FULL, "logistic", INFORMED, **fields)
    _, split = point.split(0, 0)
    plan = dataclasses.replace(point.plan(split.train, seed=0, fold=0), rounds=4, average_last=1)
    patients, shown = point.seated(plan, split, 0, 0)
    assert shown == split.lineups
    outcome = Federation.simulated(plan, patients, seed=(0, 0)).run()
    view = require(
        observe(outcome.transcript, point.adversary), GradientView, "test", together=True
    )
    groups = [one for one in shown if one.hospital == "va"][:3]
    ours = posterior(of_rounds(view, outcome, groups))
    for group, all_at_once in zip(groups, ours, strict=True):
        batches: dict[Place, Patients] = {
            (t, name): b.take(b.ids != group.patient) if name == "va" else b
            for name, rounds in outcome.drawn.items()
            for t, (b,) in rounds.items()
        }
        known = {n: p.take(p.ids != group.patient) if n == "va" else p for n, p in patients.items()}
        colluder = plan.hospitals[0]
        assert colluder != "va"
        sent = {(t, colluder): v for t, v in outcome.sent[colluder].items()}
        updates = sent if plan.colluders else {}
        knowledge = Knowledge(batches=batches, patients=known, updates=updates)
        seen = observe(outcome.transcript, Adversary("informed", knowledge))
        own = require(seen, InformedView, "test", together=True).only(hospital="va")
        pool = Patients(group.people, np.full(LINEUP, group.outcome))
        alone = InformedPool(pool).posterior(own)
        np.testing.assert_allclose(alone, all_at_once, atol=1e-9)


def test_records_are_read_off_every_round_of_the_first_pass_in_which_anything_was_sent() -> None:
    suite = AttackSuite(("closed_form",))
    point = FrontierPoint(Design.NONE, None, Regime.FULL, "mlp", suite, pass_rounds=40)
    cohort, split = point.split(0, 0)
    plan = point.plan(split.train, seed=0, fold=0)
    assert plan.rounds == 40
    outcome = Federation.simulated(plan, split.train, seed=(0, 0)).run()
    batches = outcome.drawn["switzerland"]
    assert any(len(batch) == 0 for (batch,) in batches.values())
    shown = attack_round(
        suite, outcome, split.lineups, cohort.schema, adversary="server_plain", seed=(0, 0)
    )
    assert np.mean([one.exact for one in shown]) > 0.5  # one round in 40 holds few of them


def test_undefended_it_names_nearly_everybody_in_every_view() -> None:
    """It fails only where two of the ten are alike to the last integer."""
    for design in (Design.NONE, Design.SEALED):
        point = FrontierPoint(design, None, Regime.SMALL, "logistic", BOTH, scheme="plain")
        cohort, split = point.split(0, 0)
        plan = dataclasses.replace(
            point.plan(split.train, seed=0, fold=0), rounds=2, average_last=1
        )
        patients, lineups = point.seated(plan, split, 0, 0)
        outcome = Federation.simulated(plan, patients, seed=(0, 0)).run()
        shown = attack_round(
            BOTH, outcome, lineups, cohort.schema, adversary=point.adversary, seed=(0, 0)
        )
        ours = [one for one in shown if one.attack == "informed"]
        assert len(ours) * 2 == len(shown) >= 24
        assert np.mean([one.named for one in ours]) > 0.95
        assert all(one.exact for one in ours if one.named)


def made_up(batches: int, **chances: float) -> list[Trial]:
    rng = np.random.default_rng(0)
    return [
        Trial(name, str(k), bool(rng.random() < chance), exact=False)
        for name, chance in chances.items()
        for k in range(batches)
        for _ in range(8)
    ]


def test_what_is_exact_is_of_the_half_that_is_reported() -> None:
    half = choosing_half(np.arange(10), seed=0)
    shown = [
        Trial(name, f"{k}", named=name == "a", exact=bool(half[k]))
        for name in ("a", "b")
        for k in range(10)
    ]
    worst = worst_risk(shown, seed=0)
    assert (worst["attack"], worst["targets"], worst["exact"]) == ("a", 5, 0.0)


def test_the_worst_risk_is_reported_where_it_was_not_chosen() -> None:
    shown = made_up(20, closed_form=0.1, informed=0.4)
    worst = worst_risk(shown)
    assert (worst["attack"], worst["chosen_on"], worst["batches"]) == ("informed", 10, 10)
    assert worst["targets"] == 80
    assert worst["lower"] < worst["value"] < worst["upper"]
    assert worst["value"] == pytest.approx(0.4, abs=0.2)
    assert worst == worst_risk(shown)
    alone = worst_risk([one for one in shown if one.attack == "informed"])
    assert {k: alone[k] for k in risk(shown, "informed")} == risk(shown, "informed")
    with pytest.raises(InvalidInputError, match="at least 3 batches"):
        worst_risk(made_up(2, closed_form=0.1, informed=0.4))
    with pytest.raises(InvalidInputError, match="No line-up"):
        worst_risk([])
