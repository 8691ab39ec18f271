"""Records as one table, asked in SQL (DuckDB, in memory, without access to anything else)."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.run.record import Record, read_records
from privacy.errors import InvalidInputError

if TYPE_CHECKING:
    import duckdb

__all__ = ["query"]

_MEMORY = "1GB"  # of DuckDB; the published records need a twentieth of it


def query(folder: Path, sql: str, *, seed: int = 0) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Return the columns and rows of one SELECT over the records of a folder.

    The table ``records`` has a row a record: ``name`` (12 hex digits), ``config``, ``metrics`` and
    ``stamp`` as structs; where records differ in their fields, what one lacks is NULL. A bare
    number stands as ``value`` where other records have an estimate with its interval; a field of
    several types is JSON.

    Guarantees (each is a test in ``tests/experiments/test_results.py``):
      - every file was checked against its own name before it is asked;
      - nothing on disk is changed, and no other file is read;
      - memory is bounded, whatever the query: DuckDB gets 1 GB and spills nothing to disk.

    Args:
      folder: Holds ``<hash>.json`` files.
      sql: One statement that returns rows.
      seed: Of ``using sample`` clauses.

    Raises:
      InvalidInputError: No record there, or a statement that DuckDB refuses (its words are told).
      CorruptMessageError: A file is not a record.
    """
    import duckdb

    records = read_records(folder)
    if not records:
        raise InvalidInputError(
            f"No records in {folder}. Name a run's folder with --out, results/demo for example."
        )
    base = duckdb.connect(config={"memory_limit": _MEMORY, "temp_directory": ""})
    try:
        _fill(base, records)
        base.execute("set enable_external_access = false")
        base.execute("set enable_progress_bar = false")  # why: it would stand in --json
        base.execute("set lock_configuration = true")
        base.execute("select setseed(?)", [(seed % 1000) / 1000])
        cursor = base.execute(sql)
        columns = [column[0] for column in cursor.description or ()]
        return columns, cursor.fetchall()
    except duckdb.Error as error:
        said = " ".join(str(error).split("\n\nLINE")[0].split()).rstrip(".")
        raise InvalidInputError(
            f"DuckDB refuses {sql!r}: {said}. The table is called records, its columns name, "
            "config, metrics and stamp; a field is config.design, say."
        ) from error
    finally:
        base.close()


def _fill(base: "duckdb.DuckDBPyConnection", records: Sequence[Record]) -> None:
    """Make the table of records that were read: DuckDB infers one type for all, and reads no file.

    Its own reader of JSON files takes a buffer of the largest record allowed for each file: tens of
    gigabytes for a few hundred small records.
    """
    whole = [{"config": r.config, "metrics": r.metrics, "stamp": r.stamp} for r in records]
    estimates = _estimates(whole)
    texts = [json.dumps(_wrapped(one, estimates)) for one in whole]
    base.execute("create table raw (name varchar, content json)")
    base.execute(
        "insert into raw select unnest(?::varchar[]), unnest(?::varchar[])::json",
        [[r.name for r in records], texts],
    )
    shape = base.execute("select json_group_structure(content) from raw").fetchone()
    quoted = "'" + str(shape[0] if shape else "").replace("'", "''") + "'"
    typed = f"from_json(content, {quoted})"  # a literal, quoted: the type can't be a parameter
    base.execute(f"create table records as select name, unnest({typed}) from raw")  # noqa: S608
    base.execute("drop table raw")


_Path = tuple[str, ...]


def _estimates(content: Any, path: _Path = ()) -> frozenset[_Path]:
    """Where an object with a ``value`` stands in some record."""
    if isinstance(content, list):
        return frozenset().union(*(_estimates(one, path) for one in content))
    if not isinstance(content, Mapping):
        return frozenset()
    paths = {path} if "value" in content else set()
    return frozenset(paths).union(*(_estimates(v, (*path, k)) for k, v in content.items()))


def _wrapped(content: Any, estimates: frozenset[_Path], path: _Path = ()) -> Any:
    """The same content, bare numbers among estimates as their ``value``."""
    if isinstance(content, Mapping):
        return {k: _wrapped(v, estimates, (*path, k)) for k, v in content.items()}
    bare = isinstance(content, int | float) and path in estimates
    return {"value": content} if bare else content
