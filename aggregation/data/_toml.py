"""Reading a TOML file into a frozen dataclass: every key known, every value of its kind."""

import json
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from aggregation.data.safe_names import printable
from privacy.errors import InvalidInputError
from privacy.files import read_regular

__all__ = ["STRICT", "parse_toml", "read_toml"]

T = TypeVar("T")

STRICT = {"extra": "forbid", "strict": True, "allow_inf_nan": False}
"""The configuration of a dataclass that a file is read into (as ``__pydantic_config__``)."""

_LARGEST = 1 << 20  # bytes; refused before anything is parsed
_BRANCHES = ("str", "int", "float", "FieldSource", "SiteFile")  # pydantic's names of a union's
_SHOWN = 4  # mistakes told at once


def read_toml(path: Path, kind: type[T]) -> T:
    """Read a file into a dataclass.

    Raises:
      InvalidInputError: The file can't be read, is larger than 1 MiB, is no TOML, or holds a key or
        a value that the dataclass does not know; one paragraph that says where.
    """
    return parse_toml(load_toml(path), kind, path)


def load_toml(path: Path) -> dict[str, Any]:
    """Read a file as it stands, before anything is known of its keys."""
    try:
        content = read_regular(path, largest=_LARGEST)
    except OSError as error:
        raise InvalidInputError(f"Can't read {path}: {error.strerror}.") from error
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # the former: also a number of 4,300 digits
        raise InvalidInputError(
            f"{path} is not TOML: {str(error)[:200] or type(error).__name__}."
        ) from error


def parse_toml(content: dict[str, Any], kind: type[T], path: Path) -> T:
    """Turn what a file holds into a dataclass; errors as in ``read_toml``."""
    from pydantic import TypeAdapter, ValidationError

    try:
        # As JSON: strict there means no "3" for 3, yet 3 for 3.0 and a list for a tuple.
        plain = json.dumps(content, allow_nan=False)
        checked: T = TypeAdapter(kind).validate_json(plain)
    except ValidationError as error:
        problems = [_told(e) for e in error.errors(include_input=False, include_url=False)]
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise InvalidInputError(
            printable(f"{path}: {'; '.join(problems[:_SHOWN])}{more}.")
        ) from error
    except (TypeError, ValueError, RecursionError) as error:
        if isinstance(error, InvalidInputError):
            raise InvalidInputError(f"{path}: {error}") from error
        raise InvalidInputError(
            f"{path} holds a date, an infinite number or something else that no key takes."
        ) from error
    return checked


def _told(error: Any) -> str:
    """Where, and what; neither the value nor the library's name."""
    where = ".".join(str(part) for part in error["loc"] if not _is_type(part)) or "the file"
    if error["type"] == "unexpected_keyword_argument" or error["type"] == "extra_forbidden":
        return f"{where} is no key that is known there"
    if error["type"] == "missing":
        return f"{where} is missing"
    message = str(error["msg"]).removeprefix("Value error, ").rstrip(".")
    return f"{where}: {message[0].lower()}{message[1:]}"


def _is_type(part: object) -> bool:
    """Whether a place names a branch of a union rather than a key of the file."""
    return isinstance(part, str) and (part in _BRANCHES or "[" in part)
