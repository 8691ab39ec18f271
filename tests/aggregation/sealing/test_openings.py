"""The openings' log among several: none opens what another opened, and a crash stops nobody."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aggregation.sealing import Contribution, OpeningLog, Policy, make_scheme
from aggregation.sealing.openings import Opening
from aggregation.sealing.proposal import Place, Proposal
from privacy.errors import CorruptMessageError, InpatientError, RefusedError
from privacy.ledger.log import canonical
from tests.aggregation.sealing.parties import Parties, head_of
from tests.privacy.test_files import disk_full_at, lay

ROOT = Path(__file__).resolve().parents[3]
TOTAL = "ab" * 32


@pytest.fixture
def parties() -> Parties:
    return Parties(make_scheme("plain", dim=2, contributors=4, bound=100))


def of(parties: Parties, *hospitals: str) -> list[Contribution]:
    return [parties.contribute(name, [number, 1]) for number, name in enumerate(hospitals)]


def admit(policy: Policy, parties: Parties, asked: list[Contribution]) -> Opening:
    policy.check(asked, parties.scheme.parameters)
    return policy.record(asked, TOTAL)


def test_two_openers_on_one_log_see_each_others_openings_before_they_decide(
    parties: Parties, tmp_path: Path
) -> None:
    one, two = (parties.policy(log=OpeningLog(tmp_path / "log")) for _ in range(2))
    first, second, third = of(parties, "cleveland", "budapest", "zurich")
    admit(one, parties, [first, second])
    with pytest.raises(RefusedError, match="in a sum opened before"):
        two.check([second, third], parties.scheme.parameters)
    assert admit(two, parties, [third]).number == 1
    assert [o.number for o in OpeningLog(tmp_path / "log").openings] == [0, 1]


def test_what_another_opened_after_the_check_is_refused_at_the_record(
    parties: Parties, tmp_path: Path
) -> None:
    one, two = (parties.policy(log=OpeningLog(tmp_path / "log")) for _ in range(2))
    first, second, third = of(parties, "cleveland", "budapest", "zurich")
    two.check([second, third], parties.scheme.parameters)
    admit(one, parties, [first, second])
    with pytest.raises(RefusedError, match="in a sum opened before"):
        two.record([second, third], TOTAL)
    copy = parties.contribute("zurich", [0, 0], sealed=first.sealed)
    with pytest.raises(RefusedError, match="a copy of another"):
        two.record([copy], TOTAL)
    assert len(OpeningLog(tmp_path / "log")) == 1


def test_the_limit_of_a_key_counts_what_all_openers_opened(
    parties: Parties, tmp_path: Path
) -> None:
    one, two = (
        parties.policy(log=OpeningLog(tmp_path / "log"), openings_per_key=1) for _ in range(2)
    )
    first, second = of(parties, "cleveland", "budapest")
    two.check([second], parties.scheme.parameters)
    admit(one, parties, [first])
    with pytest.raises(RefusedError, match="opened under this key"):
        two.record([second], TOTAL)


def test_the_log_itself_never_holds_a_contribution_twice(parties: Parties, tmp_path: Path) -> None:
    log = OpeningLog(tmp_path / "log")
    (first,) = of(parties, "cleveland")
    log.append([first], TOTAL)
    with pytest.raises(CorruptMessageError, match="a second time"):
        OpeningLog(tmp_path / "log").append([first], TOTAL)
    with pytest.raises(CorruptMessageError, match="a second time"):
        log.append(of(parties, "cleveland") * 2, TOTAL)
    assert len((tmp_path / "log").read_bytes().splitlines()) == 1


def test_threads_that_race_for_overlapping_sums_open_each_contribution_once(
    parties: Parties, tmp_path: Path
) -> None:
    everybody = of(parties, "cleveland", "budapest", "zurich", "long beach")
    granted: list[Opening] = []

    def race(start: int) -> None:
        policy = parties.policy(log=OpeningLog(tmp_path / "log"))
        for shift in range(4):
            pair = [everybody[(start + shift + i) % 4] for i in (0, 1)]
            try:
                granted.append(admit(policy, parties, pair))
            except RefusedError:
                continue

    racers = [threading.Thread(target=race, args=(start,)) for start in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    nonces = [nonce for opening in granted for nonce in opening.nonces]
    assert 1 <= len(granted) <= 2
    assert len(set(nonces)) == len(nonces)
    assert len(OpeningLog(tmp_path / "log")) == len(granted)


RACER = """
import sys
from pathlib import Path
from types import SimpleNamespace
from aggregation.sealing import OpeningLog
from privacy.errors import InpatientError
log = OpeningLog(Path(sys.argv[1]))
granted = 0
for number in range(60):
    c = SimpleNamespace(run="r", parameters="ab" * 32, hospital="h", nonce=str(number),
                        ciphertext=f"{number:064x}", base_version=number, head=None)
    try:
        log.append([c], "cd" * 32)
        granted += 1
    except InpatientError:
        pass
print(granted)
"""


def test_processes_that_race_open_each_contribution_once(tmp_path: Path) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(tmp_path / "log")],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    assert sum(int(racer.communicate()[0]) for racer in racers) == 60
    assert [o.number for o in OpeningLog(tmp_path / "log").openings] == list(range(60))


@pytest.mark.parametrize("kept", [1, 50, -1])
def test_a_torn_line_is_set_aside_and_the_log_goes_on(
    parties: Parties, tmp_path: Path, kept: int
) -> None:
    path = tmp_path / "log"
    log = OpeningLog(path)
    first, second = of(parties, "cleveland", "budapest")
    log.append([first], TOTAL)
    whole = path.read_bytes()
    log.append([second], TOTAL)
    torn = path.read_bytes()[len(whole) :][:kept]
    path.write_bytes(whole + torn)
    again = OpeningLog(path)
    assert [o.nonces for o in again.openings] == [(first.nonce,)]
    assert [p.read_bytes() for p in tmp_path.glob("log.torn-*")] == [torn]
    assert again.append([second], TOTAL).number == 1  # it was never acknowledged, so never opened
    assert len(OpeningLog(path)) == 2


def test_a_full_disk_opens_nothing_more_until_the_log_is_taken_up_anew(
    parties: Parties, tmp_path: Path
) -> None:
    log = OpeningLog(tmp_path / "log")
    policy = parties.policy(log=log)
    first, second = of(parties, "cleveland", "budapest")
    with disk_full_at(20), pytest.raises(RefusedError, match="can't be written"):
        admit(policy, parties, [first])
    with pytest.raises(RefusedError, match="failed before"):
        admit(policy, parties, [second])
    again = parties.policy(log=OpeningLog(tmp_path / "log"))
    assert admit(again, parties, [first]).number == 0


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "broken link"])
def test_what_is_no_file_is_no_log(tmp_path: Path, kind: str) -> None:
    lay(kind, tmp_path / "log")
    with pytest.raises(InpatientError):
        OpeningLog(tmp_path / "log")


def test_a_second_name_of_the_log_is_refused(tmp_path: Path) -> None:
    OpeningLog(tmp_path / "log")
    (tmp_path / "alias").symlink_to("log")
    with pytest.raises(RefusedError, match="symbolic link"):
        OpeningLog(tmp_path / "alias")
    (tmp_path / "hard").hardlink_to(tmp_path / "log")
    for name in ("hard", "log"):
        with pytest.raises(RefusedError, match="2 names"):
            OpeningLog(tmp_path / name)


def _written(parties: Parties) -> dict[str, Any]:
    log = OpeningLog()
    opening = log.append(of(parties, "cleveland", "budapest"), TOTAL)
    assert Opening.from_bytes(opening.to_bytes()) == opening
    fields: dict[str, Any] = json.loads(opening.to_bytes())
    return fields


@pytest.mark.parametrize(
    "change",
    [
        {"number": -1},
        {"number": True},
        {"number": 1.0},
        {"number": "0"},
        {"run": 7},
        {"parameters": "x"},
        {"total": TOTAL.upper()},
        {"previous": None},
        {"hospitals": ["cleveland"]},
        {"hospitals": "cb"},
        {"hospitals": [1, 2]},
        {"nonces": []},
        {"hospitals": ["cleveland", "cleveland"], "nonces": ["a", "a"]},
        {"nonces": [["a"], "b"]},
        {"ciphertexts": {"a": 1, "b": 2}},
        {"base_versions": [0, -1]},
        {"base_versions": [0, 0.5]},
        {"further": 1},
    ],
    ids=str,
)
def test_what_no_opener_writes_is_refused(
    parties: Parties, tmp_path: Path, change: dict[str, Any]
) -> None:
    line = canonical.encode(_written(parties) | change)
    (tmp_path / "log").write_bytes(line + b"\n")
    with pytest.raises(CorruptMessageError, match="not unbroken at opening 0"):
        OpeningLog(tmp_path / "log")


@pytest.mark.parametrize("line", [b"", b"[]", b"{}", b"[" * 100_000, b"\xff", b'"x"', b"1" * 5000])
def test_garbage_is_refused_in_words(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "log").write_bytes(line + b"\n")
    with pytest.raises(CorruptMessageError, match="not unbroken"):
        OpeningLog(tmp_path / "log")


def test_the_disk_is_asked_before_the_run_begins(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RefusedError, match="file stands where its folder"):
        OpeningLog(tmp_path / "file" / "log")
    with pytest.raises(InpatientError):
        OpeningLog(tmp_path)


def test_an_opening_is_on_disk_before_it_is_acted_upon(
    parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced = tmp_path / "log", [b""]
    log = OpeningLog(path)
    sync = os.fsync

    def spy(descriptor: int) -> None:
        sync(descriptor)
        if os.fstat(descriptor).st_ino == path.stat().st_ino:
            synced.append(path.read_bytes())

    monkeypatch.setattr(os, "fsync", spy)
    opening = log.append(of(parties, "cleveland", "zurich"), TOTAL)
    assert synced[-1] == opening.to_bytes() + b"\n"


def test_what_lies_beside_an_opening_is_its_own_proposal(parties: Parties, tmp_path: Path) -> None:
    log, head = OpeningLog(tmp_path / "log.jsonl"), head_of("cleveland", 3)
    (second,) = of(parties, "zurich")
    first = parties.contribute("cleveland", [0, 1], head=head)
    digest = parties.scheme.digest
    one = Proposal.of(Place(), digest, b"one", [first])
    two = Proposal.of(Place().after(one.digest), digest, b"two", [second])
    log.append([first], one.total, one)
    log.append([second], two.total, two)
    again = OpeningLog(tmp_path / "log.jsonl")
    for each in (log, again):
        assert [each.number_of(p.digest) for p in (one, two)] == [0, 1]
        assert (each.seen("cleveland"), each.seen("zurich")) == (head, None)
    folder = tmp_path / "log.payloads"
    other = replace(one, total="ab" * 32)
    for wrong in (two, other, replace(one, nonces=("0",))):
        note = canonical.encode({"proposal": wrong.to_json(), "heads": []})
        (folder / "000000000.bin").write_bytes(note)
        with pytest.raises(CorruptMessageError, match="the proposal of another"):
            OpeningLog(tmp_path / "log.jsonl")
    for note in (one.to_bytes(), b'{"heads":7,"proposal":null}', b'{"heads":[7],"proposal":null}'):
        (folder / "000000000.bin").write_bytes(note)
        with pytest.raises(CorruptMessageError, match="What lies beside an opening can't be read"):
            OpeningLog(tmp_path / "log.jsonl")
    late = Proposal.of(Place(), digest, b"three", of(parties, "budapest"))
    with pytest.raises(RefusedError, match="two sums can't both be that"):
        log.append(of(parties, "budapest"), late.total, late)


@pytest.mark.parametrize("name", ["hospitals", "nonces", "ciphertexts", "base_versions"])
def test_a_proposal_has_as_many_of_each(parties: Parties, name: str) -> None:
    said = Proposal.of(Place(), "0" * 64, b"total", of(parties, "cleveland", "zurich")).to_json()
    with pytest.raises(CorruptMessageError, match="another number of hospitals than of updates"):
        Proposal.from_bytes(canonical.encode(said | {name: said[name][:1]}))


def test_a_copy_of_an_earlier_update_is_refused_before_and_at_the_record(parties: Parties) -> None:
    policy, (first,) = parties.policy(), of(parties, "cleveland")
    admit(policy, parties, [first])
    copy = parties.contribute("zurich", [0, 0], sealed=first.sealed)
    with pytest.raises(RefusedError, match="a copy of another"):
        policy.check([copy], parties.scheme.parameters)
    with pytest.raises(RefusedError, match="a copy of another"):
        policy.record([copy], TOTAL)
    with pytest.raises(CorruptMessageError, match="a second time"):
        policy.log.append([copy], TOTAL)
