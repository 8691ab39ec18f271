"""What may be asked of a run beside whole patients, by whom, and how the answer is found.

Fair coins say which patients of each hospital train; those who don't are the adversary's public
patients. A ``CoinRun`` is one such run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import combinations
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from aggregation.data.patients import Patients, Schema
from aggregation.federation import Federation, Outcome
from aggregation.plan import Plan
from aggregation.releases import run_event
from aggregation.rules import Buffered
from aggregation.timing import Pace, Trigger, simulate
from attacks.inference.attributes import AttributeInference, impute
from attacks.inference.membership import Lira, Rmia
from attacks.inference.over_rounds import Coins, FedMia
from attacks.inference.property import Share, property_share
from attacks.inference.strangers import OneRun
from attacks.inference.whole_hospital import Prevalence, prevalence, traffic
from attacks.knowledge.features import Feature
from attacks.knowledge.priors import Prior
from attacks.views import (
    Adversary,
    GradientView,
    Knowledge,
    Name,
    Observation,
    TrafficView,
    observe,
    require,
)
from experiments.studies.design import RELATION, Design
from privacy.accounting import delta
from privacy.errors import InvalidInputError, RefusedError
from privacy.reconstruction import success_bound

__all__ = ["DIGITS", "FEATURE", "SHADOWS", "CoinRun", "Inferred", "QuestionKind", "answer"]

SHADOWS = 32
DIGITS = 2  # whole per cents: what a service that sells risks answers
FEATURE = "sex"
_SLOW = 100.0  # patients whose gradients take one unit of time, where hospitals wait for nobody
_EARLY, _SHADOW_SUMS = 3, 3000  # more rounds, and more made-up sums, tell no more
_SHARES = 0.29  # standard deviation of a hospital's share, of which nothing is known beforehand
_UPDATES = 20  # of the smallest sum, in mean times of a hospital


class QuestionKind(StrEnum):
    """What is asked; the value is the name in records and commands."""

    MEMBERSHIP = "membership"
    RMIA = "rmia"
    ONE_RUN = "one-run"
    ANSWERS = "answers"
    ROUNDS = "rounds"
    FEDMIA = "fedmia"
    ATTRIBUTE = "attribute"
    ATTRIBUTE_ANSWERS = "attribute-answers"
    ATTRIBUTE_ROUNDS = "attribute-rounds"
    PREVALENCE = "prevalence"
    PROPERTY = "property"
    TRAFFIC = "traffic"
    OWN_PACE = "own-pace"

    @property
    def words(self) -> str:
        """What is asked and by which attack, for a table."""
        return _ASKED[self][0]

    @property
    def adversary(self) -> str:
        """Whose view answers."""
        return _ASKED[self][1]

    @property
    def measure(self) -> str:
        """What the numbers of an answer are."""
        return _ASKED[self][2]

    @property
    def designs(self) -> tuple[Design, ...]:
        """Of which federations it is asked."""
        if self is QuestionKind.OWN_PACE:  # no sum is opened of one hospital, and noise has no pace
            return (Design.SEALED,)
        return (Design.NONE, Design.ARTICLE, Design.LOCAL, Design.SEALED)


_NAMED = "share of people told rightly"
_OFF = "mean error of a hospital's share"
_PAIRS = "share of pairs of hospitals ordered rightly by size"
_PUBLIC, _BUYER, _SERVER, _NETWORK = "public", "buyer", "curious server", "eavesdropper"
_ASKED: Mapping[QuestionKind, tuple[str, str, str]] = MappingProxyType(
    {
        QuestionKind.MEMBERSHIP: ("membership (LiRA)", _PUBLIC, _NAMED),
        QuestionKind.RMIA: ("membership (RMIA)", _PUBLIC, _NAMED),
        QuestionKind.ONE_RUN: ("membership (strangers)", _PUBLIC, _NAMED),
        QuestionKind.ANSWERS: ("membership (RMIA)", _BUYER, _NAMED),
        QuestionKind.ROUNDS: ("membership (coins)", _SERVER, _NAMED),
        QuestionKind.FEDMIA: ("membership (FedMIA)", _SERVER, _NAMED),
        QuestionKind.ATTRIBUTE: ("sex (shadows)", _PUBLIC, _NAMED),
        QuestionKind.ATTRIBUTE_ANSWERS: ("sex (shadows)", _BUYER, _NAMED),
        QuestionKind.ATTRIBUTE_ROUNDS: ("sex (coins)", _SERVER, _NAMED),
        QuestionKind.PREVALENCE: ("share of the ill", _SERVER, _OFF),
        QuestionKind.PROPERTY: ("share of men", _SERVER, _OFF),
        QuestionKind.TRAFFIC: ("larger hospital, in rounds", _NETWORK, _PAIRS),
        QuestionKind.OWN_PACE: ("larger hospital, at own pace", _NETWORK, _PAIRS),
    }
)


@dataclass(frozen=True)
class Inferred:
    """One run's answer.

    Attributes:
      attack: What ``Asked.measure`` says, of the attack; None where the view hides it.
      baseline: The same of who saw nothing of the run.
      bound: What is proven of any adversary of this position; None where nothing is.
    """

    attack: float | None
    baseline: float
    bound: float | None = None


@dataclass(frozen=True)
class CoinRun:
    """One run whose patients coins have chosen.

    Attributes:
      plan: The run's.
      outcome: Its transcript and final model.
      everybody: All patients whose coins were thrown, by hospital.
      members: Whose coins said that they train.
      schema: Of the patients.
      sealed: Whether sums alone are opened.
      seed: Of what attacks draw.
    """

    plan: Plan
    outcome: Outcome
    everybody: Mapping[str, Patients]
    members: Mapping[str, NDArray[np.bool_]]
    schema: Schema
    sealed: bool
    seed: int

    @property
    def train(self) -> dict[str, Patients]:
        """Who trained."""
        return {name: p.take(self.members[name]) for name, p in self.everybody.items()}

    @property
    def public(self) -> Patients:
        """Who did not."""
        return Patients.together(p.take(~self.members[n]) for n, p in self.everybody.items())

    @property
    def feature(self) -> Feature:
        """The one that is asked for.

        Raises:
          InvalidInputError: The schema has no such column.
        """
        for feature in Prior.from_schema(self.schema).features:
            if feature.name == FEATURE and not feature.numeric:
                return feature
        raise InvalidInputError(
            f"The schema has no column {FEATURE!r} of yes or no, which questions on an attribute "
            "and on a property are about. Ask others with --questions."
        )

    def seen(self, by: str) -> Observation:
        """What an adversary of ``Asked.adversary`` saw."""
        if by == _BUYER:
            return observe(self.outcome.transcript, Adversary("buyer", Knowledge(digits=DIGITS)))
        server: Name = "server_sealed" if self.sealed else "server_plain"
        names: Mapping[str, Name] = {
            _PUBLIC: "public", _SERVER: server, _NETWORK: "eavesdropper",
        }  # fmt: skip
        return observe(self.outcome.transcript, names[by])

    def membership_bound(self) -> float | None:
        """How often any adversary tells a fair coin, at most; None without noise.

        Half, and half of the greatest distance between runs with a patient and without.
        """
        if not self.plan.noise.protects:
            return None
        apart = delta(run_event(self.plan, self._smallest), epsilon=0.0, relation=RELATION)
        return 0.5 + 0.5 * apart.upper

    def reconstruction_bound(self, prior_success: float) -> float | None:
        """How often any adversary tells what is guessed so often without; None without noise."""
        if not self.plan.noise.protects:
            return None
        event = run_event(self.plan, self._smallest)
        return success_bound(event, prior_success=prior_success, relation=RELATION)

    @property
    def _smallest(self) -> str:
        """Whose patients are worst off where rounds are sampled."""
        sizes = dict(zip(self.plan.hospitals, self.plan.declared_sizes, strict=True))
        return min(sizes, key=lambda name: sizes[name])


def answer(question: QuestionKind, case: CoinRun) -> Inferred:
    """Let the question's adversary answer it, and hold the answer against the truth."""
    return _ANSWERED[question](case, question)


def _final_model(case: CoinRun, question: QuestionKind) -> Inferred:
    """Membership from answers of the final model, of everybody at once."""
    people = Patients.together(case.everybody.values())
    members = np.concatenate([case.members[name] for name in case.everybody])
    view = case.seen(question.adversary)
    if question is QuestionKind.MEMBERSHIP:
        guesses = Lira(SHADOWS, case.seed).scores(view, people) > 0
    else:
        guesses = Rmia(SHADOWS, seed=case.seed).scores(view, people) > 0.5
    return Inferred(float((guesses == members).mean()), 0.5, case.membership_bound())


def _one_run(case: CoinRun, question: QuestionKind) -> Inferred:
    """Half of those who took no part are known for it; coins are told of all others.

    They are told rightly in the mean of the two kinds: guessing gets half.
    """
    rng = np.random.default_rng([case.seed, 82])
    public = case.public
    known_nonmembers = rng.permutation(len(public)) < len(public) // 2
    view = case.seen(question.adversary)
    inside, outside = (
        OneRun().scores(view, people, public.take(known_nonmembers)) > 0
        for people in (Patients.together(case.train.values()), public.take(~known_nonmembers))
    )
    right = 0.5 * float(inside.mean() + (~outside).mean())
    return Inferred(right, 0.5, case.membership_bound())


def _rounds(case: CoinRun, question: QuestionKind) -> Inferred:
    view = case.seen(question.adversary)
    people = case.everybody
    if question is QuestionKind.ROUNDS:
        half = {name: np.full(len(p), 0.5) for name, p in people.items()}
        coins = Coins().estimate(view, people, None, half)
        guesses = {name: mean > 0.5 for name, (mean, _) in coins.items()}
    else:
        try:
            scores = FedMia().scores(view, people)
        except RefusedError:  # no hospital's update is seen by itself
            return Inferred(None, 0.5, case.membership_bound())
        guesses = {name: s > np.median(s) for name, s in scores.items()}
    right = np.concatenate([guesses[name] == case.members[name] for name in people])
    return Inferred(float(right.mean()), 0.5, case.membership_bound())


def _attribute(case: CoinRun, question: QuestionKind) -> Inferred:
    feature, train, public = case.feature, case.train, case.public
    members = Patients.together(train.values())
    truth = feature.codes(members.features)
    view = case.seen(question.adversary)
    if question is QuestionKind.ATTRIBUTE_ROUNDS:
        versions = [{n: _written(feature, p, k) for n, p in train.items()} for k in (1, 0)]
        prior = {n: impute(feature, p, public)[:, 1] for n, p in train.items()}
        coins = Coins().estimate(view, versions[0], versions[1], prior)
        guesses = np.concatenate([coins[name][0] > 0.5 for name in train]).astype(np.int64)
    else:
        attack = AttributeInference(FEATURE, SHADOWS, case.seed)
        guesses = attack.infer(view, members, public, Prior.from_schema(case.schema))
    imputed = impute(feature, members, public).argmax(axis=1)
    baseline = float((imputed == truth).mean())
    return Inferred(float((guesses == truth).mean()), baseline, case.reconstruction_bound(baseline))


def _written(feature: Feature, people: Patients, level: int) -> Patients:
    rows = people.features.copy()
    feature.write(rows, np.full(len(rows), level, dtype=np.int64))
    return Patients(rows, people.outcomes, people.ids)


def _of_hospitals(case: CoinRun, question: QuestionKind) -> Inferred:
    """How far the curious server is off, and who takes the public patients' share."""
    train, public, feature = case.train, case.public, case.feature
    if question is QuestionKind.PREVALENCE:
        truth = {name: float(p.outcomes.mean()) for name, p in train.items()}
        blind = float(public.outcomes.mean())
    else:
        has = {name: feature.codes(p.features) == 1 for name, p in train.items()}
        truth = {name: float(h.mean()) for name, h in has.items()}
        blind = float((feature.codes(public.features) == 1).mean())
    baseline = float(np.mean([abs(blind - share) for share in truth.values()]))
    view = require(case.seen(question.adversary), GradientView, question)
    rng = np.random.default_rng([case.seed, 83])
    try:
        if question is QuestionKind.PREVALENCE:
            shares: Sequence[Prevalence | Share] = prevalence(
                view, Prior.from_schema(case.schema), rng
            )
        else:
            early = replace(view, gradients=tuple(g for g in view.gradients if g.round < _EARLY))
            shares = property_share(early, feature, 1, public, rng, shadows=_SHADOW_SUMS)
    except RefusedError:  # no sum of a single hospital: what belongs to whom is hidden
        return Inferred(None, baseline)
    errors = []
    for one in shares:  # as far as its standard error lets it, the public patients' share is better
        weight = _SHARES**2 / (_SHARES**2 + one.std**2)
        errors.append(abs(weight * one.estimate + (1 - weight) * blind - truth[one.hospital]))
    return Inferred(float(np.mean(errors)), baseline)


def _traffic(case: CoinRun, question: QuestionKind) -> Inferred:
    """Who sends less often has more patients; where nobody waits for anybody, that is so."""
    sizes = {name: len(p) for name, p in case.train.items()}
    transcript = case.outcome.transcript
    if question is QuestionKind.OWN_PACE:
        paces = {name: Pace(size / _SLOW) for name, size in sizes.items()}
        horizon = _UPDATES * float(np.mean(list(sizes.values()))) / _SLOW
        few = len(sizes) - 1
        trigger = Trigger(count=few, distinct=few)
        schedule = simulate(paces, trigger, horizon=horizon, seed=case.seed, waits=True)
        plan = replace(case.plan, rounds=1, average_last=1, smallest_sum=few)
        ran = Federation.simulated(
            plan, case.train, seed=(case.seed, 0), rule=Buffered(), schedule=schedule
        ).run()
        transcript = ran.transcript
    view = require(observe(transcript, "eavesdropper"), TrafficView, question)
    taken = {one.sender: one.mean_gap for one in traffic(view) if one.sender in sizes}
    if len(set(taken.values())) < 2:  # all send alike
        return Inferred(None, 0.5)
    pairs = [(a, b) for a, b in combinations(taken, 2) if sizes[a] != sizes[b]]
    right = [(taken[a] > taken[b]) == (sizes[a] > sizes[b]) for a, b in pairs]
    return Inferred(float(np.mean(right)), 0.5)


_ANSWERED: Mapping[QuestionKind, Callable[[CoinRun, QuestionKind], Inferred]] = MappingProxyType(
    {
        QuestionKind.MEMBERSHIP: _final_model,
        QuestionKind.RMIA: _final_model,
        QuestionKind.ONE_RUN: _one_run,
        QuestionKind.ANSWERS: _final_model,
        QuestionKind.ROUNDS: _rounds,
        QuestionKind.FEDMIA: _rounds,
        QuestionKind.ATTRIBUTE: _attribute,
        QuestionKind.ATTRIBUTE_ANSWERS: _attribute,
        QuestionKind.ATTRIBUTE_ROUNDS: _attribute,
        QuestionKind.PREVALENCE: _of_hospitals,
        QuestionKind.PROPERTY: _of_hospitals,
        QuestionKind.TRAFFIC: _traffic,
        QuestionKind.OWN_PACE: _traffic,
    }
)
