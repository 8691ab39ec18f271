"""Every parser of foreign bytes refuses in the project's own words, in seconds, or is right."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy._foreign import DEPTH, json_text, parse_json, printable, quoted
from privacy.errors import CorruptMessageError
from tests.fuzzing import fuzz


@pytest.mark.parametrize(
    "content",
    [
        b"[" * (DEPTH + 1) + b"]" * (DEPTH + 1),
        b'{"a":' * (DEPTH + 1) + b"1" + b"}" * (DEPTH + 1),
        b"[" * 100_000,
        b'{"a":1,"a":1}',
        b"1e999",
        b"NaN",
        b"-Infinity",
        b"9007199254740993",
        b"1" * 5000,
        b'"\\ud800"',
        b'"\xff"',
        b"",
        b"[1]x",
    ],
)
def test_json_that_has_no_one_meaning_is_refused(content: bytes) -> None:
    with pytest.raises(CorruptMessageError) as caught:
        parse_json(content, what="A value")
    assert len(str(caught.value)) < 300 and str(caught.value).isprintable()


def test_json_within_the_limits_is_read() -> None:
    assert parse_json(b"[" * DEPTH + b"]" * DEPTH, what="A value")
    assert parse_json(b'{"a":[9007199254740992,1.5,"\\u00e9"]}', what="A value") == {
        "a": [2**53, 1.5, "é"]
    }
    many = b"[" + b"{}," * 1000 + b"{}]"
    assert len(parse_json(many, what="A value")) == 1001
    with pytest.raises(CorruptMessageError, match="at most 10"):
        parse_json(many, what="A value", most=10)


@given(st.text())
def test_what_is_printed_is_one_line_of_shapes(text: str) -> None:
    assert printable(text).isprintable()
    assert json_text({"a": text}).isprintable()
    assert json.loads(json_text({"a": text})) == {"a": text}
    assert quoted(text).isprintable() and len(quoted(text)) <= 80


def test_no_crash_no_hang_no_foreign_exception_no_wrong_sum() -> None:
    found = fuzz("tests.privacy.fuzzed", 2_000, 0)
    assert found["faults"] == []
    assert sum(found["seen"].values()) == 2_000
    refused = {name: found["seen"][name] - found["taken"].get(name, 0) for name in found["seen"]}
    assert all(refused[name] for name in refused if name not in ("merkle", "ledger file"))


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(1, 11))
def test_a_hundred_thousand_inputs(seed: int) -> None:
    assert fuzz("tests.privacy.fuzzed", 10_000, seed)["faults"] == []
