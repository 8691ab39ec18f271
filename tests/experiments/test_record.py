"""Records: named by their config alone, written whole or not at all."""

import hashlib
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.run.record import (
    Record,
    config_hash,
    read_records,
    stamp,
    writable_folder,
    write_json,
    write_new,
)
from experiments.run.text import mean, with_half_width
from privacy.errors import CorruptMessageError, InvalidInputError

ROOT = Path(__file__).resolve().parents[2]

configs = st.dictionaries(
    st.text(max_size=6),
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text(max_size=6)),
)


@given(configs, st.integers(), st.integers())
def test_the_config_alone_names_a_record(config: dict[str, object], one: int, two: int) -> None:
    backwards = dict(reversed(config.items()))
    assert Record(config, {"a": one}, {}).name == Record(backwards, {"a": two}, {"t": 1}).name
    assert config_hash({**config, "another": 1}) != config_hash(config)


def test_the_name_is_the_documented_hash() -> None:
    text = '{"epsilon":null,"seed":1}'  # RFC 8785: sorted keys, no blanks
    expected = hashlib.sha256(text.encode()).hexdigest()[:12]
    assert config_hash({"seed": 1, "epsilon": None}) == expected


def test_what_is_written_is_read(tmp_path: Path) -> None:
    record = Record({"seed": 1}, {"auc": 0.5}, stamp())
    path = record.write(tmp_path)
    assert path.name == f"{record.name}.json"
    assert read_records(tmp_path) == [record]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("harm", ["cut", "another config", "another form"])
def test_a_harmed_record_is_refused(tmp_path: Path, harm: str) -> None:
    path = Record({"seed": 1}, {"auc": 0.5}, {}).write(tmp_path)
    content = json.loads(path.read_text())
    match harm:
        case "cut":
            path.write_text(path.read_text()[:-9])
        case "another config":
            path.write_text(json.dumps(content | {"config": {"seed": 2}}))
        case _:
            path.write_text(json.dumps({"seed": 1}))
    with pytest.raises(CorruptMessageError, match="is not a record"):
        read_records(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.json", {"n": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"n": float("nan")})
    assert json.loads(path.read_text()) == {"n": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="--out"):
        writable_folder(tmp_path / "file" / "results")


def test_the_stamp_holds_no_clock() -> None:
    assert set(stamp()) == {"commit", "dirty", "lock_sha256", "python"}
    assert stamp() == stamp()


def test_what_is_there_is_never_overwritten_by_other_content(tmp_path: Path) -> None:
    """The same content keeps its name; other content gets the next number, partners together."""
    one, two = tmp_path / "a.svg", tmp_path / "a.png"
    assert write_new((one, b"1"), (two, b"1")) == (one, two)
    assert write_new((one, b"1"), (two, b"1")) == (one, two)
    again = write_new((one, b"1"), (two, b"2"))
    assert [p.name for p in again] == ["a-2.svg", "a-2.png"]
    assert [p.read_bytes() for p in (one, two, *again)] == [b"1", b"1", b"1", b"2"]
    assert write_new((one, b"3"), (two, b"2"))[0].name == "a-3.svg"
    assert len([*tmp_path.iterdir()]) == 6
    with pytest.raises(InvalidInputError, match="Choose another folder"):
        write_new((tmp_path / "nowhere" / "a", b"1"))


@pytest.mark.parametrize("value", [0.0, 0.004, 0.5, 0.997, 1.0])
@pytest.mark.parametrize("half", [0.0, 0.034, 2.0])
def test_no_interval_leaves_what_a_rate_can_be(value: float, half: float) -> None:
    told = with_half_width(value, half)
    low, high = (float(end) for end in told.split("(")[1].rstrip(")").split(" to "))
    assert 0.0 <= low <= round(value, 3) <= high <= 1.0
    assert with_half_width(3.0, half, most=math.inf).startswith("3.000 (")
    assert mean([0.98, 1.0, 1.0]).endswith(" to 1.000)")


def test_nobody_prints_a_symmetric_interval() -> None:
    """Near 0 and 1 it would leave what a rate can be; both ends are printed instead."""
    for path in sorted((ROOT / "experiments").rglob("*.py")):
        assert "±" not in path.read_text(encoding="utf-8"), path


def test_a_list_of_numbers_stands_on_one_line(tmp_path: Path) -> None:
    content = {
        "rows": [[1, -2.5, 3e-07], [], [4.0, 5, 6]],
        "words": ["[\n 1,\n 2\n]", "a"],
        "mixed": [1, None, "2"],
        "one": [7],
    }
    text = write_json(tmp_path / "a.json", content).read_text()
    assert json.loads(text) == content
    assert "[1, -2.5, 3e-07]" in text and "[4.0, 5, 6]" in text and "[7]" in text
