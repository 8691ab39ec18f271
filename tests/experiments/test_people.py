"""Line-ups: drawn before training, disjoint, and worth one in ten to whoever has not seen the run.

Given the line-ups the places of the targets are independent and uniform, so that the successes of
any attack without the release are Binomial(m, 1/10), whatever it pools. Three seeds are shown
together, as a point of the frontier shows them; each test errs once in a thousand.
"""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy.stats import binomtest, chisquare

from aggregation.federation import Federation
from attacks.reconstructed import Reconstruction
from attacks.scoring import lineup
from experiments.cohorts import Cohort, folds, load
from experiments.studies.design import Design, Regime
from experiments.studies.frontier.point import FrontierPoint
from experiments.studies.lineups import AttackSuite
from experiments.studies.people import (
    LINEUP,
    LineUp,
    LineUpFold,
    of_next_draw,
    seated,
    with_line_ups,
)
from privacy.mechanisms import Seeded

LEVEL = 1e-3
SEEDS = range(6)
HEART = load("heart")


def shown(seeds: Sequence[int] = SEEDS) -> list[tuple[LineUpFold, LineUp]]:
    return [
        (fold, one)
        for seed in seeds
        for fold in with_line_ups(HEART, count=5, seed=seed)
        for one in fold.lineups
    ]


def key(person: np.ndarray) -> bytes:
    return person.tobytes()


def named(hospital: str, person: np.ndarray) -> bytes:
    return hospital.encode() + key(person)


ALL = Counter(named(n, x) for n, p in HEART.hospitals.items() for x in p.features)
TWICE = {person for person, count in ALL.items() if count > 1}


def test_of_ten_the_target_trains_and_nine_are_tested() -> None:
    for fold, one in shown([0, 1]):
        patients = HEART.hospitals[one.hospital]
        row = int(np.flatnonzero(patients.ids == one.patient)[0])
        assert (patients.features[row] == one.people[one.target]).all()
        assert patients.outcomes[row] == one.outcome and len(one.people) == LINEUP
        train, test = fold.train[one.hospital], fold.test[one.hospital]
        assert one.patient in train.ids and one.patient not in test.ids
        tested = Counter(map(key, test.features[test.outcomes == one.outcome]))
        nine = Counter(key(p) for k, p in enumerate(one.people) if k != one.target)
        assert not nine - tested


def test_it_splits_as_folds_do() -> None:
    """Everybody tested once; folds of a stratum as large as those of ``folds``."""
    for seed in (0, 3):
        ours, theirs = (f(HEART, count=5, seed=seed) for f in (with_line_ups, folds))
        for name, patients in HEART.hospitals.items():
            tested = np.concatenate([fold.test[name].ids for fold in ours])
            assert sorted(tested) == sorted(patients.ids)
            for a, b in zip(ours, theirs, strict=True):
                assert a.test[name].outcomes.sum() == b.test[name].outcomes.sum()
                assert len(a.test[name]) == len(b.test[name])
                assert not set(a.test[name].ids) & set(a.train[name].ids)
                assert len(a.test[name]) + len(a.train[name]) == len(patients)


def test_nobody_stands_in_two_blocks_whatever_the_seed() -> None:
    """Blocks are sets of people; two pairs of the study are alike in all columns."""
    blocks: dict[bytes, frozenset[bytes]] = {}
    per_seed = []
    for seed in SEEDS:
        own = [one for _, one in shown([seed])]
        ids = [one.patient for one in own]
        assert len(set(zip([o.hospital for o in own], ids, strict=True))) == len(own)
        per_seed.append(len(own))
        for one in own:
            block = frozenset(named(one.hospital, p) for p in one.people)
            for person in block - TWICE:
                assert blocks.setdefault(person, block) == block
    strata = [np.bincount(p.outcomes, minlength=2) for p in HEART.hospitals.values()]
    assert all(70 <= n <= sum(int(c) // LINEUP for s in strata for c in s) for n in per_seed)


def test_a_stratum_of_eight_is_not_measurable() -> None:
    for fold in with_line_ups(HEART, count=5, seed=0):
        assert fold.unmeasured == ("switzerland without the outcome",)
        assert not [o for o in fold.lineups if (o.hospital, o.outcome) == ("switzerland", 0)]


def guessing(lineups: list[LineUp]) -> list[int]:
    """Name anybody."""
    rng = np.random.default_rng(1)
    return [int(rng.integers(LINEUP)) for _ in lineups]


def rarest(lineups: list[LineUp]) -> list[int]:
    """Name whoever stands in fewest line-ups, of all that are shown."""
    seen = Counter(key(p) for one in lineups for p in one.people)
    return [int(np.argmin([seen[key(p)] for p in one.people])) for one in lineups]


def commonest(lineups: list[LineUp]) -> list[int]:
    seen = Counter(key(p) for one in lineups for p in one.people)
    return [int(np.argmax([seen[key(p)] for p in one.people])) for one in lineups]


def never_named_before(lineups: list[LineUp]) -> list[int]:
    """Go through all line-ups; whoever stood beside others in an earlier one is passed over."""
    met: set[bytes] = set()
    named = []
    for one in lineups:
        fresh = [k for k, p in enumerate(one.people) if key(p) not in met]
        named.append(fresh[0] if fresh else 0)
        met |= {key(p) for p in one.people}
    return named


def in_order(place: int) -> Callable[[list[LineUp]], list[int]]:
    return lambda lineups: [place] * len(lineups)


def by_table(lineups: list[LineUp]) -> list[int]:
    """Name whoever stands first in the hospital's table, which is public for once."""
    rows = {n: {key(x): k for k, x in enumerate(p.features)} for n, p in HEART.hospitals.items()}
    return [int(np.argmin([rows[o.hospital][key(p)] for p in o.people])) for o in lineups]


def ties(lineups: list[LineUp]) -> list[int]:
    """An attack that found nothing: the scoring's own way with ties."""
    rng = np.random.default_rng(2)
    nothing = Reconstruction(np.zeros((0, 18)), np.zeros(0), np.zeros(0, dtype=np.bool_))
    return [lineup(nothing, one.people, rng) for one in lineups]


@pytest.mark.parametrize(
    "attack",
    [guessing, rarest, commonest, never_named_before, in_order(0), in_order(9), by_table, ties],
    ids=["guess", "rarest", "commonest", "fresh", "first", "last", "table", "ties"],
)
def test_without_the_release_any_attack_names_one_in_ten(
    attack: Callable[[list[LineUp]], list[int]],
) -> None:
    lineups = [one for _, one in shown()]
    named = attack(lineups)
    hits = sum(place == one.target for place, one in zip(named, lineups, strict=True))
    assert len(lineups) > 400
    assert binomtest(hits, len(lineups), 1 / LINEUP).pvalue > LEVEL, (hits, len(lineups))


def test_places_are_uniform_and_say_nothing_of_each_other() -> None:
    lineups = [one for _, one in shown(range(20))]
    places = np.array([one.target for one in lineups])
    assert chisquare(np.bincount(places, minlength=LINEUP)).pvalue > LEVEL
    agree = int((places[1:] == places[:-1]).sum())
    assert binomtest(agree, len(places) - 1, 1 / LINEUP).pvalue > LEVEL
    who: dict[frozenset[bytes], list[bytes]] = {}
    for one in lineups:
        who.setdefault(frozenset(map(key, one.people)), []).append(key(one.people[one.target]))
    again = [a == b for some in who.values() for a, b in itertools.pairwise(some)]
    assert binomtest(sum(again), len(again), 1 / LINEUP).pvalue > LEVEL


def test_targets_sit_where_the_first_round_draws() -> None:
    point = FrontierPoint(Design.NONE, None, Regime.SMALL, "logistic", AttackSuite(()))
    _, split = point.split(0, 0)
    plan = dataclasses.replace(point.plan(split.train, seed=0, fold=0), rounds=1, average_last=1)
    patients, lineups = point.seated(plan, split, 0, 0)
    outcome = Federation.simulated(plan, patients, seed=(0, 0)).run()
    assert len(lineups) >= 12
    for one in lineups:
        assert one.patient in outcome.drawn[one.hospital][0][0].ids
    for name, group in patients.items():
        assert sorted(group.ids) == sorted(split.train[name].ids)


def test_chance_decides_who_is_shown_and_where_in_the_batch_a_target_sits() -> None:
    """More line-ups than drawn places: each is left out as often; each drawn place holds as many.

    Of two line-ups (or places) the one alone is met as often as the other, whatever else is drawn.
    """
    point = FrontierPoint(Design.NONE, None, Regime.SMALL, "logistic", AttackSuite(()))
    _, split = point.split(0, 0)
    plan = point.plan(split.train, seed=0, fold=0)
    name = "cleveland"
    own = [one for one in split.lineups if one.hospital == name]
    few = dataclasses.replace(plan, sampling_size=len(own))
    shown, seats = np.zeros(2, dtype=int), np.zeros(2, dtype=int)
    for seed in range(600):
        patients, kept = seated(few, split.train, own, seed=(seed,))
        place = few.hospitals.index(name)
        drawn = np.flatnonzero(
            Seeded((seed, place)).poisson_sample(few.sampling_probs[place], len(patients[name]))
        )
        assert len(kept) == min(len(own), len(drawn))
        names = {one.patient for one in kept}
        ends = [own[0].patient in names, own[-1].patient in names]
        if ends[0] != ends[1]:
            shown[ends.index(True)] += 1
        taken = [int(patients[name].ids[row]) in names for row in drawn]
        if taken and taken[0] != taken[-1]:
            seats[int(not taken[0])] += 1
    for counts in (shown, seats):
        assert counts.sum() > 100, counts
        assert binomtest(int(counts[0]), int(counts.sum()), 0.5).pvalue > LEVEL, counts


def test_of_two_draws_one_is_trained_and_nine_are_not() -> None:
    point = FrontierPoint(
        Design.NONE, None, Regime.FULL, "logistic", AttackSuite(()), cohort="network-4", folds=1
    )
    cohort, split = point.split(0, 0)
    assert isinstance(split, LineUpFold) and isinstance(cohort, Cohort)
    again = of_next_draw(cohort, split, seed=0).lineups
    assert [one.patient for one in again] == [one.patient for one in split.lineups]
    assert len(again) > 8
    met: set[tuple[str, bytes]] = set()
    for one in split.lineups:
        test = set(map(key, split.test[one.hospital].features))
        assert all(key(p) in test for k, p in enumerate(one.people) if k != one.target)
        train = split.train[one.hospital]
        assert (train.features[train.ids == one.patient][0] == one.people[one.target]).all()
        people = {(one.hospital, key(p)) for p in one.people}
        assert len(people & met) <= 1  # two people of a hospital may be alike by chance
        met |= people
