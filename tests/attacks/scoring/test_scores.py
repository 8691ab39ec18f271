import numpy as np
import pytest

from attacks.reconstructed import Reconstruction, guesses
from attacks.scoring import lineup, score
from attacks.scoring.rates import clopper_pearson
from privacy.errors import InvalidInputError
from tests.attacks.runs import PRIOR, cohort

TRUTH = cohort(0)["north"].features[:8]


def exact(records: np.ndarray, certified: bool = False) -> Reconstruction:
    n = len(records)
    return Reconstruction(records, np.ones(n), np.full(n, certified))


def test_order_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    scored = score(exact(TRUTH[rng.permutation(8)], certified=True), TRUTH, PRIOR, rng)
    assert scored.accuracy.tolist() == [1.0] * 8
    assert scored.exact().all()
    assert (scored.certified, scored.false_certificates) == (8, 0)
    assert (scored.advantage > 0).any()


def test_a_record_counts_for_one_patient_only() -> None:
    scored = score(exact(TRUTH[:3]), TRUTH, PRIOR, np.random.default_rng(0))
    assert scored.accuracy.tolist() == [1.0] * 3 + [0.0] * 5


def test_a_false_certificate_is_seen() -> None:
    wrong = TRUTH.copy()
    wrong[2, 5] += 1 / 20  # blood pressure, one unit off
    scored = score(exact(wrong, certified=True), TRUTH, PRIOR, np.random.default_rng(0))
    assert scored.false_certificates == 1
    assert scored.exact().all()  # within the tolerance of the accuracy


def test_guessing_scores_as_its_own_baseline() -> None:
    rng = np.random.default_rng(1)
    truth = [cohort(s)["east"].features[:8] for s in range(20)]
    best = [score(guesses(PRIOR, 8), t, PRIOR, rng).advantage.mean() for t in truth]
    assert np.allclose(best, 0.0)
    scored = [score(guesses(PRIOR, 8), t, PRIOR, rng) for t in truth]
    gaps = [s.baselines["draws"].mean() - s.baseline.mean() for s in scored]
    assert np.mean(gaps) < 0.01  # no other way of guessing is better


def test_more_guesses_raise_the_baseline_too() -> None:
    rng = np.random.default_rng(0)
    few = score(guesses(PRIOR, 8), TRUTH, PRIOR, rng).baseline.mean()
    many = score(guesses(PRIOR, 400), TRUTH, PRIOR, rng).baseline.mean()
    assert many > few + 0.1


def test_partial_matches_count_at_their_level() -> None:
    near = TRUTH.copy()
    near[:, 0] += 1.0  # one of eight features wrong
    scored = score(exact(near), TRUTH, PRIOR, np.random.default_rng(0))
    assert scored.exact(1.0).mean() < 0.5
    assert scored.exact(0.8).all()


def test_a_lineup_names_the_reconstructed() -> None:
    rng = np.random.default_rng(0)
    people = cohort(4)["west"].features[:10]
    assert all(lineup(exact(people[k : k + 1]), people, rng) == k for k in range(10))


def test_a_lineup_names_whoever_any_one_record_shows() -> None:
    """However far the other records are: of a batch the target is one of many."""
    rng = np.random.default_rng(0)
    people = PRIOR.draw(10, rng)
    for k in range(10):
        others = np.repeat(
            people[[(k + 1) % 10]] + 0.2, 9, axis=0
        )  # near to somebody, each of them
        shown = exact(np.concatenate([others, people[[k]]]))
        assert lineup(shown, people, rng) == k


def test_a_lineup_is_exactly_chance_for_whoever_saw_nothing() -> None:
    """kappa = 1/K for a guesser that always prefers the same kind of patient."""
    rng = np.random.default_rng(0)
    people = cohort(4, size=400)["west"].features
    hits = 0
    for _ in range(2_000):
        chosen = rng.choice(len(people), 10, replace=False)
        hits += int(lineup(guesses(PRIOR, 8), people[chosen], rng) == rng.integers(10))
    low, high = clopper_pearson(hits, 2_000, confidence=0.999)
    assert low < 0.1 < high


def test_duplicates_share_their_chance() -> None:
    rng = np.random.default_rng(0)
    people = np.repeat(cohort(4)["west"].features[:5], 2, axis=0)
    named = [lineup(exact(people[4:5]), people, rng) for _ in range(600)]
    assert set(named) == {4, 5}
    low, high = clopper_pearson(named.count(4), 600, confidence=0.999)
    assert low < 0.5 < high
    nothing = [lineup(guesses(PRIOR, 0), people, rng) for _ in range(300)]
    assert set(nothing) == set(range(10))


def test_bad_inputs_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InvalidInputError, match="nobody was drawn"):
        score(guesses(PRIOR, 8), TRUTH[:0], PRIOR, rng)
    with pytest.raises(InvalidInputError, match="one candidate"):
        lineup(guesses(PRIOR, 8), TRUTH[:0], rng)
    with pytest.raises((InvalidInputError, TypeError)):
        Reconstruction(TRUTH, np.ones(7), np.zeros(8, dtype=np.bool_))
    with pytest.raises(InvalidInputError, match="confidence"):
        Reconstruction(TRUTH, np.full(8, 1.5), np.zeros(8, dtype=np.bool_))
