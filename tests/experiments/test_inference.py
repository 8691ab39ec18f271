"""What is inferred wins undefended; sealing hides a hospital, noise keeps the bound."""

import math
from io import StringIO
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from rich.console import Console
from scipy.special import ndtr

from aggregation.data.patients import Patients
from aggregation.federation import Outcome
from aggregation.models import Perceptron
from aggregation.releases import run_event
from attacks.inference.strangers import OneRun
from attacks.views import GradientView, Knowledge
from experiments.cohorts import load
from experiments.run.sweep import sweep
from experiments.studies.design import RELATION, TRAINING, Design, Regime, make_plan
from experiments.studies.inference import InferencePoint, grid, table
from experiments.studies.questions import CoinRun, Inferred, QuestionKind, answer
from privacy.accounting import delta
from privacy.errors import InvalidInputError
from privacy.reconstruction import success_bound


def asked(
    question: QuestionKind, design: Design, epsilon: float | None, seeds: int
) -> list[Inferred]:
    point = InferencePoint(question, design, epsilon)
    return [point.measure(seed, None) for seed in range(seeds)]


@pytest.mark.parametrize("question", [QuestionKind.PREVALENCE, QuestionKind.PROPERTY])
def test_a_clear_update_gives_a_hospital_away_and_a_sealed_sum_does_not(
    question: QuestionKind,
) -> None:
    clear = asked(question, Design.NONE, None, 2)
    errors = [one.attack for one in clear if one.attack is not None]
    assert len(errors) == 2
    assert np.mean(errors) < 0.5 * np.mean([one.baseline for one in clear])
    (sealed,) = asked(question, Design.SEALED, 1.0, 1)
    assert sealed.attack is None
    assert sealed.baseline == clear[0].baseline


def test_membership_stays_below_its_bound_and_noiseless_runs_have_none() -> None:
    """Of 920 fair coins; five deviations of a share of as many."""
    (noisy,) = asked(QuestionKind.MEMBERSHIP, Design.SEALED, 1.0, 1)
    assert noisy.attack is not None and noisy.bound is not None
    assert 0.5 < noisy.bound < 1
    assert noisy.attack < noisy.bound + 5 * math.sqrt(0.25 / 920)
    assert abs(noisy.attack - 0.5) < 5 * math.sqrt(0.25 / 920)  # and nobody is told apart
    (bare,) = asked(QuestionKind.MEMBERSHIP, Design.NONE, None, 1)
    assert bare.bound is None
    assert bare.attack is not None and bare.attack > 0.5


@pytest.mark.parametrize("question", [QuestionKind.ROUNDS, QuestionKind.ATTRIBUTE_ROUNDS])
def test_sums_of_all_rounds_tell_everything_of_everybody_unless_there_is_noise(
    question: QuestionKind,
) -> None:
    for design in (Design.NONE, Design.SEALED):
        (bare,) = asked(question, design, None, 1)
        assert bare.attack is not None and bare.attack > 0.99
    (noisy,) = asked(question, Design.SEALED, 1.0, 1)
    assert noisy.attack is not None and noisy.bound is not None
    assert noisy.baseline - 0.05 < noisy.attack < noisy.bound + 5 * math.sqrt(0.25 / 920)


@pytest.mark.parametrize(
    "question", [QuestionKind.RMIA, QuestionKind.ANSWERS, QuestionKind.ONE_RUN]
)
def test_the_final_model_tells_more_than_nothing_and_at_epsilon_1_no_more_than_proven(
    question: QuestionKind,
) -> None:
    bare = [one.attack for one in asked(question, Design.NONE, None, 4)]
    assert all(one is not None for one in bare)
    assert np.mean([one for one in bare if one is not None]) > 0.5 + 1.645 * 0.5 / (4 * 920) ** 0.5
    (noisy,) = asked(question, Design.SEALED, 1.0, 1)
    assert noisy.attack is not None and noisy.bound is not None
    assert noisy.attack < noisy.bound + 5 * math.sqrt(0.25 / 920)


def test_traffic_tells_the_larger_hospital_where_nobody_waits_and_nothing_in_rounds() -> None:
    own = asked(QuestionKind.OWN_PACE, Design.SEALED, None, 3)
    assert np.mean([one.attack for one in own if one.attack is not None]) > 0.8
    (rounds,) = asked(QuestionKind.TRAFFIC, Design.SEALED, None, 1)
    assert rounds.attack is None


def coins(regime: Regime, design: Design = Design.SEALED) -> CoinRun:
    """A run at epsilon 1 that was only planned."""
    people = load("heart").hospitals
    plan = make_plan(
        run="coins", design=design, epsilon=1.0, model=Perceptron(18, 8), patients=people,
        setting=TRAINING[regime, "mlp"], scheme="plain",
    )  # fmt: skip
    everybody = {name: np.ones(len(p), dtype=np.bool_) for name, p in people.items()}
    return CoinRun(plan, cast(Outcome, None), people, everybody, load("heart").schema, True, 0)


def test_bounds_are_proven_and_of_the_hospital_that_is_worst_off() -> None:
    """Two Gaussian laws mu apart are told apart Phi(mu / 2) of the time; rounded up, not down."""
    full = coins(Regime.FULL)
    mu = full.plan.rounds**0.5 / full.plan.noise_multiplier
    bound = full.membership_bound()
    assert bound is not None
    assert float(ndtr(mu / 2)) <= bound == pytest.approx(float(ndtr(mu / 2)), abs=1e-3)
    sampled = coins(Regime.SMALL)
    each = [
        0.5 + 0.5 * delta(run_event(sampled.plan, name), epsilon=0.0, relation=RELATION).upper
        for name in sampled.plan.hospitals
    ]
    assert sampled.membership_bound() == max(each) > min(each)
    guessed = [
        success_bound(run_event(sampled.plan, name), prior_success=0.6, relation=RELATION)
        for name in sampled.plan.hospitals
    ]
    assert sampled.reconstruction_bound(0.6) == max(guessed) > min(guessed)


@pytest.mark.parametrize("says", [1.0, -1.0])
def test_who_calls_everybody_a_member_or_nobody_is_right_half_of_the_time(
    says: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scores(self: OneRun, view: object, people: Patients, others: Patients) -> np.ndarray:
        return np.full(len(people), says)

    monkeypatch.setattr(OneRun, "scores", scores)
    assert [one.attack for one in asked(QuestionKind.ONE_RUN, Design.NONE, None, 1)] == [0.5]


class Unseen(CoinRun):
    """A run of which no sum of a single hospital is seen."""

    def seen(self, by: str) -> GradientView:
        return GradientView(self.plan, by, Knowledge(), ())


def test_who_saw_nothing_takes_the_public_patients_share() -> None:
    """Of the ill and of men, where all hospitals have many of them: one half would be far off."""
    planned, rng = coins(Regime.FULL), np.random.default_rng(0)
    sex = [c.name.partition("=")[0] for c in planned.schema.columns].index("sex")
    people = {}
    for name in ("cleveland", "va"):
        features = planned.everybody[name].features.copy()
        features[:, sex] = rng.random(len(features)) < 0.9
        people[name] = Patients(features, (rng.random(len(features)) < 0.8).astype(np.int64))
    members = {name: rng.random(len(p)) < 0.5 for name, p in people.items()}
    case = Unseen(planned.plan, planned.outcome, people, members, planned.schema, True, 0)
    for question, share in (
        (QuestionKind.PREVALENCE, lambda p: p.outcomes),
        (QuestionKind.PROPERTY, lambda p: p.features[:, sex]),
    ):
        inferred = answer(question, case)
        public = np.concatenate([share(p.take(~members[n])) for n, p in people.items()]).mean()
        off = [abs(public - share(p.take(members[n])).mean()) for n, p in people.items()]
        assert inferred.attack is None and max(off) < 0.2
        assert inferred.baseline == pytest.approx(np.mean(off))


def test_fedmia_needs_clear_updates() -> None:
    (clear,) = asked(QuestionKind.FEDMIA, Design.NONE, None, 1)
    assert clear.attack is not None and clear.attack > 0.5
    (sealed,) = asked(QuestionKind.FEDMIA, Design.SEALED, 1.0, 1)
    assert sealed.attack is None


def test_an_attribute_is_told_beside_what_an_imputer_knows() -> None:
    (noisy,) = asked(QuestionKind.ATTRIBUTE, Design.SEALED, 1.0, 1)
    assert noisy.attack is not None
    assert abs(noisy.attack - noisy.baseline) < 0.1
    assert noisy.baseline > 0.5


def test_a_record_has_the_intervals_and_says_whose_answer_it_is(tmp_path: Path) -> None:
    points = [InferencePoint(QuestionKind.PREVALENCE, d, None, seeds=(0, 1)) for d in
              (Design.NONE, Design.SEALED)]  # fmt: skip
    clear, sealed = sweep(tmp_path, points, jobs=1)
    assert clear.metrics["adversary"] == "curious server"
    assert clear.metrics["attack"]["lower"] <= clear.metrics["attack"]["value"]
    assert (sealed.metrics["hidden"], sealed.metrics["attack"]) == (2, None)
    shown = table([clear, sealed])
    assert list(shown.columns[3].cells)[1] == "hidden"
    console = Console(width=80, file=StringIO())
    console.print(shown)
    told = console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    assert "…" not in told and "share of the ill" in told and "server" in told


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="Unknown questions"):
        grid(questions=("names",))
    with pytest.raises(InvalidInputError, match="seeds=1"):
        grid(seeds=1)
    assert len(grid()) == 5 * (len(QuestionKind) - 1) + 1
