"""The records in SQL: what is there is found, what is not is said, and nothing else is touched."""

import json
from pathlib import Path

import pytest

from experiments.cli import main
from experiments.record import Record
from experiments.results import query
from privacy.errors import CorruptMessageError, InvalidInputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    records = tmp_path / "records"
    records.mkdir()
    stamp = {"commit": "abc", "dirty": False}
    Record({"design": "sealed", "epsilon": 1.0}, {"auc": {"value": 0.8}}, stamp).write(records)
    Record({"design": "none", "rule": "fedavg"}, {"auc": {"value": 0.9}}, stamp).write(records)
    return records


def test_fields_of_different_records_stand_in_one_table(folder: Path) -> None:
    columns, rows = query(
        folder,
        "select config.design, config.epsilon as eps, metrics.auc.value from records order by 1",
    )
    assert columns == ["design", "eps", "value"]
    assert rows == [("none", None, 0.9), ("sealed", 1.0, 0.8)]
    _, names = query(folder, "select name from records order by name")
    assert [n for (n,) in names] == sorted(p.stem for p in folder.iterdir())


def test_the_command_prints_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(
            ["results", "select count(*) as n from records", "--out", str(folder.parent), "--json"]
        )
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out) == [{"n": 2}]


@pytest.mark.parametrize(
    "sql",
    [
        "select nothing from records",
        "selec 1",
        "select * from read_text('{other}')",
        "copy records to '{other}'",
        "install httpfs",
        "set enable_external_access = true",
    ],
)
def test_bad_queries_and_other_files_are_refused(folder: Path, sql: str) -> None:
    other = folder.parent / "other.txt"
    other.write_text("not for you")
    before = {p: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(InvalidInputError, match="DuckDB refuses"):
        query(folder, sql.format(other=other))
    assert other.read_text() == "not for you"
    assert {p: p.read_bytes() for p in folder.iterdir()} == before


def test_no_records_and_a_false_record_are_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="No records in"):
        query(tmp_path / "nowhere", "select 1")
    (folder / "0123456789ab.json").write_text('{"config": {}, "metrics": {}, "stamp": {}}')
    with pytest.raises(CorruptMessageError, match="hashes to"):
        query(folder, "select 1 from records")
