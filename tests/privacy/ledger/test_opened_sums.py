"""Logs of opened sums in a run's folder: what is damaged, opened twice or never sent fails."""

from dataclasses import replace
from pathlib import Path

import pytest

from privacy.errors import CorruptMessageError
from privacy.ledger.audit.manifest import Manifest
from privacy.ledger.audit.opened_sums import check_openings, read_openings
from privacy.ledger.log.canonical import digest
from privacy.ledger.log.opened import GENESIS, Opening

RUN = "trial"


def chain(*sums: tuple[tuple[str, str], ...]) -> list[Opening]:
    found: list[Opening] = []
    for number, parts in enumerate(sums):
        found.append(
            Opening(
                number=number,
                run=RUN,
                parameters=digest(b"parameters"),
                hospitals=tuple(name for name, _ in parts),
                nonces=tuple(f"{number} {name}" for name, _ in parts),
                ciphertexts=tuple(digest(body.encode()) for _, body in parts),
                base_versions=(number,) * len(parts),
                total=digest(b"total"),
                previous=found[-1].digest if found else GENESIS,
            )
        )
    return found


def write(path: Path, openings: list[Opening]) -> Path:
    path.write_bytes(b"".join(one.to_bytes() + b"\n" for one in openings))
    return path


ROUNDS = chain((("north", "a"), ("south", "b")), (("north", "c"), ("south", "d")))


def test_a_whole_log_is_read_back(tmp_path: Path) -> None:
    path = write(tmp_path / "openings.jsonl", ROUNDS)
    assert read_openings(path) == tuple(ROUNDS)
    assert check_openings([("openings.jsonl", path)], []) == []


@pytest.mark.parametrize(
    "content",
    [
        b"garbage\n",
        b"{}\n",
        ROUNDS[0].to_bytes(),
        ROUNDS[1].to_bytes() + b"\n",
        ROUNDS[0].to_bytes() + b"\n" + ROUNDS[0].to_bytes() + b"\n",
        replace(ROUNDS[0], number=1).to_bytes() + b"\n",
    ],
    ids=["garbage", "no opening", "torn", "first cut", "repeated", "numbered anew"],
)
def test_a_damaged_log_fails(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "openings.jsonl"
    path.write_bytes(content)
    with pytest.raises(CorruptMessageError):
        read_openings(path)
    (finding,) = check_openings([("openings.jsonl", path)], [])
    assert (finding.level, finding.subject) == ("FAIL", "openings.jsonl")


def test_a_changed_line_breaks_the_chain(tmp_path: Path) -> None:
    other = replace(ROUNDS[0], total=digest(b"another"))
    path = write(tmp_path / "openings.jsonl", [other, ROUNDS[1]])
    with pytest.raises(CorruptMessageError, match="opening 1: a line was changed"):
        read_openings(path)


def test_an_update_in_two_sums_fails(tmp_path: Path) -> None:
    overlapping = chain((("north", "a"), ("south", "b")), (("north", "a"), ("west", "c")))
    path = write(tmp_path / "openings.jsonl", overlapping)
    (finding,) = check_openings([("openings.jsonl", path)], [])
    assert "an update of north stands in the sums 0 and 1" in finding.reason


def test_a_sum_of_what_nobody_sent_fails(tmp_path: Path) -> None:
    path = write(tmp_path / "openings.jsonl", ROUNDS)
    (finding,) = check_openings([("o", path)], [("manifest.json", Manifest(RUN, (), ()))])
    assert "holds an update of north that the manifest" in finding.reason
    assert check_openings([("o", path)], [("manifest.json", Manifest("another", (), ()))]) == []
