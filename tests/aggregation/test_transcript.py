"""The promises of ``aggregation.transcript``."""

import dataclasses
import math
import struct
import tempfile
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation.roles.messages import Message, MessageKind, pack
from aggregation.transcript import Transcript
from privacy.errors import CorruptMessageError, InvalidInputError

names = st.sampled_from(["aggregator", "opener", "north", "south"])
messages = st.lists(
    st.tuples(
        names,
        names,
        st.sampled_from(["model", "update"]),
        st.binary(max_size=40),
        st.integers(0, 9),
        st.dictionaries(st.text(max_size=5), st.one_of(st.integers(-9, 9), st.text(max_size=5))),
        st.floats(0, 1e6),
    ),
    max_size=8,
)


Sent = list[tuple[str, str, str, bytes, int, dict[str, int | str], float]]


def written(sent: Sent) -> Transcript:
    transcript = Transcript()
    for sender, receiver, kind, payload, round_, public, time in sent:
        transcript.send(sender, receiver, kind, payload, round_=round_, public=public, time=time)
    return transcript


@given(messages)
def test_messages_keep_their_order_and_survive_the_disk(sent: Sent) -> None:
    transcript = written(sent)
    assert [m.payload for m in transcript] == [s[3] for s in sent]
    assert [m.sequence for m in transcript] == list(range(len(sent)))
    with tempfile.TemporaryDirectory() as folder:
        transcript.save(Path(folder))
        again = Transcript.load(Path(folder))
    assert list(again) == list(transcript)


def test_a_message_cannot_be_changed() -> None:
    transcript = Transcript()
    public = {"n": 1}
    message = transcript.send("a", "b", "model", b"abc", round_=0, public=public)
    public["n"] = 3
    assert message.public["n"] == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        message.__setattr__("kind", "update")
    with pytest.raises(TypeError):
        cast(dict[str, int], message.public)["n"] = 2


def test_select_takes_what_fits_all() -> None:
    transcript = written(
        [("a", "b", "model", b"1", 0, {}, 0.0), ("a", "c", "model", b"2", 1, {}, 0.0)]
    )
    assert [m.payload for m in transcript.select(kind="model", round_=1)] == [b"2"]
    assert transcript.select(sender="c") == ()
    assert len(transcript.select(receiver="b")) == 1


def harmed(content: bytes, harm: str) -> bytes:
    match harm:
        case "cut":
            return content[:-1]
        case "longer":
            return content + b"x"
        case "changed":
            return content[:-1] + bytes([content[-1] ^ 1])
        case "no time":
            return pack([b"1234"])
        case "never":
            message = Message("a", "b", MessageKind.MODEL, 0, b"1")
            return pack([struct.pack("<d", math.inf) + message.to_bytes()])
        case _:
            return pack([struct.pack("<d", 0.0) + b"[" * 100_000])


@pytest.mark.parametrize(
    "harm", ["cut", "longer", "changed", "no time", "never", "nested", "no file"]
)
def test_a_harmed_folder_is_refused(tmp_path: Path, harm: str) -> None:
    written(
        [("a", "b", "model", b"12345", 0, {}, 0.0), ("b", "a", "update", b"678", 0, {}, 0.0)]
    ).save(tmp_path)
    (path,) = tmp_path.iterdir()
    if harm == "no file":
        path.unlink()
    else:
        path.write_bytes(harmed(path.read_bytes(), harm))
    with pytest.raises(CorruptMessageError, match="can't be read"):
        Transcript.load(tmp_path)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InvalidInputError, match="can't be written"):
        written([]).save(tmp_path / "file")
