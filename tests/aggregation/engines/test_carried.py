"""The promises of ``aggregation.engines.carried``."""

from pathlib import Path

import pytest

from aggregation.engines.carried import Carried
from aggregation.roles.journal import Journal
from aggregation.roles.messages import AGGREGATOR, Message, MessageKind, pack
from aggregation.transcript import Transcript
from privacy.errors import CorruptMessageError
from tests.aggregation.power import Disk

SUM, WORDS = b"sum" * 99, b"words" * 200


def said(kind: MessageKind, round_: int, payload: bytes, to: str = "north") -> Message:
    return Message(AGGREGATOR, to, kind, round_, payload, {"clear": 1}, run="run")


def messages() -> list[Message]:
    return [
        said(MessageKind.MODEL, 0, b""),
        said(MessageKind.EVIDENCE, 0, WORDS),
        said(MessageKind.OPENED, 0, SUM),
        said(MessageKind.EVIDENCE, 0, WORDS, "east"),
        said(MessageKind.OPENED, 0, SUM, "east"),
        said(MessageKind.MODEL, 1, b"model"),
        said(MessageKind.EVIDENCE, 1, b"half"),
    ]


def test_what_passed_is_found_again_and_what_went_to_many_lies_there_once(tmp_path: Path) -> None:
    carried, transcript = Carried(tmp_path / "passed"), Transcript()
    assert len(carried.transcript) == 0
    for number, message in enumerate(messages()):
        carried.add(transcript.carry(message, time=float(number)))
    carried.close()
    content = (tmp_path / "passed").read_bytes()
    assert content.count(WORDS) == content.count(SUM) == 1
    again = Carried(tmp_path / "passed")
    assert list(again.transcript) == list(transcript)
    assert again.told() == [(WORDS, SUM)]  # of the second, half was told
    again.add(again.transcript.carry(said(MessageKind.OPENED, 1, SUM)))
    again.close()
    assert (tmp_path / "passed").read_bytes().count(SUM) == 1
    last = Carried(tmp_path / "passed")
    assert last.told() == [(WORDS, SUM), (b"half", SUM)]
    last.close()


def test_an_opened_sum_is_durable_before_anybody_is_told(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    with disk.dying():
        carried = Carried(tmp_path / "passed")
        for message in messages()[:3]:
            carried.add(message)
        for message in messages()[3:]:
            carried.add(message)
        carried.close()
    disk.loses()
    again = Carried(tmp_path / "passed")
    assert [m.kind for m in again.transcript] == [m.kind for m in messages()[:3]]
    assert again.told() == [(WORDS, SUM)]
    again.close()


@pytest.mark.parametrize("parts", [[b"x"], [b"12345678", b"", b"", b""], [b"1"] * 4])
def test_a_record_that_is_no_message_is_refused(parts: list[bytes], tmp_path: Path) -> None:
    journal = Journal(tmp_path / "passed")
    journal.append(pack(parts))
    journal.close()
    with pytest.raises(CorruptMessageError):
        Carried(tmp_path / "passed")
