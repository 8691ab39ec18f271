"""The compiled loops: the order of adding, and the same numbers as the text they were made from."""

import inspect
import math
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from privacy.mechanisms import kernels

tables = arrays(
    np.float64,
    st.tuples(st.integers(0, 4), st.integers(1, 40)),
    elements=st.floats(-1e9, 1e9, allow_subnormal=False),
)


def text(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the Python function behind a compiled one."""
    plain: Callable[..., Any] = inspect.unwrap(function.py_func)  # type: ignore[attr-defined]
    return plain


def two_lanes(row: NDArray[np.float64]) -> float:
    """Add squares as NumPy's einsum does on x86-64, told once more from its description."""
    lanes = [0.0, 0.0]
    whole = len(row) // 8 * 8
    order = [j + k for j in range(0, whole, 8) for k in (6, 7, 4, 5, 2, 3, 0, 1)]
    for j in [*order, *range(whole, len(row))]:
        lanes[j % 2] += float(row[j]) * float(row[j])
    return lanes[0] + lanes[1]


@given(arrays(np.float64, st.tuples(st.just(2), st.integers(1, 70)), elements=st.floats(-9, 9)))
def test_squares_are_added_in_two_lanes_from_the_back_of_each_eight(
    table: NDArray[np.float64],
) -> None:
    ordinary = [1e-280 < two_lanes(row) < 1e280 for row in table]
    expected = np.array([math.sqrt(two_lanes(row)) for row in table])
    assert (kernels.norms(table)[ordinary] == expected[ordinary]).all()


@given(tables.filter(lambda t: t.shape[1] < 5))
def test_norms_are_those_of_exact_fractions(table: NDArray[np.float64]) -> None:
    for row, norm in zip(table, kernels.norms(table), strict=True):
        square = sum(Fraction(float(x)) ** 2 for x in row)
        assert abs(Fraction(float(norm)) ** 2 - square) <= square * Fraction(1, 10**14)


@pytest.mark.parametrize("scale", [1e300, 1e-300, 5e-324])
def test_norms_of_huge_and_tiny_rows(scale: float) -> None:
    table = np.array([[3.0, 4.0], [0.0, 0.0], [-4.0, 3.0]]) * scale
    np.testing.assert_allclose(kernels.norms(table) / scale, [5, 0, 5], rtol=1e-15)


@given(tables, st.floats(1e-3, 1e6), st.integers(1, 2**30))
def test_machine_code_gives_the_numbers_of_its_text_bit_for_bit(
    table: NDArray[np.float64], clip_norm: float, radius: int
) -> None:
    clipped = kernels.clipped_rows(table, clip_norm)
    assert clipped.tobytes() == text(kernels.clipped_rows)(table, clip_norm).tobytes()
    scale = radius / clip_norm * (1 - 2e-12)
    integers = kernels.bounded_rows(clipped, scale, radius)
    assert (integers == text(kernels.bounded_rows)(clipped, scale, radius)).all()
    assert (kernels.squares(integers, radius) == (integers.astype(object) ** 2).sum(axis=1)).all()


def test_a_row_exactly_as_long_as_the_norm_is_kept_bit_for_bit() -> None:
    table = np.random.default_rng(3).standard_normal((200, 19))
    for row, norm in zip(table[:, None], kernels.norms(table), strict=True):
        assert kernels.clipped_rows(row, float(norm)).tobytes() == row.tobytes()


def test_a_row_is_shortened_no_further_than_to_the_radius() -> None:
    table = np.array([[3.52, 3.55]])  # nearest: 4, 4; one step back: 3, 4, of norm 5
    assert kernels.bounded_rows(table, 1.0, 5).tolist() == [[3, 4]]


def test_squares_of_entries_beyond_the_radius_pass_it_without_overflow() -> None:
    extreme = np.array([[2**63 - 1, 0], [-(2**63), 0], [2**30, 1], [2**30, 0]])
    assert (kernels.squares(extreme, 2**30) > 2**60).tolist() == [True, True, True, False]


def test_threads_get_what_one_thread_gets() -> None:
    tables_ = [np.random.default_rng(k).standard_normal((500, 19)) for k in range(8)]

    def integers(table: NDArray[np.float64]) -> bytes:
        return bytes(kernels.bounded_rows(kernels.clipped_rows(table, 1.0), 64 * (1 - 2e-12), 64))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(integers, tables_)) == [integers(t) for t in tables_]


def test_where_nothing_can_be_kept_the_loops_are_compiled_all_the_same(tmp_path: Path) -> None:
    copy = tmp_path / "loops.py"
    copy.write_text(Path(kernels.__file__).read_text())
    asked = "import loops, numpy as np; print(loops.norms(np.array([[3.0, 4.0]])))"
    nowhere = {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator", "NUMBA_CACHE_DIR": ""}
    found = subprocess.run(
        [sys.executable, "-c", asked],
        env={**os.environ, **nowhere, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "[5.]"
    assert not list(tmp_path.rglob("*.nb?"))
