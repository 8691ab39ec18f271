from typing import Any

import numpy as np
import pytest

from aggregation.data.patients import Patients
from aggregation.models import Logistic
from aggregation.noise_kind import NoiseKind
from attacks.exact.spear import Spear, _time, unmix
from attacks.scoring import score
from experiments.replicate.certificates import hunt
from privacy.errors import InvalidInputError
from tests.attacks.exact.test_closed_form import batch_view
from tests.attacks.runs import PRIOR, SCHEMA, cohort, run


@pytest.mark.parametrize(
    ("size", "clip_norm", "radius"), [(8, None, 2**24), (10, None, 2**24), (8, 1.0, 2**14)]
)
def test_small_batches_are_unmixed_whole(size: int, clip_norm: float | None, radius: int) -> None:
    solved = solvable = 0
    for seed in range(10):
        people = cohort(seed)["north"]
        chosen = people.take(np.random.default_rng(seed).choice(len(people), size, replace=False))
        rank = np.linalg.matrix_rank(np.column_stack([chosen.features, np.ones(size)]))
        view = batch_view(chosen, clip_norm=clip_norm, radius=radius, seed=seed)
        found = Spear().reconstruct(view, PRIOR)
        scored = score(found, chosen.features, PRIOR, np.random.default_rng(0), draws=1)
        assert scored.false_certificates == 0
        solved += int(scored.exact().all() and found.certified.all())
        solvable += int(rank == size)
    assert solvable >= 8
    assert solved >= 0.8 * solvable


def test_a_patient_who_is_there_twice_is_unmixed_twice_and_not_proved() -> None:
    people = cohort(3)["south"].take(np.arange(6))
    twice = people.take(np.array([0, 1, 2, 3, 4, 5, 5]))
    found = Spear().reconstruct(batch_view(twice), PRIOR)
    rows, truth = (sorted(map(tuple, x.tolist())) for x in (found.records, twice.features))
    np.testing.assert_allclose(rows, truth)
    same = np.isclose(found.records, people.features[5]).all(axis=1)
    np.testing.assert_array_equal(found.certified, ~same)


def test_what_is_unmixed_of_coarse_integers_is_read_and_not_proved() -> None:
    """Whole replay proves nothing where a number's next value gives the same integers."""
    people = cohort(1)["south"].take(np.arange(3))
    view = batch_view(people, radius=2**10)
    (gradient,) = view.gradients
    found = unmix(view.plan, gradient, gradient.integers, PRIOR)
    assert found.complete and not found.certified.any()


def test_dependent_patients_are_not_unmixed_and_not_invented() -> None:
    """The middle of two patients, given as a third: one rank less than there are patients."""
    people = cohort(3)["south"].take(np.arange(6))
    x = people.features.copy()
    x[1] = x[0]
    x[1, 0], x[2] = x[0, 0] + 0.4, x[0]
    x[2, 0] = x[0, 0] + 0.2
    found = Spear().reconstruct(batch_view(Patients(x, people.outcomes)), PRIOR)
    assert not found.certified.any()
    assert len(found) == 8


def test_what_it_costs_and_does_not_try_is_said_before_it_starts() -> None:
    people = cohort(3)["south"]
    seven = Spear().foretell(batch_view(people.take(np.arange(7))))
    assert "rank 7, 2^7 = 128 bit vectors" in seven and "not tried" not in seven
    limited = Spear(most=5).foretell(batch_view(people.take(np.arange(7))))
    assert "not tried" in limited and "Spear(most=7)" in limited
    crowd = Spear().foretell(batch_view(people.take(np.arange(40))))
    assert "rank 12 is all that the layer has" in crowd
    noised = batch_view(people.take(np.arange(7)), clip_norm=1.0, radius=4096, noise_multiplier=1.0)
    assert Spear().foretell(noised) == ""


def test_the_time_doubles_with_each_patient_more() -> None:
    assert [_time(rank) for rank in (18, 20, 28, 36, 50)] == [
        "0.1 seconds", "0.5 seconds", "2 minutes", "10 hours", "6,516 days",
    ]  # fmt: skip


def test_what_is_left_after_others_is_unmixed_too() -> None:
    people = cohort(3)["south"].take(np.arange(9))
    view = batch_view(people)
    some = batch_view(people.take(np.arange(4))).gradients[0].integers
    left = view.gradients[0].integers - some
    found = unmix(view.plan, view.gradients[0], left, PRIOR)
    assert found.complete
    assert sorted(map(tuple, found.records)) == sorted(map(tuple, people.features[4:]))
    np.testing.assert_array_equal(np.sort(found.labels), np.sort(people.outcomes[4:]))


@pytest.mark.parametrize(
    "fields",
    [
        {"noise": NoiseKind.LOCAL, "clip_norm": 1.0, "radius": 4096, "noise_multiplier": 0.01},
        {"model": Logistic(len(SCHEMA))},
        {"local_steps": 2},
        {"sampling_size": None},
    ],
    ids=["noise", "logistic", "local steps", "full batch"],
)
def test_what_it_cannot_unmix_gives_guesses(fields: dict[str, Any]) -> None:
    view = run(**fields).view("server_plain")
    found = Spear().reconstruct(view, PRIOR)
    assert not found.certified.any()
    assert not found.confidence.any()
    assert len(found) > 0


def test_too_large_a_rank_is_left_alone() -> None:
    view = batch_view(cohort(1)["east"].take(np.arange(9)))
    assert not Spear(most=5).reconstruct(view, PRIOR).certified.any()
    with pytest.raises(InvalidInputError, match="most"):
        Spear(most=0)


def test_no_certificate_is_false() -> None:
    found = hunt(Spear(), cohort(4)["west"], SCHEMA, batches=60, largest=7, seed=4)
    assert found.false == found.spoilt == 0
    assert found.certified > 100


@pytest.mark.nightly
def test_no_certificate_is_false_in_three_hundred_batches() -> None:
    found = hunt(Spear(), cohort(5)["west"], SCHEMA, batches=300, largest=9, seed=5)
    assert found.false == found.spoilt == 0
    assert found.certified > 500
