"""``schema.toml``: what the columns mean; public, the same file at every hospital.

::

    outcome = "stroke within a year"            # what 1 means

    [columns]                                   # in the order of the features
    age    = {unit = "years", mean = 55, sd = 10, low = 18, high = 100}
    sbp    = {unit = "mm Hg", mean = 130, sd = 20, low = 70, high = 240, clip = true}
    smoker = {}                                 # yes or no
    angina = {levels = ["none", "typical", "atypical"]}   # the reference first

    [score]                                     # optional: a published score, no training needed
    age = 1.0
    smoker = 0.7

Every constant comes from the literature. One computed from the patients is not public, and would be
a release of its own; so ``inpatient cohort init`` leaves them for a person to fill in.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from aggregation.data._toml import STRICT, load_toml, parse_toml
from aggregation.data.patients import Field, Schema
from privacy.errors import InvalidInputError

__all__ = ["read_schema"]

_MOST_FIELDS = 4096


@dataclass(frozen=True)
class _SchemaFile:
    """What may stand in the file; ``columns`` with their names put inside."""

    __pydantic_config__: ClassVar[Any] = STRICT

    outcome: str
    columns: dict[str, Field]
    score: dict[str, float] = field(default_factory=dict)
    about: str = ""


def read_schema(path: Path) -> Schema:
    """Read a schema from its file.

    Raises:
      InvalidInputError: The file can't be read, holds an unknown key or breaks a rule.
    """
    content = load_toml(path)
    columns = content.get("columns")
    if not isinstance(columns, dict) or not 0 < len(columns) <= _MOST_FIELDS:
        raise InvalidInputError(
            f"{path} needs a table [columns] of 1 to {_MOST_FIELDS} columns, such as "
            'age = {unit = "years", mean = 55, sd = 10, low = 18, high = 100}.'
        )
    for name, entry in columns.items():
        if not isinstance(entry, dict) or "name" in entry:
            raise InvalidInputError(
                f"{path}: columns.{name} is to be a table without a name of its own, {{}} for yes "
                "or no."
            )
        entry["name"] = name
    read = parse_toml(content, _SchemaFile, path)
    if not read.outcome.strip():
        raise InvalidInputError(f"{path}: outcome is empty; say what an outcome of 1 means.")
    try:
        return Schema.of_fields(read.outcome, tuple(read.columns.values()), read.score)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from error
