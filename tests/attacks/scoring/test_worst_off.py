"""The worst off, and what public guesses reach."""

import numpy as np
import pytest

from attacks.reconstructed import Reconstruction
from attacks.scoring import score
from attacks.scoring.scores import worst_off
from privacy.errors import InvalidInputError
from tests.attacks.runs import PRIOR, cohort

PEOPLE = cohort(0, size=100)["north"]
TRUTH, PUBLIC = PEOPLE.features[:8], cohort(1, size=300)["east"]


def perfect(rows: np.ndarray) -> Reconstruction:
    return Reconstruction(rows, np.ones(len(rows)), np.zeros(len(rows), dtype=np.bool_))


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
    with pytest.raises(InvalidInputError, match="patients"):
        worst_off(np.zeros(0))
