"""What a run needed is deleted once it has ended everywhere, and not before."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from aggregation.plan import Plan
from aggregation.roles.messages import (
    AGGREGATOR,
    OPENER,
    Message,
    MessageKind,
    holder_address,
    pack,
    unpack,
)
from aggregation.sealing import OpeningLog
from aggregation.sealing.envelope import Kind
from aggregation.sealing.material import split
from aggregation.sites.server_site import open_site
from aggregation.sites.site import Site
from privacy.errors import CorruptMessageError, InpatientError, RefusedError
from privacy.files import sync_folder, write_durably
from privacy.ledger import load_trust, verify
from privacy.ledger.log import canonical
from tests.aggregation.parts import HOSPITALS
from tests.aggregation.sites.parts import carry, dealt, made, opened, server


def read(envelope: bytes) -> Message:
    return Message.from_bytes(unpack(envelope, most=2)[0], largest=1 << 24)


def verified(folders: Mapping[str, Path]) -> None:
    verdict = verify([*folders.values()], load_trust(folders[AGGREGATOR].parent / "trust.json"))
    told = [str(f) for f in verdict.findings]
    assert not any("FAIL" in line or "not counter-signed" in line for line in told), told


def forgotten(folder: Path) -> bool:
    there = [(folder / name).exists() for name in ("ended.json", "secret", "kept")]
    assert there[0] or (folder.name == AGGREGATOR) or any(there[1:])
    return there == [True, False, False]


def secrets_in(folder: Path) -> Iterator[bytes]:
    """Whatever of a site's secret could open something, as it may stand in a file."""
    content = (folder / "secret").read_bytes()
    label = "shares/3" if b"shares/3" in content else "threshold/1"
    _, material = split(content, Kind.OPENER, label)
    keys, _, pieces = material.partition(b"\n")
    for key in canonical.decode(keys)[1:]:
        yield key.encode()
        yield bytes.fromhex(key)
    yield from (pieces[i : i + 64] for i in range(0, len(pieces), 64))


@pytest.mark.parametrize("scheme", ["shares", "threshold"])
def test_nothing_that_opens_a_sum_is_left_and_an_auditor_misses_nothing(
    scheme: str, tmp_path: Path
) -> None:
    folders = dealt(tmp_path / "run", made(scheme, rounds=2))
    secret = [part for name in HOSPITALS for part in secrets_in(folders[name])]
    with opened(folders) as sites:
        assert carry(sites) == []
    assert all(forgotten(folders[name]) for name in HOSPITALS)
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.parent.name != "keys"]
    left = b"".join(path.read_bytes() for path in files)
    assert len(secret) >= 12 and not any(part in left for part in secret)
    verified(folders)
    told = {path: path.read_bytes() for path in files if path.parent.name == "model"}
    assert len(told) >= 3
    for name in HOSPITALS:  # nor is its table needed
        shutil.rmtree(folders[name] / "table.toml", ignore_errors=True)
        (folders[name] / "ward.csv").unlink()
    with opened(folders) as sites:
        for name in HOSPITALS:
            assert sites[name].status()["ended"] and sites[name].status()["closed"]
            assert sites[name].status()["ledger"]["releases"] == 2
            assert set(sites[name].addresses) == {name, holder_address(name)}
        assert carry(sites) == []  # told again, nobody is refused
    assert {path: path.read_bytes() for path in told} == told
    verified(folders)


def test_while_one_has_not_ended_all_keep_what_it_needs(tmp_path: Path) -> None:
    """South is cut off from the last sum; what the server makes up of it ends nothing."""
    folders = dealt(tmp_path / "run", made("threshold", rounds=2))
    checkpoints: list[bytes] = []
    aggregator, before = folders[AGGREGATOR], tmp_path / "before"

    def cut_off(to: str, envelope: bytes) -> bool:
        message = read(envelope)
        if message.kind is MessageKind.ANSWER and message.round == 1 and not before.exists():
            shutil.copytree(aggregator, before)
        if message.kind is MessageKind.CHECKPOINT and to == "south":
            checkpoints.append(envelope)
        return not (to == "south" and message.round == 1 and message.kind is MessageKind.OPENED)

    with opened(folders) as sites:
        assert carry(sites, cut_off) == []
        states = {name: sites[name].status() for name in HOSPITALS}
        assert [states[name]["ended"] for name in HOSPITALS] == [True, True, False]
        assert not any(states[name]["closed"] for name in HOSPITALS)
        assert len(checkpoints) == 2
        for envelope in checkpoints:  # it signs nobody's end before its own
            assert sites["south"].deliver(envelope).messages == ()
    for name in HOSPITALS:
        assert not (folders[name] / "ended.json").exists()
        assert (folders[name] / "secret").exists() and (folders[name] / "kept").exists()
    shutil.rmtree(aggregator)  # the server died before the last answers were on its disk
    shutil.copytree(before, aggregator)
    with opened(folders) as sites:  # holders answer again
        assert not server(sites).ended
        early = carry(sites)  # who has ended says so before the server knows
        assert all("A ledger is closed when" in str(error) for error in early)
        assert server(sites).ended and sites["south"].status()["ended"]
        assert carry(sites) == []
    assert all(forgotten(folders[name]) for name in HOSPITALS)


class Killed(BaseException):
    """Ends a site at once."""


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("number", range(5))
def test_killed_around_the_deletion_a_site_answers_or_says_that_the_run_has_ended(
    number: int, after: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders, steps = dealt(tmp_path / "run", made(rounds=1)), [0]

    def dying(work: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            steps[0] += 1
            if steps[0] == number + 1 and not after:
                raise Killed
            done = work(*args, **kwargs)
            if steps[0] == number + 1 and after:
                raise Killed
            return done

        return step

    monkeypatch.setattr("aggregation.sites.forgetting.write_durably", dying(write_durably))
    monkeypatch.setattr("aggregation.sites.forgetting.sync_folder", dying(sync_folder))
    monkeypatch.setattr(shutil, "rmtree", dying(shutil.rmtree))
    monkeypatch.setattr(Path, "unlink", dying(Path.unlink))
    killed: list[str] = []
    with opened(folders) as sites:
        sites = dict(sites)

        def may_die(to: str, envelope: bytes) -> bool:
            name = next(n for n, site in sites.items() if to in site.addresses)
            try:
                carried.extend(sites[name].deliver(envelope).messages)
            except Killed:
                killed.append(name)
                sites[name].close()
                sites[name] = open_site(folders[name])
            except InpatientError as error:
                refused.append(error)
            return False

        refused: list[InpatientError] = []
        for _ in range(6):
            carried = list(server(sites).wake().messages)
            while carried:
                may_die(*carried.pop(0))
        assert killed and refused == []
        for name in HOSPITALS:
            assert sites[name].status()["ended"] and sites[name].status()["closed"]
        for site in sites.values():
            site.close()
    assert all(forgotten(folders[name]) for name in HOSPITALS)
    verified(folders)


def opener_site(tmp_path: Path, plan: Plan) -> tuple[Mapping[str, Path], list[bytes]]:
    """A run under bfv that has ended; and what its opener was asked."""
    folders, asked = dealt(tmp_path / "run", plan), list[bytes]()

    def kept(to: str, envelope: bytes) -> bool:
        if to == OPENER and read(envelope).kind is MessageKind.TOTAL:
            asked.append(envelope)
        return True

    with opened(folders) as sites:
        assert carry(sites, kept) == []
    return folders, asked


def test_an_opener_that_has_opened_all_sums_says_them_again_without_its_key(
    tmp_path: Path,
) -> None:
    folders, asked = opener_site(tmp_path, made("bfv", rounds=2))
    assert forgotten(folders[OPENER]) and all(forgotten(folders[name]) for name in HOSPITALS)
    assert len(asked) == 2
    transcript = folders[AGGREGATOR] / "transcript" / "messages.bin"
    with opened({OPENER: folders[OPENER]}) as sites:
        for envelope in asked:
            (said,) = sites[OPENER].deliver(envelope).messages
            assert read(said[1]).payload in transcript.read_bytes()
            again = read(envelope)
            other = Message(AGGREGATOR, OPENER, again.kind, again.round, again.payload[:-1],
                            again.public, run=again.run)  # fmt: skip
            with pytest.raises(InpatientError):
                sites[OPENER].deliver(pack([other.to_bytes()]))
    verified(folders)


def test_an_opener_keeps_its_key_until_the_last_sum(tmp_path: Path) -> None:
    folders = dealt(tmp_path / "run", made("bfv", rounds=2))
    with opened(folders) as sites:
        carry(sites, lambda to, e: not (to == OPENER and read(e).round == 1))
        assert (folders[OPENER] / "secret").exists()
        sites[OPENER].close()
        sites[OPENER] = open_site(folders[OPENER])
        assert carry(sites) == []
    assert forgotten(folders[OPENER])


def test_an_opener_that_was_killed_before_it_deleted_does_so_when_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = dealt(tmp_path / "run", made("bfv", rounds=1))
    with monkeypatch.context() as patched, opened(folders) as sites:
        patched.setattr(Site, "_forget", lambda _: None)
        assert carry(sites) == []
        assert (folders[OPENER] / "secret").exists()
    with opened(folders):
        assert forgotten(folders[OPENER]) and all(forgotten(folders[n]) for n in HOSPITALS)


def test_who_asks_an_ended_site_to_work_is_refused_in_words(tmp_path: Path) -> None:
    folders, heard = dealt(tmp_path / "run", made(rounds=1)), list[tuple[str, bytes]]()

    def kept(to: str, envelope: bytes) -> bool:
        heard.append((to, envelope))
        return True

    with opened(folders) as sites:
        assert carry(sites, kept) == []
        asked = [(to, e) for to, e in heard if to in sites["north"].addresses]
        for restarted in (False, True):
            if restarted:
                sites["north"].close()
                sites["north"] = open_site(folders["north"])
            counts = {"refused": 0, "nothing": 0}
            for _, envelope in asked:
                kind = read(envelope).kind
                works = kind in (MessageKind.TOTAL, MessageKind.CHOSEN, MessageKind.AGREED,
                                 MessageKind.MODEL, MessageKind.RETURNED)  # fmt: skip
                if works:
                    with pytest.raises(RefusedError, match="the run has ended"):
                        sites["north"].deliver(envelope)
                    counts["refused"] += 1
                elif kind is MessageKind.CHECKPOINT:  # another may need the signature still
                    (said,) = sites["north"].deliver(envelope).messages
                    assert read(said[1]).kind is MessageKind.COUNTERSIGNED
                else:
                    assert sites["north"].deliver(envelope).messages == ()
                    counts["nothing"] += 1
            assert counts["refused"] >= 4 and counts["nothing"] >= 3
    verified(folders)


def test_a_simulated_site_deletes_nothing(tmp_path: Path) -> None:
    folders = dealt(tmp_path / "run", made(rounds=1), seed=1)
    with opened(folders) as sites:
        assert carry(sites) == []
    for name in HOSPITALS:
        assert not (folders[name] / "ended.json").exists() and (folders[name] / "secret").exists()


def test_a_mark_that_is_none_or_of_another_run_is_refused(tmp_path: Path) -> None:
    folders = dealt(tmp_path / "run", made(rounds=1))
    others = dealt(tmp_path / "other", made(rounds=1))
    with opened(others) as sites:
        assert carry(sites) == []
    mark = folders["north"] / "ended.json"
    for content in (b"", b"{}", b"[]", b"\xff", b'{"run": "test"}'):
        mark.write_bytes(content)
        with pytest.raises(CorruptMessageError):
            open_site(folders["north"])
    shutil.copy(others["north"] / "ended.json", mark)
    with pytest.raises(RefusedError, match="One folder serves one run"):
        open_site(folders["north"])
    assert (folders["north"] / "secret").exists()
    mark.unlink()
    open_site(folders["north"]).close()


def test_a_disk_that_does_not_delete_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = dealt(tmp_path / "run", made(rounds=1))

    def refuses(*_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system")

    with opened(folders) as sites:
        with monkeypatch.context() as patched:
            patched.setattr(shutil, "rmtree", refuses)
            told = carry(sites)
        assert told and all("can't be deleted from" in str(error) for error in told)
    with opened(folders) as sites:
        carry(sites)
        assert carry(sites) == []
    assert all(forgotten(folders[name]) for name in HOSPITALS)


def test_an_opener_that_died_before_its_last_word_was_kept_has_its_key_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = dealt(tmp_path / "run", made("bfv", rounds=1))
    with opened(folders) as sites:
        with monkeypatch.context() as patched:
            patched.setattr(OpeningLog, "keep", dies)
            with pytest.raises(Killed):
                carry(sites)
        sites[OPENER].close()
        sites[OPENER] = open_site(folders[OPENER])
        assert (folders[OPENER] / "secret").exists()
        assert carry(sites) == []  # the same sum is opened, and is said now
        assert sites["north"].status()["closed"]
    assert forgotten(folders[OPENER])
    verified(folders)


def dies(*_: Any) -> None:
    raise Killed
