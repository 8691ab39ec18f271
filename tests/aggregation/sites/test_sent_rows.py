"""Rows of the manifest between machines, and the order along a declared schedule."""

from dataclasses import replace
from pathlib import Path

import pytest

from aggregation.roles.messages import AGGREGATOR, Message, MessageKind
from aggregation.sites.declared_order import DeclaredOrder
from aggregation.sites.rows import ReceivedRows, SentRows, read_row
from privacy.errors import CorruptMessageError, InvalidInputError
from privacy.ledger import Manifest, SigningKey
from privacy.ledger.log import canonical
from tests.aggregation.sites.parts import own_pace

KEY, OTHER = SigningKey.generate(), SigningKey.generate()


def update(round_: int, payload: bytes = b"sealed") -> Message:
    return Message("north", AGGREGATOR, MessageKind.UPDATE, round_, payload, run="test")


def test_what_is_sent_again_has_the_same_row_after_a_restart_too(tmp_path: Path) -> None:
    rows = SentRows(tmp_path / "sent", "test", KEY)
    first = [rows.row(update(number)) for number in range(3)]
    assert [row.sequence for row in first] == [0, 1, 2]
    rows.close()
    rows = SentRows(tmp_path / "sent", "test", KEY)
    # A message sent again has another nonce at times; what the row tells of it is the same.
    assert [rows.row(update(number)) for number in range(3)] == first
    assert rows.row(update(1, b"another")).sequence == 3
    manifest = rows.manifest("north")
    (word,) = manifest.sent
    assert word.covers(manifest.messages) and word.signed_by("test", KEY.public)
    assert word.messages == 4


def test_only_the_senders_own_word_on_this_very_message_is_taken(tmp_path: Path) -> None:
    row = SentRows(tmp_path / "sent", "test", KEY).row(update(0))
    received = ReceivedRows(tmp_path / "received", "test", OTHER, AGGREGATOR)
    received.check(row, update(0), KEY.public)
    said = read_row(canonical.encode(row.to_json()))
    assert said == row
    wrong = [
        (row, update(1), KEY),
        (row, update(0, b"other"), KEY),
        (row, replace(update(0), sender="east"), KEY),
        (row, update(0), OTHER),
        (replace(row, sequence=5), update(0), KEY),
        (replace(row, signature=None), update(0), KEY),
    ]
    for given, message, key in wrong:
        with pytest.raises(CorruptMessageError, match="signed word"):
            received.check(given, message, key.public)
    for content in (b"", b"{}", b"[]", b"\xff", canonical.encode(row.to_json() | {"more": 1})):
        with pytest.raises(CorruptMessageError):
            read_row(content)


def test_each_row_is_kept_once_and_found_again(tmp_path: Path) -> None:
    sent = SentRows(tmp_path / "sent", "test", KEY)
    rows = [sent.row(update(number)) for number in (2, 0, 1)]
    received = ReceivedRows(tmp_path / "received", "test", OTHER, AGGREGATOR)
    for row in (*rows, rows[1]):
        received.add(row)
    received.sync()
    received.close()
    again = ReceivedRows(tmp_path / "received", "test", OTHER, AGGREGATOR).manifest()
    assert again.messages == tuple(rows)
    (receipt,) = again.receipts
    assert receipt.signed_by("test", OTHER.public)
    assert [got.row for got in receipt.received] == [row.name for row in rows]


def test_parts_of_a_manifest_are_joined_whatever_their_order(tmp_path: Path) -> None:
    sent = SentRows(tmp_path / "sent", "test", KEY)
    rows = [sent.row(update(number)) for number in range(3)]
    received = ReceivedRows(tmp_path / "received", "test", OTHER, AGGREGATOR)
    for row in reversed(rows):
        received.add(row)
    parts = [received.manifest(), sent.manifest("north")]
    joined = Manifest.joined(parts)
    assert joined == Manifest.joined([*reversed(parts), *parts])
    assert joined.messages == tuple(rows)
    assert joined.sent == parts[1].sent and joined.receipts == parts[0].receipts
    assert joined.sent[0].covers(joined.messages)
    for wrong in ([], [parts[0], Manifest("another", ())]):
        with pytest.raises(InvalidInputError, match="of one run"):
            Manifest.joined(wrong)


def test_along_a_schedule_nothing_passes_before_its_version() -> None:
    schedule = own_pace()
    order = DeclaredOrder(schedule)
    stale = 0
    for opening in schedule.openings:
        for arrival in opening.arrivals:
            model = Message(AGGREGATOR, arrival.hospital, MessageKind.MODEL,
                            arrival.base_version, b"")  # fmt: skip
            upload = replace(update(arrival.base_version), sender=arrival.hospital)
            stale += arrival.sealed_version > arrival.base_version
            for opened in range(schedule.sums + 1):
                assert order.holds_model(model, opened) == (opened < arrival.sealed_version)
                assert order.holds_update(upload, opened) == (opened < opening.version)
                before = [*order.models_due(arrival.sealed_version - 1)]
                assert model not in before
                due = [*order.models_due(arrival.sealed_version)]
                assert (model in due) == (opened < arrival.sealed_version)
                assert upload not in [*order.updates_due(opening.version - 1)]
                late = [*order.updates_due(opening.version)]
                assert (upload in late) == (opened < opening.version)
                assert [*order.models_due(99)] == [*order.updates_due(99)] == []
    assert stale > 0


def test_what_no_schedule_has_passes_and_what_is_cleared_is_gone() -> None:
    order = DeclaredOrder(own_pace())
    late = next(a for o in own_pace().openings for a in o.arrivals if a.sealed_version > 0)
    model = Message(AGGREGATOR, late.hospital, MessageKind.MODEL, late.base_version, b"")
    assert not order.holds_model(replace(model, round=99), 0)
    assert not order.holds_model(replace(model, kind=MessageKind.OPENED), 0)
    assert not order.holds_update(replace(update(99), kind=MessageKind.UPDATE), 0)
    assert order.holds_model(model, 0)
    order.clear()
    assert [*order.models_due(99)] == []
