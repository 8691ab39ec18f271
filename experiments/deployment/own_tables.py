"""Each hospital's own table, and nobody else's: what a site of a local deployment reads."""

import csv
import io
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

from aggregation.data.cohort import SiteFile, read_cohort_file
from experiments.cohorts.heart import HOSPITALS, rows_by_hospital
from privacy.errors import InvalidInputError

__all__ = ["own_tables"]

_COHORTS = Path(__file__).resolve().parents[1] / "cohorts"
_SINGLE = re.compile(r"^(source|site|sites|fix) *=.*\n", re.MULTILINE)

Tables = Callable[[str, Path], tuple[str, str]]


def own_tables(cohort: str, data_dir: Path | None = None) -> Tables:
    """Return what puts a hospital's table into its site's folder (``deal``).

    The four hospitals of ``heart`` keep CSV, Parquet, SQLite and CSV, each its own rows; hospitals
    of a ``cohort.toml`` have their own files already, which stay where they are.

    Args:
      cohort: ``heart``, or the path of a ``cohort.toml`` that lists each hospital's own table.
      data_dir: Folder with heart's original files; None: as packaged.

    Raises:
      InvalidInputError: Another cohort, or one table with several hospitals in it.
    """
    if cohort == "heart":
        return _Heart(data_dir)
    if not cohort.endswith(".toml"):
        raise InvalidInputError(
            f"Cohort {cohort!r} has no table for each of its hospitals. Choose heart, or name a "
            "cohort.toml with [sites] (docs/own-data.md)."
        )
    path = Path(cohort).absolute()
    listed = read_cohort_file(path)
    if listed.table:
        raise InvalidInputError(
            f"{path} has one table of several hospitals; between sites each has its own. List them "
            "under [sites]."
        )
    table_files = {n: s.table if isinstance(s, SiteFile) else s for n, s in listed.sites.items()}

    def tables(name: str, folder: Path) -> tuple[str, str]:
        return str(path.parent / table_files[name]), str(path.parent / listed.schema)

    return tables


class _Heart:
    """The four hospitals of the UCI study, each with the rows that are its own."""

    def __init__(self, data_dir: Path | None) -> None:
        self._rows = rows_by_hospital(data_dir)

    def __call__(self, name: str, folder: Path) -> tuple[str, str]:
        folder.mkdir(parents=True, exist_ok=True)
        rows = self._rows[name]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=[*rows[0]], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        kind = ("csv", "parquet", "sqlite", "csv")[HOSPITALS.index(name)]
        source = f'source = "patients.{kind}"'
        if kind == "sqlite":
            source = ""
            _write_sqlite(folder / "patients.db", rows)
        else:
            (folder / "patients.csv").write_text(text.getvalue(), encoding="utf-8")
        if kind == "parquet":
            _write_parquet(folder)
        mapping = _SINGLE.sub("", (_COHORTS / "heart.table.toml").read_text(encoding="utf-8"))
        database = ""
        if kind == "sqlite":
            database = (
                '\n[database]\nurl = "sqlite:///patients.db"\nquery = "SELECT * FROM patients"\n'
            )
        (folder / "table.toml").write_text(f"{source}\n{mapping}{database}", encoding="utf-8")
        schema = (_COHORTS / "heart.schema.toml").read_text(encoding="utf-8")
        (folder / "schema.toml").write_text(schema, encoding="utf-8")
        return "table.toml", "schema.toml"


def _write_sqlite(path: Path, rows: list[dict[str, str]]) -> None:
    columns = ", ".join(f'"{name}" TEXT' for name in rows[0])
    holes = ", ".join("?" for _ in rows[0])
    connection = sqlite3.connect(path)
    try:
        with connection:
            connection.execute(f"CREATE TABLE patients ({columns})")
            connection.executemany(
                f"INSERT INTO patients VALUES ({holes})",  # noqa: S608 - question marks alone
                [[value or None for value in row.values()] for row in rows],
            )
    finally:
        connection.close()


def _write_parquet(folder: Path) -> None:
    import duckdb

    source, target = folder / "patients.csv", folder / "patients.parquet"
    with duckdb.connect() as connection:
        read = connection.read_csv(str(source), all_varchar=True)
        read.write_parquet(str(target))
    source.unlink()
