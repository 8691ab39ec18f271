import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dp_accounting import NeighboringRelation as Relation
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from privacy.errors import InvalidInputError
from privacy.mechanisms import BoundedIntegers, Clipped, clip, to_integers

rows = arrays(
    np.float64,
    st.tuples(st.integers(0, 5), st.integers(1, 40)),
    elements=st.floats(-1e9, 1e9, allow_subnormal=False),
)
norms = st.floats(1e-3, 1e6)
radii = st.integers(1, 2**30)


@given(rows, norms)
def test_clip_bounds_every_norm_and_keeps_short_rows_bit_for_bit(
    updates: NDArray[np.float64], clip_norm: float
) -> None:
    clipped = clip(updates, clip_norm=clip_norm).values
    before = np.linalg.norm(updates, axis=1)
    assert (np.linalg.norm(clipped, axis=1) <= clip_norm * (1 + 1e-12)).all()
    short = before <= clip_norm * (1 - 1e-12)
    assert clipped[short].tobytes() == updates[short].tobytes()
    longer = before > clip_norm * (1 + 1e-12)
    expected = updates[longer] / before[longer, None] * clip_norm
    # Below 1e-300 float64 has fewer digits, and two orders of dividing differ in the last of them.
    np.testing.assert_allclose(clipped[longer], expected, rtol=1e-9, atol=1e-300)


def test_clip_takes_rows_whose_norm_overflows() -> None:
    clipped = clip(np.array([[1e308, 1e308], [0.0, 0.0]]), clip_norm=2.0).values
    np.testing.assert_allclose(clipped, [[2**0.5, 2**0.5], [0.0, 0.0]])


@given(rows, norms, radii)
def test_integers_never_pass_the_radius_and_stay_within_one_step(
    updates: NDArray[np.float64], clip_norm: float, radius: int
) -> None:
    clipped = clip(updates, clip_norm=clip_norm)
    integers = to_integers(clipped, radius=radius)
    exact = [sum(int(x) ** 2 for x in row) for row in integers.values]  # Python's own integers
    assert all(square <= radius**2 for square in exact)
    scaled = clipped.values * (radius / clip_norm)
    assert (np.abs(integers.values - scaled) < 1 + 1e-11 * radius).all()
    nearest = np.rint(scaled * (1 - 2e-12))
    fits = (nearest**2).sum(axis=1) <= radius**2 - 1
    assert (integers.values[fits] == nearest[fits]).all()


@given(rows, norms, radii)
def test_a_patient_changes_its_own_row_only(
    updates: NDArray[np.float64], clip_norm: float, radius: int
) -> None:
    together = to_integers(clip(updates, clip_norm=clip_norm), radius=radius).values
    for i, row in enumerate(updates):
        alone = to_integers(clip(row[None], clip_norm=clip_norm), radius=radius).values
        assert (alone[0] == together[i]).all()


def test_repair_takes_back_what_was_rounded_up_most() -> None:
    # (2.6, 2.9) is no longer than 4, but rounds to (3, 3), which is: 18 > 16.
    clipped = Clipped(np.array([[2.6, 2.9, 0.0]]), clip_norm=4.0)
    assert to_integers(clipped, radius=4).values.tolist() == [[2, 3, 0]]


@pytest.mark.parametrize("clip_norm", [1e-3, 1.0, 7e8])
def test_a_clipped_row_may_be_longer_by_the_rounding_of_floats_alone(clip_norm: float) -> None:
    assert Clipped(np.array([[clip_norm * (1 + 5e-13), 0.0]]), clip_norm).clip_norm == clip_norm
    with pytest.raises(InvalidInputError, match="clip_norm"):
        Clipped(np.array([[0.0, 0.0], [clip_norm * (1 + 3e-12), 0.0]]), clip_norm)


def test_a_row_at_the_very_edge_gives_way_where_it_is_too_long() -> None:
    """Longer than the radius by rounding of floats alone: its short coordinate stays."""
    radius = 2**30
    row = np.array([[1 + 1e-13, 5 / radius]])
    assert np.linalg.norm(row) > 1
    assert to_integers(Clipped(row, 1.0), radius=radius).values.tolist() == [[radius - 1, 5]]


def test_repair_keeps_the_gradient() -> None:
    rng = np.random.default_rng(3)
    for dim in (19, 300, 3000):
        updates = rng.normal(size=(50, dim))
        clipped = clip(updates, clip_norm=1.0)
        radius = int(100 * dim**0.5)
        error = to_integers(clipped, radius=radius).values / radius - clipped.values
        assert np.linalg.norm(error, axis=1).max() < 0.005  # nearest rounding alone: .0029


def test_sums_and_sensitivities() -> None:
    bounded = to_integers(clip(np.array([[3.0, 4.0], [0.3, 0.4]]), clip_norm=1.0), radius=1000)
    assert bounded.sum().tolist() == [900, 1200]
    assert bounded.sum().dtype == np.int64
    assert bounded.step == 0.001
    assert bounded.sensitivity(Relation.ADD_OR_REMOVE_ONE) == 1000
    assert bounded.sensitivity(Relation.REPLACE_SPECIAL) == 1000
    assert bounded.sensitivity(Relation.REPLACE_ONE) == 2000
    clipped = clip(np.array([[3.0, 4.0]]), clip_norm=1.0)
    assert clipped.sensitivity(Relation.ADD_OR_REMOVE_ONE) == 1.0
    assert clipped.sensitivity(Relation.REPLACE_ONE) == 2.0
    np.testing.assert_allclose(clipped.sum(), [0.6, 0.8])
    empty = to_integers(clip(np.zeros((0, 3)), clip_norm=1.0), radius=5)
    assert empty.sum().tolist() == [0, 0, 0]


def test_a_bound_that_does_not_hold_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"Row 1 has norm .* > clip_norm=1\.0"):
        Clipped(np.array([[0.0, 1.0], [0.8, 0.8]]), clip_norm=1.0)
    with pytest.raises(InvalidInputError, match="Row 0 is longer than radius=5"):
        BoundedIntegers(np.array([[4, 4]]), radius=5, clip_norm=1.0)
    with pytest.raises(InvalidInputError, match="Row 0 is longer"):
        BoundedIntegers(np.array([[np.iinfo(np.int64).min, 0]]), radius=5, clip_norm=1.0)
    with pytest.raises(InvalidInputError, match="NaN"):
        clip(np.array([[np.nan]]), clip_norm=1.0)
    for clip_norm in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(InvalidInputError, match="clip_norm"):
            clip(np.zeros((1, 1)), clip_norm=float(clip_norm))
    for radius in (0, -3, 2**30 + 1):
        with pytest.raises(InvalidInputError, match="radius"):
            to_integers(clip(np.zeros((1, 1)), clip_norm=1.0), radius=radius)


def refused(call: str) -> str:
    """What a process without the tests' type checker answers: it has to refuse by itself."""
    found = subprocess.run(
        [sys.executable, "-c", f"{SET_UP}\ntry: {call}\nexcept InvalidInputError as e: print(e)"],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    return found.stdout


SET_UP = (
    "import numpy as np\n"
    "from privacy.errors import InvalidInputError\n"
    "from privacy.mechanisms import BoundedIntegers, clip"
)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("clip(np.zeros(3), clip_norm=1.0)", r"shape \(3,\)"),
        ("clip(np.zeros((2, 2, 2)), clip_norm=1.0)", r"shape \(2, 2, 2\)"),
        ("BoundedIntegers(np.array([[1.9]]), 1, 1.0)", "got float64"),
        ("BoundedIntegers(np.array([[2**64 - 1]], dtype=np.uint64), 1, 1.0)", "got uint64"),
        ("BoundedIntegers(np.zeros(3, dtype=np.int64), 1, 1.0)", r"shape \(3,\)"),
    ],
)
def test_other_shapes_and_kinds_are_refused_before_any_loop(call: str, told: str) -> None:
    assert re.search(told, refused(call)), refused(call)


@pytest.mark.parametrize("radius", [5, 13, 2**20 + 1])
def test_a_row_longer_by_one_unit_of_its_square_is_refused(radius: int) -> None:
    BoundedIntegers(np.array([[radius, 0], [0, -radius]]), radius, 1.0)
    with pytest.raises(InvalidInputError):
        BoundedIntegers(np.array([[radius, 0], [radius, 1]]), radius, 1.0)
