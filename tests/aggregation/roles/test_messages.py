"""The promises of ``aggregation.roles.messages``: whole, signed, capped, strictly parsed."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation.roles.messages import (
    Message,
    MessageKind,
    pack,
    read_integers,
    read_model,
    unpack,
)
from privacy.errors import CorruptMessageError, InvalidInputError
from privacy.ledger import SigningKey

KEY = SigningKey.generate()
plain = st.one_of(st.none(), st.integers(-9, 9), st.text(max_size=5))
messages = st.builds(
    Message,
    sender=st.text(max_size=8),
    receiver=st.text(max_size=8),
    kind=st.sampled_from(MessageKind),
    round=st.integers(0, 2**40),
    payload=st.binary(max_size=40),
    public=st.dictionaries(st.text(max_size=5), plain),
    run=st.text(max_size=8),
)  # fmt: skip


def message() -> Message:
    public: dict[str, str | int | float | bool | None] = {"weight": 0.5}
    return Message("north", "aggregator", MessageKind.UPDATE, 3, b"12345", public, run="r")


@given(messages)
def test_a_message_survives_its_bytes_and_keeps_its_signature(sent: Message) -> None:
    signed = sent.signed(KEY)
    again = Message.from_bytes(signed.to_bytes(), largest=40)
    assert again == signed
    assert again.signed_by(KEY.public)
    assert not again.signed_by(SigningKey.generate().public)


@pytest.mark.parametrize(
    "changed",
    [
        {"sender": "east"}, {"receiver": "opener"}, {"kind": MessageKind.TOTAL}, {"round": 4},
        {"payload": b"12346"}, {"public": {"weight": 0.25}}, {"run": "q"}, {"nonce": "0" * 32},
    ],
    ids=lambda changed: next(iter(changed)),
)  # fmt: skip
def test_a_signature_covers_every_field(changed: dict[str, object]) -> None:
    signed = message().signed(KEY)
    assert not dataclasses.replace(signed, **changed).signed_by(KEY.public)  # type: ignore[arg-type] # any field
    assert dataclasses.replace(signed, sequence=7, time=2.0).signed_by(KEY.public)


def test_two_messages_have_nonces_of_their_own() -> None:
    assert message().nonce != message().nonce


def test_what_is_repeatable_has_one_nonce_and_what_says_another_thing_another() -> None:
    said = message().repeatable()
    assert said.nonce == message().repeatable().nonce and len(bytes.fromhex(said.nonce)) == 16
    others = [
        dataclasses.replace(message(), kind=MessageKind.TOTAL),
        dataclasses.replace(message(), round=4),
        dataclasses.replace(message(), payload=b"12346"),
    ]
    assert len({said.nonce, *(other.repeatable().nonce for other in others)}) == 4


@given(messages, st.data())
def test_damage_and_cuts_are_refused_in_words(sent: Message, data: st.DataObject) -> None:
    content = sent.to_bytes()
    cut = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(CorruptMessageError):
        Message.from_bytes(content[:cut], largest=40)
    place = data.draw(st.integers(0, len(content) - 1))
    harmed = bytearray(content)
    harmed[place] ^= data.draw(st.integers(1, 255))
    try:
        read = Message.from_bytes(bytes(harmed), largest=40)
    except CorruptMessageError:
        return
    assert read.statement != sent.statement or read.signature != sent.signature


@pytest.mark.parametrize("place", [0, 4])
def test_another_format_or_version_is_refused_by_name(place: int) -> None:
    content = bytearray(message().to_bytes())
    content[place] += 1
    with pytest.raises(CorruptMessageError, match="not a message of version 1"):
        Message.from_bytes(bytes(content), largest=40)


def test_sizes_are_capped_before_anything_is_parsed() -> None:
    with pytest.raises(CorruptMessageError, match="not parsed"):
        Message.from_bytes(b"\0" * 70_000, largest=10)
    with pytest.raises(CorruptMessageError):
        Message.from_bytes(message().to_bytes(), largest=4)
    wide = dataclasses.replace(message(), public={"x": "y" * 70_000})
    with pytest.raises(InvalidInputError, match="into the payload"):
        wide.to_bytes()


@given(st.lists(st.binary(max_size=9), max_size=5))
def test_packed_parts_come_out_as_they_went_in(parts: list[bytes]) -> None:
    payload = pack(parts)
    assert list(unpack(payload, most=5)) == parts
    with pytest.raises(CorruptMessageError):
        unpack(payload + b"\1", most=6)
    if parts:
        with pytest.raises(CorruptMessageError):
            unpack(payload, most=len(parts) - 1)
    if parts and parts[-1]:
        with pytest.raises(CorruptMessageError, match="a part is shorter than it says"):
            unpack(payload[:-1], most=5)


def test_vectors_of_another_length_are_refused() -> None:
    values = np.arange(3)
    assert read_integers(values.astype("<i8").tobytes(), 3).tolist() == [0, 1, 2]
    assert read_model(values.astype("<f8").tobytes(), 3).tolist() == [0.0, 1.0, 2.0]
    for read in (read_integers, read_model):
        with pytest.raises(CorruptMessageError, match="32 bytes"):
            read(bytes(24), 4)
