"""Records: named by their config alone, written whole or not at all."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.record import Record, config_hash, read_records, stamp, writable_folder, write_json
from privacy.errors import CorruptMessageError, InvalidInputError

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
