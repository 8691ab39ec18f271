"""``table.toml``: how one hospital's own table becomes the schema's columns; it stays at its site.

::

    source = "patients.csv"          # CSV or Parquet, beside this file; or a [database]
    id = "patient"                   # required, unique: rows are sorted by it
    missing = ["NA", -9]             # in every column; an empty cell always is
    # optional: decimal = ",", delimiter = ";", upper = true, site = "ward", sites = {A = "north"},
    # only = {study = ["main"]}, drop = {sex = ["?"]}, fix = [{id = 7, column = "age", value = 63}]

    [outcome]
    column = "event"
    one = [1]
    zero = [0]
    drop = [9]                       # these patients are left out

    [columns]                        # those that need a word; any other has its name in the schema
    age = "age_years"
    chol = {column = "cholesterol", factor = 38.67, missing = [0]}
    smoker = {one = ["yes"], zero = ["no", "stopped"]}
    angina = {levels = {"1" = "typical", "2" = "atypical", "3" = "none", "4" = "none"}}

This vocabulary is closed: no expressions. A table that needs more is read by a loader, as
``experiments/cohorts`` has them. Codes are compared in the form of ``aggregation.data.cells.code``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from aggregation.data._toml import STRICT, read_toml
from aggregation.data.cells import code
from aggregation.data.patients import Field, Schema
from aggregation.data.safe_names import printable, site_name
from privacy._validate import positive
from privacy.errors import InvalidInputError

__all__ = ["Database", "FieldSource", "Fix", "OutcomeSource", "TableFile", "read_mapping"]

Code = str | int | float


@dataclass(frozen=True)
class FieldSource:
    """Where one field of the schema stands in the table, and in which codes.

    Attributes:
      column: Its column in the table; empty: the field's own name.
      factor: Leads from the table's unit to the schema's.
      missing: Codes that mean "not measured", besides the table's.
      one: Codes of yes; by default 1 and true.
      zero: Codes of no; by default 0 and false.
      levels: Level of each code; several codes may have one level. A code that is a level's name
        needs no word.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    column: str = ""
    factor: float = 1.0
    missing: tuple[Code, ...] = ()
    one: tuple[Code, ...] = ()
    zero: tuple[Code, ...] = ()
    levels: dict[str, str] = field(default_factory=dict)

    def check(self, field_: Field) -> None:
        """Refuse words that make no sense for this field of the schema."""
        name = field_.name
        positive(factor=self.factor, hint=f"It is the factor of column {name}.")
        if self.factor != 1.0 and not field_.number:
            raise InvalidInputError(f"{name} is no number in the schema, so it takes no factor.")
        if self.levels and not field_.levels:
            raise InvalidInputError(f"{name} has no levels in the schema, so it takes none here.")
        unknown = sorted(set(self.levels.values()) - set(field_.levels))
        if unknown:
            raise InvalidInputError(
                f"{name} has no level {printable(', '.join(unknown))}; the schema has "
                f"{', '.join(field_.levels)}."
            )
        if (self.one or self.zero) and (field_.number or field_.levels):
            raise InvalidInputError(f"{name} is not yes or no in the schema: no one and zero.")
        _apart(name, {"one": self.one, "zero": self.zero, "missing": self.missing})


@dataclass(frozen=True)
class OutcomeSource:
    """Which codes of which column mean that the outcome happened, or did not."""

    __pydantic_config__: ClassVar[Any] = STRICT

    column: str
    one: tuple[Code, ...] = (1,)
    zero: tuple[Code, ...] = (0,)
    drop: tuple[Code, ...] = ()

    def __post_init__(self) -> None:
        _apart("outcome", {"one": self.one, "zero": self.zero, "drop": self.drop})
        if not self.one or not self.zero:
            raise InvalidInputError("The outcome needs at least one code under one, and under zero")


@dataclass(frozen=True)
class Fix:
    """One cell that is known to be wrong, by the patient's id."""

    __pydantic_config__: ClassVar[Any] = STRICT

    id: Code
    column: str
    value: Code


@dataclass(frozen=True)
class Database:
    """Where a hospital's database is asked, and what.

    Attributes:
      url: As SQLAlchemy writes it, *without* a password: ``sqlite:///patients.db`` (beside this
        file) or ``postgresql+psycopg://reader@localhost:5432/ward``.
      query: One SELECT; its columns are the table's.
      password: Name of the environment variable that holds the password, never the password.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    url: str
    query: str
    password: str = ""


@dataclass(frozen=True)
class TableFile:
    """A whole ``table.toml``; the module says what each key means."""

    __pydantic_config__: ClassVar[Any] = STRICT

    id: str
    outcome: OutcomeSource
    source: str = ""
    database: Database | None = None
    columns: dict[str, str | FieldSource] = field(default_factory=dict)
    site: str = ""
    sites: dict[str, str] = field(default_factory=dict)
    missing: tuple[Code, ...] = ()
    decimal: Literal[".", ","] = "."
    delimiter: Literal["", ",", ";", "\t", "|"] = ""
    upper: bool = False
    only: dict[str, tuple[Code, ...]] = field(default_factory=dict)
    drop: dict[str, tuple[Code, ...]] = field(default_factory=dict)
    fix: tuple[Fix, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.source) == (self.database is not None):
            raise InvalidInputError("give either source or [database], and not both")
        if self.sites and not self.site:
            raise InvalidInputError("sites names the codes of a site column; say which by site")
        for name in self.sites.values():
            site_name(name)

    def of(self, name: str) -> FieldSource:
        """Where a field of the schema stands."""
        entry = self.columns.get(name, FieldSource())
        source = FieldSource(column=entry) if isinstance(entry, str) else entry
        return source if source.column else replace(source, column=name)

    def needed(self, schema: Schema) -> tuple[str, ...]:
        """Every column of the table that is read, once."""
        names = [self.id, self.outcome.column, *self.only, *self.drop]
        names += [self.site] if self.site else []
        names += [self.of(f.name).column for f in schema.fields]
        return tuple(dict.fromkeys(names))

    def codes(self, codes: tuple[Code, ...]) -> frozenset[str]:
        """Codes in the form in which cells are compared."""
        return frozenset(self.code(c) for c in codes)

    def code(self, value: Code) -> str:
        """One code, or one cell, in that form."""
        text = code(str(value), self.decimal)
        return text.upper() if self.upper else text


def read_mapping(path: Path, schema: Schema) -> TableFile:
    """Read a hospital's ``table.toml`` and check it against the schema.

    Raises:
      InvalidInputError: The file can't be read, holds an unknown key, or says of a column what the
        schema does not allow.
    """
    mapping = read_toml(path, TableFile)
    if not schema.fields:
        raise InvalidInputError(
            "This schema was made by hand and has columns but no fields; read one from a "
            "schema.toml, by which a table can be read."
        )
    field_names = [f.name for f in schema.fields]
    unknown = sorted(set(mapping.columns) - set(field_names))
    if unknown:
        raise InvalidInputError(
            f"{path}: columns.{printable(unknown[0])} is not in the schema, which has "
            f"{', '.join(field_names)}."
        )
    for one in schema.fields:
        try:
            mapping.of(one.name).check(one)
        except InvalidInputError as error:
            raise InvalidInputError(f"{path}: {error}") from error
    for fix in mapping.fix:
        if fix.column == mapping.id or fix.column not in mapping.needed(schema):
            raise InvalidInputError(
                f"{path}: fix names column {printable(fix.column)}, which is the id or is not read."
            )
    return mapping


def _apart(name: str, groups: Mapping[str, tuple[Code, ...]]) -> None:
    """Refuse one code with two meanings."""
    seen: dict[str, str] = {}
    for group, codes in groups.items():
        for one in codes:
            other = seen.setdefault(code(str(one)), group)
            if other != group:
                raise InvalidInputError(f"{name}: {one!r} stands under {other} and under {group}")
