import math
from enum import IntEnum, StrEnum
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import CorruptMessageError, InvalidInputError
from privacy.ledger.log.canonical import decode, encode, from_number, to_number


class Colour(StrEnum):
    RED = "red"


class Size(IntEnum):
    BIG = 2


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=6), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_what_is_encoded_is_decoded_and_is_the_only_spelling(value: Any) -> None:
    content = encode(value)
    assert content == rfc8785.dumps(value)
    assert encode(decode(content)) == content


@pytest.mark.parametrize(
    "value",
    [
        "".join(map(chr, range(128))),
        ["é\u2028\U0001f600", {"\ue000": 1, "\U0001f600": 2, "z": 3}],
        (1, [True, None, (2**53 - 1, 1 - 2**53)]),
        {"b": Colour.RED, "B": Size.BIG, "": -0.0, "a": 1e21},
    ],
    ids=["controls", "planes", "integers", "enums"],
)
def test_every_way_of_spelling_is_that_of_the_standard(value: Any) -> None:
    assert encode(value) == rfc8785.dumps(value)


@pytest.mark.parametrize(
    "content",
    [
        b'{"b":1,"a":1}',
        b'{"a":1,"a":1}',
        b'{ "a":1}',
        b'{"a":1.0}',
        b'{"a":1e-05}',
        b'{"a":1e-5}',
        b'{"a":-0}',
        b'{"a":"\\u0041"}',
        b'{"a":NaN}',
        b'{"a":9007199254740993}',
        b'{"a":1}\n',
        b"\xff",
        b"",
        b'"\\ud800"',
    ],
)
def test_any_other_spelling_is_refused(content: bytes) -> None:
    with pytest.raises(CorruptMessageError, match="canonical"):
        decode(content)


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, 2**53 + 1, 2**53, -(2**53), {1: 2}, b"bytes", "\ud800"]
)
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(InvalidInputError, match="canonical"):
        encode(value)


def test_infinity_is_spelt_as_text() -> None:
    assert [to_number(from_number(x)) for x in (1.5, math.inf, -math.inf)] == [
        1.5,
        math.inf,
        -math.inf,
    ]
    for bad in ("nan", "1", None, True):
        with pytest.raises(CorruptMessageError):
            to_number(bad)
    with pytest.raises(InvalidInputError):
        from_number(math.nan)
