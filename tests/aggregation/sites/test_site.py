"""The roles of a site, taken up from its folder: as in one process, and as often as need be."""

import json
import random
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aggregation.engines.carried import Carried
from aggregation.federation import Federation
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.roles.messages import AGGREGATOR, OPENER, Message, MessageKind, pack, unpack
from aggregation.sites.rows import ReceivedRows
from aggregation.sites.server_site import open_site
from aggregation.sites.site import TableRefusedError, lock_site
from aggregation.timing import Pace, Trigger
from aggregation.timing.schedule import Schedule, simulate
from aggregation.trained import Trained
from privacy.errors import CorruptMessageError, InpatientError, InvalidInputError, RefusedError
from privacy.ledger import SigningKey, load_trust, verify
from privacy.ledger.audit.manifest import Manifest, Outbound
from privacy.ledger.log.canonical import encode
from tests.aggregation.parts import HOSPITALS
from tests.aggregation.sites.parts import (
    carry,
    dealt,
    made,
    opened,
    opened_sums,
    own_pace,
    patients_of,
    server,
    tables,
)

CASES = [
    ("shares", made(average_last=2), None),
    ("threshold", made("threshold", rounds=2), None),
    ("bfv", made("bfv", rounds=2), None),
    ("at their own pace", made(smallest_sum=2, noise_multiplier=90.0), own_pace()),
]


@pytest.mark.parametrize(("_", "agreed", "schedule"), CASES, ids=[case[0] for case in CASES])
def test_with_seeds_the_sums_are_those_of_one_process_bit_for_bit(
    _: str, agreed: Plan, schedule: Schedule | None, tmp_path: Path
) -> None:
    folders = dealt(tmp_path / "run", agreed, schedule=schedule, seed=5, epsilon=1000.0)
    with opened(folders) as sites:
        assert carry(sites) == []
        assert all(site.status()["ended"] for n, site in sites.items() if n != "opener")
    sums = opened_sums(folders[AGGREGATOR])
    other = Federation.simulated(agreed, patients_of(folders), seed=5, schedule=schedule).run()
    assert len(sums) == len(other.opened) >= 2
    assert np.array_equal(np.stack(sums), other.opened)
    for name in HOSPITALS:  # each recomputed it from what it kept itself
        assert np.array_equal(Trained.read(folders[name] / "model").params, other.params)


@pytest.mark.parametrize("scheme", ["shares", "bfv"])
def test_the_folders_of_real_sites_are_verified_together(scheme: str, tmp_path: Path) -> None:
    folders = dealt(tmp_path / "run", made(scheme))
    with opened(folders) as sites:
        assert carry(sites) == []
    trust = load_trust(tmp_path / "run" / "trust.json")
    paths = [*folders.values()]
    verdict = verify(paths, trust)
    assert [str(f) for f in verdict.findings if f.level not in ("OK", "NOTE")] == []
    assert verdict.flow is not None and verdict.flow.unaccounted == 0
    assert verdict.flow.sealed > 0
    rows = {
        name: {row.name for row in Manifest.load(folder / "manifest.json").messages}
        for name, folder in folders.items()
        if name != OPENER
    }
    assert rows[AGGREGATOR] == rows["north"] | rows["east"] | rows["south"]  # all have a receipt
    for missing in (*HOSPITALS, AGGREGATOR):  # who is missing is said
        verdict = verify([p for n, p in folders.items() if n != missing], trust)
        told = [str(f) for f in verdict.findings if f.level == "FAIL"]
        assert any(missing in line for line in told), told


def test_killed_after_any_message_they_say_the_same_bytes_again(tmp_path: Path) -> None:
    folders = dealt(tmp_path / "run", made(rounds=2))
    said: dict[tuple[str, str, int], set[bytes]] = {}
    kills, dice = [], random.Random(3)
    with opened(folders) as sites:

        def lost(to: str, envelope: bytes) -> bool:
            """At times the receiver dies, before it has handled a message or just after."""
            message = Message.from_bytes(unpack(envelope, most=2)[0], largest=1 << 20)
            if message.kind in (MessageKind.UPDATE, MessageKind.ANSWER, MessageKind.COMMITMENT):
                place = (message.sender, message.kind.value, message.round)
                said.setdefault(place, set()).add(envelope)
            if dice.random() > 0.12:
                return True
            name = next(n for n, site in sites.items() if to in site.addresses)
            kills.append((name, message.kind.value))
            if dice.random() < 0.5:
                with suppress(InpatientError):
                    sites[name].deliver(envelope)
            sites[name].close()
            sites[name] = open_site(folders[name])
            return False

        for _ in range(60):
            carry(sites, lost)
            if all(site.status()["ended"] for site in sites.values()):
                break
        assert all(site.status()["ended"] for site in sites.values())
    assert len(kills) > 8 and len({name for name, _ in kills}) == 4
    assert {place: len(bodies) for place, bodies in said.items()} == dict.fromkeys(said, 1)
    verdict = verify([*folders.values()], load_trust(tmp_path / "run" / "trust.json"))
    assert [str(f) for f in verdict.findings if f.level == "FAIL"] == []


def test_what_is_not_for_it_is_refused_before_a_role_sees_it(tmp_path: Path) -> None:
    folders = dealt(tmp_path / "run", made())
    with opened(folders) as sites:
        north = sites["north"]
        plan = north.agreed.plan
        right = Message(AGGREGATOR, "north", MessageKind.PLAN, 0, plan.to_bytes(), run=plan.run)
        wrong = [
            replace(right, run="another"),
            replace(right, receiver="east"),
            replace(right, receiver="holder east"),
            replace(right, sender="east"),
            replace(right, sender="north"),
            replace(right, payload=replace(plan, rounds=4).to_bytes()),
        ]
        for message in wrong:
            with pytest.raises(InpatientError):
                north.deliver(pack([message.to_bytes()]))
        for content in (b"", pack([]), pack([b"x"]), pack([right.to_bytes()] * 3), b"\xff" * 40):
            with pytest.raises((CorruptMessageError, RefusedError)):
                north.deliver(content)
        large = replace(right, payload=bytes(north.largest + 1))
        with pytest.raises(CorruptMessageError):
            north.deliver(pack([large.to_bytes()]))
        assert north.status()["ledger"]["entries"] == 1
        assert north.deliver(pack([right.to_bytes()])).messages == ()
        assert north.status()["ledger"]["entries"] > 1


def test_under_a_hospitals_name_only_its_own_signed_row_is_taken(tmp_path: Path) -> None:
    folders = dealt(tmp_path / "run", made())
    kept: dict[str, bytes] = {}
    with opened(folders) as sites:

        def held_back(to: str, envelope: bytes) -> bool:
            message = Message.from_bytes(unpack(envelope, most=2)[0], largest=1 << 20)
            if message.kind is MessageKind.UPDATE:
                kept[message.sender] = envelope
            return message.kind is not MessageKind.UPDATE

        assert carry(sites, held_back) == []
        assert set(kept) == {*HOSPITALS}
        content, row = unpack(kept["north"], most=2)
        _, other = unpack(kept["east"], most=2)
        message = Message.from_bytes(content, largest=1 << 20)
        changed = replace(message, payload=message.payload[:-1] + bytes([message.payload[-1] ^ 1]))
        before = server(sites).status()
        forged = [
            pack([content]),
            pack([content, other]),
            pack([content, row[:-2]]),
            pack([changed.to_bytes(), row]),
            pack([replace(message, sender="east").to_bytes(), row]),
        ]
        for envelope in forged:
            with pytest.raises((CorruptMessageError, RefusedError)):
                server(sites).deliver(envelope)
        assert server(sites).status() == before
        # Nothing of it stands in the way: neither now nor after a restart.
        server(sites).close()
        sites[AGGREGATOR] = open_site(folders[AGGREGATOR])
        assert carry(sites) == []
        assert server(sites).ended


def test_a_hospital_that_sends_garbage_stops_no_restart_of_the_server(tmp_path: Path) -> None:
    """It has its own key: its row is signed, and what it signed is no update."""
    folders = dealt(tmp_path / "run", made())
    kept: list[bytes] = []
    with opened(folders) as sites:

        def held_back(to: str, envelope: bytes) -> bool:
            message = Message.from_bytes(unpack(envelope, most=2)[0], largest=1 << 20)
            ours = message.kind is MessageKind.UPDATE and message.sender == "north"
            kept.extend([envelope] if ours else [])
            return not ours

        carry(sites, held_back)
        message = Message.from_bytes(unpack(kept[0], most=2)[0], largest=1 << 20)
        key = SigningKey.load(folders["north"] / "keys" / "north.key")
        garbage = replace(message, payload=b"garbage" * 40)
        row = Outbound.of(garbage).signed("test", key)
        with pytest.raises((CorruptMessageError, RefusedError)):
            server(sites).deliver(pack([garbage.to_bytes(), encode(row.to_json())]))
        server(sites).close()
        sites[AGGREGATOR] = open_site(folders[AGGREGATOR])
        assert carry(sites) == [] and server(sites).ended


def test_the_rows_of_a_sum_are_on_disk_before_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    sync, add = ReceivedRows.sync, Carried.add

    def synced(self: ReceivedRows) -> None:
        said.append("synced")
        sync(self)

    def added(self: Carried, message: Message) -> None:
        said.append(message.kind.value)
        add(self, message)

    monkeypatch.setattr(ReceivedRows, "sync", synced)
    monkeypatch.setattr(Carried, "add", added)
    folders = dealt(tmp_path / "run", made(rounds=1))
    with opened(folders) as sites:
        carry(sites)
    assert said.index("synced") < said.index("opened")
    assert said.index("update") < said.index("synced")


def test_who_was_away_during_several_sums_is_told_them_in_order(tmp_path: Path) -> None:
    slow = HOSPITALS[-1]
    paces = {name: Pace(duration=8.0 if name == slow else 1.0, variation=0.1) for name in HOSPITALS}
    schedule = simulate(paces, Trigger(count=2, distinct=2), horizon=12.0, seed=1, waits=True)
    folders = dealt(
        tmp_path / "run", made(smallest_sum=2, noise_multiplier=90.0), schedule=schedule
    )
    with opened(folders) as sites:
        carry(sites, lambda to, envelope: to != slow)  # what is said to it is lost
        assert 3 <= server(sites).status()["round"] < schedule.sums
        server(sites).close()
        sites[AGGREGATOR] = open_site(folders[AGGREGATOR])
        for _ in range(3):
            carry(sites)
        assert server(sites).ended
        assert all(sites[name].status()["ended"] for name in HOSPITALS)


def test_a_site_is_had_by_one_process(tmp_path: Path) -> None:
    folders = dealt(tmp_path / "run", made())
    release = lock_site(folders["north"])
    with pytest.raises(RefusedError, match="can't be had"):
        lock_site(folders["north"])
    release()
    lock_site(folders["north"])()
    with opened(folders), pytest.raises(RefusedError, match="can't be had"):
        open_site(folders["north"])
    with pytest.raises(InvalidInputError, match="no site's folder"):
        lock_site(tmp_path)


def test_a_key_that_the_roster_does_not_name_is_refused(tmp_path: Path) -> None:
    folders, others = dealt(tmp_path / "a", made()), dealt(tmp_path / "b", made())
    for name in ("north", AGGREGATOR):
        path = folders[name] / "keys" / f"{name}.key"
        path.unlink()
        path.write_bytes((others[name] / "keys" / f"{name}.key").read_bytes())
        path.chmod(0o600)
        with pytest.raises(RefusedError, match="does not have"):
            open_site(folders[name])


def test_a_holders_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    folders = dealt(tmp_path / "run", made())
    (folders["north"] / "secret").chmod(0o640)
    with pytest.raises(RefusedError, match="others can read it"):
        open_site(folders["north"])
    (folders["east"] / "secret").unlink()
    with pytest.raises(RefusedError, match="new holder"):
        open_site(folders["east"])


def test_a_table_that_breaks_a_rule_is_refused_and_told_apart(tmp_path: Path) -> None:
    folders = dealt(tmp_path / "run", made())
    (folders["north"] / "ward.csv").write_text("id,a,b,c,event\n1,99,0,0,1\n")
    with pytest.raises(TableRefusedError, match="outside"):
        open_site(folders["north"])


def test_a_simulated_site_is_not_taken_up_again(tmp_path: Path) -> None:
    folders = dealt(tmp_path / "run", made(), seed=1)
    open_site(folders["north"]).close()
    with pytest.raises(RefusedError, match="begin it anew"):
        open_site(folders["north"])


def test_what_is_left_of_a_run_names_every_row_of_the_hospital(tmp_path: Path) -> None:
    folders = dealt(tmp_path / "run", made())
    with opened(folders) as sites:
        carry(sites)
    rows = Manifest.load(folders["north"] / "manifest.json")
    assert {row.sender for row in rows.messages} == {"north"}
    assert [row.sequence for row in rows.messages] == [*range(len(rows.messages))]
    assert [row.kind for row in rows.messages].count("update") == 3
    model = json.loads((folders["north"] / "model" / "model.json").read_text())
    assert model["plan"] == open_plan(folders["north"]).digest


def open_plan(folder: Path) -> Plan:
    return Plan.from_bytes((folder / "agreed" / "plan.json").read_bytes())


def test_nothing_is_dealt_over_what_is_there(tmp_path: Path) -> None:
    dealt(tmp_path / "run", made())
    with pytest.raises(InvalidInputError, match="never overwritten"):
        dealt(tmp_path / "run", made())
    for scheme in ("plain", "pairwise"):
        noise = {"noise": NoiseKind.LOCAL} if scheme == "plain" else {}
        with pytest.raises(RefusedError, match="none for sites"):
            dealt(tmp_path / scheme, made(scheme, **noise))
    assert callable(tables)
