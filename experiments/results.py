"""Records as one table, asked in SQL (DuckDB, in memory, without access to anything else)."""

from pathlib import Path
from typing import Any

from experiments.record import read_records
from privacy.errors import InvalidInputError

__all__ = ["query"]


def query(folder: Path, sql: str, *, seed: int = 0) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Return the columns and rows of one SELECT over the records of a folder.

    The table ``records`` has a row a record: ``name`` (12 hex digits), ``config``, ``metrics`` and
    ``stamp`` as structs; where records differ in their fields, what one lacks is NULL.

    Guarantees (each is a test in ``tests/experiments/test_results.py``):
      - every file was checked against its own name before it is asked;
      - nothing on disk is changed, and no other file is read.

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
    paths = [str(folder / f"{record.name}.json") for record in records]
    base = duckdb.connect()
    try:
        base.execute(
            "create table records as select parse_filename(filename, true) as name, config, "
            "metrics, stamp from read_json(?, filename = true, union_by_name = true, "
            "maximum_object_size = 67108864, maximum_depth = -1, sample_size = -1)",
            [paths],
        )
        base.execute("set enable_external_access = false")
        base.execute("set lock_configuration = true")
        base.execute("select setseed(?)", [(seed % 1000) / 1000])
        found = base.execute(sql)
        columns = [column[0] for column in found.description or ()]
        return columns, found.fetchall()
    except duckdb.Error as error:
        said = " ".join(str(error).split("\n\nLINE")[0].split()).rstrip(".")
        raise InvalidInputError(
            f"DuckDB refuses {sql!r}: {said}. The table is called records, its columns name, "
            "config, metrics and stamp; a field is config.design, say."
        ) from error
    finally:
        base.close()
