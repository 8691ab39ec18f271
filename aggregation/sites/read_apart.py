"""A site's table read by a process of its own, which has no key and is gone when it is read.

What parses a stranger's CSV, Parquet or database is large (DuckDB maps 55 MB) and needed once.
"""

import multiprocessing
import os
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from aggregation.data.patients import Patients, Schema
from aggregation.data.tables import read_table
from aggregation.sites.site_log import place_of
from privacy.errors import InvalidInputError

__all__ = ["read_apart"]


def read_apart(table_toml: Path, schema: Schema) -> Patients:
    """Read a table as ``read_table`` does, in a child process.

    To be called before this process has threads: it forks.

    Raises:
      InvalidInputError: As ``read_table``; or the child ended without a word.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_read, args=(theirs, table_toml, schema))
    child.start()
    theirs.close()
    try:
        reply = ours.recv()
    except EOFError as error:
        raise InvalidInputError(
            f"{table_toml} was not read: the process that read it died. Is there memory enough?"
        ) from error
    finally:
        ours.close()
        child.join()
    if isinstance(reply, str):
        raise InvalidInputError(reply)
    patients: Patients = reply
    return patients


def _read(answer: Connection, table_toml: Path, schema: Schema) -> None:
    # Locks go with open files: a daemon that is killed now must not seem to have its site still.
    least = max(answer.fileno(), 2) + 1
    os.closerange(3, answer.fileno())
    os.closerange(least, os.sysconf("SC_OPEN_MAX"))
    reply: Patients | str
    try:
        reply = read_table(table_toml, schema)
    except InvalidInputError as error:
        reply = str(error)
    except Exception as error:  # noqa: BLE001 - its words may quote a patient's value
        reply = f"{table_toml} was not read: {type(error).__name__} at {place_of(error)}."
    with suppress(BrokenPipeError):  # who asked was killed
        answer.send(reply)
