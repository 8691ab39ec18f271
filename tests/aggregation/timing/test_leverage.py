"""What Memory's second opening of each upload costs, against plain sums and by hand."""

import numpy as np
import pytest

from aggregation.timing import (
    Arrival,
    Pace,
    Schedule,
    ScheduledOpening,
    Trigger,
    leverage,
    simulate,
)
from aggregation.timing.leverage import opening_matrix


def rounds(*members: str) -> Schedule:
    """One opening a word; its letters are the hospitals."""
    counts: dict[str, int] = {}
    openings = []
    for version, word in enumerate(members):
        arrivals = []
        for letter in word:
            number = counts.get(letter, 0)
            counts[letter] = number + 1
            arrivals.append(Arrival(letter, number, version, version, 0.0, 1.0, 1.0))
        openings.append(ScheduledOpening(version, float(version), tuple(arrivals), "count"))
    return Schedule(tuple(openings), (), ())


def test_plain_sums_cost_one_over_the_honest_shares_each() -> None:
    found = leverage(rounds("abcd", "abcd", "abcd"), memory=False)
    assert found == pytest.approx(dict.fromkeys("abcd", 3 / 4))
    less = leverage(rounds("abcd", "abcd", "abcd"), colluders=("d",), memory=False)
    assert less == pytest.approx(dict.fromkeys("abc", 3 / 3))


def test_the_matrix_by_hand() -> None:
    matrix, owners = opening_matrix(rounds("ab", "ac"))
    assert owners == ("a", "b", "a", "c")
    assert matrix.tolist() == [[1, 1, 0, 0], [-1, 0, 1, 1]]


def test_memory_over_a_fixed_set_costs_no_more_than_plain_sums() -> None:
    # The same hospitals each time: the differences telescope to the plain sums.
    fixed = rounds("abc", "abc", "abc", "abc")
    assert leverage(fixed) == pytest.approx(leverage(fixed, memory=False))


def test_memory_over_changing_sets_costs_more_than_is_declared_naively() -> None:
    paces = {f"h{k}": Pace(1.0) for k in range(8)}
    made = simulate(paces, Trigger(4, 4), horizon=12.0, seed=0)
    naive, real = leverage(made, memory=False), leverage(made)
    ratios = [real[name] / naive[name] for name in naive]
    assert min(ratios) > 1.0
    assert 1.2 < max(ratios) < 2.5


def test_the_cost_is_the_squared_distance_of_the_worst_patient() -> None:
    # One opening of (a, b), then (a, c): by hand, the distance of a patient who adds 1 and 1.
    made = rounds("ab", "ac")
    matrix, owners = opening_matrix(made)
    covariance = matrix @ matrix.T
    worst = 0.0
    for signs in ((1.0, 1.0), (1.0, -1.0)):
        delta = np.zeros(4)
        delta[[i for i, owner in enumerate(owners) if owner == "a"]] = signs
        shift = matrix @ delta
        worst = max(worst, float(shift @ np.linalg.solve(covariance, shift)))
    assert leverage(made)["a"] >= worst - 1e-12
    assert leverage(made)["a"] == pytest.approx(worst)


def test_a_hospital_twice_in_one_sum_costs_the_square() -> None:
    found = leverage(rounds("aabc"), memory=False)
    assert found == pytest.approx({"a": 4 / 4, "b": 1 / 4, "c": 1 / 4})


def test_a_lone_honest_hospital_pays_for_each_upload_in_full() -> None:
    assert leverage(rounds("ab", "ab"), colluders=("b",)) == pytest.approx({"a": 2.0})
