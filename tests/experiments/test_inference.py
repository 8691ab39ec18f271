"""What is inferred wins undefended; sealing hides a hospital, noise keeps the bound."""

import math
from pathlib import Path

import numpy as np
import pytest

from experiments.run.sweep import sweep
from experiments.studies.design import Design
from experiments.studies.inference import Answer, InferencePoint, Question, grid, table
from privacy.errors import InvalidInputError


def asked(question: Question, design: Design, epsilon: float | None, seeds: int) -> list[Answer]:
    point = InferencePoint(question, design, epsilon)
    return [point.measure(seed, None) for seed in range(seeds)]


@pytest.mark.parametrize("question", [Question.PREVALENCE, Question.PROPERTY])
def test_a_clear_update_gives_a_hospital_away_and_a_sealed_sum_does_not(question: Question) -> None:
    clear = asked(question, Design.NONE, None, 2)
    errors = [one.attack for one in clear if one.attack is not None]
    assert len(errors) == 2
    assert np.mean(errors) < 0.5 * np.mean([one.baseline for one in clear])
    (sealed,) = asked(question, Design.SEALED, 1.0, 1)
    assert sealed.attack is None
    assert sealed.baseline == clear[0].baseline


def test_membership_stays_below_its_bound_and_noiseless_runs_have_none() -> None:
    """Of 920 fair coins; five deviations of a share of as many."""
    (noisy,) = asked(Question.MEMBERSHIP, Design.SEALED, 1.0, 1)
    assert noisy.attack is not None and noisy.bound is not None
    assert 0.5 < noisy.bound < 1
    assert noisy.attack < noisy.bound + 5 * math.sqrt(0.25 / 920)
    assert abs(noisy.attack - 0.5) < 5 * math.sqrt(0.25 / 920)  # and nobody is told apart
    (bare,) = asked(Question.MEMBERSHIP, Design.NONE, None, 1)
    assert bare.bound is None
    assert bare.attack is not None and bare.attack > 0.5


def test_an_attribute_is_told_beside_what_an_imputer_knows() -> None:
    (noisy,) = asked(Question.ATTRIBUTE, Design.SEALED, 1.0, 1)
    assert noisy.attack is not None
    assert abs(noisy.attack - noisy.baseline) < 0.1
    assert noisy.baseline > 0.5


def test_a_record_has_the_intervals_and_says_whose_answer_it_is(tmp_path: Path) -> None:
    points = [InferencePoint(Question.PREVALENCE, d, None, seeds=(0, 1)) for d in
              (Design.NONE, Design.SEALED)]  # fmt: skip
    clear, sealed = sweep(tmp_path, points, jobs=1)
    assert clear.metrics["adversary"] == "curious server"
    assert clear.metrics["attack"]["lower"] <= clear.metrics["attack"]["value"]
    assert (sealed.metrics["hidden"], sealed.metrics["attack"]) == (2, None)
    shown = table([clear, sealed])
    assert list(shown.columns[4].cells)[1] == "hidden"


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="Unknown questions"):
        grid(questions=("names",))
    with pytest.raises(InvalidInputError, match="seeds=1"):
        grid(seeds=1)
    assert len(grid()) == 4 * len(Question)
