"""The end of a run: each ledger is counter-signed by all other hospitals, by messages."""

import random
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from aggregation.roles.messages import AGGREGATOR, Message, MessageKind, pack, unpack
from aggregation.sites.closing import head_name
from aggregation.sites.server_site import open_site
from privacy.errors import CorruptMessageError, InpatientError, RefusedError
from privacy.ledger import Ledger, SigningKey, load_trust, verify
from privacy.ledger.log.canonical import encode
from privacy.ledger.log.heads import Head
from privacy.ledger.witness import countersign
from tests.aggregation.parts import HOSPITALS
from tests.aggregation.sites.parts import carry, dealt, made, opened, server


def ledger_of(folder: Path) -> Ledger:
    key = SigningKey.load(folder / "keys" / f"{folder.name}.key")
    return Ledger.open(folder / "ledgers" / f"{folder.name}.jsonl", key=key)


def kinds_of(folder: Path) -> Counter[str]:
    return Counter(entry.kind for entry in ledger_of(folder).entries())


def read(envelope: bytes) -> Message:
    return Message.from_bytes(unpack(envelope, most=2)[0], largest=1 << 24)


def test_every_ledger_is_countersigned_by_all_others(tmp_path: Path) -> None:
    folders = dealt(tmp_path / "run", made(rounds=2))
    with opened(folders) as sites:
        assert carry(sites) == []
        for name in HOSPITALS:
            assert sites[name].status()["closed"]
        assert carry(sites) == []  # woken again, nobody says a checkpoint more
    for name in HOSPITALS:
        kinds = kinds_of(folders[name])
        assert (kinds["checkpoint"], kinds["witness"], kinds["countersigned"]) == (1, 2, 1)
        assert set(ledger_of(folders[name]).witnessed) == {*HOSPITALS} - {name}
    verdict = verify([*folders.values()], load_trust(tmp_path / "run" / "trust.json"))
    told = [str(finding) for finding in verdict.findings]
    assert not any("FAIL" in line or "not counter-signed" in line for line in told), told
    assert any("counter-signed by east, south" in line for line in told)


def test_killed_at_any_message_each_is_noted_once(tmp_path: Path) -> None:
    folders = dealt(tmp_path / "run", made(rounds=1))
    dice, kills = random.Random(5), 0
    with opened(folders) as sites:

        def lost(to: str, envelope: bytes) -> bool:
            nonlocal kills
            closing = read(envelope).kind in (MessageKind.CHECKPOINT, MessageKind.COUNTERSIGNED)
            if not closing or dice.random() > 0.3:
                return True
            kills += 1
            name = next(n for n, site in sites.items() if to in site.addresses)
            if dice.random() < 0.6:
                with suppress(InpatientError):
                    sites[name].deliver(envelope)
            sites[name].close()
            sites[name] = open_site(folders[name])
            return False

        for _ in range(60):
            carry(sites, lost)
            if all(sites[name].status()["closed"] for name in HOSPITALS):
                break
        assert all(sites[name].status()["closed"] for name in HOSPITALS)
    assert kills > 5
    for name in HOSPITALS:
        kinds = kinds_of(folders[name])
        assert (kinds["checkpoint"], kinds["witness"], kinds["countersigned"]) == (1, 2, 1)
    verdict = verify([*folders.values()], load_trust(tmp_path / "run" / "trust.json"))
    assert [str(f) for f in verdict.findings if f.level == "FAIL"] == []


def test_a_head_or_a_signature_that_is_none_counts_for_nothing(tmp_path: Path) -> None:
    folders = dealt(tmp_path / "run", made(rounds=1))
    held: dict[tuple[str, str], Message] = {}
    with opened(folders) as sites:

        def held_back(to: str, envelope: bytes) -> bool:
            message = read(envelope)
            if to == "north" and message.kind in (
                MessageKind.CHECKPOINT,
                MessageKind.COUNTERSIGNED,
            ):
                held[message.kind, str(message.public["hospital"])] = message
                return False
            return True

        carry(sites, held_back)
        assert not sites["north"].status()["closed"]
        north, before = sites["north"], kinds_of(folders["north"])
        theirs = held[MessageKind.CHECKPOINT, "east"]
        signed = held[MessageKind.COUNTERSIGNED, "east"]
        head = Head.from_json(
            {**Head.from_json(_json(str(theirs.public["head"]))).to_json(), "size": 3}
        )
        thief = SigningKey.generate()
        own = ledger_of(folders["north"])
        wrong: list[tuple[Message, dict[str, str]]] = [
            (theirs, {"head": "{}"}),
            (theirs, {"head": "["}),
            (theirs, {"head": encode(head.to_json()).decode()}),  # changed: its key did not sign it
            (theirs, {"head": encode(own.head().to_json()).decode()}),  # its own
            (theirs, {"extends": "{}"}),
            (signed, {"signature": "0" * 128}),
            (signed, {"signature": countersign(thief, own.head())}),
            (signed, {"hospital": "south"}),
            (signed, {"hospital": "north"}),
            (signed, {"hospital": "mars"}),
        ]
        for message, change in wrong:
            changed = replace(message, public={**message.public, **change})
            with pytest.raises((CorruptMessageError, RefusedError)):
                north.deliver(pack([changed.to_bytes()]))
        other = replace(signed, nonce="0" * 32)  # of another head: nothing happens
        assert north.deliver(pack([other.to_bytes()])).messages == ()
        assert kinds_of(folders["north"]) == before
        for message in held.values():
            north.deliver(pack([message.to_bytes()]))
        assert north.status()["closed"]


def test_a_ledger_that_was_rewritten_is_not_countersigned(tmp_path: Path) -> None:
    """East shows another past than the one that north has noted."""
    folders = dealt(tmp_path / "run", made(rounds=1))
    with opened(folders) as sites:
        carry(sites)
        key = SigningKey.load(folders["east"] / "keys" / "east.key")
        seen = ledger_of(folders["north"]).witnessed["east"]
        forked = Head.sign(key, "east", seen.ledger, seen.size + 4, "ab" * 32)
        public = {"hospital": "east", "head": encode(forked.to_json()).decode()}
        said = Message(AGGREGATOR, "north", MessageKind.CHECKPOINT, 1, b"", public, run="test")
        with pytest.raises(RefusedError, match="Its past was cut off or rewritten"):
            sites["north"].deliver(pack([said.to_bytes()]))


def test_nothing_is_closed_before_the_last_sum(tmp_path: Path) -> None:
    folders = dealt(tmp_path / "run", made(rounds=2))
    with opened(folders) as sites:
        kept: list[bytes] = []

        def first_round(to: str, envelope: bytes) -> bool:
            kept.append(envelope)
            return read(envelope).kind is not MessageKind.UPDATE

        carry(sites, first_round)
        assert not any(read(e).kind is MessageKind.CHECKPOINT for e in kept)
        head = ledger_of(folders["north"]).head()
        public = {"hospital": "north", "head": encode(head.to_json()).decode()}
        said = Message("north", AGGREGATOR, MessageKind.CHECKPOINT, 2, b"", public, run="test",
                       nonce=head_name(head))  # fmt: skip
        rows = sites["north"]._rows
        assert rows is not None
        row = encode(rows.row(said).to_json())
        with pytest.raises(RefusedError, match="no earlier"):
            server(sites).deliver(pack([said.to_bytes(), row]))


def _json(text: str) -> object:
    import json

    return json.loads(text)
