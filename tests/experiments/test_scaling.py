"""Sealing against the number of hospitals: own steps, honest line-ups, intervals that are right."""

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from aggregation.engines.fleet import Fleet
from aggregation.federation import Federation
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from attacks.knowledge.replay import integer_rows
from attacks.scoring.rates import clopper_pearson
from experiments.run.record import Record, read_records
from experiments.studies import scaling, scaling_steps, searched, tuning
from experiments.studies.likelihoods import name_targets, of_fleet
from experiments.studies.people import LINEUP, LineUp, in_network
from experiments.studies.people import targets_of as places_of
from experiments.studies.scaling import Arrangement, Scaling, ScalingArm, plan_of, split, trained
from experiments.studies.scaling_steps import STEPS, step_of
from privacy.errors import InvalidInputError

TUNING = Path(__file__).parents[2] / "paper" / "tuning"


def test_the_steps_are_those_that_the_search_found() -> None:
    records = [r for r in read_records(TUNING) if r.config["experiment"] == "tuning scaling"]
    assert searched.best_steps(searched.read_searches(records)) == dict(STEPS)
    assert {(r.config["arrangement"], r.config["hospitals"]) for r in records} == set(
        tuning.NETWORKS
    )
    for record in records:
        assert record.config["first_seed"] >= 10**6
        assert record.config["candidates"] == list(tuning.CANDIDATES)
    published = [unit for point in scaling.grid() for unit in point.units]
    assert max(published) < 10**6


def test_a_number_that_was_not_searched_takes_the_step_of_a_place_as_noisy() -> None:
    """One noise a hospital over n of them is 1/sqrt(n): at 4000 and .1 it is that of 40 and 1."""
    assert (
        step_of(Arrangement.GROWING, 4000, ScalingArm.LOCAL, 0.1)
        == STEPS[Arrangement.GROWING, 40, ScalingArm.LOCAL, 1.0]
    )
    assert (
        step_of(Arrangement.GROWING, 4000, ScalingArm.SEALED, 0.1)
        == STEPS[Arrangement.GROWING, 400, ScalingArm.SEALED, 1.0]
    )
    assert (
        step_of(Arrangement.GROWING, 4000, ScalingArm.SEALED, math.inf)
        == STEPS[Arrangement.GROWING, 400, ScalingArm.SEALED, math.inf]
    )
    with pytest.raises(InvalidInputError, match="searched"):
        step_of(Arrangement.GROWING, 4, ScalingArm.LOCAL, 2.0)


def test_the_best_step_is_the_smaller_of_two_that_tie() -> None:
    rows = [
        {"design": "local", "epsilon": None, "step": step, "auc": auc}
        for step, auc in ((4.0, 0.7), (1.0, 0.7), (16.0, 0.6))
    ]
    record = Record(tuning.StepSearch(Arrangement.GROWING, 4).config, {"scores": rows}, {})
    assert searched.best_steps(searched.read_searches([record])) == {
        (Arrangement.GROWING, 4, ScalingArm.LOCAL, math.inf): 1.0
    }


def test_it_trains_what_a_federation_trains() -> None:
    """Two roads: the vectorised run's model, and the hospitals' one by one."""
    train, test, _ = split(Arrangement.GROWING, 4, 7)
    plan = replace(plan_of(train, ScalingArm.SEALED, 1.0), rounds=2, average_last=1, scheme="plain")
    outcome = Federation.simulated(plan, train.hospitals, seed=(7, 6)).run()
    expected = test.within_site_auc(plan.model.scores(outcome.params, test.features))
    assert trained(plan, train, test, seed=(7, 6))[0] == pytest.approx(expected, abs=1e-12)


def targets_of(
    arrangement: Arrangement, hospitals: int, unit: int
) -> tuple[scaling.Crowd, list[LineUp]]:
    train, later, _ = split(arrangement, hospitals, unit)
    rng = np.random.default_rng([unit, 3])
    alike = arrangement is Arrangement.DIVIDED
    return train, in_network(train, later, count=60, colluders=1, alike=alike, rng=rng)


@pytest.mark.parametrize("arrangement", list(Arrangement))
def test_line_ups_hold_a_participant_and_nine_who_are_not(arrangement: Arrangement) -> None:
    train, lineups = targets_of(arrangement, 6, 3)
    assert len(lineups) > 30
    for one in lineups:
        patients = train.hospitals[one.hospital]
        assert one.hospital < "00005"  # the last one colludes
        assert (patients.features[one.patient] == one.people[one.target]).all()
        assert patients.outcomes[one.patient] == one.outcome and len(one.people) == LINEUP


@pytest.mark.parametrize("alike", [True, False])
def test_in_a_network_nobody_stands_in_two_line_ups(alike: bool) -> None:
    """Also where the next draw has too few people for all targets: later ones get no line-up."""
    train, later, _ = split(Arrangement.GROWING, 6, 3)
    lineups = in_network(
        train, later, count=len(train.outcomes), colluders=0, alike=alike,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    assert len({(one.hospital, one.patient) for one in lineups}) == len(lineups)
    beside = [
        person.tobytes()
        for one in lineups
        for place, person in enumerate(one.people)
        if place != one.target
    ]
    assert len(beside) == len(lineups) * (LINEUP - 1) and len(set(beside)) == len(beside)
    assert len(later.outcomes) - len(beside) < len(train.offsets) * 2 * LINEUP  # it ran short


def test_who_colludes_has_no_targets_in_any_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    """All arms look for the same people, so that none is of a hospital that colludes in one."""
    shown: list[LineUp] = []

    def drawn(*args: Any, **fields: Any) -> list[LineUp]:
        shown.extend(in_network(*args, **fields))
        return shown

    monkeypatch.setattr(scaling, "in_network", drawn)
    brief = replace(scaling_steps.SETTING, rounds=2, average_last=1)
    monkeypatch.setattr(scaling, "SETTING", brief)
    Scaling(4, Arrangement.GROWING, 1.0, replicates=1).measure(0)
    assert {one.hospital for one in shown} == {"00000", "00001", "00002"}


@pytest.mark.parametrize("arm", [ScalingArm.LOCAL, ScalingArm.SEALED])
def test_with_little_noise_all_are_named_and_with_much_one_in_ten(arm: ScalingArm) -> None:
    train, targets = targets_of(Arrangement.GROWING, 6, 3)
    plan = replace(plan_of(train, arm, 1.0), rounds=1, average_last=1)
    found = {}
    for multiplier in (1e-4, 1e4):
        noised = replace(plan, noise_multiplier=multiplier)
        fleet = Fleet.simulated(noised, lambda: [train], seed=1)
        clear = Fleet(replace(plan, noise=NoiseKind.NONE, noise_multiplier=0.0), lambda: [train])
        params = plan.first_model()
        sent, known = (np.concatenate(list(f.updates(params))) for f in (fleet, clear))
        logs = of_fleet(noised, targets, params, sent, known)
        found[multiplier] = name_targets(logs, np.random.default_rng(0)) == places_of(targets)
    assert found[1e-4].mean() > 0.9
    hits = int(found[1e4].sum())
    low, high = clopper_pearson(hits, len(targets), confidence=0.999)
    assert low <= 1 / LINEUP <= high


@pytest.mark.parametrize("arm", [ScalingArm.LOCAL, ScalingArm.SEALED])
def test_the_informed_likelihood_is_that_of_the_noise_which_is_not_known(arm: ScalingArm) -> None:
    """By hand: a sum less who is known, with the noise of those who do not collude."""
    train, targets = targets_of(Arrangement.GROWING, 6, 3)
    plan = replace(plan_of(train, arm, 1.0), rounds=1, average_last=1)
    rng, params = np.random.default_rng(0), plan.first_model()
    clear = rng.integers(-500, 500, (6, plan.model.dim))
    sent = clear + rng.integers(-100, 100, clear.shape)
    logs = of_fleet(plan, targets, params, sent, clear)
    shared = arm is ScalingArm.SEALED
    assert plan.colluders == int(shared)
    noise = (sent - clear)[:5].sum(axis=0)
    for one, found in zip(targets[:5], logs, strict=False):
        rows = integer_rows(plan, params, one.people, np.full(LINEUP, one.outcome))
        left = noise if shared else (sent - clear)[int(one.hospital)]
        std = plan.share_std * (5**0.5 if shared else 1)
        there = left + rows[one.target]
        expected = [
            (norm.logpdf(there - row, 0, std) - norm.logpdf(there, 0, std)).sum() for row in rows
        ]
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_all_rounds_are_read_and_the_largest_bound_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    train, targets = targets_of(Arrangement.GROWING, 4, 3)
    plan = replace(plan_of(train, ScalingArm.LOCAL, 1.0), rounds=3, average_last=1)
    rounds: list[int] = []

    def last_alone(_: Plan, shown: list[LineUp], *given: Any) -> np.ndarray:
        rounds.append(len(rounds))
        logs = np.zeros((len(shown), LINEUP))
        if rounds[-1] == 2:
            logs[np.arange(len(shown)), [one.target for one in shown]] = 1.0
        return logs

    monkeypatch.setattr(scaling, "of_fleet", last_alone)
    assert trained(plan, train, train, seed=(0, 1), targets=targets)[1] == 1.0
    parts = [
        scaling.NetworkReplicate(0.7, 0.6, 0.65, 0.1, 0.1, bound, bound / 2, 0.8, 40, 10, 5)
        for bound in (0.3, 0.5, 0.4)
    ]
    told = Scaling(4, Arrangement.GROWING, 1.0, replicates=3).summarise(parts)
    assert (told["bound_local"], told["bound_sealed"]) == (0.5, 0.25)


def test_a_record_holds_gain_risks_and_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    brief = replace(scaling_steps.SETTING, rounds=3, average_last=2)
    monkeypatch.setattr(scaling, "SETTING", brief)
    point = Scaling(4, Arrangement.GROWING, 1.0, replicates=2)
    parts = [point.measure(unit) for unit in point.units]
    found = point.summarise(parts)
    gains = [p.sealed - p.local for p in parts]
    assert found["gain"]["value"] == pytest.approx(np.mean(gains))
    half = 12.706204736 * np.std(gains, ddof=1) / math.sqrt(2)  # Student's 97.5 % at one degree
    assert found["gain"]["upper"] - found["gain"]["value"] == pytest.approx(half)
    for name in ("local", "sealed"):
        assert 0.1 < found[f"bound_{name}"] < 0.16
        assert found[f"risk_{name}"]["value"] == pytest.approx(
            np.mean([asdict(p)[f"risk_{name}"] for p in parts])
        )
    assert found["targets"] == sum(p.targets for p in parts) > 100
