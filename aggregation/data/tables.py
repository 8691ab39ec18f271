r"""A hospital's own table, by its ``table.toml`` and the public schema.

>>> import tempfile
>>> folder = Path(tempfile.mkdtemp())
>>> _ = (folder / "schema.toml").write_text(_SCHEMA)
>>> _ = (folder / "table.toml").write_text(_TABLE)
>>> _ = (folder / "ward.csv").write_text("patient;age;event\n2;61,5;0\n1;55;1\n")
>>> patients = read_table(folder / "table.toml", Schema.from_toml(folder / "schema.toml"))
>>> patients.ids.tolist(), patients.features.tolist(), patients.outcomes.tolist()
([1, 2], [[0.0], [0.65]], [1, 0])
"""

from collections.abc import Iterator
from pathlib import Path

from aggregation.data.encoding import Encoded, encode
from aggregation.data.mapping import TableFile, read_mapping
from aggregation.data.patients import Patients, Schema
from aggregation.data.safe_names import site_name
from aggregation.data.sources import Batch, read_file
from privacy.errors import InvalidInputError

__all__ = ["read_sites", "read_table", "survey"]

_SCHEMA = """
outcome = "stroke"
[columns]
age = {unit = "years", mean = 55, sd = 10, low = 18, high = 100}
"""
_TABLE = """
source = "ward.csv"
id = "patient"
decimal = ","
outcome = {column = "event"}
"""


def read_table(table_toml: Path | str, schema: Schema, *, most_records: int = 1) -> Patients:
    """Read one hospital's patients.

    Guarantees (each is a test in ``tests/aggregation/data/test_tables.py``):
      - the same patients in CSV, Parquet, SQLite or PostgreSQL give the same arrays, bit for bit;
      - rows are sorted by id, whatever the table's order, and each id is one patient, of as many
        rows as ``most_records`` allows;
      - a missing number is its public mean, a missing level the reference, a missing yes or no no;
      - whatever is wrong is one error, in one paragraph, and nothing is written.

    Args:
      table_toml: The hospital's mapping (``aggregation.data.mapping``); its source lies beside it.
      schema: Read by ``Schema.from_toml``.
      most_records: Rows that one patient may have.

    Raises:
      InvalidInputError: A file can't be read or breaks a rule; the table has a site column.
    """
    path = Path(table_toml)
    mapping = read_mapping(path, schema)
    if mapping.site:
        raise InvalidInputError(
            f"{path} names a site column, so it is a table of several hospitals; name it as the "
            "table of a cohort.toml."
        )
    return _whole(survey(path, schema, mapping, most_records=most_records))[""]


def read_sites(
    table_toml: Path | str, schema: Schema, *, most_records: int = 1
) -> dict[str, Patients]:
    """Read the patients of several hospitals from one table with a site column.

    Args:
      table_toml: The mapping, with ``site``.
      schema: Read by ``Schema.from_toml``.
      most_records: Rows that one patient may have in a hospital.

    Raises:
      InvalidInputError: A file can't be read or breaks a rule; there is no site column.
    """
    path = Path(table_toml)
    mapping = read_mapping(path, schema)
    if not mapping.site:
        raise InvalidInputError(
            f"{path} names no site column; give one by site, or list each hospital's own table "
            "under [sites] of the cohort.toml."
        )
    sites = _whole(survey(path, schema, mapping, most_records=most_records))
    for name in sites:
        site_name(name)
    return sites


def survey(
    path: Path, schema: Schema, mapping: TableFile | None = None, *, most_records: int = 1
) -> Encoded:
    """Read a table and count what is wrong with it, instead of refusing it at the first fault.

    Raises:
      InvalidInputError: The table can't be read at all.
    """
    mapping = mapping or read_mapping(path, schema)
    rows = _batches(path, schema, mapping)
    return encode(rows, schema, mapping, str(path), most_records=most_records)


def _batches(path: Path, schema: Schema, mapping: TableFile) -> Iterator[Batch]:
    needed = mapping.needed(schema)
    if mapping.database is not None:
        from aggregation.data.databases import read_database

        return read_database(mapping.database, path.parent, needed, str(path))
    return read_file(path.parent / mapping.source, needed, mapping.delimiter)


def _whole(encoded: Encoded) -> dict[str, Patients]:
    if encoded.problems:
        more = len(encoded.problems) - 1
        also = f" {more} more: `inpatient cohort check` tells all." if more else ""
        raise InvalidInputError(encoded.problems[0] + also)
    return encoded.sites
