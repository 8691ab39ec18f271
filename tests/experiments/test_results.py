"""The records in SQL: what is there is found, what is not is said, and nothing else is touched."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.cli import main
from experiments.records_table import query
from experiments.run.record import Record
from privacy.errors import CorruptMessageError, InvalidInputError

ROOT = Path(__file__).resolve().parents[2]


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


def test_a_long_query_draws_no_bar_into_json(folder: Path) -> None:
    sql = "select current_setting('enable_progress_bar'), count(*) from records"
    assert query(folder, sql)[1][0][0] is False


def test_no_records_and_a_false_record_are_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="No records in"):
        query(tmp_path / "nowhere", "select 1")
    (folder / "0123456789ab.json").write_text('{"config": {}, "metrics": {}, "stamp": {}}')
    with pytest.raises(CorruptMessageError, match="hashes to"):
        query(folder, "select 1 from records")


def test_a_bare_number_stands_as_the_value_of_an_estimate(folder: Path) -> None:
    Record({"design": "bare"}, {"auc": 0.7}, {}).write(folder)
    _, rows = query(folder, "select metrics.auc.value from records order by 1")
    assert rows == [(0.7,), (0.8,), (0.9,)]


def test_a_field_of_several_types_is_json(folder: Path) -> None:
    Record({"design": ["a", "b"]}, {}, {}).write(folder)
    _, rows = query(folder, "select json(config.design)::varchar from records order by 1")
    assert rows == [('"none"',), ('"sealed"',), ('["a","b"]',)]


def test_names_with_quotes_are_only_names(folder: Path) -> None:
    Record({"it's": "'); drop table records; --"}, {}, {}).write(folder)
    _, rows = query(folder, 'select config."it\'s" from records order by 1')
    assert rows == [("'); drop table records; --",), (None,), (None,)]


def test_a_query_that_asks_for_too_much_is_refused_and_spills_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    before = sorted(folder.parent.rglob("*"))
    with pytest.raises(InvalidInputError, match="Memory"):
        query(folder, "select count(distinct range) from range(1000000000)")
    assert sorted(folder.parent.rglob("*")) == before


def test_the_published_records_are_asked_within_a_gigabyte() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30));"
        "from pathlib import Path; from experiments.records_table import query;"
        "print(query(Path('paper/records'), 'select count(*) from records where "
        "metrics.auc_within.value > 0.5')[1][0][0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 200
