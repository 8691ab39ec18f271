"""A contribution's signature covers everything, and its public half is plain JSON."""

import json
from dataclasses import replace
from typing import Any

import pytest

from aggregation.sealing import Contribution, make_scheme
from privacy.errors import CorruptMessageError, InvalidInputError
from privacy.ledger.log.heads import Extension, Head
from privacy.ledger.log.keys import SigningKey

KEY = SigningKey.generate()
HEAD = Head.sign(KEY, "zurich", "ab" * 32, 7, "cd" * 32)


def signed(**changes: Any) -> Contribution:
    values = {
        "run": "heart",
        "hospital": "zurich",
        "base_version": 3,
        "parameters": "ab" * 32,
        "weight": 2.5,
        **changes,
    }
    return Contribution.sign(KEY, b"sealed", **values)


def test_the_signature_covers_every_field() -> None:
    contribution = signed()
    assert contribution.verifies(KEY.public)
    changes: dict[str, Any] = {
        "run": "other",
        "hospital": "other",
        "base_version": 4,
        "nonce": "00" * 16,
        "weight": 2.0,
        "parameters": "cd" * 32,
        "sealed": b"sealeD",
        "head": Head.sign(KEY, "zurich", "ab" * 32, 7, "ee" * 32),
        "extends": Extension(4, "ab" * 32, ()),
        "model": "ab" * 32,
    }
    for name, value in changes.items():
        assert not replace(contribution, **{name: value}).verifies(KEY.public), name
    assert not contribution.verifies(SigningKey.generate().public)


def test_nonces_are_fresh() -> None:
    assert len({signed().nonce for _ in range(100)}) == 100


def test_a_message_carries_it_there_and_back() -> None:
    contribution = signed(head=HEAD, extends=Extension(4, "ab" * 32, ("cd" * 32,)), model="ab" * 32)
    public = json.loads(json.dumps({**contribution.public, "declared": 300}))
    assert Contribution.from_message(b"sealed", public) == contribution


@pytest.mark.parametrize(
    "change",
    [
        {"run": None},
        {"signature": 5},
        {"base_version": -1},
        {"base_version": True},
        {"base_version": 1.5},
        {"weight": 0},
        {"weight": "1"},
        {"weight": float("nan")},
        {"weight": float("inf")},
        {"ledger_head": 7},
        {"ledger_head": None},
        {"head": None},
        {"head": 7},
        {"head": "{}"},
        {"extends": "7"},
        {"model": 7},
    ],
)
def test_a_malformed_message_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(CorruptMessageError, match=r"[Aa] contribution"):
        Contribution.from_message(b"sealed", {**signed(head=HEAD).public, **change})


def test_a_malformed_signature_is_none() -> None:
    for signature in ("", "zz" * 64, "00" * 63, "00" * 64):
        assert not replace(signed(), signature=signature).verifies(KEY.public)


def test_a_weight_of_zero_is_not_signed() -> None:
    with pytest.raises(InvalidInputError, match="weight=0"):
        signed(weight=0.0)


def test_an_unknown_scheme_is_refused_by_name() -> None:
    with pytest.raises(InvalidInputError, match="Unknown scheme 'rot13'"):
        make_scheme("rot13", dim=3, contributors=2, bound=9)
