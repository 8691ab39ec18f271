"""Manifests that were cut, patched or made up: they fail, and blame nobody who did not sign."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from privacy.ledger import (
    Head,
    Manifest,
    SigningKey,
)
from privacy.ledger.audit.manifest import Outbound, Sent
from tests.privacy.ledger.test_verify import (
    NAMES,
    Run,
    failures,
    verify,
)


def _drop(content: dict[str, Any]) -> None:
    del content["messages"][0]


def _drop_and_forget(content: dict[str, Any]) -> None:
    del content["messages"][0]
    content["sent"] = content["sent"][1:]


def _swap(content: dict[str, Any]) -> None:
    rows = content["messages"]
    rows[0], rows[3] = rows[3], rows[0]


def _double(content: dict[str, Any]) -> None:
    content["messages"].append(content["messages"][0])


def _rename(content: dict[str, Any]) -> None:
    content["run"] = "another"


def _smaller(content: dict[str, Any]) -> None:
    content["messages"][0]["bytes"] -= 1


def _unsigned(content: dict[str, Any]) -> None:
    content["messages"][0]["signature"] = None


def _planted(content: dict[str, Any]) -> None:
    content["messages"].append(content["messages"][0] | {"sequence": 99, "digest": "ab" * 32})


def _no_receipt(content: dict[str, Any]) -> None:
    content["receipts"] = []


def _receipt_cut(content: dict[str, Any]) -> None:
    del content["receipts"][0]["received"][0]


def _said_twice(content: dict[str, Any]) -> None:
    content["sent"].append(content["sent"][0])


def _received_twice(content: dict[str, Any]) -> None:
    content["receipts"].append(content["receipts"][0])


def _fewer(content: dict[str, Any]) -> None:
    content["sent"][0]["messages"] -= 1


def _word_unsigned(content: dict[str, Any]) -> None:
    content["sent"][0]["signature"] = "0" * 128


def _receipt_unsigned(content: dict[str, Any]) -> None:
    content["receipts"][0]["signature"] = "0" * 128


def _head_of_another(content: dict[str, Any]) -> None:
    content["messages"][0]["head"] = content["messages"][1]["head"]


@pytest.mark.parametrize(
    "change",
    [
        _drop,
        _drop_and_forget,
        _swap,
        _double,
        _rename,
        _smaller,
        _unsigned,
        _planted,
        _no_receipt,
        _receipt_cut,
        _said_twice,
        _received_twice,
        _fewer,
        _word_unsigned,
        _receipt_unsigned,
        _head_of_another,
    ],
)
def test_whoever_changes_a_manifest_makes_it_fail_and_blames_nobody(
    run: Run, change: Callable[[dict[str, Any]], None]
) -> None:
    out, trust, _ = run
    content = json.loads((out / "manifest.json").read_text())
    change(content)
    (out / "manifest.json").write_text(json.dumps(content))
    verdict = verify(out, trust=trust)
    assert not verdict.ok
    assert not any(verdict.blames(name) for name in NAMES)
    assert not any("0 bytes of raw data" in str(f) for f in verdict.findings)


def resigned(run: Run, *rows: Outbound, drop: int | None = None) -> None:
    """North signs other rows of its own, and the aggregator's receipt stays as it was."""
    out, _, keys = run
    manifest = Manifest.load(out / "manifest.json")
    kept = [row for row in manifest.messages if row.sequence != drop]
    signed = [*kept, *(row.signed("r", keys["north"]) for row in rows)]
    sent = [s for s in manifest.sent if s.hospital != "north"]
    sent.append(Sent.sign("r", "north", signed, keys["north"]))
    changed = replace(manifest, messages=tuple(signed), sent=tuple(sent))
    (out / "manifest.json").unlink()
    changed.save(out / "manifest.json")


STRANGE = Head.sign(SigningKey.generate(), "north", "ab" * 32, 3, "cd" * 32)


def first_of_north(run: Run) -> Outbound:
    return Manifest.load(run[0] / "manifest.json").messages[0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"digest": "ab" * 32, "bytes": 104}, "(update, round 0, 104 bytes) is not accounted for"),
        ({"bytes": 15}, "(update, round 0, 15 bytes) is not accounted for"),
        ({"head": STRANGE}, "a ledger head that its key did not sign"),
        ({"head": replace(STRANGE, hospital="south")}, "a ledger head of 'south'"),
        ({"other": {"mean_age": 15}}, "'mean_age' (15 bytes) in clear"),
        ({"head": None, "clear": {"ledger_head": "ab" * 32}}, "'ledger_head'"),
        ({"clear": {"hospital": "south"}}, "'hospital'"),
        ({"clear": {"digest": "ab" * 32}}, "'digest'"),
    ],
)
def test_what_a_hospital_signed_as_sent_and_did_not_account_for_is_its_own_failure(
    run: Run, change: dict[str, Any], reason: str
) -> None:
    resigned(run, replace(first_of_north(run), sequence=99, **change))
    verdict = verify(run[0], trust=run[1])
    assert any("message 99 of north" in line and reason in line for line in failures(verdict))
    assert verdict.blames("north")
    assert not verdict.blames("south") and not verdict.blames("west")
    assert verdict.flow is not None and verdict.flow.unaccounted > 0


def test_a_message_that_its_sender_leaves_out_is_in_the_receivers_receipt(run: Run) -> None:
    resigned(run, drop=0)
    found = failures(verify(run[0], trust=run[1]))
    assert any("aggregator received messages of north that are not in" in line for line in found)


def test_fields_in_clear_have_a_type_and_a_length() -> None:
    key = SigningKey.generate()
    head = Head.sign(key, "north", "ab" * 32, 3, "cd" * 32)

    class Message:
        sequence, sender, receiver, kind, round, payload = 0, "north", "server", "update", 0, b"x"

        def __init__(self) -> None:
            self.public: dict[str, Any] = {}

    message = Message()
    message.public = {
        "run": "r",
        "weight": 1.0,
        "nonce": "0" * 32,
        "head": json.dumps(head.to_json()),
    }
    assert Outbound.of(message).other == {}
    for name, value in (
        ("nonce", "age 63, male" * 100_000),
        ("nonce", "0" * 33),
        ("nonce", "G" * 32),
        ("weight", 1.63),
        ("weight", -0.1),
        ("weight", "0.63"),
        ("weight", True),
        ("weight", 10**400),
        ("ledger_head", "x"),
        ("run", "r\nOK: all is well"),
        ("base_version", -1),
        ("head", "x"),
        ("head", "[" * 100_000),
        ("head", json.dumps(head.to_json() | {"size": 10**30})),
        ("head", {"size": 1}),
        ("parameters", "x" * 22_000),
        ("patients\x1b[2K", "x"),
    ):
        message.public = {name: value}
        row = Outbound.of(message)
        assert row.clear == {} and row.head is None
        (told,) = row.other
        assert told.isprintable()
        assert sum(row.other.values()) >= len(str(value))
