"""Official files that users bring themselves, and the files that say what their columns mean.

They lie in the folder of ``--data-dir``, or of the environment variable ``INPATIENT_DATA``; none is
part of this package. What a file lacks is told in one sentence: which, where from, which licence.
"""

import csv
import io
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aggregation.data.encoding import Encoded, encode
from aggregation.data.mapping import TableFile, read_mapping
from aggregation.data.patients import Field, Schema
from privacy.errors import InvalidInputError
from privacy.files import read_regular

__all__ = ["Official", "encoded", "folder_of", "rows_of"]

_HERE = Path(__file__).parent
_LARGEST = 1 << 30  # bytes, unpacked
VARIABLE = "INPATIENT_DATA"


@dataclass(frozen=True)
class Official:
    """Files of one study.

    Attributes:
      study: Its name.
      files: Their names, any of which may be gzipped.
      source: Where they come from, and the licence.
    """

    study: str
    files: tuple[str, ...]
    source: str

    @property
    def way_out(self) -> str:
        """What is needed, for the last sentence of an error."""
        return (
            f"{self.study} needs {' and '.join(self.files)} ({self.source}); name their folder "
            f"with --data-dir or the environment variable {VARIABLE}."
        )

    def find(self, name: str, folder: Path) -> Path:
        """Return a file, plain or gzipped.

        Raises:
          InvalidInputError: It is not there.
        """
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
        raise InvalidInputError(f"There is no {name} in {folder}. {self.way_out}")


def folder_of(official: Official, data_dir: Path | None) -> Path:
    """Return the folder with a study's files: what the user gave, or the environment's.

    Raises:
      InvalidInputError: Neither is there.
    """
    if data_dir is not None:
        return data_dir
    if VARIABLE in os.environ:
        return Path(os.environ[VARIABLE])
    raise InvalidInputError(f"These patients don't come with the package. {official.way_out}")


def rows_of(
    path: Path, needed: Sequence[str], official: Official, *, upper: bool = False
) -> list[dict[str, str]]:
    """Read the needed columns of a CSV, plain or gzipped; header in any case, cells stripped.

    Args:
      path: The file.
      needed: Names of columns, as the study writes them.
      official: For the error's last sentence.
      upper: Whether cells are upper-cased.

    Raises:
      InvalidInputError: It can't be read, is too large, or lacks a column.
    """
    try:
        content = read_regular(path, largest=_LARGEST)
        if path.suffix == ".gz":
            content = zlib.decompressobj(wbits=31).decompress(content, _LARGEST + 1)
    except (OSError, zlib.error) as error:
        raise InvalidInputError(f"Can't read {path}: {error}. {official.way_out}") from error
    if len(content) > _LARGEST:
        raise InvalidInputError(f"{path} is larger than {_LARGEST} bytes. {official.way_out}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")  # names of centres, in columns that are not read
    lines = csv.reader(io.StringIO(text, newline=""))
    header = [name.strip().lower() for name in next(lines, [])]
    lacking = [name for name in needed if name.lower() not in header]
    if lacking:
        raise InvalidInputError(f"{path} has no column {', '.join(lacking)}. {official.way_out}")
    places = {name: header.index(name.lower()) for name in needed}
    rows = []
    for number, cells in enumerate(lines, start=2):
        if not any(cells):
            continue
        if len(cells) != len(header):
            raise InvalidInputError(
                f"{path}, line {number}: {len(cells)} cells where the header has {len(header)}. "
                f"{official.way_out}"
            )
        row = {name: cells[place].strip() for name, place in places.items()}
        rows.append({name: cell.upper() for name, cell in row.items()} if upper else row)
    return rows


def encoded(
    study: str,
    rows: Sequence[Mapping[str, str]],
    change: Callable[[Field], Field | None] = lambda field: field,
) -> tuple[Schema, Encoded]:
    """Encode rows by the ``STUDY.schema.toml`` and ``STUDY.table.toml`` that lie here.

    Args:
      study: Names the files.
      rows: As text.
      change: What becomes of each field; None: it is left out.

    Raises:
      InvalidInputError: Something is wrong with the rows.
    """
    whole = Schema.from_toml(_HERE / f"{study}.schema.toml")
    mapping: TableFile = read_mapping(_HERE / f"{study}.table.toml", whole)
    changed = (change(field) for field in whole.fields)
    fields = tuple(field for field in changed if field is not None)
    schema = Schema.of_fields(whole.outcome, fields, whole.score)
    batch = {name: [row[name] for row in rows] for name in mapping.needed(schema)}
    encoding = encode([batch], schema, mapping, study)
    if encoding.problems:
        raise InvalidInputError(encoding.problems[0])
    return schema, encoding
