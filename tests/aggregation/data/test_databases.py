"""A hospital's own database: the same bits, nothing written, and no password in any error."""

import os
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregation.data import databases, read_table
from privacy.errors import InvalidInputError
from tests.aggregation.data.parts import Row, by_hand, rows, same, site, write_sqlite

SECRET = "hunter2-s3cret"


def source(url: str, query: str = "SELECT * FROM ward", more: str = "") -> str:
    return f'[database]\nurl = "{url}"\nquery = """{query}"""\n{more}'


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(InvalidInputError) as refused:
        read_table(*site(folder, text))
    told = str(refused.value)
    assert SECRET not in told
    assert refused.value.__cause__ is None or SECRET not in str(refused.value.__cause__)
    assert "\n" not in told
    return told


def test_a_query_may_rename_and_join_and_its_words_are_no_parameters(tmp_path: Path) -> None:
    write_sqlite(tmp_path / "ward.db", rows())
    query = "SELECT w.*, ':name' AS word, 5 % 3 AS rest FROM ward w ORDER BY patient DESC"
    table, schema = site(tmp_path, source("sqlite:///ward.db", query))
    assert same(read_table(table, schema), by_hand(rows()))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT * FROM nowhere", "no such table: nowhere"),
        ("SELECT no_word FROM ward", "no such column: no_word"),
        ("SELEC 1", "syntax error"),
        ("SELECT patient FROM ward", "has no column 'event'"),
        ("DELETE FROM ward", "OperationalError"),
        ("INSERT INTO ward (patient) VALUES (1)", "OperationalError"),
        ("SELECT 1; DROP TABLE ward", "ProgrammingError"),
    ],
)
def test_a_query_that_fails_is_one_paragraph_and_writes_nothing(
    tmp_path: Path, query: str, expected: str
) -> None:
    path = write_sqlite(tmp_path / "ward.db", rows())
    before = path.read_bytes()
    assert expected in refusal(tmp_path, source("sqlite:///ward.db", query))
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["schema.toml", "table.toml", "ward.db"]


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert "there is no database file" in refusal(tmp_path, source("sqlite:///nowhere.db"))
    assert not (tmp_path / "nowhere.db").exists()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (f"postgresql://ward:{SECRET}@localhost/x", "holds a password"),
        (f"postgresql://localhost/x?password={SECRET}", "holds a password"),
        (f"mysql://ward:{SECRET}@localhost/x", "begins with mysql"),
        (f"no address {SECRET}", "is no address"),
    ],
)
def test_an_address_with_a_password_is_refused_without_repeating_it(
    tmp_path: Path, url: str, expected: str
) -> None:
    assert expected in refusal(tmp_path, source(url))


def test_a_missing_value_of_a_database_is_an_empty_cell() -> None:
    assert [databases._text(v) for v in (None, float("nan"), 0.0, False)] == [
        "",
        "",
        "0.0",
        "False",
    ]


def test_bytes_are_no_value(tmp_path: Path) -> None:
    with sqlite3.connect(write_sqlite(tmp_path / "ward.db", rows())) as connection:
        connection.execute("UPDATE ward SET smoker = X'00ff'")
    connection.close()
    assert "holds a bytes" in refusal(tmp_path, source("sqlite:///ward.db"))


def test_the_variable_with_the_password_must_be_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WARD_PASSWORD", raising=False)
    url = source("postgresql+psycopg://reader@127.0.0.1:1/ward", more='password = "WARD_PASSWORD"')
    assert "the environment variable WARD_PASSWORD" in refusal(tmp_path, url)
    monkeypatch.setenv("WARD_PASSWORD", SECRET)
    assert "can't be reached" in refusal(tmp_path, url)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A PostgreSQL of our own, on a free port; two users, one with a password."""
    commands = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    assert commands, "PostgreSQL is not installed; Debian's package is postgresql."
    folder = tmp_path_factory.mktemp("postgres")
    shutil.chown(folder, "postgres") if os.geteuid() == 0 else None
    for parent in folder.parents:  # pytest's folders are for their owner alone
        if os.geteuid() == 0 and parent.is_relative_to(tmp_path_factory.getbasetemp().parent):
            parent.chmod(0o711)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])

    def run(*words: str) -> None:
        user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        subprocess.run(
            [*user, f"{commands[-1]}/{words[0]}", *words[1:]],
            check=True,
            capture_output=True,
            cwd=folder,
        )

    data = str(folder / "data")
    run("initdb", "--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "-D", data)
    lines = "local all all trust\nhost all postgres 127.0.0.1/32 trust\n"
    (folder / "data" / "pg_hba.conf").write_text(
        lines + "host all all 127.0.0.1/32 scram-sha-256\n"
    )
    options = f"-p {port} -k {folder} -h 127.0.0.1 -c fsync=off"
    run("pg_ctl", "-w", "-D", data, "-o", options, "-l", str(folder / "log"), "start")
    yield port
    run("pg_ctl", "-w", "-D", data, "-m", "immediate", "stop")


@pytest.fixture(scope="module")
def ward(server: int) -> str:
    """The made ward in the server, and a reader with a password; the address without it."""
    import psycopg

    with psycopg.connect(f"host=127.0.0.1 port={server} user=postgres dbname=postgres") as admin:
        admin.execute(
            "CREATE TABLE ward (patient BIGINT, event BOOLEAN, age_years DOUBLE PRECISION, "
            "cholesterol NUMERIC(6, 2), smoker TEXT, angina SMALLINT, comment TEXT)"
        )
        for row in rows():
            typed: Row = (row[0], bool(row[1]), *row[2:])
            admin.execute("INSERT INTO ward VALUES (%s, %s, %s, %s, %s, %s, %s)", typed)
        admin.execute(f"CREATE USER reader PASSWORD '{SECRET}'")
        admin.execute("GRANT SELECT ON ward TO reader")
        admin.execute("CREATE TABLE staff (name TEXT)")
        admin.execute("CREATE SEQUENCE counter")
    return f"postgresql+psycopg://reader@127.0.0.1:{server}/postgres"


@pytest.mark.postgres
def test_postgresql_gives_the_same_patients_bit_for_bit(
    tmp_path: Path, ward: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARD_PASSWORD", SECRET)
    text = source(ward, "SELECT * FROM ward ORDER BY random()", 'password = "WARD_PASSWORD"')
    assert same(read_table(*site(tmp_path, text)), by_hand(rows()))
    plain = source(ward.replace("+psycopg", ""), more='password = "WARD_PASSWORD"')
    assert same(read_table(*site(tmp_path, plain)), by_hand(rows()))


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT * FROM nowhere", 'relation "nowhere" does not exist'),
        ("SELECT nothing FROM ward", 'column "nothing" does not exist'),
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM staff", "may not read (InsufficientPrivilege"),
        ("WITH x AS (DELETE FROM ward RETURNING *) SELECT * FROM x", "SQLSTATE 0A000"),
        ("CREATE TABLE x (y int)", "syntax error"),
        ("SELECT patient, smoker::int AS event FROM ward", "SQLSTATE 22P02"),
    ],
)
def test_postgresql_refusals_hold_neither_password_nor_value(
    tmp_path: Path, ward: str, monkeypatch: pytest.MonkeyPatch, query: str, expected: str
) -> None:
    monkeypatch.setenv("WARD_PASSWORD", SECRET)
    told = refusal(tmp_path, source(ward, query, 'password = "WARD_PASSWORD"'))
    assert expected in told
    assert "stopped" not in told


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("old", "new"), [("reader@", "nobody@"), ("/postgres", "/nowhere"), ("reader@", "reader@")]
)
def test_postgresql_that_refuses_or_is_not_there_is_told(
    tmp_path: Path, ward: str, monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    monkeypatch.setenv("WARD_PASSWORD", SECRET + "x" * (old == new))
    url = ward.replace("+psycopg", "").replace(old, new)
    told = refusal(tmp_path, source(url, more='password = "WARD_PASSWORD"'))
    assert "reached, or refuses" in told


@pytest.mark.postgres
def test_even_an_owner_only_reads(tmp_path: Path, ward: str) -> None:
    url = ward.replace("reader@", "postgres@")  # trusted, and allowed to do everything
    told = refusal(tmp_path, source(url, "SELECT *, nextval('counter') FROM ward"))
    assert "only reading is allowed" in told
    assert same(read_table(*site(tmp_path, source(url))), by_hand(rows()))
