"""Ranks, sensitive features, the worst off: perfect where all is known, the imputer's where not."""

import numpy as np
import pytest

from attacks.reconstructed import Reconstruction, guesses
from attacks.scoring import score
from attacks.scoring.linkage import linkage_ranks, sensitive_accuracy, worst_off
from privacy.errors import InvalidInputError
from tests.attacks.runs import PRIOR, cohort

PEOPLE = cohort(0, size=100)["north"]
TRUTH, PUBLIC = PEOPLE.features[:8], cohort(1, size=300)["east"]
QUASI = ("age", "sex", "cp")


def perfect(rows: np.ndarray) -> Reconstruction:
    return Reconstruction(rows, np.ones(len(rows)), np.zeros(len(rows), dtype=np.bool_))


def test_the_reconstructed_rank_first_and_nothing_ranks_in_the_middle() -> None:
    targets = np.arange(8)
    assert linkage_ranks(perfect(TRUTH[::-1]), PEOPLE.features, targets).tolist() == [1.0 + 3.5] * 8
    one = [linkage_ranks(perfect(TRUTH[k : k + 1]), PEOPLE.features, targets)[k] for k in range(8)]
    assert one == [1.0] * 8
    nothing = linkage_ranks(guesses(PRIOR, 0), PEOPLE.features, targets)
    assert nothing.tolist() == [(100 + 1) / 2] * 8


def test_whoever_saw_nothing_ranks_the_target_in_the_middle_on_average() -> None:
    rng = np.random.default_rng(0)
    ranks = []
    for _ in range(400):
        rows = rng.choice(100, 10, replace=False)
        found = linkage_ranks(guesses(PRIOR, 8), PEOPLE.features[rows], rng.integers(10, size=1))
        ranks.append(float(found[0]))
    assert np.mean(ranks) == pytest.approx(5.5, abs=3.5 * float(np.std(ranks)) / 20)


def test_a_perfect_reconstruction_reads_every_sensitive_value() -> None:
    for sensitive in ("chol", "thal"):
        found = sensitive_accuracy(
            perfect(TRUTH[::-1]), TRUTH, PRIOR,
            quasi=QUASI, sensitive=sensitive, donors=PUBLIC.features,
        )  # fmt: skip
        assert found.right.all()
        assert not found.imputed_right.all()
    blind = sensitive_accuracy(
        guesses(PRIOR, 0), TRUTH, PRIOR, quasi=QUASI, sensitive="thal", donors=PUBLIC.features
    )
    np.testing.assert_array_equal(blind.right, blind.imputed_right)


def test_the_imputer_uses_what_the_quasi_identifiers_say() -> None:
    """Where age decides, it is right; where nothing does, it is as good as the mode."""
    donors, people = PUBLIC.features.copy(), PEOPLE.features.copy()
    for rows in (donors, people):
        rows[:, 7] = rows[:, 0] > 0  # exang follows age
    told = sensitive_accuracy(
        guesses(PRIOR, 0), people, PRIOR, quasi=("age",), sensitive="exang", donors=donors
    )
    assert told.imputed_right.mean() > 0.9
    other = people.copy()
    other[:, 7] = 1 - other[:, 7]  # the truth of the sensitive feature is never read
    flipped = sensitive_accuracy(
        guesses(PRIOR, 0), other, PRIOR, quasi=("age",), sensitive="exang", donors=donors
    )
    np.testing.assert_array_equal(flipped.imputed_right, ~told.imputed_right)


def test_the_worst_off_are_those_of_whom_most_is_known() -> None:
    accuracy = np.linspace(0, 1, 101)
    assert worst_off(accuracy) == pytest.approx(np.mean(accuracy[-6:]))
    assert worst_off(np.array([0.2, 0.9])) == 0.9
    few = perfect(np.vstack([TRUTH[:1], PRIOR.modes(7)]))
    attacked, guessed = score(few, TRUTH, PRIOR, np.random.default_rng(0)).worst_off
    assert attacked == 1.0
    assert guessed < 1.0


def test_public_baselines_are_no_better_than_seeing_and_need_a_table() -> None:
    rng = np.random.default_rng(0)
    scored = score(perfect(TRUTH), TRUTH, PRIOR, rng, public=PUBLIC)
    assert set(scored.baselines) == {"best", "modes", "draws", "donors", "labelled"}
    for name, accuracy in scored.baselines.items():
        assert 0.2 < accuracy.mean() < 0.9, name
    assert set(score(perfect(TRUTH), TRUTH, PRIOR, rng).baselines) == {"best", "modes", "draws"}


def test_bad_inputs_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="among the 100"):
        linkage_ranks(perfect(TRUTH), PEOPLE.features, np.array([100]))
    with pytest.raises(InvalidInputError, match="another sensitive"):
        sensitive_accuracy(
            perfect(TRUTH), TRUTH, PRIOR, quasi=QUASI, sensitive="age", donors=PUBLIC.features
        )
    with pytest.raises(InvalidInputError, match="patients"):
        worst_off(np.zeros(0))
