"""Cells: each form of a code and of a number, and what every wrong one is called."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation.data.cells import NotANumberError, code, number, shape

CODES = {
    " 63.0 ": "63", "03": "3", "+3": "3", "-3": "-3", "-03.00": "-3", "-0": "0", "-0.0": "0",
    "0": "0", "000": "0", "TRUE": "1", "true": "1", "False": "0", "FALSE": "0", "3.5": "3.5",
    "-": "-", "3.": "3", "Yes": "Yes", "": "", " typical angina ": "typical angina", "1e3": "1e3",
    "٣": "٣",
}  # fmt: skip

NUMBERS = {
    "2.30": 2.3, " -4 ": -4.0, "+.5": 0.5, "7.": 7.0, "1e3": 1000.0, "1E-2": 0.01, "-0": 0.0,
    "0" * 63 + "7": 7.0,
}  # fmt: skip

NO_NUMBERS = {
    "": "no numbers", "nan": "no numbers", "inf": "no numbers", "-Infinity": "no numbers",
    "1_000": "no numbers", "1 000": "no numbers", "0x10": "no numbers", "٣": "no numbers",
    "0" * 64 + "7": "no numbers", "1e9999": "no numbers", "1e999": "too large to hold",
    "-1e999": "too large to hold", "5,5": "decimal commas", "-5,25": "decimal commas",
    "2024-03-01": "dates", "1/2/24": "dates", "3.Mar": "no numbers", "12-Mar": "dates",
    "Mar-12": "dates", "2024-03-01 00:00:00": "dates", "1,234.5": "no numbers",
}  # fmt: skip


@pytest.mark.parametrize(("cell", "expected"), CODES.items())
def test_a_code_is_compared_in_one_form(cell: str, expected: str) -> None:
    assert code(cell) == expected


def test_a_code_of_a_table_with_commas_is_whole_with_a_comma() -> None:
    assert code("3,0", ",") == "3"
    assert code("3,5", ",") == "3,5"
    assert code("3.0", ",") == "3"
    assert code("3,0") == "3,0"


@pytest.mark.parametrize(("cell", "expected"), NUMBERS.items())
def test_a_number_is_read(cell: str, expected: float) -> None:
    assert number(cell) == expected


@pytest.mark.parametrize(("cell", "told"), NO_NUMBERS.items())
def test_what_is_no_number_is_called_by_its_kind(cell: str, told: str) -> None:
    with pytest.raises(NotANumberError, match=told):
        number(cell)


@pytest.mark.parametrize("cell", ["1.5", "1.234,5", "1.234"])
def test_a_point_where_commas_are_decimal_is_never_guessed_at(cell: str) -> None:
    with pytest.raises(NotANumberError, match="said to be a comma"):
        number(cell, ",")
    assert number("1,5", ",") == 1.5


def test_a_shape_says_nothing_of_its_content() -> None:
    assert shape(" Smith, 12 ") == "aaaaa, 99"
    assert shape("a" * 20) == "a" * 20
    assert shape("b" * 21) == "a" * 20 + "..."
    assert shape("x\x1b[2J") == "a?[9a"


@given(st.text(max_size=12))
def test_a_code_has_one_form_and_a_shape_no_content(text: str) -> None:
    assert code(code(text)) == code(text)
    assert not any(c in shape(text) for c in text if c.isalnum() and c not in "a9")
    assert shape(text).isprintable()


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_comes_back_bit_for_bit(value: float) -> None:
    assert np.float64(number(repr(value))).view(np.int64) == np.float64(value).view(np.int64)
    if "." in repr(value) or "e" not in repr(value):
        assert number(f" {repr(value).replace('.', ',')} ", ",") == value


@given(st.text(max_size=20))
def test_whatever_is_a_number_here_is_the_same_to_python(text: str) -> None:
    try:
        value = number(text)
    except NotANumberError:
        return
    assert value == float(text)
    assert text.isascii() or text.strip().isascii()
    assert "_" not in text
