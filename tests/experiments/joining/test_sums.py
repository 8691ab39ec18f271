"""Sums by hospital and seed: the figures they give, and the coverage of their intervals."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from experiments.evaluation import Scored, auc, brier, net_benefit
from experiments.studies.joining.sums import (
    THRESHOLDS,
    HospitalSums,
    as_json,
    benefit_at,
    difference,
    mean_of,
)
from privacy.errors import InvalidInputError

NAMES = ("a", "b", "c")


def folds_of(seed: int, skill: float, count: int = 2) -> list[dict[str, Scored]]:
    """Two folds of three hospitals; ties included."""
    found = []
    for fold in range(count):
        sites = {}
        for k, name in enumerate(NAMES):
            rng = np.random.default_rng([seed, fold, k])
            outcomes = rng.integers(2, size=6 + 4 * k)
            scores = np.round(skill * outcomes + rng.normal(size=len(outcomes)), 1)
            sites[name] = Scored(scores, outcomes)
        found.append(sites)
    return found


def made(skill: float, seeds: int = 3) -> HospitalSums:
    return HospitalSums.of(NAMES, [folds_of(seed, skill) for seed in range(seeds)])


def joined(folds: list[dict[str, Scored]], name: str) -> Scored:
    parts = [fold[name] for fold in folds]
    return Scored(
        np.concatenate([p.scores for p in parts]),
        np.concatenate([p.outcomes for p in parts]),
        np.repeat(np.arange(len(parts)), [len(p) for p in parts]),
    )


@pytest.mark.parametrize("k", range(3))
def test_of_one_hospital_they_are_the_figures_of_the_evaluation(k: int) -> None:
    sums, among = made(1.0), np.arange(3) == k
    sites = [joined(folds_of(seed, 1.0), NAMES[k]) for seed in range(3)]
    expected = {
        "auc": np.mean([auc({"": site}) for site in sites]),
        "brier": np.mean([brier({"": site}).value for site in sites]),
        "excess": np.mean([(site.risks - site.outcomes).mean() for site in sites]),
    }
    for figure, value in expected.items():
        assert mean_of(sums, among, figure=figure).value == pytest.approx(value, abs=1e-6)
        assert mean_of(sums, among, figure=figure, each=True).value == pytest.approx(value)


def test_a_class_weighs_by_pairs_or_each_hospital_the_same() -> None:
    sums, among = made(1.0), np.array([True, False, True])
    sites = [{n: joined(folds_of(seed, 1.0), n) for n in ("a", "c")} for seed in range(3)]
    assert mean_of(sums, among).value == pytest.approx(np.mean([auc(s) for s in sites]))
    single = np.mean([[auc({n: s[n]}) for n in s] for s in sites])
    assert mean_of(sums, among, each=True).value == pytest.approx(single)


def test_differences_are_paired_and_turn_their_signs() -> None:
    ours, theirs, among = made(2.0), made(0.5), np.ones(3, dtype=bool)
    one, other = difference(ours, theirs, among), difference(theirs, ours, among)
    assert one.value == pytest.approx(mean_of(ours, among).value - mean_of(theirs, among).value)
    assert (one.value, one.lower, one.upper) == pytest.approx(
        (-other.value, -other.upper, -other.lower)
    )
    same = difference(ours, ours, among)
    assert (same.value, same.lower, same.upper) == (0.0, 0.0, 0.0)
    assert difference(ours, theirs, among, confidence=0.5).half_width < one.half_width


def test_a_hospital_that_was_not_drawn_at_a_seed_counts_where_it_was() -> None:
    some = [folds_of(0, 1.0), [{n: s for n, s in f.items() if n != "b"} for f in folds_of(1, 1.0)]]
    sums = HospitalSums.of(NAMES, some)
    assert sums.pairs[1][1] == 0 and sums.patients[1][1] == 0
    whole = [{n: joined(folds_of(0, 1.0), n) for n in NAMES},
             {n: joined(folds_of(1, 1.0), n) for n in ("a", "c")}]  # fmt: skip
    found = mean_of(sums, np.ones(3, dtype=bool))
    assert found.value == pytest.approx(np.mean([auc(s) for s in whole]))


def test_other_patients_and_empty_classes_are_refused() -> None:
    sums, all_ = made(1.0), np.ones(3, dtype=bool)
    fewer = replace(sums, pairs=[[p + 1 for p in row] for row in sums.pairs])
    with pytest.raises(InvalidInputError, match="same patients"):
        difference(sums, fewer, all_)
    with pytest.raises(InvalidInputError, match="No hospital"):
        difference(sums, sums, ~all_)
    with pytest.raises(InvalidInputError, match="A class of 2"):
        difference(sums, sums, all_[:2])
    with pytest.raises(InvalidInputError, match="Unknown figure 'f1'"):
        difference(sums, sums, all_, figure="f1")


def test_a_record_holds_them_without_loss_of_wins() -> None:
    sums = made(1.0)
    again = HospitalSums(**as_json(sums))
    assert again.wins == sums.wins and again.pairs == sums.pairs
    np.testing.assert_allclose(again.squares, sums.squares, atol=1e-6)
    np.testing.assert_allclose(again.excess, sums.excess, atol=1e-6)


@pytest.mark.parametrize(("hospitals", "least"), [(12, 0.85), (60, 0.90)])
def test_intervals_hold_the_true_difference_about_as_often_as_they_say(
    hospitals: int, least: float
) -> None:
    """Hospitals differ in what they gain; seeds add noise of their own. 95 % is nominal.

    Of 12 hospitals a percentile interval is known to be short; the floor is what is promised.
    """
    runs, held = 200, 0
    for run in range(runs):
        rng = np.random.default_rng([5, hospitals, run])
        pairs = rng.integers(20, 400, size=hospitals).astype(float)
        gains = 0.03 + 0.05 * rng.normal(size=hospitals)
        noise = 0.02 * rng.normal(size=(3, 1)) + 0.02 * rng.normal(size=(3, hospitals))
        below = np.tile(pairs, (3, 1))
        ours = HospitalSums(
            ((0.7 + gains + noise) * below).tolist(), below.tolist(), below.tolist(),
            below.tolist(), below.tolist(),
        )  # fmt: skip
        theirs = replace(ours, wins=(0.7 * below).tolist())
        found = difference(ours, theirs, np.ones(hospitals, dtype=bool), replicates=400)
        held += found.lower <= 0.03 <= found.upper
    assert held >= binom.ppf(1e-6, runs, least), held


@pytest.mark.parametrize(("confidence", "z"), [(0.95, 1.960), (0.5, 0.674)])
def test_of_many_hospitals_it_is_as_wide_as_a_normal_interval(confidence: float, z: float) -> None:
    """400 hospitals alike in size, one seed: the mean of their gains, which are normal."""
    gains = 0.05 * np.random.default_rng(0).normal(size=400)
    below = np.full((1, 400), 100.0)
    some = below.tolist()
    ours = HospitalSums(((0.7 + gains) * below).tolist(), some, some, some, some)
    theirs = replace(ours, wins=(0.7 * below).tolist())
    found = difference(ours, theirs, np.ones(400, dtype=bool), confidence=confidence)
    assert found.half_width == pytest.approx(z * gains.std() / 20, rel=0.06)
    assert found.value == pytest.approx(gains.mean())


def test_net_benefit_is_that_of_the_evaluation_over_all_patients_of_a_class() -> None:
    sums, among = made(1.0), np.array([True, False, True])
    for threshold in THRESHOLDS:
        sites = [
            joined([{"": joined(folds_of(seed, 1.0), n)} for n in ("a", "c")], "")
            for seed in range(3)
        ]
        expected = np.mean([net_benefit(site, threshold=threshold).model for site in sites])
        found = mean_of(sums, among, figure=benefit_at(threshold))
        assert found.value == pytest.approx(expected, abs=1e-12)
    bare = replace(sums, benefits=())
    with pytest.raises(InvalidInputError, match=r"Unknown figure 'net benefit at 0\.2'"):
        mean_of(bare, among, figure=benefit_at(0.2))
    again = HospitalSums(**as_json(sums))
    np.testing.assert_allclose(again.benefits, sums.benefits, atol=1e-6)
