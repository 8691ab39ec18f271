"""How line-ups are held: who is shown what, whose batch a trial is of, ties, and what is exact."""

import dataclasses
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from scipy.stats import chisquare

from aggregation.federation import Federation, Outcome
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from attacks import Prior
from attacks.reconstructed import Reconstruction
from attacks.views import GradientView, Name, Observation, observe, require
from experiments.cohorts import Cohort
from experiments.studies import likelihoods
from experiments.studies.design import Design, Regime
from experiments.studies.frontier.grid import group
from experiments.studies.frontier.point import FrontierPoint
from experiments.studies.lineups import INFORMED, LIKELIHOOD, AttackSuite, Trial, attack_round
from experiments.studies.people import LINEUP, LineUp
from privacy.errors import RefusedError


@cache
def ran(
    design: Design = Design.NONE, steps: int = 1, epsilon: float | None = None
) -> tuple[Cohort, Plan, Outcome, tuple[LineUp, ...]]:
    """One round of a fold of small batches, and its line-ups."""
    point = FrontierPoint(
        design, epsilon, Regime.SMALL, "mlp", AttackSuite(()), width=8, local_steps=steps,
        scheme="plain",
    )  # fmt: skip
    cohort, split = point.split(0, 0)
    plan = dataclasses.replace(point.plan(split.train, seed=0, fold=0), rounds=1, average_last=1)
    patients, lineups = point.seated(plan, split, 0, 0)
    return cohort, plan, Federation.simulated(plan, patients, seed=(0, 0)).run(), lineups


class Records:
    """An attack that returns what it is told to, and notes what it saw."""

    name = "records"
    needs = GradientView

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows
        self.seen: list[tuple[int, tuple[str, ...]]] = []

    def reconstruct(self, observation: Observation, prior: Prior) -> Reconstruction:
        view = require(observation, GradientView, self.name)
        self.seen += [(g.round, g.hospitals) for g in view.gradients]
        none = np.zeros(len(self.rows))
        return Reconstruction(self.rows, none, none.astype(np.bool_))


def trials(
    attack: Records, monkeypatch: pytest.MonkeyPatch, adversary: str, lineups: Sequence[LineUp]
) -> tuple[Trial, ...]:
    monkeypatch.setattr(AttackSuite, "make", lambda self, seed: (attack,))
    cohort, _, outcome, _ = ran(Design.SEALED if adversary == "server_sealed" else Design.NONE)
    return attack_round(
        AttackSuite(("records",)), outcome, lineups, cohort.schema,
        adversary=adversary, seed=(4, 2),  # type: ignore[arg-type]  # one of two names
    )  # fmt: skip


@pytest.mark.parametrize("adversary", ["server_plain", "server_sealed"])
def test_a_trial_is_of_its_fold_and_sees_its_own_hospital(
    adversary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lineups = ran(Design.SEALED if adversary == "server_sealed" else Design.NONE)[3]
    attack = Records(np.zeros((1, 18)))
    found = trials(attack, monkeypatch, adversary, lineups)
    assert len(found) == len(lineups) >= 12
    assert {one.batch for one in found} == {"4/2"}
    names = list(dict.fromkeys(one.hospital for one in lineups))
    each = [(0, (name,)) for name in names]
    assert attack.seen == (each if adversary == "server_plain" else [(0, tuple(sorted(names)))])


def test_the_nearest_is_named_wherever_it_stands_and_exact_is_exact(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lineups = ran()[3]
    one = next(o for o in lineups if o.target > 0)
    target = one.people[one.target]
    for shift, exact in ((0.0, True), (5e-7, True), (5e-6, False), (0.01, False)):
        (trial,) = trials(Records(target[None] + shift), monkeypatch, "server_plain", [one])
        assert trial.named and trial.exact is exact, shift
    other = one.people[(one.target + 1) % LINEUP]
    (missed,) = trials(Records(other[None]), monkeypatch, "server_plain", [one])
    assert not missed.named and not missed.exact
    assert attack_round(
        AttackSuite(("closed_form",)), ran()[2], (), ran()[0].schema,
        adversary="server_plain", seed=(0, 0),
    ) == ()  # fmt: skip


def test_ties_are_anybodys() -> None:
    """Who is as likely as the target shares its chance; who knows nothing has 1 in 10."""
    named = likelihoods.name_targets(np.zeros((4000, LINEUP)), np.random.default_rng(0))
    assert chisquare(np.bincount(named, minlength=LINEUP)).pvalue > 1e-3
    some = np.zeros((4000, LINEUP))
    some[:, [3, 7]] = 1.0
    named = likelihoods.name_targets(some, np.random.default_rng(0))
    assert set(named) == {3, 7} and abs((named == 3).mean() - 0.5) < 0.03
    near = np.zeros((1, LINEUP))
    near[0, 5] = 1e-6
    assert likelihoods.name_targets(near, np.random.default_rng(0)).tolist() == [5]


@pytest.mark.parametrize(("design", "steps"), [(Design.NONE, 3), (Design.SEALED, 3)])
def test_walks_without_noise_are_replayed_and_name_everybody(design: Design, steps: int) -> None:
    _, _, outcome, lineups = ran(design, steps)
    name: Name = "server_sealed" if design is Design.SEALED else "server_plain"
    view = require(observe(outcome.transcript, name), GradientView, "test")
    logs = likelihoods.of_walks(view, outcome, lineups)
    named = likelihoods.name_targets(logs, np.random.default_rng(0))
    right = [place == one.target for place, one in zip(named, lineups, strict=True)]
    assert len(lineups) >= 10 and np.mean(right) == 1.0
    assert (logs.max(axis=1) == 0).all()  # the replay is what was sent, to the last integer


def test_noised_walks_are_refused_and_their_noise_is_of_all_steps() -> None:
    _, plan, outcome, lineups = ran(Design.LOCAL, 3, 1.0)
    view = require(observe(outcome.transcript, "server_plain"), GradientView, "test")
    with pytest.raises(RefusedError, match="replayed exactly or not at all"):
        likelihoods.of_walks(view, outcome, lineups)
    assert all(g.noise_std == pytest.approx(plan.share_std * 3**0.5) for g in view.gradients)


def test_every_attacked_point_meets_the_likelihood_ratio() -> None:
    for name in ("small", "full", "fedavg", "network", "ablation", "adversary", "memory"):
        for point in group(name):
            if point.design.federated:
                tried = set(point.config["attacks"]["attacks"])
                assert LIKELIHOOD in tried, point.label
                noised_walks = point.local_steps > 1 and point.epsilon is not None
                assert (INFORMED in tried) != noised_walks, point.label


def test_at_their_own_pace_the_server_alone_reads_all_openings() -> None:
    """Undefended and stale: above guessing; and the same law as the sums' own where all wait."""
    from aggregation.agreement import Agreement
    from experiments.studies.asynchronous import ArrivalRule, agreed
    from experiments.studies.frontier.own_pace import AsynchronousPoint
    from experiments.studies.people import with_line_ups

    ruled = AsynchronousPoint(ArrivalRule.SYNCHRONOUS, None, folds=2).ruled(0)
    ruled = dataclasses.replace(ruled, horizon=30.0, uploads=4)
    cohort, _ = ruled.split()
    split = with_line_ups(cohort, count=2, seed=0, alone=True)[0]
    agreement, schedule = agreed(ruled, cohort, split, 0)
    plan = dataclasses.replace(agreement.plan, noise=NoiseKind.NONE, noise_multiplier=0.0)
    agreement = Agreement.of(plan, schedule)
    outcome = Federation.simulated(plan, split.train, seed=1, schedule=schedule).run()
    prior = Prior.from_schema(cohort.schema)
    lineups = split.lineups[:6]
    ours = likelihoods.of_public_schedule(agreement, outcome, prior, lineups)
    view = require(observe(outcome.transcript, "server_sealed"), GradientView, "test")
    np.testing.assert_allclose(ours, likelihoods.of_public(view, prior, lineups), rtol=1e-6)
