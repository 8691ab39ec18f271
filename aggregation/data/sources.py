"""Rows of CSV and Parquet files as text, a batch at a time, read by DuckDB without guessing.

DuckDB guesses nothing here: every column is text, the delimiter is read from the header, no line is
skipped, no extension is loaded. What a cell means is said by ``aggregation.data.cells`` alone. An
error never repeats a line of the file, since lines are patients.
"""

import codecs
import csv
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aggregation.data.safe_names import printable
from privacy.errors import InvalidInputError
from privacy.files import open_regular

__all__ = ["BATCH", "MOST_BYTES", "Batch", "check_columns", "columns_of", "read_file"]

Batch = Mapping[str, Sequence[str]]
"""Some rows: the cells of each column, in one order; a missing value is an empty text."""

BATCH = 8_192  # rows
MOST_BYTES = 4 << 30  # a larger file is refused before it is read
_LONGEST_LINE = 1 << 20  # bytes
_MOST_COLUMNS = 8_192
_BLOCK = 1 << 20
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "threads": "1",
    "memory_limit": "200MB",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "temp_directory": "",
}
_QUIET = "SET enable_progress_bar = false"  # no option of connect takes it
_LINE = re.compile(r"CSV Error on Line: (\d+)")
_COUNT = re.compile(r"Expected Number of Columns: (\d+) Found: (\d+)")


def read_file(path: Path, needed: Sequence[str], delimiter: str = "") -> Iterator[Batch]:
    """Yield the needed columns of a CSV or a Parquet file.

    Args:
      path: The file; Parquet where its first bytes say so.
      needed: Names of columns.
      delimiter: Of a CSV; empty: the one of ``, ; tab |`` that stands most often in its header.

    Raises:
      InvalidInputError: The file can't be read, is too large, is no UTF-8, has lines of different
        length, or lacks a column.
    """
    start = _opened(path)
    if start.startswith(b"PAR1"):
        return _parquet(path, needed)
    return _csv(path, needed, delimiter)


def columns_of(path: Path, delimiter: str = "") -> tuple[str, ...]:
    """Return the names of a file's columns; errors as in ``read_file``."""
    if _opened(path).startswith(b"PAR1"):
        return tuple(_described(path))
    return tuple(name for name in _header(path, delimiter)[0] if name)


def check_columns(origin: str, have: Sequence[str], needed: Sequence[str]) -> None:
    """Refuse a table that lacks a needed column, or has it twice."""
    lacking = [name for name in needed if name not in have]
    if lacking:
        shown = ", ".join(repr(n) for n in have[:40])
        raise InvalidInputError(
            f"{origin} has no column {', '.join(repr(n) for n in lacking)}; it has {shown}"
            f"{', ...' if len(have) > 40 else ''}. Name the right one in the table's file."
        )
    twice = sorted({name for name in needed if list(have).count(name) > 1})
    if twice:
        raise InvalidInputError(f"{origin} has more than one column {printable(', '.join(twice))}.")


def _opened(path: Path) -> bytes:
    """Check a file as far as can be before it is parsed, and return its first bytes."""
    if any(c in str(path) for c in "*?["):
        raise InvalidInputError(f"{path} holds one of * ? [ in its name; give it a plain one.")
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            start = file.read(8)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise InvalidInputError(f"Can't read {path}: {error.strerror}.") from error
    if size > MOST_BYTES:
        raise InvalidInputError(
            f"{path} has {size} bytes, more than the {MOST_BYTES} that are read at once. Leave out "
            "columns that no one needs, or ask a database by a query."
        )
    if not start.startswith(b"PAR1"):
        _check_text(path, start)
    return start


def _check_text(path: Path, start: bytes) -> None:
    """Refuse what is no UTF-8 text, before any reader guesses at it."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InvalidInputError(f"{path} is UTF-16; save it as CSV UTF-8.")
    if start.startswith(b"PK"):
        raise InvalidInputError(f"{path} is a workbook or an archive; save the sheet as CSV UTF-8.")
    if start.startswith(b"\x1f\x8b"):
        raise InvalidInputError(f"{path} is compressed; unpack it first.")
    decoder = codecs.getincrementaldecoder("utf-8")()
    line = 1
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                line += block[: max(0, error.start)].count(b"\n")
                raise InvalidInputError(
                    f"{path}, about line {line}: bytes that are no UTF-8 (Latin-1 or a Windows "
                    "code page?). Save it as CSV UTF-8."
                ) from None  # the cause would show the bytes, which are a patient's
            if b"\0" in block:
                raise InvalidInputError(f"{path} holds zero bytes, so it is no text.")
            line += block.count(b"\n")
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise InvalidInputError(f"{path} ends within a character; it is cut short.") from None


def _header(path: Path, delimiter: str) -> tuple[list[str], str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline(_LONGEST_LINE)
        if not first.strip():
            raise InvalidInputError(f"{path} is empty, or begins with an empty line.")
        bare = re.sub(r'"[^"]*"', "", first)
        delimiter = delimiter or max(",;\t|", key=bare.count)
        file.seek(0)
        try:
            names = next(csv.reader(file, delimiter=delimiter, strict=True))
        except (csv.Error, StopIteration) as error:
            raise InvalidInputError(f"{path}: its header can't be read.") from error
    if len(names) > _MOST_COLUMNS:
        raise InvalidInputError(f"{path} has {len(names)} columns, more than {_MOST_COLUMNS}.")
    return [name.strip() for name in names], delimiter


def _csv(path: Path, needed: Sequence[str], delimiter: str) -> Iterator[Batch]:
    names, delimiter = _header(path, delimiter)
    check_columns(str(path), names, needed)
    columns = {f"c{i}": "VARCHAR" for i in range(len(names))}  # no name of the file meets SQL
    chosen = ", ".join(f"c{names.index(name)}" for name in needed)
    query = (
        f"SELECT {chosen} FROM read_csv(?, auto_detect=false, header=true, columns=?, delim=?, "  # noqa: S608 - made of numbers
        "quote='\"', escape='\"', strict_mode=true, max_line_size=?)"
    )
    return _rows(str(path), query, [str(path), columns, delimiter, _LONGEST_LINE], needed)


def _parquet(path: Path, needed: Sequence[str]) -> Iterator[Batch]:
    names = _described(path)
    check_columns(str(path), names, needed)
    quoted = ", ".join('CAST("{}" AS VARCHAR)'.format(n.replace('"', '""')) for n in needed)
    query = f"SELECT {quoted} FROM read_parquet(?)"  # noqa: S608 - names that the file has, quoted
    return _rows(str(path), query, [str(path)], needed)


def _described(path: Path) -> list[str]:
    described = _ask(str(path), "DESCRIBE SELECT * FROM read_parquet(?)", [str(path)])
    return [str(row[0]) for row in described.fetchall()]


def _rows(origin: str, query: str, arguments: list[Any], names: Sequence[str]) -> Iterator[Batch]:
    cursor = _ask(origin, query, arguments)
    while rows := _guarded(origin, lambda: cursor.fetchmany(BATCH)):
        yield {
            name: ["" if cell is None else cell for cell in cells]
            for name, cells in zip(names, zip(*rows, strict=True), strict=True)
        }


def _ask(origin: str, query: str, arguments: list[Any]) -> Any:
    import duckdb

    connection = duckdb.connect(":memory:", config=_SETTINGS)
    connection.execute(_QUIET)  # why: a bar on stdout would stand in a command's --json
    return _guarded(origin, lambda: connection.execute(query, arguments))


def _guarded(origin: str, work: Any) -> Any:
    """Do some of DuckDB's work; its own message may hold a patient, so it is never repeated."""
    import duckdb

    try:
        return work()
    except duckdb.Error as error:
        text = str(error)
        line, count = _LINE.search(text), _COUNT.search(text)
        problem = f"{origin}, line {line[1]}: " if line else f"{origin}: "
        if count:
            problem += f"{count[2]} cells where the header has {count[1]}"
        else:
            problem += f"it can't be read as a table ({type(error).__name__})"
        raise InvalidInputError(
            f"{problem}. Quote cells that hold the delimiter, and export the table again."
        ) from None  # the cause repeats the line
