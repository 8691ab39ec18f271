"""Rows of a hospital's own database as text, by one query, through SQLAlchemy.

The password stands in an environment variable alone. A driver's message is never repeated: it may
hold the address with its password, or a patient's value. What is told is the SQLSTATE's class, and
the message only where the database speaks of the query itself (a table or column that is not there,
a syntax error).
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aggregation.data.mapping import Database
from aggregation.data.sources import BATCH, Batch, check_columns
from privacy.errors import InvalidInputError

__all__ = ["read_database"]

_CLASSES = {
    "08": "it can't be reached",
    "28": "it refuses the user or the password",
    "3D": "there is no such database",
    "42": "the query is wrong, or asks for what this user may not read",
    "57": "the query was cancelled",
    "25": "the query writes, and only reading is allowed",
}
_OF_THE_QUERY = ("42601", "42703", "42P01")  # syntax, undefined column, undefined table
_QUOTED = re.compile(r"^no such (table|column): |syntax error$")  # of SQLite
_DRIVERS = ("sqlite", "postgresql+psycopg", "postgresql")


def read_database(
    database: Database, folder: Path, needed: Sequence[str], origin: str
) -> Iterator[Batch]:
    """Yield the needed columns of a query's rows.

    Args:
      database: Address and query.
      folder: Where a relative SQLite file lies.
      needed: Names of columns.
      origin: The file that names the database, for errors.

    Raises:
      InvalidInputError: SQLAlchemy is not installed, the address is none or holds a password, the
        variable is not set, the database refuses, the query fails or lacks a column.
    """
    try:
        import sqlalchemy
    except ImportError as error:
        raise InvalidInputError(
            f"{origin} asks a database, for which SQLAlchemy is needed: pip install "
            "'inpatient[sql]'."
        ) from error
    with _scrubbed(origin):
        engine = sqlalchemy.create_engine(
            _address(database, folder, origin), poolclass=sqlalchemy.NullPool
        )
    with _scrubbed(origin), engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection = connection.execution_options(postgresql_readonly=True)
        result = connection.execution_options(yield_per=BATCH).execute(
            sqlalchemy.text(database.query.replace(":", r"\:"))  # no word of it is a parameter
        )
        have = list(result.keys())
        check_columns(f"{origin}: the query's answer", have, needed)
        places = [have.index(name) for name in needed]
        for rows in result.partitions(BATCH):
            yield {
                name: [_text(row[place]) for row in rows]
                for name, place in zip(needed, places, strict=True)
            }


def _address(database: Database, folder: Path, origin: str) -> Any:
    import sqlalchemy

    try:
        url = sqlalchemy.engine.make_url(database.url)
    except sqlalchemy.exc.ArgumentError:
        raise InvalidInputError(
            f"{origin}: database.url is no address such as sqlite:///patients.db or "
            "postgresql+psycopg://reader@localhost/ward."
        ) from None  # the cause repeats the address, which may hold a password
    if url.drivername not in _DRIVERS:
        raise InvalidInputError(
            f"{origin}: database.url begins with {url.drivername}; sqlite and postgresql+psycopg "
            "are known."
        )
    if url.password is not None or "password" in url.query:
        raise InvalidInputError(
            f"{origin}: database.url holds a password. Take it out, put it into an environment "
            'variable, and name that one: password = "WARD_PASSWORD".'
        )
    if url.drivername == "sqlite":
        path = (folder / (url.database or "")).absolute()
        if not path.is_file():
            raise InvalidInputError(f"{origin}: there is no database file {path}.")
        # Read-only, so that nothing of the hospital's is ever written or made.
        return sqlalchemy.URL.create(
            "sqlite", database=f"file:{_uri(path)}", query={"mode": "ro", "uri": "true"}
        )
    url = url.set(drivername="postgresql+psycopg")
    if not database.password:
        return url
    secret = os.environ.get(database.password)
    if secret is None:
        raise InvalidInputError(
            f"{origin}: the environment variable {database.password}, which is to hold the "
            "database's password, is not set."
        )
    return url.set(password=secret)


def _uri(path: Path) -> str:
    from urllib.parse import quote

    return quote(str(path))


def _text(value: object) -> str:
    """A typed value as the text that a CSV would hold."""
    if value is None or value != value:
        return ""
    if isinstance(value, bytes | memoryview | list | dict | tuple | set):
        raise InvalidInputError(
            f"The query's answer holds a {type(value).__name__} where a number, a text or a yes or "
            "no is expected."
        )
    return str(value)


@contextmanager
def _scrubbed(origin: str) -> Iterator[None]:
    """Turn a driver's error into a paragraph that repeats neither address nor value."""
    try:
        yield
    except InvalidInputError:
        raise
    except Exception as error:  # noqa: BLE001 - drivers raise of their own; each is told below
        cause: Any = getattr(error, "orig", None) or error
        state = str(getattr(cause, "sqlstate", "") or "")
        reason = _CLASSES.get(state[:2], "it can't be read")
        if state in _OF_THE_QUERY:
            reason = str(cause.diag.message_primary)[:200]
        elif "sqlite3" in type(cause).__module__ and _QUOTED.search(str(cause)):
            reason = str(cause)[:200]  # they quote the query alone
        elif not state and "psycopg" in type(cause).__module__:
            reason = "it can't be reached, or refuses the user or the password"
        kind = f"{type(cause).__name__}{f', SQLSTATE {state}' if state else ''}"
        raise InvalidInputError(
            f"{origin}: the database gave no table: {reason} ({kind})."
        ) from None  # the cause may show the password
