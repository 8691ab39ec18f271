"""The frontier at hospitals' own pace: what is subtracted leaves the noise of the matrix alone."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from dp_accounting import NonPrivateDpEvent
from scipy.stats import chi2

from aggregation.agreement import Agreement
from aggregation.federation import Federation, Outcome
from aggregation.noise_kind import NoiseKind
from aggregation.timing.leverage import leverage
from attacks.informed.likelihood_ratio import LikelihoodRatio
from attacks.informed.seen_sums import Openings
from attacks.knowledge.priors import Prior
from experiments.cohorts import load
from experiments.run.record import config_hash
from experiments.studies.asynchronous import SEALED, ArrivalRule, AsynchronousRun, agreed
from experiments.studies.frontier import grid
from experiments.studies.frontier.own_pace import ARRIVALS, AsynchronousPoint
from experiments.studies.likelihoods import (
    of_public_schedule,
    of_schedule,
    released_noise,
    worst_coalition,
)
from experiments.studies.people import LINEUP, LineUpFold, targets_of, with_line_ups

SHORT = {"folds": 2, "horizon": 30.0, "uploads": 8}


def agreed_on(arrival: ArrivalRule, buffer: int = 3) -> tuple[Agreement, LineUpFold]:
    point = AsynchronousRun("heart", SEALED[arrival], buffer=buffer, **SHORT)  # type: ignore[arg-type]
    cohort, _ = point.split()
    split = with_line_ups(cohort, count=2, seed=0, alone=True)[0]
    return agreed(point, cohort, split, 0)[0], split


def run(agreement: Agreement, split: LineUpFold) -> Outcome:
    schedule: Any = agreement.timing
    return Federation.simulated(agreement.plan, split.train, seed=5, schedule=schedule).run()


@pytest.mark.parametrize(
    ("arrival", "buffer"), [(a, 3) for a in ARRIVALS] + [(ArrivalRule.MEMORY, 2)]
)
def test_what_is_left_is_noise_of_the_openings_covariance(
    arrival: ArrivalRule, buffer: int
) -> None:
    """Weights, stale models, memories and colluders all right: else it is far from white.

    Four tests of chi-squared; each is false once in ten thousand seeds, and the seed is fixed.
    """
    agreement, split = agreed_on(arrival, buffer)
    ran = run(agreement, split)
    coalition = worst_coalition(agreement, "va")
    assert len(coalition) == agreement.plan.colluders and "va" not in coalition
    left, matrix = released_noise(agreement, ran, split.train, coalition)
    lower = np.linalg.cholesky(agreement.plan.share_std**2 * matrix @ matrix.T)
    white = np.linalg.solve(lower, left)
    assert 5e-5 < chi2.cdf((white**2).sum(), white.size) < 1 - 5e-5
    if arrival is ArrivalRule.MEMORY:  # taken for plain sums they fail this very test
        plain = (matrix > 0).sum(axis=1, keepdims=True)
        wrong = left / (agreement.plan.share_std * np.sqrt(plain))
        assert not 5e-5 < chi2.cdf((wrong**2).sum(), wrong.size) < 1 - 5e-5


@pytest.mark.parametrize("arrival", [ArrivalRule.MEMORY, ArrivalRule.SYNCHRONOUS])
def test_who_knows_the_law_alone_is_given_the_openings_covariance(
    arrival: ArrivalRule, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an upload that stands in several openings the noise is in all of them."""
    agreement, split = agreed_on(arrival, 2)
    ran, given = run(agreement, split), list[Openings]()

    def of_openings(self: LikelihoodRatio, openings: Openings, prior: Prior) -> Any:
        given.append(openings)
        return lambda _, people, outcomes: np.zeros(outcomes.shape)

    monkeypatch.setattr(LikelihoodRatio, "of_openings", of_openings)
    prior = Prior.from_schema(load("heart").schema)
    of_public_schedule(agreement, ran, prior, split.lineups[:2])
    (openings,) = given
    left, _ = released_noise(agreement, ran, split.train, ())
    white = np.linalg.solve(np.linalg.cholesky(openings.noise), left)
    assert 5e-5 < chi2.cdf((white**2).sum(), white.size) < 1 - 5e-5
    together = openings.noise - np.diag(np.diag(openings.noise))
    assert bool(together.any()) is (arrival is ArrivalRule.MEMORY)


def test_who_colludes_hides_the_target_least() -> None:
    agreement, split = agreed_on(ArrivalRule.MEMORY, 2)
    apart = 0
    for hospital in split.train:
        others = [(name,) for name in split.train if name != hospital]
        assert agreement.plan.colluders == 1
        by_coalition: dict[tuple[str, ...], float] = {
            some: leverage(agreement.timing, colluders=some, memory=True)[hospital]
            for some in others
        }
        worst = by_coalition[worst_coalition(agreement, hospital)]
        assert worst == max(by_coalition.values())
        apart += worst > min(by_coalition.values())
    assert apart


@pytest.mark.parametrize("arrival", ARRIVALS)
def test_without_noise_everybody_is_named(arrival: ArrivalRule) -> None:
    agreement, split = agreed_on(arrival)
    agreement = dataclasses.replace(
        agreement,
        plan=dataclasses.replace(agreement.plan, noise=NoiseKind.NONE, noise_multiplier=0.0),
    )
    ran = run(agreement, split)
    groups = split.lineups[::4]
    logs = of_schedule(agreement, ran, split.train, groups)
    named = logs.argmax(axis=1) == targets_of(groups)
    assert len(groups) >= 8 and named.mean() > 0.9


def test_a_record_holds_risk_auc_and_bound_of_the_same_runs() -> None:
    point = AsynchronousPoint(ArrivalRule.MEMORY, 1.0, folds=3)
    parts = [point.measure(unit) for unit in point.units]
    found = point.summarise(parts)
    assert found == point.summarise(parts[::-1])
    assert 0.7 < found["auc_within"]["value"] < 0.95
    assert found["epsilon"]["upper"] <= 1.0
    assert 1 / LINEUP < found["bound"] < 0.16
    assert found["risks"].keys() == {"likelihood_ratio", "informed"}
    assert found["risks"]["informed"]["batches"] == 3
    assert all(part.openings == parts[0].openings for part in parts)


def test_without_noise_nothing_is_promised() -> None:
    part = AsynchronousPoint(ArrivalRule.SYNCHRONOUS, None, folds=2).measure((0, 0))
    assert all(isinstance(e, NonPrivateDpEvent) for e in part.events.values())
    informed = [one.named for one in part.trials if one.attack == "informed"]
    assert np.mean(informed) > 0.9


def test_the_grid_has_them_and_other_points_keep_their_names() -> None:
    """The hash of a point, pinned: a field that is added must not rename what was computed."""
    assert {p.config["arrival"] for p in grid.group("memory")} == set(ARRIVALS)
    assert {p.config["buffer"] for p in grid.group("buffer")} == {2, 4}
    assert config_hash(grid.group("ablation")[0].config) == "0d175543ffe4"
